"""Float TensorFlow Lite models to float networks; `quantise` makes the graph.

A file has channels last, a `Network` channels first. So every tensor of three axes or more gets its
last axis behind the batch axis, and every axis of an attribute moves with it. Only at the edges,
where data has the file's shape, and where a Reshape tears axes apart do Transposes remain; lowering
turns them into layouts of the graph's tensors, which has channels last itself.

Weights may be int8 or float16 with float activations: they become float.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

from spikelet.frontends.network_package import Imported
from spikelet.frontends.tflite import float_layers, larq
from spikelet.frontends.tflite.file import FileModel, read
from spikelet.frontends.tflite.file import parse as parse_file
from spikelet.frontends.tflite.float_layers import (
    FLOAT_CONVERTERS,
    Building,
    FloatLayer,
    with_batch,
)
from spikelet.frontends.tflite.layers import ADVICE, only_sizes
from spikelet.frontends.tflite.original import original
from spikelet.graph.names import identifier
from spikelet.quantise import Network
from spikelet.quantise.apart import check_apart
from spikelet.refusal import ImportRefused, shorten

__all__ = ["is_float", "load", "parse", "supported_operators"]

_ROOMS = (float_layers, larq)  # they fill FLOAT_CONVERTERS
_ADVICE = {
    **ADVICE,
    "RESIZE_BILINEAR": "RESIZE_NEAREST_NEIGHBOR, or a full-integer model",
    "TRANSPOSE_CONV": "RESIZE_NEAREST_NEIGHBOR and CONV_2D, or a full-integer model",
    "LOG_SOFTMAX": "end the network before it: the largest element is the same",
}


def is_float(model: FileModel) -> bool:
    """Whether a file computes on real numbers throughout."""
    computed = {model.tensors[i].dtype for o in model.operators for i in o.outputs}
    return "FLOAT32" in computed and not computed & {"INT8", "INT16", "UINT8"}


def load(path: Path, name: str | None = None) -> Imported:
    """Import a float .tflite file.

    Args:
        path: the file.
        name: of the network; by default the file's.

    Raises:
        ImportRefused: the file is damaged, or has what the graph cannot carry.
    """
    model = read(path)
    return _import(model, name or identifier(path.stem, "model"), str(path), path.read_bytes())


def parse(data: bytes, name: str = "model") -> Imported:
    """Import a model from memory; raises ImportRefused as `load` does."""
    return _import(parse_file(data, name), name, name, data)


def supported_operators() -> list[str]:
    """The operators that can be imported, in the schema's words."""
    return sorted(FLOAT_CONVERTERS)


def _import(model: FileModel, name: str, source: str, data: bytes) -> Imported:
    building = Building(model, Network(name, {}, [], []))
    for index in model.inputs:
        _input(building, index, source)
    sizes: set[int] = set()
    for operator in model.operators:
        if only_sizes(model, operator, sizes):
            continue
        layer = FloatLayer(model, operator, building)
        if operator.kind not in FLOAT_CONVERTERS:
            raise layer.refuse(
                "this operator is not supported in a float model",
                _ADVICE.get(operator.kind, f"supported are {', '.join(supported_operators())}"),
            )
        if not operator.outputs:
            raise layer.refuse("no outputs")
        for index in operator.outputs:
            tensor = model.tensors[index]
            if index in building.values or tensor.data is not None or tensor.variable:
                raise layer.refuse("it writes a tensor that has a value already")
        FLOAT_CONVERTERS[operator.kind](layer)
    for index in model.outputs:
        _output(building, index, source)
    dtypes = dict.fromkeys(building.network.inputs, "float32")
    larq.settle_signs(building.network)
    check_apart(building.network)
    return Imported(
        building.network,
        dtypes,
        is_float=True,
        sha256=hashlib.sha256(data).hexdigest(),
        original=original(data, building),
    )


def _input(building: Building, index: int, source: str) -> None:
    tensor = building.model.tensors[index]
    if tensor.dtype != "FLOAT32" or tensor.data is not None:
        raise ImportRefused(
            f"model {source}: input {shorten(tensor.name)!r} is {tensor.dtype}, but not what is "
            "computed of it",
            next="a model that is float throughout, or full-integer",
        )
    if len(tensor.shape) < 2 or tensor.shape[0] != 1:
        raise ImportRefused(
            f"model {source}: input {shorten(tensor.name)!r} has shape {tensor.shape}",
            "it was converted for batches of a fixed size, or has no batch axis",
            "convert it with a batch of 1, first of all axes",
        )
    if index not in building.values:
        name = building.fresh(tensor.name)
        building.network.inputs[name] = tensor.shape
        building.shapes[name] = tensor.shape
        building.values[index] = building.channels_first(name)


def _output(building: Building, index: int, source: str) -> None:
    tensor = building.model.tensors[index]
    if index not in building.values or index in building.model.inputs:
        raise ImportRefused(
            f"model {source}: output {shorten(tensor.name)!r} is not computed from the inputs"
        )
    name = building.channels_last(building.values[index])
    if building.shapes[name] != with_batch(tensor.shape):
        raise ImportRefused(
            f"model {source}: output {shorten(tensor.name)!r} is of {math.prod(tensor.shape)}"
        )
    if name not in building.network.outputs:
        building.network.outputs.append(name)

"""Full-integer TensorFlow Lite models to the integer graph.

Golden then equals LiteRT's reference kernels bit for bit in every tensor. The batch axis is
dropped. Float at the edges is dropped too: a QUANTIZE behind a float input and a DEQUANTIZE before
a float output are done by the host, with the scale and zero point of the graph's tensor.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from dataclasses import dataclass, field
from pathlib import Path

from spikelet.frontends.tflite import moving, pointwise, recurrent, reducing, tables, weighted
from spikelet.frontends.tflite.file import (
    MAX_ALL_ELEMENTS,
    FileModel,
    FileOperator,
    FileTensor,
    read,
)
from spikelet.frontends.tflite.file import parse as parse_file
from spikelet.frontends.tflite.layers import (
    ADVICE,
    CONVERTERS,
    Building,
    Layer,
    graph_shape,
    only_sizes,
)
from spikelet.graph import Graph, GraphError, Tensor
from spikelet.graph.names import identifier
from spikelet.graph.ops.frame import Frame
from spikelet.graph.simplify import Simplified, simplify
from spikelet.refusal import ImportRefused, shorten

__all__ = ["Imported", "load", "parse", "supported_operators"]

MAX_MACS = 1 << 32  # of one inference: golden would take minutes a sample
_ROOMS = (
    moving,
    pointwise,
    recurrent,
    reducing,
    tables,
    weighted,
)  # they fill CONVERTERS


@dataclass(frozen=True)
class Imported:
    """A network from a file.

    Attributes:
        graph: what it computes.
        tensors: for each tensor of the file that the graph has, by its index, the graph's name.
        original: by the graph's names, the names in the file.
        sha256: of the file.
        simplified: what was left out of the network because it changes no output; its `kept` says
            which of a tensor's channels the graph has.
    """

    graph: Graph
    tensors: dict[int, str]
    simplified: Simplified
    original: dict[str, str] = field(default_factory=dict)
    sha256: str = ""


def load(path: Path, name: str | None = None, frames: int = 1) -> Imported:
    """Import a .tflite file.

    Args:
        path: the file.
        name: of the graph; by default the file's.
        frames: runs of the file's network that make one inference of the graph, for networks with
            a state (SVDF, LSTM): each input gets a first axis of so many frames, one a step.

    Raises:
        ImportRefused: the file is damaged, or has what the graph cannot carry exactly.
    """
    model = read(path)
    imported = _import(model, name or identifier(path.stem, "model"), str(path), frames)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return dataclasses.replace(imported, sha256=digest)


def parse(data: bytes, name: str = "model", frames: int = 1) -> Imported:
    """Import a .tflite model from memory; raises ImportRefused as `load` does."""
    imported = _import(parse_file(data, name), name, name, frames)
    return dataclasses.replace(imported, sha256=hashlib.sha256(data).hexdigest())


def supported_operators() -> list[str]:
    """The operators that can be imported, in the schema's words."""
    return sorted([*CONVERTERS, "DEQUANTIZE"])


def _import(model: FileModel, name: str, source: str, frames: int) -> Imported:
    given = frames * sum(math.prod(model.tensors[i].shape) for i in model.inputs)
    if given > MAX_ALL_ELEMENTS:
        raise ImportRefused(
            f"model {source}: {frames} frames have {given} elements, more than {MAX_ALL_ELEMENTS}",
            "a sequence that is not for a microcontroller",
        )
    building = Building(model, frames=frames)
    inputs = [_input(building, index, source) for index in model.inputs]
    shapes: set[int] = set()  # tensors that hold sizes: the file states every shape itself
    for number, operator in enumerate(model.operators):
        if _is_edge(building, operator) or only_sizes(model, operator, shapes):
            continue
        if operator.kind not in CONVERTERS:
            raise Layer(model, operator, building).refuse(
                "this operator is not supported",
                ADVICE.get(operator.kind, f"supported are {', '.join(supported_operators())}"),
            )
        _convert(building, operator, number)
    if not building.nodes:
        raise ImportRefused(f"model {source}: no operator computes anything on integers")
    outputs = []
    for index in (building.real.get(i, i) for i in model.outputs):
        if index not in building.names:
            raise ImportRefused(
                f"model {source}: output {shorten(model.tensors[index].name)!r} is computed by no "
                "operator"
            )
        outputs.append(building.names[index])
    try:
        graph = Graph(name, frames, inputs, building.nodes, list(dict.fromkeys(outputs)))
    except GraphError as error:
        raise ImportRefused(f"model {source}: {error}") from error
    macs = sum(n.cost().macs for n in graph.nodes)
    if macs > MAX_MACS:
        raise ImportRefused(
            f"model {source}: {macs} multiply-accumulates an inference, more than {MAX_MACS}",
            "a network that is not for a microcontroller",
        )
    original = {name_: model.tensors[index].name for index, name_ in building.names.items()}
    less = simplify(graph)
    return Imported(less.graph, building.names, less, original)


def _input(building: Building, index: int, source: str) -> Tensor:
    """A graph input; a float one becomes the int8 tensor that a QUANTIZE makes of it."""
    model = building.model
    entry = model.tensors[index]
    made = index
    readers: list[FileOperator] = []
    if entry.dtype == "FLOAT32":
        readers = model.readers.get(index, [])
        if any(o.kind != "QUANTIZE" or len(o.outputs) != 1 for o in readers) or not readers:
            raise _float_error(source, entry)
        made = readers[0].outputs[0]
        building.names.update({o.outputs[0]: "" for o in readers})
    coded = model.tensors[made]
    dtype = {"INT8": "i8", "UINT8": "u8"}.get(coded.dtype)
    if dtype is None or entry.data is not None:
        raise _float_error(source, entry, coded)
    if len(coded.scales) != 1:
        raise ImportRefused(
            f"model {source}: input {shorten(entry.name)!r} has {len(coded.scales)} scales, "
            "expected 1",
        )
    for o in readers:
        other = model.tensors[o.outputs[0]]
        if (other.dtype, *other.scales, *other.zero_points) != (
            coded.dtype, *coded.scales, *coded.zero_points
        ):  # fmt: skip
            raise _float_error(source, entry)
    wanted = "x" if len(model.inputs) == 1 else identifier(entry.name, f"input_{index}")
    name = building.fresh(wanted)
    try:
        shape = graph_shape(entry.shape)
        tensor = Tensor(
            name, dtype, (building.frames, *shape) if building.frames > 1 else shape, kind="input",
            scale=float(coded.scales[0]), zero_point=int(coded.zero_points[0]),
        )  # fmt: skip
    except GraphError as error:
        raise ImportRefused(f"model {source}: input {shorten(entry.name)!r}: {error}") from error
    building.known[name] = tensor
    if building.frames > 1:
        node = Frame(name=building.fresh(f"{name}_frame"), inputs=(name,))
        try:
            name = building.insert(node).name
        except GraphError as error:
            raise ImportRefused(f"model {source}: {error}") from error
    building.names[made] = name
    for o in readers:
        building.names[o.outputs[0]] = name
    return tensor


def _float_error(source: str, tensor: FileTensor, coded: FileTensor | None = None) -> ImportRefused:
    dtype = (coded or tensor).dtype
    if tensor.data is not None:
        return ImportRefused(
            f"model {source}: input {shorten(tensor.name)!r} is a constant",
            "the file is damaged, or its writer made a mistake",
        )
    if dtype == "INT16":
        return ImportRefused(
            f"model {source}: input {shorten(tensor.name)!r} is coded in INT16, expected INT8 or "
            "UINT8",
            "it was converted with activations of 16 bits (ACTIVATIONS_INT16_WEIGHTS_INT8)",
            "convert with TFLITE_BUILTINS_INT8",
        )
    if dtype not in ("FLOAT32", "FLOAT16", "INT8", "UINT8"):
        return ImportRefused(
            f"model {source}: input {shorten(tensor.name)!r} is {dtype}, expected INT8 or UINT8",
            "indices, tokens, flags or text, which no int8 network computes on",
            "give the network what is computed of it, such as the rows of its embedding",
        )
    return ImportRefused(
        f"model {source}: input {shorten(tensor.name)!r} is {tensor.dtype}, and not quantised in "
        "one way by all that read it",
        "a float model, or one with integer weights and float activations",
        "convert with TFLITE_BUILTINS_INT8 and a representative data set",
    )


def _is_edge(building: Building, operator: FileOperator) -> bool:
    """Whether the host does it: QUANTIZE of an input, DEQUANTIZE to an output or a QUANTIZE."""
    model, outputs = building.model, operator.outputs
    if operator.kind == "QUANTIZE" and len(operator.inputs) == 1 and len(outputs) == 1:
        first = operator.inputs[0]
        return first in model.inputs and model.tensors[first].dtype == "FLOAT32"
    if operator.kind != "DEQUANTIZE":
        return False
    layer = Layer(model, operator, building)
    layer.count((1,))
    others = {o.kind for o in model.readers.get(outputs[0], [])} - {"QUANTIZE"}
    if others:
        raise layer.refuse(
            f"a float tensor inside of the network, for {', '.join(sorted(others))}",
            "DEQUANTIZE before an output or a QUANTIZE",
        )
    layer.value(0)
    building.real[outputs[0]] = operator.inputs[0]
    return True


def _convert(building: Building, operator: FileOperator, number: int) -> None:
    model = building.model
    layer = Layer(model, operator, building)
    if not operator.outputs:
        raise layer.refuse("no outputs")
    for index in operator.outputs:
        tensor = model.tensors[index]
        if index in building.names or tensor.data is not None or tensor.variable:
            raise layer.refuse("it writes a tensor that has a value already")
        if len(graph_shape(tensor.shape)) > 4:
            raise layer.refuse(
                f"an output of shape {tensor.shape}",
                "at most four dimensions besides the batch axis",
            )
    kind = identifier(operator.kind, "operator")
    wanted = identifier(model.tensors[operator.outputs[0]].name, f"{kind}_{number}")
    layer = Layer(model, operator, building, building.fresh(wanted))
    try:
        CONVERTERS[operator.kind](layer)
    except GraphError as error:
        raise layer.refuse(str(error)) from error

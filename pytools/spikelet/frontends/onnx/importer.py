"""ONNX models to float networks with the codes that the file gives; `quantise` makes the graph.

QDQ and QOperator files keep their integers. Float models have no codes: they need calibration data.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from spikelet.frontends.network_package import Imported
from spikelet.frontends.onnx import moving, pointwise, qonnx, quantised, weighted
from spikelet.frontends.onnx.constants import evaluate, foldable
from spikelet.frontends.onnx.file import QONNX, FileModel, read
from spikelet.frontends.onnx.file import parse as parse_file
from spikelet.frontends.onnx.layers import CONVERTERS, Building, Layer, Value
from spikelet.frontends.onnx.original import original
from spikelet.graph.names import identifier
from spikelet.quantise import Network
from spikelet.quantise.apart import check_apart
from spikelet.refusal import ImportRefused, shorten

__all__ = ["Imported", "load", "network_of", "parse", "supported_operators"]

_ROOMS = (moving, pointwise, qonnx, quantised, weighted)  # they fill CONVERTERS
_MOVING = ("Concat", "Gather", "MaxPool", "Pad", "Reshape", "Resize", "Slice", "Transpose")
_ADVICE = {
    "DynamicQuantizeLinear": "static quantisation: scales that are known before",
    "ConvInteger": "static quantisation: QLinearConv, or Conv between DequantizeLinear",
    "MatMulInteger": "static quantisation: QLinearMatMul, or MatMul between DequantizeLinear",
    "FloatQuant": "Quant, IntQuant or BipolarQuant: integers",
    "LogSoftmax": "end the network before it: the largest element is the same",
}


def load(path: Path, name: str | None = None) -> Imported:
    """Import an .onnx file.

    Args:
        path: the file.
        name: of the network; by default the file's.

    Raises:
        ImportRefused: the file is damaged, or has what the graph cannot carry.
    """
    model = read(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return _import(model, name or identifier(path.stem, "model"), str(path), digest, path)


def parse(data: bytes, name: str = "model") -> Imported:
    """Import an ONNX model from memory; raises ImportRefused as `load` does."""
    digest = hashlib.sha256(data).hexdigest()
    return _import(parse_file(data, name), name, name, digest, data)


def supported_operators() -> list[str]:
    """The operators that can be imported."""
    return sorted(kind for _, kind in CONVERTERS)


def _import(model: FileModel, name: str, source: str, digest: str, file: bytes | Path) -> Imported:
    for i in model.inputs:
        if i.shape[0] != 1:
            raise ImportRefused(
                f"model {source}: input {shorten(i.name)!r} has shape {i.shape}: a batch of "
                f"{i.shape[0]} samples",
                "it was exported for batches of a fixed size, or has no batch axis",
                "export it with a batch of 1 or a dynamic batch axis, first of all axes",
            )
    dtypes = {i.name: i.dtype.name for i in model.inputs}
    # QuantizeLinear, QLinearConv, QGemm and so on
    is_float = not any(node.kind.startswith("Q") or node.domain == QONNX for node in model.nodes)
    building = build(model, name, source)
    _find_outputs(building, source)
    check_apart(building.network)
    return Imported(building.network, dtypes, is_float, digest, original(file, building))


def network_of(model: FileModel, name: str = "model", source: str = "model") -> Network:
    """The network of a file, with the batch axis that the file has."""
    building = build(model, name, source)
    _find_outputs(building, source)
    return building.network


def _find_outputs(building: Building, source: str) -> None:
    """Name the network's outputs; refuse those that are not computed."""
    model, network = building.model, building.network
    for key in model.outputs:
        value = building.values[key]
        known = value.array is not None or value.plus is not None
        if not known and value.tensor in network.inputs:
            raise ImportRefused(
                f"model {source}: output {shorten(key)!r} is the input {shorten(value.tensor)!r} "
                "as it is",
                "its nodes only copy or cast it, and so nothing is left to compute",
            )
        if known:
            raise ImportRefused(
                f"model {source}: output {shorten(key)!r} is not computed from the inputs"
            )
        if value.tensor not in network.outputs:
            network.outputs.append(value.tensor)


def build(model: FileModel, name: str, source: str) -> Building:
    """Every tensor of a file as a network's, or as a constant."""
    network = Network(name, {}, [], [])
    building = Building(model, network)
    read = {n for node in model.nodes for n in node.inputs}
    for i in model.inputs:
        if i.dtype.kind != "f" and i.dtype not in (np.int8, np.uint8):
            raise ImportRefused(
                f"model {source}: input {shorten(i.name)!r} is {i.dtype}",
                next="inputs of float, int8 or uint8",
            )
        if i.name in read:
            network.inputs[building.fresh(i.name)] = i.shape
        dtype = np.dtype(np.float32) if i.dtype.kind == "f" else i.dtype
        building.values[i.name] = Value(i.shape, dtype, tensor=i.name)
    for key, array in model.constants.items():
        bits = model.bits.get(key, 8)
        building.values[key] = Value(array.shape, array.dtype, array, bits=bits)
    for node in model.nodes:
        _convert(Layer(building, node))
    _spread_codes(building, source)
    return building


def _convert(layer: Layer) -> None:
    node = layer.node
    if node.kind != "DequantizeLinear" and foldable(layer):
        evaluate(layer)
        return
    convert = CONVERTERS.get((node.domain, node.kind))
    if convert is None:
        raise layer.refuse(
            f"this operator{' of ' if node.domain else ''}{node.domain} is not supported",
            _ADVICE.get(node.kind, f"supported are {', '.join(supported_operators())}"),
        )
    known = qonnx.ATTRIBUTES if node.domain == QONNX else quantised.MICROSOFT_ATTRIBUTES
    unknown = set(node.attributes) - known if node.domain else ()
    if unknown:
        raise layer.refuse(f"attribute {min(unknown)} is not known")
    try:
        convert(layer)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        # Numbers that no check has foreseen: a damaged file, never a crash.
        raise layer.refuse(f"it cannot be carried over: {type(error).__name__}: {error}") from error
    for name in filter(None, node.outputs):
        if name not in layer.building.values:
            raise layer.refuse(f"its output {shorten(name)!r} is used", "the first output alone")
        _check_declared_shape(layer, name)


def _check_declared_shape(layer: Layer, name: str) -> None:
    """Refuse an output whose shape is not the one that the file tells."""
    shape, told = layer.building.values[name].shape, layer.building.model.declared.get(name)
    if told is None:
        return
    if len(told) == len(shape) and all(b in (None, a) for a, b in zip(shape, told, strict=True)):
        return
    shown = ", ".join("?" if d is None else str(d) for d in told)
    raise layer.refuse(
        f"its output {shorten(name)!r} has shape {shape}, the file declares ({shown})",
        "export the model again; onnx.checker.check_model(model, full_check=True) compares shapes",
    )


def _spread_codes(building: Building, source: str) -> None:
    """An integer input that is only moved before its scale is told has the code that is told."""
    network = building.network
    integers = {i.name for i in building.model.inputs if i.dtype.kind != "f"}
    for node in reversed(network.nodes) if integers - set(network.codes) else ():
        if node.op in _MOVING and node.name in network.codes:
            for name in node.inputs:
                network.codes.setdefault(name, network.codes[node.name])
    for name in sorted(integers - set(network.codes)):
        if name in network.inputs:
            raise ImportRefused(
                f"model {source}: input {shorten(name)!r} holds integers whose scale nothing tells",
                next="a DequantizeLinear, a QLinear operator or a Cast to float behind it",
            )

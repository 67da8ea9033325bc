"""Nodes that compute constants, done at import with ONNX's own reference implementation.

PyTorch exports compute shapes with chains of Shape, Gather, Concat and Reshape: every node whose
inputs are all known is evaluated, where its result is small.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from spikelet.frontends.onnx.file import TYPES
from spikelet.frontends.onnx.layers import Coded, Layer, Value, converts
from spikelet.graph import Array

# Whose result has no more elements than the inputs, broadcast or added up.
_BOUNDED = frozenset(
    re.findall(
        r"\w+",
        "Abs Add And Cast CastLike Ceil Clip Concat Constant Cos Div Equal Exp Flatten Floor "
        "Gather Greater GreaterOrEqual Identity Less LessOrEqual Log Max Mean Min Mod Mul Neg Not "
        "Or Pow QuantizeLinear Range Reciprocal ReduceMax ReduceMean ReduceMin ReduceProd "
        "ReduceSum Relu Reshape Round Sigmoid Sign Sin Slice Split Sqrt Squeeze Sub Sum Tanh "
        "Transpose Unsqueeze Where Xor",
    )
)
_GROWING = frozenset(["ConstantOfShape", "Expand", "Tile"])
# What rearranges elements: the codes of a constant go with them.
_MOVING = frozenset(
    ["Flatten", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"]
)


def foldable(layer: Layer) -> bool:
    """Whether a node computes constants from constants."""
    kind = layer.node.kind
    if layer.node.domain or not (kind in _BOUNDED or kind in _GROWING):
        return False
    return all(layer.building.values[n].array is not None for n in layer.node.inputs if n)


def evaluate(layer: Layer) -> None:
    """Write the outputs of a node that is `foldable`."""
    values = [layer.value(i) if layer.has(i) else None for i in range(len(layer.node.inputs))]
    arrays = [None if v is None else v.array for v in values]
    count = _elements(layer, [a for a in arrays if a is not None])
    layer.spend("elements of computed constants", count)
    if layer.node.kind == "Cast" and layer.attribute("to") not in TYPES:
        raise layer.refuse("a type that has no place here")
    outputs = _reference(layer, arrays)
    first = values[0] if values else None
    coded: list[Coded | None] = [None] * len(outputs)
    if first is not None and first.coded is not None and layer.node.kind in _MOVING:
        parts = (first.coded.integers, first.coded.scales, first.coded.zero_points)
        moved = [_reference(layer, [part, *arrays[1:]]) for part in parts]
        bits = first.coded.bits
        coded = [Coded(i, s, z, bits) for i, s, z in zip(*moved, strict=True)]
    for i, (array, of) in enumerate(zip(outputs, coded, strict=True)):
        if array.dtype.kind not in "fiub":
            raise layer.refuse(f"a constant of {array.dtype}")
        if layer.node.outputs[i]:
            bits = _clipped_bits(layer, arrays)
            layer.write(Value(array.shape, array.dtype, array, of, bits=bits), i)


def _clipped_bits(layer: Layer, arrays: list[Array | None]) -> int:
    """How many bits codes have that a Clip has left: of -7 to 7, or of 0 to 15, 4."""
    ends = [a for a in arrays[1:] if a is not None and a.dtype.kind in "iu" and a.size == 1]
    if layer.node.kind != "Clip" or len(ends) != 2:
        return 8
    low, high = (int(end.reshape(-1)[0]) for end in ends)
    return max(
        2, high.bit_length() if low >= 0 else max((-low - 1).bit_length(), high.bit_length()) + 1
    )


@converts("Shape")
def shape(layer: Layer) -> None:
    """The shape of any tensor is known."""
    sizes = layer.value(0).shape
    part = sizes[slice(layer.attribute("start", 0), layer.attribute("end"))]
    _write_constant(layer, np.array(part, np.int64))


@converts("Size")
def size(layer: Layer) -> None:
    """The number of elements of any tensor is known."""
    _write_constant(layer, np.array(math.prod(layer.value(0).shape), np.int64))


def _write_constant(layer: Layer, array: Array) -> None:
    layer.write(Value(array.shape, array.dtype, array))


def _elements(layer: Layer, arrays: list[Array]) -> int:
    """Most elements that the result may have."""
    kind = layer.node.kind
    total = sum(a.size for a in arrays)
    if len(arrays) < {"Range": 3, "Gather": 2}.get(kind, int(kind in _GROWING)):
        raise layer.refuse(f"{len(arrays)} inputs")
    if kind in _GROWING:
        of = np.asarray(arrays[-1])
        if of.dtype.kind not in "iu":
            raise layer.refuse(f"a shape or repeats of {of.dtype}")
        last = [int(v) for v in of.reshape(-1)[:64]]
        if any(v < 0 for v in last):
            raise layer.refuse(f"a shape or repeats of {last}")
        if kind == "ConstantOfShape":
            return math.prod(last)
        return max(arrays[0].size, 1) * math.prod(max(v, 1) for v in last)
    if kind == "Range":
        ends = (float(a.reshape(-1)[0]) if a.size else math.nan for a in arrays[:3])
        start, limit, delta = ends
        steps = (limit - start) / delta if delta else math.nan
        if not math.isfinite(steps):
            raise layer.refuse(f"a range from {start} to {limit} in steps of {delta}")
        return int(abs(steps)) + 1
    if kind == "Gather":
        return arrays[0].size * max(arrays[1].size, 1)
    shapes = [a.shape for a in arrays]
    try:
        return max(total, math.prod(np.broadcast_shapes(*shapes)))
    except ValueError:
        return total


def _reference(layer: Layer, arrays: list[Array | None]) -> list[Array]:
    """What ONNX's reference evaluator gives for this node."""
    from onnx import helper, numpy_helper
    from onnx.reference import ReferenceEvaluator

    node = layer.node
    attributes = {
        k: numpy_helper.from_array(v) if isinstance(v, np.ndarray) else v
        for k, v in node.attributes.items()
        if not (isinstance(v, list) and not v)
    }
    names = [f"x{i}" if a is not None else "" for i, a in enumerate(arrays)]
    outputs = [f"y{i}" if name else "" for i, name in enumerate(node.outputs)]
    made = helper.make_node(node.kind, names, outputs, **attributes)
    feeds = {n: a for n, a in zip(names, arrays, strict=True) if a is not None}

    def info(name: str) -> Any:
        return helper.make_tensor_value_info(name, 0, None)

    graph = helper.make_graph(
        [made], "g", [info(n) for n in feeds], [info(n) for n in outputs if n]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", layer.opset)])
    try:
        with np.errstate(all="ignore"):
            results = ReferenceEvaluator(model).run(None, feeds)
    except Exception as error:  # whatever numpy says of arguments that do not fit
        raise layer.refuse(f"it cannot be computed: {type(error).__name__}: {error}") from error
    arrays_found = [np.asarray(f) for f in results]
    if len(arrays_found) == len(outputs):
        return arrays_found
    left = iter(arrays_found)
    return [next(left) if name else np.zeros(0) for name in outputs]

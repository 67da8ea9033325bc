"""Operators of TensorFlow Lite that make one value of many.

SUM is not among them: beyond the output's range its reference kernel converts float to int8, which
C leaves undefined.
"""

from __future__ import annotations

from typing import Any

from spikelet.frontends.tflite.layers import Layer, converts
from spikelet.graph import Tensor
from spikelet.graph.ops.argmax import Argmax
from spikelet.graph.ops.mean import Mean
from spikelet.graph.ops.reduce_max import ReduceMax
from spikelet.graph.ops.reduce_min import ReduceMin
from spikelet.graph.ops.reshape import Reshape
from spikelet.graph.ops.transpose import Transpose
from spikelet.graph.reduction import Reduction

_REDUCTIONS: dict[str, type[Reduction]] = {
    "MEAN": Mean,
    "REDUCE_MAX": ReduceMax,
    "REDUCE_MIN": ReduceMin,
}


@converts(*_REDUCTIONS)
def reduction(layer: Layer) -> None:
    """`Mean`, `ReduceMax` or `ReduceMin`; axes that are not neighbours are moved to be."""
    layer.count((2,))
    shape = layer.file_tensor(0).shape
    axes = sorted({layer.file_axis(axis, shape) for axis in layer.integers(1)})
    dropped = layer.dropped_axes(shape)
    axes = [a - dropped for a in axes if a >= dropped]
    source, keep = layer.value(0), bool(layer.options["KeepDims"])
    if not axes:  # nothing but the batch axis: one value of one
        source, axes, keep = layer.insert(_reshape(layer, source, (1, source.size))), [0], False
    elif axes[-1] - axes[0] >= len(axes):
        kept = [a for a in range(len(source.shape)) if a not in axes]
        source, axes = (
            _transpose(layer, source, (*kept, *axes)),
            list(range(len(kept), len(kept) + len(axes))),
        )
    layer.add(
        _REDUCTIONS[layer.operator.kind](
            name=layer.name,
            inputs=(source.name,),
            axes=tuple(axes),
            keep_dims=keep,
            **layer.code(),
        )
    )


@converts("ARG_MAX")
def arg_max(layer: Layer) -> None:
    """`Argmax`; the index is int32, also where the file has int64."""
    layer.count((2,))
    if layer.output().dtype not in ("INT32", "INT64"):
        raise layer.refuse(f"an output of {layer.output().dtype}", "INT32 or INT64")
    source = layer.value(0)
    axis = layer.axis(layer.one(1), layer.file_tensor(0).shape)
    last = len(source.shape) - 1
    if axis != last and source.dtype == "i8":
        source = _transpose(layer, source, (*(a for a in range(last + 1) if a != axis), axis))
    layer.add(Argmax(name=layer.name, inputs=(source.name,)))


def _reshape(layer: Layer, source: Tensor, shape: tuple[int, ...]) -> Reshape:
    return Reshape(name=layer.part("rows"), inputs=(source.name,), shape=shape)


def _transpose(layer: Layer, source: Tensor, order: tuple[int, ...]) -> Tensor:
    fields: dict[str, Any] = {
        "output_scale": source.scale,
        "output_zero_point": source.zero_point,
    }
    name = layer.part("moved")
    return layer.insert(Transpose(name=name, inputs=(source.name,), order=order, **fields))

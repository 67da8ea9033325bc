"""Operators of TensorFlow Lite that reshape, move or reduce."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from spikelet.frontends.tflite_layers import Layer, converts
from spikelet.graph.ops.argmax import Argmax
from spikelet.graph.ops.concatenate import Concatenate
from spikelet.graph.ops.mean import Mean
from spikelet.graph.ops.pad import Pad
from spikelet.graph.ops.reshape import Reshape
from spikelet.graph.ops.resize_nearest import ResizeNearest, nearest
from spikelet.graph.ops.slice import Slice
from spikelet.graph.ops.transpose import Transpose


def _axis(layer: Layer, axis: int, shape: tuple[int, ...]) -> int:
    """An axis of the file's tensor in the graph's tensor; the batch axis has none."""
    if not -len(shape) <= axis < len(shape):
        raise layer.refuse(f"axis {axis} of shape {shape}")
    found = axis % len(shape) - layer.dropped(shape)
    if found < 0:
        raise layer.refuse(f"axis {axis} of shape {shape}", "any axis but the batch axis")
    return found


def _unbatched(layer: Layer, values: Sequence[int], neutral: int, what: str) -> tuple[int, ...]:
    """One value an axis, without that of the batch axis, which must be `neutral`."""
    shape = layer.file_tensor(0).shape
    if len(values) != len(shape):
        raise layer.refuse(f"{what} {list(values)} for shape {shape}")
    dropped = layer.dropped(shape)
    if any(v != neutral for v in values[:dropped]):
        raise layer.refuse(f"{what} {list(values)}", "the batch axis stays as it is")
    return tuple(values[dropped:])


@converts("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
def reshape(layer: Layer) -> None:
    """`Reshape`; the new shape is the output's, which the file states."""
    source, to = layer.value(0), layer.output().shape
    if math.prod(to) != source.size:
        raise layer.refuse(f"{source.size} elements to shape {to}")
    if layer.output().dtype != layer.file_tensor(0).dtype:
        raise layer.refuse(f"an output of {layer.output().dtype}")
    shape = to[layer.dropped(to) :] or (1,)
    layer.add(Reshape(name=layer.name, inputs=(source.name,), shape=shape))


@converts("TRANSPOSE")
def transpose(layer: Layer) -> None:
    """`Transpose`."""
    layer.count((2,))
    shape, order = layer.file_tensor(0).shape, layer.integers(1)
    if sorted(a % len(shape) if shape else 0 for a in order) != list(range(len(shape))):
        raise layer.refuse(f"order {order} for shape {shape}")
    dropped = layer.dropped(shape)
    if dropped and order[0] % len(shape) != 0:
        raise layer.refuse(f"order {order}", "the batch axis stays first")
    axes = tuple(a % len(shape) - dropped for a in order[dropped:])
    layer.add(Transpose(name=layer.name, inputs=(layer.value(0).name,), order=axes, **layer.code()))


@converts("CONCATENATION")
def concatenation(layer: Layer) -> None:
    """`Concatenate`."""
    layer.count(range(1, 65))
    if layer.options["FusedActivationFunction"] != 0:
        raise layer.refuse("a fused activation", "no activation")
    inputs = [layer.value(i) for i in range(len(layer.operator.inputs))]
    axis = _axis(layer, int(layer.options["Axis"]), layer.file_tensor(0).shape)
    names = tuple(t.name for t in inputs)
    layer.add(Concatenate(name=layer.name, inputs=names, axis=axis, **layer.code()))


@converts("PAD", "PADV2")
def pad(layer: Layer) -> None:
    """`Pad`."""
    layer.count((2,) if layer.operator.kind == "PAD" else (3,))
    margins = layer.integers(1)
    value = layer.quantisation(layer.output())[1]
    if layer.operator.kind == "PADV2":
        fill = layer.constant(2, ("INT8",)).reshape(-1)
        if len(fill) != 1 or layer.quantisation(layer.file_tensor(2)) != layer.quantisation(
            layer.output()
        ):
            raise layer.refuse("a fill value of another code", "one value in the output's code")
        value = int(fill[0])
    before = _unbatched(layer, margins[0::2], 0, "margins")
    after = _unbatched(layer, margins[1::2], 0, "margins")
    layer.add(
        Pad(
            name=layer.name,
            inputs=(layer.value(0).name,),
            before=before,
            after=after,
            value=value,
            **layer.code(),
        )
    )


@converts("SPLIT")
def split(layer: Layer) -> None:
    """One `Slice` an output, of equal sizes."""
    count = len(layer.operator.outputs)
    layer.count((2,), count)
    shape = layer.file_tensor(1).shape
    axis = _axis(layer, _one(layer, layer.integers(0)), shape)
    length = layer.value(1).shape[axis]
    if length % count:
        raise layer.refuse(f"{count} parts of {length}")
    _parts(layer, 1, axis, [length // count] * count)


@converts("SPLIT_V")
def split_v(layer: Layer) -> None:
    """One `Slice` an output, of given sizes."""
    count = len(layer.operator.outputs)
    layer.count((3,), count)
    axis = _axis(layer, _one(layer, layer.integers(2)), layer.file_tensor(0).shape)
    sizes, length = layer.integers(1), layer.value(0).shape[axis]
    if sizes.count(-1) == 1:
        sizes[sizes.index(-1)] = length - sum(sizes) - 1
    if len(sizes) != count or sum(sizes) != length:
        raise layer.refuse(f"parts {sizes} of {length}")
    _parts(layer, 0, axis, sizes)


def _one(layer: Layer, values: list[int]) -> int:
    if len(values) != 1:
        raise layer.refuse(f"axis {values}", "one axis")
    return values[0]


def _parts(layer: Layer, source: int, axis: int, sizes: list[int]) -> None:
    tensor, at = layer.value(source), 0
    for i, size in enumerate(sizes):
        rank = range(len(tensor.shape))
        name = layer.name if i == 0 else layer.building.fresh(f"{layer.name}_{i}")
        layer.add(
            Slice(
                name=name,
                inputs=(tensor.name,),
                begin=tuple(at if a == axis else 0 for a in rank),
                size=tuple(size if a == axis else tensor.shape[a] for a in rank),
                stride=(1,) * len(tensor.shape),
                **layer.code(i),
            ),
            i,
        )
        at += size


@converts("SLICE")
def slice_(layer: Layer) -> None:
    """`Slice` of step 1."""
    layer.count((3,))
    tensor, shape = layer.value(0), layer.file_tensor(0).shape
    begin, size = layer.integers(1), layer.integers(2)
    if len(begin) != len(shape) or len(size) != len(shape):
        raise layer.refuse(f"begin {begin} and size {size} for shape {shape}")
    size = [n - b if s == -1 else s for n, b, s in zip(shape, begin, size, strict=True)]
    _slice(layer, tensor.name, begin, size, [1] * len(shape))


@converts("STRIDED_SLICE")
def strided_slice(layer: Layer) -> None:
    """`Slice`."""
    layer.count((4,))
    tensor, shape = layer.value(0), layer.file_tensor(0).shape
    given = [layer.integers(i) for i in (1, 2, 3)]
    options = layer.options
    if options["EllipsisMask"] or options["NewAxisMask"] or options["Offset"]:
        raise layer.refuse(
            "an ellipsis, a new axis or offsets", "BeginMask, EndMask, ShrinkAxisMask"
        )
    if any(len(values) != len(shape) for values in given) or 0 in given[2]:
        raise layer.refuse(f"begin, end and strides {given} for shape {shape}")
    begins, sizes = [], []
    for axis, (length, begin, end, step) in enumerate(zip(shape, *given, strict=True)):
        marked = 1 << axis
        shrinks = bool(options["ShrinkAxisMask"] & marked)
        low, high = (0, length) if step > 0 else (-1, length - 1)
        first = min(max(begin + length if begin < 0 else begin, low), high)
        last = min(max(end + length if end < 0 else end, low), high)
        if options["BeginMask"] & marked:
            first = low if step > 0 else high
        if options["EndMask"] & marked:
            last = high if step > 0 else low
        begins.append(first)
        sizes.append(1 if shrinks else len(range(first, last, step)))
    _slice(layer, tensor.name, begins, sizes, given[2])


def _slice(
    layer: Layer, source: str, begin: Sequence[int], size: Sequence[int], stride: Sequence[int]
) -> None:
    shape = layer.file_tensor(0).shape
    dropped = layer.dropped(shape)
    if dropped and (begin[0] != 0 or size[0] != 1):
        raise layer.refuse(f"{size[0]} elements of the batch axis", "the batch axis stays")
    layer.add(
        Slice(
            name=layer.name,
            inputs=(source,),
            begin=tuple(begin[dropped:]),
            size=tuple(size[dropped:]),
            stride=tuple(stride[dropped:]),
            **layer.code(),
        )
    )


@converts("RESIZE_NEAREST_NEIGHBOR")
def resize_nearest(layer: Layer) -> None:
    """`ResizeNearest`."""
    layer.count((2,))
    shape, size = layer.file_tensor(0).shape, layer.integers(1)
    if len(shape) != 4 or shape[0] != 1 or len(size) != 2 or any(not 1 <= s <= 65535 for s in size):
        raise layer.refuse(f"shape {shape} to size {size}", "(1, height, width, channels)")
    rows, columns = (
        nearest(
            to,
            of,
            align_corners=bool(layer.options["AlignCorners"]),
            half_pixel_centers=bool(layer.options["HalfPixelCenters"]),
        )
        for to, of in zip(size, shape[1:3], strict=True)
    )
    layer.add(
        ResizeNearest(
            name=layer.name,
            inputs=(layer.value(0).name,),
            rows=rows,
            columns=columns,
            **layer.code(),
        )
    )


@converts("MEAN")
def mean(layer: Layer) -> None:
    """`Mean` over neighbouring axes."""
    layer.count((2,))
    shape = layer.file_tensor(0).shape
    axes = sorted({_axis(layer, axis, shape) for axis in layer.integers(1)})
    layer.add(
        Mean(
            name=layer.name,
            inputs=(layer.value(0).name,),
            axes=tuple(axes),
            keep_dims=bool(layer.options["KeepDims"]),
            **layer.code(),
        )
    )


@converts("ARG_MAX")
def arg_max(layer: Layer) -> None:
    """`Argmax` of a vector; the index is int32, also where the file has int64."""
    layer.count((2,))
    shape = layer.file_tensor(0).shape
    source = layer.value(0)
    axis = _axis(layer, _one(layer, layer.integers(1)), shape)
    if axis != len(source.shape) - 1 or np.prod(source.shape[:-1]) != 1:
        raise layer.refuse(f"axis {axis} of shape {source.shape}", "the axis of a vector")
    layer.add(Argmax(name=layer.name, inputs=(source.name,)))

"""Operators of TensorFlow Lite that reshape or move values and compute nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from spikelet.frontends.tflite.layers import FileLayer, Layer, converts
from spikelet.graph import Array, Tensor
from spikelet.graph.ops.concatenate import Concatenate
from spikelet.graph.ops.gather import Gather
from spikelet.graph.ops.pad import Pad
from spikelet.graph.ops.reshape import Reshape
from spikelet.graph.ops.resize_bilinear import ResizeBilinear, between
from spikelet.graph.ops.resize_nearest import ResizeNearest, nearest
from spikelet.graph.ops.slice import Slice
from spikelet.graph.ops.transpose import Transpose

MAX_PARTS = 64


def _without_batch(layer: Layer, values: Sequence[int], neutral: int, what: str) -> tuple[int, ...]:
    """One value an axis, without that of the batch axis, which must be `neutral`."""
    shape = layer.file_tensor(0).shape
    if len(values) != len(shape):
        raise layer.refuse(f"{what} {list(values)} for shape {shape}")
    dropped = layer.dropped_axes(shape)
    if any(v != neutral for v in values[:dropped]):
        raise layer.refuse(f"{what} {list(values)}", "the batch axis stays as it is")
    return tuple(values[dropped:])


@converts("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
def reshape(layer: Layer) -> None:
    """`Reshape`; the new shape is the output's, which the file states."""
    source, to = layer.value(0), layer.output().shape
    if math.prod(to) != source.size:
        raise layer.refuse(f"{source.size} elements to shape {to}")
    _same(layer, source)
    shape = to[layer.dropped_axes(to) :] or (1,)
    layer.add(Reshape(name=layer.name, inputs=(source.name,), shape=shape))


def _same(layer: Layer, source: Tensor) -> None:
    """Refuse an output of another type or code."""
    if layer.output().dtype != layer.file_tensor(0).dtype:
        raise layer.refuse(f"an output of {layer.output().dtype}")
    if source.dtype == "i8":
        code, to = (source.scale, source.zero_point), layer.quantisation(layer.output())
        if code != to:
            raise layer.refuse(f"scale and zero point {code} become {to}", "the same code")


@converts("TRANSPOSE")
def transpose(layer: Layer) -> None:
    """`Transpose`."""
    layer.count((2,))
    shape, order = layer.file_tensor(0).shape, layer.integers(1)
    if sorted(a % len(shape) if shape else 0 for a in order) != list(range(len(shape))):
        raise layer.refuse(f"order {order} for shape {shape}")
    dropped = layer.dropped_axes(shape)
    if dropped and order[0] % len(shape) != 0:
        raise layer.refuse(f"order {order}", "the batch axis stays first")
    axes = tuple(a % len(shape) - dropped for a in order[dropped:])
    layer.add(Transpose(name=layer.name, inputs=(layer.value(0).name,), order=axes, **layer.code()))


@converts("CONCATENATION")
def concatenation(layer: Layer) -> None:
    """`Concatenate`."""
    layer.count(range(1, MAX_PARTS + 1))
    if layer.options["FusedActivationFunction"] != 0:
        raise layer.refuse("a fused activation", "no activation")
    inputs = [layer.value(i) for i in range(len(layer.operator.inputs))]
    axis = layer.axis(int(layer.options["Axis"]), layer.file_tensor(0).shape)
    names = tuple(t.name for t in inputs)
    layer.add(Concatenate(name=layer.name, inputs=names, axis=axis, **layer.code()))


@converts("PACK")
def pack(layer: Layer) -> None:
    """`Concatenate` of inputs that get one axis more."""
    count = len(layer.operator.inputs)
    layer.count(range(1, MAX_PARTS + 1))
    shape, axis = layer.file_tensor(0).shape, int(layer.options["Axis"])
    if int(layer.options["ValuesCount"]) != count or not -len(shape) - 1 <= axis <= len(shape):
        raise layer.refuse(f"{count} inputs of shape {shape} along axis {axis}")
    outer = math.prod(shape[: axis % (len(shape) + 1)])
    parts = []
    for i in range(count):
        source = layer.value(i)
        if layer.file_tensor(i).shape != shape:
            raise layer.refuse(f"shapes {shape} and {layer.file_tensor(i).shape}")
        rows = (outer, source.size // outer)
        parts.append(
            layer.insert(Reshape(name=layer.part("rows"), inputs=(source.name,), shape=rows)).name
        )
    layer.add(Concatenate(name=layer.name, inputs=tuple(parts), axis=1, **layer.code()))


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
    before = _without_batch(layer, margins[0::2], 0, "margins")
    after = _without_batch(layer, margins[1::2], 0, "margins")
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


@converts("MIRROR_PAD")
def mirror_pad(layer: Layer) -> None:
    """One `Gather` an axis: margins repeat the image, its edge once more (SYMMETRIC) or not."""
    layer.count((2,))
    margins = layer.integers(1)
    before = _without_batch(layer, margins[0::2], 0, "margins")
    after = _without_batch(layer, margins[1::2], 0, "margins")
    mode = int(layer.options["Mode"])
    edge = 0 if mode == 0 else 1
    if mode not in (0, 1):
        raise layer.refuse(f"mode {mode}", "REFLECT or SYMMETRIC")
    indices = []
    for size, low, high in zip(layer.value(0).shape, before, after, strict=True):
        if min(low, high) < 0 or max(low, high) > size - 1 + edge:
            raise layer.refuse(f"margins {low} and {high} of {size} elements")
        line = np.arange(size)
        head, tail = line[1 - edge : low + 1 - edge][::-1], line[::-1][1 - edge : high + 1 - edge]
        indices.append(np.concatenate([head, line, tail]))
    _gather(layer, indices)


@converts("TILE")
def tile(layer: Layer) -> None:
    """One `Gather` an axis that is repeated."""
    layer.count((2,))
    times = _without_batch(layer, layer.integers(1), 1, "repetitions")
    shape = layer.value(0).shape
    if any(not 1 <= t or t * n > 65535 for t, n in zip(times, shape, strict=True)):
        raise layer.refuse(f"{times} repetitions of {shape}")
    _gather(layer, [np.tile(np.arange(n), t) for t, n in zip(times, shape, strict=True)])


@converts("GATHER")
def gather(layer: Layer) -> None:
    """`Gather` by constant indices."""
    layer.count((2,))
    if layer.options["BatchDims"] != 0:
        raise layer.refuse("batch dimensions", "BatchDims of 0")
    axis = layer.axis(int(layer.options["Axis"]), layer.file_tensor(0).shape)
    positions = layer.constant(1, ("INT32", "INT64")).reshape(-1)
    source = layer.value(0)
    if not len(positions) or positions.min() < 0 or positions.max() >= source.shape[axis]:
        raise layer.refuse(f"indices {positions[:8]} of {source.shape[axis]} elements")
    indices = positions.astype(np.uint16)
    layer.add(
        Gather(name=layer.name, inputs=(source.name,), axis=axis, indices=indices, **layer.code())
    )


@converts("REVERSE_V2")
def reverse(layer: Layer) -> None:
    """`Slice` with negative steps."""
    layer.count((2,))
    shape = layer.file_tensor(0).shape
    axes = {layer.file_axis(axis, shape) for axis in layer.integers(1)}
    begin = [n - 1 if a in axes else 0 for a, n in enumerate(shape)]
    stride = [-1 if a in axes else 1 for a in range(len(shape))]
    _slice(layer, layer.value(0).name, begin, shape, stride)


def _gather(layer: Layer, indices: Sequence[Array]) -> None:
    """Gather along every axis whose indices are not all of it in order; the last one is added."""
    source = layer.value(0)
    _same(layer, source)
    wanted = [
        (a, positions.astype(np.uint16))
        for a, positions in enumerate(indices)
        if not np.array_equal(positions, np.arange(source.shape[a]))
    ] or [(0, np.arange(source.shape[0]).astype(np.uint16))]
    for i, (axis, positions) in enumerate(wanted):
        last = i == len(wanted) - 1
        name = layer.name if last else layer.part(f"axis{axis}")
        node = Gather(
            name=name, inputs=(source.name,), axis=axis, indices=positions, **layer.code()
        )
        if last:
            layer.add(node)
        else:
            source = layer.insert(node)


@converts("SPACE_TO_DEPTH", "DEPTH_TO_SPACE")
def space_to_depth(layer: Layer) -> None:
    """A `Transpose` between two shapes of the same memory."""
    layer.count((1,))
    source, block = layer.value(0), int(layer.options["BlockSize"])
    if len(source.shape) != 3 or layer.dropped_axes(layer.file_tensor(0).shape) != 1 or block < 1:
        raise layer.refuse(f"blocks of {block} in shape {layer.file_tensor(0).shape}")
    height, width, channels = source.shape
    if layer.operator.kind == "SPACE_TO_DEPTH":
        if height % block or width % block:
            raise layer.refuse(f"blocks of {block} in shape {source.shape}")
        split = (height // block, block, width // block, block * channels)
    else:
        if channels % (block * block):
            raise layer.refuse(f"blocks of {block} in {channels} channels")
        split = (height, width, block, channels // block)
    part = layer.insert(Reshape(name=layer.part("blocks"), inputs=(source.name,), shape=split))
    layer.add(Transpose(name=layer.name, inputs=(part.name,), order=(0, 2, 1, 3), **layer.code()))


@converts("SPLIT", "SPLIT_V")
def split(layer: Layer) -> None:
    """One `Slice` an output."""
    source, axis, sizes = split_sizes(layer)
    _parts(layer, source, layer.axis(axis, layer.file_tensor(source).shape), sizes)


def split_sizes(layer: FileLayer) -> tuple[int, int, list[int]]:
    """Which input a SPLIT or SPLIT_V parts, along which axis of it, into parts of which sizes."""
    count = len(layer.operator.outputs)
    given = layer.operator.kind == "SPLIT_V"
    layer.count((3,) if given else (2,), count)
    source, place = (0, 2) if given else (1, 0)
    shape = layer.file_tensor(source).shape
    axis = layer.file_axis(layer.one(place), shape)
    length = shape[axis]
    if not given:
        if length % count:
            raise layer.refuse(f"{count} parts of {length}")
        return source, axis, [length // count] * count
    sizes = layer.integers(1)
    if sizes.count(-1) == 1:
        sizes[sizes.index(-1)] = length - sum(sizes) - 1
    if len(sizes) != count or sum(sizes) != length or min(sizes) < 1:
        raise layer.refuse(f"parts {sizes} of {length}")
    return source, axis, sizes


@converts("UNPACK")
def unpack(layer: Layer) -> None:
    """One `Slice` an output, of one element along the axis that goes away."""
    count = len(layer.operator.outputs)
    layer.count((1,), count)
    shape, axis = layer.file_tensor(0).shape, int(layer.options["Axis"])
    if layer.file_axis(axis, shape) < layer.dropped_axes(
        shape
    ):  # the one element of the batch axis
        _same(layer, layer.value(0))
        whole = layer.value(0)
        layer.add(Reshape(name=layer.name, inputs=(whole.name,), shape=whole.shape))
        return
    axis = layer.axis(axis, shape)
    if count != layer.value(0).shape[axis]:
        raise layer.refuse(f"{count} outputs of {layer.value(0).shape[axis]}")
    _parts(layer, 0, axis, [1] * count)


def _parts(layer: Layer, source: int, axis: int, sizes: list[int]) -> None:
    tensor, at = layer.value(source), 0
    for i, size in enumerate(sizes):
        rank = range(len(tensor.shape))
        name = layer.name if i == 0 else layer.part(str(i))
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
    _slice(layer, layer.value(0).name, *part(layer))


def part(layer: FileLayer) -> tuple[list[int], list[int], list[int]]:
    """Begin, size and stride for each axis of a SLICE's input."""
    layer.count((3,))
    shape = layer.file_tensor(0).shape
    begin, size = layer.integers(1), layer.integers(2)
    if len(begin) != len(shape) or len(size) != len(shape):
        raise layer.refuse(f"begin {begin} and size {size} for shape {shape}")
    size = [n - b if s == -1 else s for n, b, s in zip(shape, begin, size, strict=True)]
    return begin, size, [1] * len(shape)


@converts("STRIDED_SLICE")
def strided_slice(layer: Layer) -> None:
    """`Slice`; axes that are new or go away are a matter of the output's shape."""
    _slice(layer, layer.value(0).name, *slice_box(layer))


def slice_box(layer: FileLayer) -> tuple[list[int], list[int], list[int]]:
    """Begin, size and stride for each axis of a STRIDED_SLICE's input."""
    layer.count((4,))
    shape = layer.file_tensor(0).shape
    given = [layer.integers(i) for i in (1, 2, 3)]
    if len({len(values) for values in given}) != 1 or 0 in given[2]:
        raise layer.refuse(f"begin, end and strides {given} for shape {shape}")
    if layer.options["Offset"]:
        given[1] = [b + e for b, e in zip(given[0], given[1], strict=True)]
    begins: list[int] = []
    sizes: list[int] = []
    strides: list[int] = []
    for number in _axes_of(layer, len(given[0]), len(shape)):
        length = shape[len(begins)]
        if number is None:
            begins, sizes, strides = [*begins, 0], [*sizes, length], [*strides, 1]
            continue
        begin, end, step = (values[number] for values in given)
        marked = 1 << number
        low, high = (0, length) if step > 0 else (-1, length - 1)
        first = min(max(begin + length if begin < 0 else begin, low), high)
        last = min(max(end + length if end < 0 else end, low), high)
        if layer.options["BeginMask"] & marked:
            first = low if step > 0 else high
        if layer.options["EndMask"] & marked:
            last = high if step > 0 else low
        shrinks = bool(layer.options["ShrinkAxisMask"] & marked)
        begins.append(first)
        sizes.append(1 if shrinks else len(range(first, last, step)))
        strides.append(step)
    return begins, sizes, strides


def _axes_of(layer: FileLayer, entries: int, rank: int) -> list[int | None]:
    """For each axis of the input the entry that slices it, None where all of it is taken."""
    ellipsis, new = layer.options["EllipsisMask"], layer.options["NewAxisMask"]
    whole = [i for i in range(entries) if ellipsis >> i & 1]
    added = [i for i in range(entries) if new >> i & 1 and i not in whole]
    missing = rank - (entries - len(whole) - len(added))
    if missing < 0 or len(whole) > 1:
        raise layer.refuse(f"{entries} entries for {rank} dimensions")
    axes: list[int | None] = []
    for i in range(entries):
        if i in whole:
            axes += [None] * missing
        elif i not in added:
            axes.append(i)
    return axes + [None] * (rank - len(axes))


def _slice(
    layer: Layer, source: str, begin: Sequence[int], size: Sequence[int], stride: Sequence[int]
) -> None:
    shape = layer.file_tensor(0).shape
    dropped = layer.dropped_axes(shape)
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


@converts("RESIZE_NEAREST_NEIGHBOR", "RESIZE_BILINEAR")
def resize(layer: Layer) -> None:
    """`ResizeNearest` or `ResizeBilinear`."""
    rows, columns = resize_places(layer)
    shape, size = layer.file_tensor(0).shape, layer.integers(1)
    near = layer.operator.kind == "RESIZE_NEAREST_NEIGHBOR"
    fields: dict[str, Any] = {"inputs": (layer.value(0).name,), **layer.code()}
    if near:
        layer.add(ResizeNearest(name=layer.name, rows=rows, columns=columns, **fields))
        return
    if max(*shape[1:3], *rows[:, 0], *columns[:, 0]) >= 1 << 15 or any(
        table[:, 0].max() >= of for table, of in zip((rows, columns), shape[1:3], strict=True)
    ):
        raise layer.refuse(f"shape {shape} to size {size}", "sizes of less than 2048 or so")
    rows, columns = rows.astype(np.int16), columns.astype(np.int16)
    layer.add(ResizeBilinear(name=layer.name, rows=rows, columns=columns, **fields))


def resize_places(layer: FileLayer) -> tuple[Array, Array]:
    """Which rows and columns a resized image has: indices, or indices and weights."""
    layer.count((2,))
    shape, size = layer.file_tensor(0).shape, layer.integers(1)
    if len(shape) != 4 or shape[0] != 1 or len(size) != 2 or any(not 1 <= s <= 65535 for s in size):
        raise layer.refuse(f"shape {shape} to size {size}", "(1, height, width, channels)")
    near = layer.operator.kind == "RESIZE_NEAREST_NEIGHBOR"
    corners, centres = (bool(layer.options[o]) for o in ("AlignCorners", "HalfPixelCenters"))
    if corners and centres and not near:
        raise layer.refuse("aligned corners and half-pixel centres", "one of them")
    rows, columns = (
        (nearest if near else between)(to, of, align_corners=corners, half_pixel_centers=centres)
        for to, of in zip(size, shape[1:3], strict=True)
    )
    return rows, columns

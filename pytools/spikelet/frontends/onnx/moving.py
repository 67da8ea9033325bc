"""Operators of ONNX that reshape, move, pool or reduce; int8 codes move with them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from spikelet.frontends.onnx.file import MAX_ELEMENTS
from spikelet.frontends.onnx.layers import MAX_WINDOWS, Layer, Value, converts
from spikelet.frontends.onnx.weighted import spatial_output, window
from spikelet.graph import Array
from spikelet.quantise import constant

MAX_INDICES = 1 << 16
MOST_ROWS = 65535  # of a tensor of the graph
_BACKWARDS_TO_THE_FIRST = -(1 << 31)  # the end of a slice with a negative step


@converts("Reshape")
def reshape(layer: Layer) -> None:
    """`Reshape` to a constant shape; 0 keeps an axis, -1 is what is left."""
    x, wanted = layer.movable_input(), layer.integers("shape", 1) or []
    if not layer.attribute("allowzero", 0):
        if any(d == 0 and i >= len(x.shape) for i, d in enumerate(wanted)):
            raise layer.refuse(f"shape {wanted} for an input of shape {x.shape}")
        wanted = [x.shape[i] if d == 0 else d for i, d in enumerate(wanted)]
    size, known = math.prod(x.shape), math.prod(d for d in wanted if d != -1)
    if wanted.count(-1) == 1 and known > 0:
        wanted = [size // known if d == -1 else d for d in wanted]
    reshaped_output(layer, x, wanted)


def reshaped_output(layer: Layer, x: Value, shape: Sequence[int]) -> None:
    """The output is x in another shape."""
    if any(d < 1 for d in shape) or math.prod(shape) != math.prod(x.shape):
        raise layer.refuse(f"shape {list(shape)} for an input of shape {x.shape}")
    if tuple(shape) == x.shape:
        layer.write(x)
    else:
        layer.add("Reshape", [x.tensor], shape, {"shape": list(shape)}, like=x)


@converts("Flatten")
def flatten(layer: Layer) -> None:
    """`Reshape` to two axes."""
    x, axis = layer.movable_input(), int(layer.attribute("axis", 1))
    if not -len(x.shape) <= axis <= len(x.shape):
        raise layer.refuse(f"axis {axis} of {len(x.shape)} dimensions")
    axis += len(x.shape) if axis < 0 else 0
    reshaped_output(layer, x, [math.prod(x.shape[:axis]), math.prod(x.shape[axis:])])


@converts("Squeeze")
def squeeze(layer: Layer) -> None:
    """`Reshape` without axes of 1."""
    x, axes = layer.movable_input(), layer.integers("axes", 1)
    if axes is None:
        axes = [i for i, d in enumerate(x.shape) if d == 1]
    gone = layer.axes(axes, len(x.shape))
    if any(x.shape[a] != 1 for a in gone):
        raise layer.refuse(f"axes {gone} of shape {x.shape}", "axes of length 1")
    reshaped_output(layer, x, [d for i, d in enumerate(x.shape) if i not in gone])


@converts("Unsqueeze")
def unsqueeze(layer: Layer) -> None:
    """`Reshape` with more axes of 1."""
    x, axes = layer.movable_input(), layer.integers("axes", 1) or []
    rank = len(x.shape) + len(axes)
    new, left = layer.axes(axes, rank), iter(x.shape)
    reshaped_output(layer, x, [1 if i in new else next(left) for i in range(rank)])


@converts("Transpose")
def transpose(layer: Layer) -> None:
    """`Transpose`."""
    x = layer.movable_input()
    order = list(layer.attribute("perm") or range(len(x.shape))[::-1])
    if sorted(order) != list(range(len(x.shape))):
        raise layer.refuse(f"perm {order} of shape {x.shape}")
    shape = [x.shape[a] for a in order]
    layer.add("Transpose", [x.tensor], shape, {"perm": order}, like=x)


@converts("Expand")
def expand(layer: Layer) -> None:
    """`Add` of zeros, where there is anything to repeat."""
    x, wanted = layer.activation(), tuple(layer.integers("shape", 1) or ())
    shape = layer.broadcast(x.shape, wanted)
    if shape == x.shape:
        layer.write(x)
        return
    if math.prod(shape) > MAX_ELEMENTS or min(shape) < 1:
        raise layer.refuse(f"shape {x.shape} to {shape}", f"at most {MAX_ELEMENTS} elements")
    zeros = constant(
        layer.building.network, f"{layer.node.name}.zeros", np.zeros(shape, np.float32)
    )
    layer.add("Add", [x.tensor, zeros], shape)


@converts("Concat")
def concat(layer: Layer) -> None:
    """`Concat` of computed tensors."""
    values = [layer.movable_input(i) for i in range(len(layer.node.inputs))]
    axis = layer.axis(int(layer.attribute("axis", 1)), len(values[0].shape))
    add_concat(layer, values, axis, like=values[0] if values[0].quantised else None)


def add_concat(
    layer: Layer, values: list[Value], axis: int, like: Value | None = None, output: int | None = 0
) -> Value:
    """Add a `Concat`."""
    first, codes = values[0].shape, layer.building.network.codes
    for v in values[1:]:
        if len(v.shape) != len(first) or any(
            a != b for i, (a, b) in enumerate(zip(first, v.shape, strict=True)) if i != axis
        ):
            raise layer.refuse(f"shapes {first} and {v.shape} along axis {axis}")
        if like is not None:
            codes_found = codes.get(like.tensor), codes.get(v.tensor)
            if v.dtype != like.dtype or str(codes_found[0]) != str(codes_found[1]):
                raise layer.refuse("integer inputs of different codes", "inputs of one code")
    shape = [sum(v.shape[axis] for v in values) if i == axis else d for i, d in enumerate(first)]
    return layer.add(
        "Concat", [v.tensor for v in values], shape, {"axis": axis}, like=like, output=output
    )


def part(
    layer: Layer, x: Value, axis: int, start: int, size: int, step: int = 1,
    output: int | None = 0,
) -> Value:  # fmt: skip
    """Add a `Slice` along one axis: `size` elements from `start` on."""
    end = start + size * step
    shape = [size if i == axis else d for i, d in enumerate(x.shape)]
    last = end if end >= 0 else _BACKWARDS_TO_THE_FIRST
    attributes = {"starts": [start], "ends": [last], "axes": [axis], "steps": [step]}
    return layer.add("Slice", [x.tensor], shape, attributes, like=x, output=output)


@converts("Split")
def split(layer: Layer) -> None:
    """A `Slice` an output that is used."""
    x, count = layer.movable_input(), len(layer.node.outputs)
    axis = layer.axis(int(layer.attribute("axis", 0)), len(x.shape))
    sizes = layer.integers("split", 1)
    if sizes is None:
        each = -(-x.shape[axis] // count)
        sizes = [each] * (count - 1) + [x.shape[axis] - each * (count - 1)]
        if layer.attribute("num_outputs", count) != count:
            raise layer.refuse(f"{count} outputs")
    if len(sizes) != count or sum(sizes) != x.shape[axis] or min(sizes) < 1:
        raise layer.refuse(f"parts {sizes} of {x.shape[axis]}")
    at = 0
    for i, size in enumerate(sizes):
        if layer.node.outputs[i]:
            part(layer, x, axis, at, size, output=i)
        at += size


@converts("Slice")
def slice_(layer: Layer) -> None:
    """`Slice`; what it takes is an attribute in older opsets, constants in newer ones."""
    x = layer.movable_input()
    starts, ends = layer.integers("starts", 1) or [], layer.integers("ends", 2) or []
    axes = layer.integers("axes", 3)
    axes = list(range(len(starts))) if axes is None else axes
    steps = layer.integers("steps", 4) or [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise layer.refuse(f"starts {starts}, ends {ends}, axes {axes}, steps {steps}")
    layer.axes(axes, len(x.shape))
    shape, attributes = list(x.shape), {}
    cuts: list[tuple[int, int, int, int]] = []
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        a = layer.axis(axis, len(x.shape))
        kept = range(*slice(start, end, step).indices(x.shape[a]))
        # Python counts a negative end from the back, also -1 - n, which ONNX clamps like it.
        if not kept:
            raise layer.refuse(f"nothing is left of axis {a}")
        shape[a] = len(kept)
        last = kept[0] + len(kept) * step
        cuts.append((kept[0], last if last >= 0 else _BACKWARDS_TO_THE_FIRST, a, step))
    names = ("starts", "ends", "axes", "steps")
    attributes = {k: list(v) for k, v in zip(names, zip(*cuts, strict=True), strict=True)}
    if tuple(shape) == x.shape and all(step == 1 for *_, step in cuts):
        layer.write(x)
        return
    layer.add("Slice", [x.tensor], shape, attributes, like=x)


@converts("Gather")
def gather(layer: Layer) -> None:
    """`Gather` by constant indices, a `Slice` where they are in equal steps; or `Lookup`."""
    if layer.value(0).array is not None and layer.value(1).plus is not None:
        _lookup(layer, layer.value(1))
        return
    x, indices = layer.movable_input(), layer.constant(1, "constant indices")
    axis = layer.axis(int(layer.attribute("axis", 0)), len(x.shape))
    length = x.shape[axis]
    flat = [int(i) for i in indices.reshape(-1)[:MAX_INDICES]]
    if not flat or indices.size > MAX_INDICES or min(flat) < -length or max(flat) >= length:
        raise layer.refuse(f"{indices.size} indices {flat[:8]} of {length}")
    flat = [i % length for i in flat]
    step = flat[1] - flat[0] if len(flat) > 1 else 1
    output = 0 if indices.ndim == 1 else None
    if step and flat == list(range(flat[0], flat[0] + step * len(flat), step)):
        taken = part(layer, x, axis, flat[0], len(flat), step, output=output)
    else:
        chosen = [len(flat) if i == axis else d for i, d in enumerate(x.shape)]
        attributes = {"axis": axis, "indices": flat}
        taken = layer.add("Gather", [x.tensor], chosen, attributes, like=x, output=output)
    if indices.ndim != 1:
        reshaped_output(layer, taken, (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


def _lookup(layer: Layer, index: Value) -> None:
    """A constant's elements by an activation's codes: any function of them."""
    table, code = layer.constant(0), layer.building.network.codes.get(index.tensor)
    first = (index.plus or 0) - 128
    if table.ndim != 1 or table.dtype.kind != "f" or first < 0 or first + 256 > len(table):
        raise layer.refuse(
            f"codes from {first} on as indices of {table.dtype} of shape {table.shape}",
            "a float element for each of the 256 codes",
        )
    if code is None:
        raise layer.refuse("codes of an input whose scale is not known yet")
    values = [float(v) for v in table[first : first + 256]]
    if not np.all(np.isfinite(values)):
        raise layer.refuse("a table of what is no finite number")
    attributes = {"scale": float(code.scale), "zero_point": code.zero_point, "values": values}
    layer.add("Lookup", [index.tensor], index.shape, attributes)


@converts("Pad")
def pad(layer: Layer) -> None:
    """`Pad` with a constant; negative margins cut."""
    x, mode = layer.movable_input(), layer.attribute("mode", "constant")
    if mode != "constant":
        raise layer.refuse(f"mode {mode}", "mode constant")
    given = layer.integers("pads", 1) or []
    rank = len(x.shape)
    axes = layer.integers("axes", 3)
    axes = list(range(rank)) if axes is None else axes
    layer.axes(axes, rank)
    if len(given) != 2 * len(axes):
        raise layer.refuse(f"pads {given} for {len(axes)} axes")
    pads = [0] * 2 * rank
    for i, axis in enumerate(axes):
        a = layer.axis(axis, rank)
        pads[a], pads[rank + a] = given[i], given[len(axes) + i]
    value = layer.attribute("value", layer.scalar(2, "value")) or 0.0
    if x.quantised:
        code = layer.building.network.codes.get(x.tensor)
        if code is None:
            raise layer.refuse("codes of an input whose scale is not known yet")
        value = (value + x.offset - code.zero_point) * float(code.scale)
    if not math.isfinite(value):
        raise layer.refuse(f"a margin of {value}", "a finite value")
    shape = [d + pads[i] + pads[rank + i] for i, d in enumerate(x.shape)]
    if any(pads):
        attributes = {"pads": pads, "value": float(value), "mode": mode}
        layer.add("Pad", [x.tensor], shape, attributes, like=x)
    else:
        layer.write(x)


@converts("MaxPool", "AveragePool")
def pool(layer: Layer) -> None:
    """`MaxPool` or `AveragePool`."""
    layer.alone()
    add_pool(layer, layer.movable_input() if layer.node.kind == "MaxPool" else layer.activation())


def add_pool(layer: Layer, x: Value, op: str = "") -> Value:
    """Add a pool over one or two spatial axes, by default the node's own."""
    spatial, kernel = x.shape[2:], [int(k) for k in layer.attribute("kernel_shape") or []]
    if len(spatial) not in (1, 2):
        raise layer.refuse(f"an input of shape {x.shape}", "one or two spatial axes")
    strides, pads, dilations = window(layer, spatial, kernel)
    ceil = bool(layer.attribute("ceil_mode", 0)) and layer.attribute("auto_pad") in (None, "NOTSET")
    sizes = spatial_output(layer, spatial, kernel, strides, pads, dilations, ceil)
    seen = math.prod(kernel) * math.prod(sizes) * x.shape[1]
    if seen > MAX_WINDOWS:
        raise layer.refuse(f"windows of {seen} elements", f"at most {MAX_WINDOWS}")
    attributes = {
        "kernel_shape": kernel,
        "strides": strides,
        "pads": pads,
        "dilations": dilations,
        "ceil_mode": int(ceil),
        "count_include_pad": int(layer.attribute("count_include_pad", 0)),
    }
    kind, shape = op or layer.node.kind, (*x.shape[:2], *sizes)
    return layer.add(kind, [x.tensor], shape, attributes, like=x)


@converts("GlobalAveragePool", "GlobalMaxPool")
def global_pool(layer: Layer) -> None:
    """The operator of that name over one or two spatial axes."""
    x = layer.activation()
    if len(x.shape) not in (3, 4):
        raise layer.refuse(f"an input of shape {x.shape}", "one or two spatial axes")
    layer.add(layer.node.kind, [x.tensor], (*x.shape[:2], *(1 for _ in x.shape[2:])))


@converts("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin")
def reduce(layer: Layer) -> None:
    """The operator of that name; a sum is a mean times its count."""
    x, kind = layer.activation(), layer.node.kind
    given = layer.integers("axes", 1)
    if not given and layer.attribute("noop_with_empty_axes", 0):
        layer.write(x)
        return
    axes = layer.axes(given or None, len(x.shape))
    keep = bool(layer.attribute("keepdims", 1))
    kept = [1 if i in axes else d for i, d in enumerate(x.shape)]
    shape = kept if keep else [d for i, d in enumerate(x.shape) if i not in axes]
    attributes = {"axes": axes, "keepdims": int(keep)}
    if kind != "ReduceSum":
        layer.add(kind, [x.tensor], shape, attributes)
        return
    mean = layer.add("ReduceMean", [x.tensor], shape, attributes, output=None)
    count = np.array(math.prod(x.shape[a] for a in axes), np.float32)
    name = constant(layer.building.network, f"{layer.node.name}.count", count)
    layer.add("Mul", [mean.tensor, name], shape)


@converts("CumSum")
def cum_sum(layer: Layer) -> None:
    """`CumSum` along a constant axis."""
    x, axes = layer.activation(), layer.integers("axis", 1) or []
    if len(axes) != 1:
        raise layer.refuse(f"axes {axes}", "one axis")
    attributes = {
        "axis": layer.axis(axes[0], len(x.shape)),
        "exclusive": int(layer.attribute("exclusive", 0)),
        "reverse": int(layer.attribute("reverse", 0)),
    }
    layer.add("CumSum", [x.tensor], x.shape, attributes)


@converts("ArgMax")
def arg_max(layer: Layer) -> None:
    """`ArgMax`; it writes indices."""
    x = layer.activation()
    axis, keep = (
        layer.axis(int(layer.attribute("axis", 0)), len(x.shape)),
        layer.attribute("keepdims", 1),
    )
    if layer.attribute("select_last_index", 0):
        raise layer.refuse("the last of equal values", "select_last_index=0")
    kept = [1 if i == axis else d for i, d in enumerate(x.shape)]
    shape = kept if keep else [d for i, d in enumerate(x.shape) if i != axis]
    index = Value((), np.dtype(np.int64))
    layer.add("ArgMax", [x.tensor], shape, {"axis": axis, "keepdims": int(keep)}, like=index)


@converts("Upsample", "Resize")
def resize(layer: Layer) -> None:
    """`Resize` to the nearest elements."""
    x, old = layer.movable_input(), layer.node.kind == "Upsample" or layer.opset < 11
    mode = layer.attribute("mode", "nearest")
    if mode != "nearest" or layer.attribute("antialias", 0) or len(x.shape) not in (3, 4):
        raise layer.refuse(
            f"mode {mode} on an input of shape {x.shape}",
            "mode nearest without antialias, on one or two spatial axes",
        )
    coordinates, rounding = "asymmetric", "simple"
    if not old:
        coordinates = layer.attribute("coordinate_transformation_mode")
        rounding = layer.attribute("nearest_mode")
    if coordinates not in _COORDINATES or rounding not in _ROUNDINGS:
        raise layer.refuse(
            f"coordinates {coordinates}, rounding {rounding}",
            ", ".join([*_COORDINATES, *list(_ROUNDINGS)[1:]]),
        )
    resized = _scales_and_sizes(layer, x, old)
    if all(size == x.shape[axis] for axis, (_, size) in resized.items()):
        layer.write(x)  # as onnxruntime has it, whatever the scale
        return
    indices = [list(range(d)) for d in x.shape]
    for axis, (scale, size) in resized.items():
        if scale == 1:
            continue
        length = x.shape[axis]
        at = _COORDINATES[coordinates](np.arange(size, dtype=np.float32), scale, length, size)
        chosen = np.clip(_ROUNDINGS[rounding](at, scale), 0, length - 1)
        indices[axis] = [int(v) for v in chosen]
    if any(indices[a] != list(range(x.shape[a])) for a in (0, 1)):
        raise layer.refuse("the batch or the channels would be resized", "spatial axes")
    attributes = dict(zip(("rows", "columns"), indices[2:], strict=False))
    layer.add("Resize", [x.tensor], [len(i) for i in indices], attributes, like=x)


def _scales_and_sizes(layer: Layer, x: Value, old: bool) -> dict[int, tuple[np.float32, int]]:
    """Scale and length by axis, in single precision as onnxruntime computes them."""
    axes = [layer.axis(a, len(x.shape)) for a in layer.attribute("axes") or range(len(x.shape))]
    given = [np.float32(s) for s in _scales(layer, 1 if old else 2)]
    sizes = [] if old else layer.integers("sizes", 3) or []
    if len(set(axes)) != len(sizes or given) or bool(sizes) == bool(given):
        raise layer.refuse(f"scales {list(map(float, given))} and sizes {sizes} for axes {axes}")
    lengths = [np.float32(x.shape[a]) for a in axes]
    policy = layer.attribute("keep_aspect_ratio_policy", "stretch")
    if given:
        scales, sizes = given, [int(n * s) for n, s in zip(lengths, given, strict=True)]
    else:
        scales = [np.float32(size) / n for n, size in zip(lengths, sizes, strict=True)]
        if policy != "stretch":
            scales = [(min if policy == "not_larger" else max)(scales)] * len(axes)
            sizes = [int(np.floor(scales[0] * n + np.float32(0.5))) for n in lengths]
    if not all(1 <= size <= MOST_ROWS for size in sizes):
        raise layer.refuse(f"sizes {sizes}", f"1 to {MOST_ROWS}")
    return dict(zip(axes, zip(scales, sizes, strict=True), strict=True))


_HALF = np.float32(0.5)
# Where an element of the output lies in the input: index, scale, lengths of input and output. All
# in single precision, as in onnxruntime: in double, 3 / 0.6 would be less than 5.
_COORDINATES: dict[str, Callable[[Array, np.float32, int, int], Array]] = {
    "asymmetric": lambda at, scale, n, size: at / scale,
    "half_pixel": lambda at, scale, n, size: (at + _HALF) / scale - _HALF,
    "pytorch_half_pixel": lambda at, scale, n, size: ((at + _HALF) / scale - _HALF) * (size > 1),
    "align_corners": lambda at, scale, n, size: (
        at * np.float32(n - 1) / np.float32(max(size - 1, 1))
    ),
}
_NEAR = 1e-6  # onnxruntime takes what is so near to a half for one
# Of a place and the scale; `simple` is that of opsets before 11.
_ROUNDINGS: dict[str, Callable[[Array, np.float32], Array]] = {
    "simple": lambda at, scale: np.ceil(at) if scale < 1 else np.trunc(at),
    "round_prefer_floor": lambda at, scale: np.ceil(at.astype(np.float64) - 0.5 - _NEAR),
    "round_prefer_ceil": lambda at, scale: np.floor(at.astype(np.float64) + 0.5 + _NEAR),
    "floor": lambda at, scale: np.floor(at),
    "ceil": lambda at, scale: np.ceil(at),
}


def _scales(layer: Layer, i: int) -> list[float]:
    """Positive scales that are an attribute, or input i."""
    if "scales" in layer.node.attributes:
        scales = [float(v) for v in layer.attribute("scales")]
    else:
        scales = [float(v) for v in layer.constant(i).reshape(-1)[:8]] if layer.has(i) else []
    if any(not 0 < v < 65536 for v in scales):
        raise layer.refuse(f"scales {scales}")
    return scales

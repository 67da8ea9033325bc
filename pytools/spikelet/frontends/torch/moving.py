"""Pools, reductions and what moves values: from ATen to `quantise.network`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from spikelet.frontends.torch.call import Activation, Call, Value, each, handles

# Pools and reductions.


@handles("max_pool1d", "max_pool2d")
def _max_pool(call: Call) -> Activation:
    return _pool(call, "MaxPool", dilations=True)


@handles("avg_pool1d", "avg_pool2d")
def _avg_pool(call: Call) -> Activation:
    if call.arguments.get("divisor_override") is not None:
        raise call.refuse("it overrides the divisor", "divisor_override=None")
    return _pool(call, "AveragePool", count_include_pad=int(call["count_include_pad"]))


def _pool(call: Call, op: str, dilations: bool = False, **more: int) -> Activation:
    x = call.activation("self")
    n = len(x.shape) - 2
    kernel = each(call["kernel_size"], n)
    strides = each(call["stride"], n) if call["stride"] else kernel
    attributes: dict[str, Any] = {
        "kernel_shape": kernel,
        "strides": strides,
        "pads": each(call["padding"], n) * 2,
        "ceil_mode": int(call["ceil_mode"]),
        **more,
    }
    if dilations:
        attributes["dilations"] = each(call["dilation"], n)
    return call.add(op, [x.name], attributes)


@handles("adaptive_avg_pool1d", "adaptive_avg_pool2d")
def _adaptive_average(call: Call) -> Activation:
    return _adaptive(call, "AveragePool", {"count_include_pad": 0})


@handles("adaptive_max_pool1d", "adaptive_max_pool2d")
def _adaptive_max(call: Call) -> Value:
    return (_adaptive(call, "MaxPool", {"dilations": [1] * len(call["output_size"])}),)


def _adaptive(call: Call, op: str, more: dict[str, Any]) -> Activation:
    x = call.activation("self")
    wanted = [int(n) for n in call["output_size"]]
    spatial = list(x.shape[2:])
    shape = (*x.shape[:2], *wanted)
    if wanted == spatial:
        return x
    if all(n == 1 for n in wanted):
        return call.add(f"Global{op}", [x.name], {}, shape)
    if any(n % m for n, m in zip(spatial, wanted, strict=True)):
        raise call.refuse(
            f"windows of unequal size from {spatial} to {wanted}",
            "an output size that divides the input's",
        )
    kernel = [n // m for n, m in zip(spatial, wanted, strict=True)]
    attributes = {
        "kernel_shape": kernel,
        "strides": kernel,
        "pads": [0] * 2 * len(kernel),
        "ceil_mode": 0,
        **more,
    }
    return call.add(op, [x.name], attributes, shape)


@handles("mean", "sum")
def _mean(call: Call) -> Activation:
    x = call.activation("self")
    rank = len(x.shape)
    given = call.arguments.get("dim")
    axes = sorted({int(a) % rank for a in given}) if given else list(range(rank))
    if 0 in axes and given:
        raise call.refuse("it is over the batch axis", "the other axes are supported")
    axes = [a for a in axes if a > 0]  # over everything: one sample is one batch
    keep = int(bool(call.arguments.get("keepdim")))
    kept = [1 if a in axes else n for a, n in enumerate(x.shape)]
    shape = kept if keep else [n for a, n in enumerate(x.shape) if a not in axes]
    total = call.target.startswith("aten.sum")
    done = call.add(
        "ReduceMean",
        [x.name],
        {"axes": axes, "keepdims": keep},
        shape,
        f"{call.name}_mean" if total else "",
    )
    if not total:
        return done
    count = math.prod(x.shape[a] for a in axes)
    times = call.keep("count", np.asarray(count, np.float32))
    return call.add("Mul", [done.name, times], {}, shape)


@handles("amax")
def _amax(call: Call) -> Activation:
    x = call.activation("self")
    rank = len(x.shape)
    if sorted({int(a) % rank for a in call["dim"]}) != list(range(2, rank)):
        raise call.refuse("it is not over the spatial axes", f"dim={list(range(2, rank))}")
    pooled_shape = (*x.shape[:2], *(1 for _ in x.shape[2:]))
    if call["keepdim"]:
        return call.add("GlobalMaxPool", [x.name], {}, pooled_shape)
    pooled = call.add("GlobalMaxPool", [x.name], {}, pooled_shape, f"{call.name}_pool")
    return _add_reshape(call, pooled)


@handles("softmax", "_softmax")
def _softmax(call: Call) -> Activation:
    x = call.activation("self")
    return call.add("Softmax", [x.name], {"axis": call.axis("dim", len(x.shape))})


@handles("argmax")
def _argmax(call: Call) -> Activation:
    x = call.activation("self")
    if call["dim"] is None:
        raise call.refuse("it is over all axes", "dim=1, for example")
    attributes = {"axis": call.axis("dim", len(x.shape)), "keepdims": int(bool(call["keepdim"]))}
    return call.add("ArgMax", [x.name], attributes)


# Values that move.


@handles(
    "view", "reshape", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze", "view_copy"
)
def _reshape(call: Call) -> Activation:
    return _add_reshape(call, call.activation("self"))


def _add_reshape(call: Call, x: Activation) -> Activation:
    if call.shape == x.shape:
        return x
    return call.add("Reshape", [x.name], {"shape": list(call.shape)})


@handles("permute", "transpose", "t")
def _permute(call: Call) -> Activation:
    x = call.activation("self")
    rank = len(x.shape)
    order = list(range(rank))
    if "dims" in call.arguments:
        order = [int(a) % rank for a in call["dims"]]
    else:
        given = call.arguments
        a, b = (call.axis("dim0", rank), call.axis("dim1", rank)) if "dim0" in given else (0, 1)
        order[a], order[b] = order[b], order[a]
    if order == list(range(rank)):
        return x
    if order[0] != 0:
        raise call.refuse("it moves the batch axis", "the other axes may move")
    return call.add("Transpose", [x.name], {"perm": order})


@handles("cat")
def _cat(call: Call) -> Activation:
    names = []
    for i, value in enumerate(call["tensors"]):
        if not isinstance(value, Activation):
            raise call.refuse(f"its operand {i} is a constant", "pad, or tensors of the network")
        names.append(value.name)
    return call.add("Concat", names, {"axis": call.axis("dim", len(call.shape))})


def _slice(
    call: Call, x: Activation, axis: int, start: int, end: int, step: int = 1, name: str = ""
) -> Activation:
    shape = list(x.shape)
    shape[axis] = len(range(start, end, step))
    if shape == list(x.shape):
        return x
    if not shape[axis]:
        raise call.refuse("it takes nothing", "at least 1 element")
    attributes = {"starts": [start], "ends": [end], "axes": [axis], "steps": [step]}
    return call.add("Slice", [x.name], attributes, shape, name)


@handles("slice")
def _slice_tensor(call: Call) -> Activation:
    x = call.activation("self")
    axis = call.axis("dim", len(x.shape))
    start, end, step = slice(call["start"], call["end"], call["step"]).indices(x.shape[axis])
    return _slice(call, x, axis, start, end, step)


@handles("select")
def _select(call: Call) -> Activation:
    x = call.activation("self")
    axis = call.axis("dim", len(x.shape))
    if axis == 0:
        raise call.refuse("it selects from the batch", "the other axes are supported")
    start = int(call["index"]) % x.shape[axis]
    taken = _slice(call, x, axis, start, start + 1, 1, f"{call.name}_slice")
    return _add_reshape(call, taken)


@handles("split", "split_with_sizes", "chunk", "unbind")
def _split(call: Call) -> tuple[Activation, ...]:
    x = call.activation("self")
    axis = call.axis("dim", len(x.shape))
    length = x.shape[axis]
    if axis == 0:
        raise call.refuse("it splits the batch", "the other axes are supported")
    if call.target.startswith("aten.unbind"):
        sizes: Any = 1
    elif call.target.startswith("aten.chunk"):
        sizes = -(-length // int(call["chunks"]))
    else:
        sizes = call.arguments.get("split_sizes", call.arguments.get("split_size"))
    if not isinstance(sizes, list | tuple):
        sizes = [min(int(sizes), length - i) for i in range(0, length, int(sizes))]
    parts, start = [], 0
    for i, size in enumerate(sizes):
        name = f"{call.name}_{i}"
        part = _slice(call, x, axis, start, start + int(size), 1, name)
        if call.target.startswith("aten.unbind"):
            shape = [n for a, n in enumerate(x.shape) if a != axis]
            part = call.add("Reshape", [part.name], {"shape": shape}, shape, f"{name}_flat")
        parts.append(part)
        start += int(size)
    return tuple(parts)


@handles("pad", "constant_pad_nd")
def _pad(call: Call) -> Activation:
    x = call.activation("self")
    if str(call.arguments.get("mode", "constant")) != "constant":
        raise call.refuse("it repeats values", "mode='constant'")
    given = [int(n) for n in call["pad"]]  # of the last axis first
    begins, ends = [0] * len(x.shape), [0] * len(x.shape)
    for i in range(len(given) // 2):
        begins[-1 - i], ends[-1 - i] = given[2 * i], given[2 * i + 1]
    if min(given) < 0:
        raise call.refuse("it cuts values off", "pads that are not negative; slice instead")
    if not any(given):
        return x
    value = float(call["value"] or 0.0)
    return call.add("Pad", [x.name], {"pads": begins + ends, "value": value, "mode": "constant"})


@handles("upsample_nearest1d", "upsample_nearest2d")
def _upsample(call: Call) -> Activation:
    x = call.activation()
    scales = call.arguments.get("scale_factors") or [
        call.arguments.get(name) for name in ("scales", "scales_h", "scales_w")
    ]
    scales = [s for s in scales if s is not None] or [None] * (len(x.shape) - 2)
    spatial, sizes = x.shape[2:], list(call.shape[2:])
    resize: Any = torch.ops.aten.upsample_nearest2d.default
    resize = torch.ops.aten.upsample_nearest1d.default if len(spatial) == 1 else resize
    sources = {}
    for axis, name in zip(range(len(spatial)), ("rows", "columns"), strict=False):
        # PyTorch itself says which: each element of the image holds its index.
        line = torch.arange(spatial[axis], dtype=torch.float32)
        lined = line.reshape([-1 if a == axis else 1 for a in range(len(spatial))])
        resized = resize(lined.expand(1, 1, *spatial).contiguous(), sizes, *scales)[0, 0]
        sources[name] = [int(i) for i in resized.movedim(axis, 0).reshape(sizes[axis], -1)[:, 0]]
    return call.add("Resize", [x.name], sources)


@handles("dropout", "clone", "contiguous", "detach", "alias", "lift_fresh_copy", "feature_dropout")
def _same(call: Call) -> Activation:
    return call.activation()


@handles("to", "_to_copy")
def _to(call: Call) -> Activation:
    if call.arguments.get("dtype") not in (None, torch.float32):
        raise call.refuse("it changes the type", "float32 throughout")
    return call.activation()


@handles("expand")
def _expand(call: Call) -> Activation:
    x = call.activation("self")
    if call.shape != x.shape:
        raise call.refuse(
            f"it repeats values from {x.shape} to {call.shape}",
            "operands of add and mul broadcast by themselves",
        )
    return x

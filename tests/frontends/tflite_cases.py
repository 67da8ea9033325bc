"""One-operator models with random shapes, scales and zero points, by operator."""

from __future__ import annotations

from typing import Any

import numpy as np
from tflite_drawn import (
    CASES,
    Case,
    Rng,
    activation,
    case,
    like,
    scale,
    shape_of,
    start,
    weights,
    window,
    zero,
)
from tflite_models import Writer


@case("conv_2d")
def conv_2d(w: Writer, x: int, rng: Rng) -> list[int]:
    shape = shape_of(w, x)
    kernel = tuple(int(v) for v in rng.integers(1, 5, 2))
    outputs = int(rng.integers(1, 10))
    padding, stride, dilation, out = window(rng, shape, kernel, True)
    fan = kernel[0] * kernel[1] * shape[3]
    weight, bias, real = weights(w, x, rng, (outputs, *kernel, shape[3]), 0, fan)
    y = w.tensor((1, *out, outputs), real, zero(rng))
    return w.op(
        "CONV_2D", [x, weight, bias], [y], Padding=padding, StrideH=stride[0], StrideW=stride[1],
        DilationHFactor=dilation[0], DilationWFactor=dilation[1],
        FusedActivationFunction=activation(rng),
    )  # fmt: skip


@case("depthwise_conv_2d")
def depthwise_conv_2d(w: Writer, x: int, rng: Rng) -> list[int]:
    shape = shape_of(w, x)
    kernel = tuple(int(v) for v in rng.integers(1, 5, 2))
    multiplier = int(rng.integers(1, 4))
    outputs = shape[3] * multiplier
    padding, stride, dilation, out = window(rng, shape, kernel, True)
    weight, bias, real = weights(w, x, rng, (1, *kernel, outputs), 3, kernel[0] * kernel[1])
    y = w.tensor((1, *out, outputs), real, zero(rng))
    return w.op(
        "DEPTHWISE_CONV_2D", [x, weight, bias], [y], Padding=padding, StrideH=stride[0],
        StrideW=stride[1], DilationHFactor=dilation[0], DilationWFactor=dilation[1],
        DepthMultiplier=multiplier, FusedActivationFunction=activation(rng),
    )  # fmt: skip


@case("grouped_conv_2d")
def grouped_conv_2d(w: Writer, x: int, rng: Rng) -> list[int]:
    shape = shape_of(w, x)
    groups, depth = int(rng.integers(2, 5)), int(rng.integers(1, 4))
    wide = like(w, x, (*shape[:3], groups * depth))
    copies = rng.integers(0, shape[3], groups * depth).astype(np.int32)
    w.op("GATHER", [x, w.constant(copies)], [wide], Axis=3)
    outputs = groups * int(rng.integers(1, 4))
    weight, bias, real = weights(w, x, rng, (outputs, 2, 3, depth), 0, 6 * depth)
    y = w.tensor((*shape[:3], outputs), real, zero(rng))
    return [wide, *w.op(
        "CONV_2D", [wide, weight, bias], [y], Padding=0, StrideH=1, StrideW=1,
        DilationHFactor=1, DilationWFactor=1, FusedActivationFunction=activation(rng),
    )]  # fmt: skip


@case("fully_connected_rows")
def fully_connected_rows(w: Writer, x: int, rng: Rng) -> list[int]:
    shape = shape_of(w, x)
    outputs, keep = int(rng.integers(1, 9)), bool(rng.integers(2))
    weight, bias, real = weights(w, x, rng, (outputs, shape[3]), 0, shape[3])
    out = (*shape[:3], outputs) if keep else (shape[1] * shape[2], outputs)
    y = w.tensor(out, real, zero(rng))
    return w.op(
        "FULLY_CONNECTED", [x, weight, bias], [y], FusedActivationFunction=activation(rng),
        KeepNumDims=keep,
    )  # fmt: skip


@case("fully_connected")
def fully_connected(w: Writer, x: int, rng: Rng) -> list[int]:
    inputs = int(np.prod(shape_of(w, x)))
    outputs = int(rng.integers(1, 20))
    weight, bias, real = weights(w, x, rng, (outputs, inputs), 0, inputs)
    y = w.tensor((1, outputs), real, zero(rng))
    return w.op(
        "FULLY_CONNECTED", [x, weight, bias if rng.integers(4) else -1], [y],
        FusedActivationFunction=activation(rng),
    )  # fmt: skip


def _elementwise(kind: str) -> Case:
    def make(w: Writer, x: int, rng: Rng) -> list[int]:
        shape = shape_of(w, x)
        other = [shape, (1, 1, 1, shape[3]), (shape[3],), (1,), (1, *shape[1:3], 1)][
            int(rng.integers(5))
        ]
        real = scale(rng)
        data = rng.integers(-128, 128, other).astype(np.int8)
        b = w.tensor(other, real, zero(rng), data)
        mine = float(w.tensors[x]["scales"][0])
        to = mine * real * 100 if kind == "MUL" else (mine + real) * float(rng.uniform(0.3, 1.5))
        y = w.tensor(shape, to, zero(rng))
        operands = [x, b] if rng.integers(2) else [b, x]
        return w.op(kind, operands, [y], FusedActivationFunction=activation(rng))

    return make


for _kind in ("ADD", "SUB", "MUL"):
    CASES[_kind.lower()] = _elementwise(_kind)


@case("prelu")
def prelu(w: Writer, x: int, rng: Rng) -> list[int]:
    shape = shape_of(w, x)
    slopes = (1, 1, shape[3]) if rng.integers(2) else shape[1:]
    data = rng.integers(-128, 128, slopes).astype(np.int8)
    alpha = w.tensor(slopes, scale(rng, 0.002, 0.01), zero(rng), data)
    y = w.tensor(shape, scale(rng), zero(rng))
    return w.op("PRELU", [x, alpha], [y])


def _extreme(kind: str) -> Case:
    def make(w: Writer, x: int, rng: Rng) -> list[int]:
        shape = shape_of(w, x)
        largest = like(w, x, (1, 1, 1, shape[3]))
        w.op("REDUCE_MAX", [x, w.constant([1, 2])], [largest], KeepDims=True)
        y, z = like(w, x, shape), like(w, x, shape)
        operand = w.tensors[x]
        fixed = w.tensor(
            (shape[3],), operand["scales"], operand["zero_point"],
            rng.integers(-128, 128, shape[3]).astype(np.int8),
        )  # fmt: skip
        w.op(kind, [x, fixed], [y])
        return [largest, y, *w.op(kind, [largest, x], [z])]

    return make


for _kind in ("MAXIMUM", "MINIMUM"):
    CASES[_kind.lower()] = _extreme(_kind)


@case("add_two")
def add_two(w: Writer, x: int, rng: Rng) -> list[int]:
    shape = shape_of(w, x)
    middle = w.tensor((1, 1, 1, shape[3]), scale(rng), zero(rng))
    w.op("MEAN", [x, w.constant([1, 2])], [middle], KeepDims=True)
    y = w.tensor(shape, scale(rng, 0.05, 0.3), zero(rng))
    z = w.tensor(shape, scale(rng, 0.05, 0.3), zero(rng))
    w.op("MUL", [x, middle], [y], FusedActivationFunction=0)
    return [middle, y, *w.op("SUB", [y, x], [z], FusedActivationFunction=0)]


def _pool(kind: str) -> Case:
    def make(w: Writer, x: int, rng: Rng) -> list[int]:
        shape = shape_of(w, x)
        kernel = tuple(int(v) for v in rng.integers(1, 5, 2))
        padding, stride, _, out = window(rng, shape, kernel, False)
        y = like(w, x, (1, *out, shape[3]))
        return w.op(
            kind, [x], [y], Padding=padding, StrideH=stride[0], StrideW=stride[1],
            FilterHeight=kernel[0], FilterWidth=kernel[1], FusedActivationFunction=activation(rng),
        )  # fmt: skip

    return make


CASES["average_pool_2d"] = _pool("AVERAGE_POOL_2D")
CASES["max_pool_2d"] = _pool("MAX_POOL_2D")


AXES = [[1, 2], [2, 1], [3], [-1], [1], [2, 3], [1, 2, 3], [1, 3], [0, 2], [0]]


def _reduction(kind: str) -> Case:
    def make(w: Writer, x: int, rng: Rng) -> list[int]:
        shape = shape_of(w, x)
        axes = AXES[int(rng.integers(len(AXES)))]
        keep = bool(rng.integers(2))
        gone = {a % 4 for a in axes}
        out = tuple(1 if i in gone else d for i, d in enumerate(shape) if keep or i not in gone)
        if kind in ("REDUCE_MAX", "REDUCE_MIN") or (kind == "MEAN" and rng.integers(3) == 0):
            y = like(w, x, out)
        else:
            y = w.tensor(out, scale(rng), zero(rng))
        return w.op(kind, [x, w.constant(axes)], [y], KeepDims=keep)

    return make


for _kind in ("MEAN", "REDUCE_MAX", "REDUCE_MIN"):
    CASES[_kind.lower()] = _reduction(_kind)


@case("softmax")
def softmax(w: Writer, x: int, rng: Rng) -> list[int]:
    y = w.tensor(shape_of(w, x), 1 / 256, -128)
    return w.op("SOFTMAX", [x], [y], Beta=float(rng.choice([1.0, 0.5, 3.7])))


def _unary(kind: str, **options: Any) -> Case:
    def make(w: Writer, x: int, rng: Rng) -> list[int]:
        y = w.tensor(shape_of(w, x), scale(rng), zero(rng))
        if kind == "LOGISTIC":
            y = w.tensor(shape_of(w, x), 1 / 256, -128)
        return w.op(kind, [x], [y], **options)

    return make


for _kind in ("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "LOGISTIC", "TANH", "HARD_SWISH"):
    CASES[_kind.lower()] = _unary(_kind)
CASES["quantize"] = _unary("QUANTIZE")
CASES["abs"], CASES["log"] = _unary("ABS"), _unary("LOG")
CASES["elu"] = _unary("ELU")
CASES["gelu"] = _unary("GELU", Approximate=False)
CASES["gelu_approximate"] = _unary("GELU", Approximate=True)


@case("exp")
def exp(w: Writer, x: int, rng: Rng) -> list[int]:
    bounded = w.tensor(shape_of(w, x), scale(rng, 0.02, 0.07), zero(rng))
    w.op("QUANTIZE", [x], [bounded])
    y = w.tensor(shape_of(w, x), scale(rng, 0.01, 100.0), zero(rng))
    return [bounded, *w.op("EXP", [bounded], [y])]


def _root(kind: str) -> Case:
    def make(w: Writer, x: int, rng: Rng) -> list[int]:
        positive = w.tensor(shape_of(w, x), scale(rng), -128)
        w.op("QUANTIZE", [x], [positive])
        y = w.tensor(shape_of(w, x), scale(rng), zero(rng))
        return [positive, *w.op(kind, [positive], [y])]

    return make


CASES["sqrt"], CASES["rsqrt"] = _root("SQRT"), _root("RSQRT")


@case("dequantize_quantize")
def dequantize_quantize(w: Writer, x: int, rng: Rng) -> list[int]:
    shape = shape_of(w, x)
    real, y = w.tensor(shape, dtype="FLOAT32"), w.tensor(shape, scale(rng), zero(rng))
    w.op("DEQUANTIZE", [x], [real])
    return w.op("QUANTIZE", [real], [y])


@case("quantize_to_uint8")
def quantize_to_uint8(w: Writer, x: int, rng: Rng) -> list[int]:
    t = w.tensors[x]
    to = (t["scales"], t["zero_point"] + 128) if rng.integers(2) else (scale(rng), zero(rng) + 128)
    y = w.tensor(shape_of(w, x), *to, dtype="UINT8")
    return w.op("QUANTIZE", [x], [y])


@case("leaky_relu")
def leaky_relu(w: Writer, x: int, rng: Rng) -> list[int]:
    y = w.tensor(shape_of(w, x), scale(rng), zero(rng))
    return w.op("LEAKY_RELU", [x], [y], Alpha=float(rng.uniform(0, 1.5)))


@case("reshape")
def reshape(w: Writer, x: int, rng: Rng) -> list[int]:
    shape = shape_of(w, x)
    out = (1, shape[1], shape[2] * shape[3])
    y = like(w, x, out)
    return w.op("RESHAPE", [x, w.constant(list(out))], [y])


@case("squeeze")
def squeeze(w: Writer, x: int, rng: Rng) -> list[int]:
    shape = shape_of(w, x)
    pooled = like(w, x, (1, 1, 1, shape[3]))
    w.op(
        "MAX_POOL_2D", [x], [pooled], Padding=1, StrideH=1, StrideW=1, FilterHeight=shape[1],
        FilterWidth=shape[2], FusedActivationFunction=0,
    )  # fmt: skip
    y = like(w, x, (1, shape[3]))
    return [pooled, *w.op("SQUEEZE", [pooled], [y], SqueezeDims=np.array([1, 2], np.int32))]


@case("expand_dims")
def expand_dims(w: Writer, x: int, rng: Rng) -> list[int]:
    shape = shape_of(w, x)
    y = like(w, x, (1, shape[1], 1, *shape[2:]))
    return w.op("EXPAND_DIMS", [x, w.constant(np.array(2))], [y])


@case("transpose")
def transpose(w: Writer, x: int, rng: Rng) -> list[int]:
    shape = shape_of(w, x)
    order = [0, *(int(v) + 1 for v in rng.permutation(3))]
    y = like(w, x, tuple(shape[i] for i in order))
    return w.op("TRANSPOSE", [x, w.constant(order)], [y])


@case("concatenation")
def concatenation(w: Writer, x: int, rng: Rng) -> list[int]:
    shape = shape_of(w, x)
    axis = int(rng.integers(1, 4))
    pooled = like(w, x, shape)
    w.op(
        "MAX_POOL_2D", [x], [pooled], Padding=0, StrideH=1, StrideW=1, FilterHeight=2,
        FilterWidth=2, FusedActivationFunction=0,
    )  # fmt: skip
    out = tuple(3 * d if i == axis else d for i, d in enumerate(shape))
    y = like(w, x, out)
    return w.op(
        "CONCATENATION", [x, pooled, x], [y], Axis=axis - 4 * int(rng.integers(2)),
        FusedActivationFunction=0,
    )  # fmt: skip


@case("split")
def split(w: Writer, x: int, rng: Rng) -> list[int]:
    shape = shape_of(w, x)
    axis = int(rng.integers(1, 4))
    ways = next(n for n in (3, 2, shape[axis]) if shape[axis] % n == 0)
    part = tuple(d // ways if i == axis else d for i, d in enumerate(shape))
    outputs = [like(w, x, part) for _ in range(ways)]
    return w.op("SPLIT", [w.constant(np.array(axis)), x], outputs, NumSplits=ways)


@case("split_v")
def split_v(w: Writer, x: int, rng: Rng) -> list[int]:
    shape = shape_of(w, x)
    first = int(rng.integers(1, shape[1]))
    outputs = [like(w, x, (1, n, *shape[2:])) for n in (first, shape[1] - first)]
    sizes = w.constant([first, shape[1] - first])
    return w.op("SPLIT_V", [x, sizes, w.constant(np.array(1))], outputs, NumSplits=2)


@case("unpack")
def unpack(w: Writer, x: int, rng: Rng) -> list[int]:
    shape = shape_of(w, x)
    axis = int(rng.integers(0, 4))
    rest = tuple(d for i, d in enumerate(shape) if i != axis)
    outputs = [like(w, x, rest) for _ in range(shape[axis])]
    return w.op("UNPACK", [x], outputs, Num=shape[axis], Axis=axis - 4 * int(rng.integers(2)))


@case("pack")
def pack(w: Writer, x: int, rng: Rng) -> list[int]:
    shape = shape_of(w, x)
    flat, axis = like(w, x, (1, *shape[1:3])), int(rng.integers(0, 4))
    w.op("REDUCE_MAX", [x, w.constant([3])], [flat], KeepDims=False)
    out = list(shape[:3])
    out.insert(axis, 2)
    y = like(w, x, tuple(out))
    return [flat, *w.op(
        "PACK", [flat, flat], [y], ValuesCount=2, Axis=axis - 4 * int(rng.integers(2))
    )]  # fmt: skip


@case("gather")
def gather(w: Writer, x: int, rng: Rng) -> list[int]:
    shape = shape_of(w, x)
    axis, count = int(rng.integers(1, 4)), int(rng.integers(1, 12))
    indices = rng.integers(0, shape[axis], count).astype(np.int32)
    y = like(w, x, tuple(count if i == axis else d for i, d in enumerate(shape)))
    return w.op("GATHER", [x, w.constant(indices)], [y], Axis=axis)


@case("tile")
def tile(w: Writer, x: int, rng: Rng) -> list[int]:
    shape = shape_of(w, x)
    times = [1, *(int(v) for v in rng.integers(1, 4, 3))]
    y = like(w, x, tuple(d * t for d, t in zip(shape, times, strict=True)))
    return w.op("TILE", [x, w.constant(times)], [y])


@case("mirror_pad")
def mirror_pad(w: Writer, x: int, rng: Rng) -> list[int]:
    shape = shape_of(w, x)
    mode = int(rng.integers(2))
    margins = [[0, 0], *(list(rng.integers(0, d + mode, 2)) for d in shape[1:])]
    y = like(w, x, tuple(int(d + sum(m)) for d, m in zip(shape, margins, strict=True)))
    return w.op("MIRROR_PAD", [x, w.constant(margins)], [y], Mode=mode)


@case("reverse")
def reverse(w: Writer, x: int, rng: Rng) -> list[int]:
    y = like(w, x, shape_of(w, x))
    return w.op("REVERSE_V2", [x, w.constant([int(rng.integers(1, 4))])], [y])


@case("depth_to_space")
def depth_to_space(w: Writer, x: int, rng: Rng) -> list[int]:
    shape = shape_of(w, x)
    block = int(rng.integers(2, 4))
    deep = like(w, x, (1, *shape[1:3], block * block * shape[3]))
    w.op("TILE", [x, w.constant([1, 1, 1, block * block])], [deep])
    wide = like(w, x, (1, block * shape[1], block * shape[2], shape[3]))
    w.op("DEPTH_TO_SPACE", [deep], [wide], BlockSize=block)
    back = like(w, x, shape_of(w, deep))
    return [deep, wide, *w.op("SPACE_TO_DEPTH", [wide], [back], BlockSize=block)]


@case("strided_slice_masks")
def strided_slice_masks(w: Writer, x: int, rng: Rng) -> list[int]:
    """`x[..., new, first:]`, and with an end that counts from the beginning."""
    shape = shape_of(w, x)
    first = int(rng.integers(0, shape[3]))
    y = like(w, x, (*shape[:3], 1, shape[3] - first))
    w.op(
        "STRIDED_SLICE", [x, w.constant([9, 0, first]), w.constant([9, 0, 0]),
        w.constant([1, 1, 1])], [y], EllipsisMask=1, NewAxisMask=2, EndMask=4,
    )  # fmt: skip
    z = like(w, x, (1, 1, *shape[2:]))
    begin = w.constant([0, int(rng.integers(0, shape[1])), 0, 0])
    ends, ones = w.constant([1, 1, *shape[2:]]), w.constant([1, 1, 1, 1])
    return [y, *w.op("STRIDED_SLICE", [x, begin, ends, ones], [z], Offset=True)]


@case("strided_slice")
def strided_slice(w: Writer, x: int, rng: Rng) -> list[int]:
    shape = shape_of(w, x)
    begin, end, stride, out = [0], [1], [1], [1]
    shrink = int(rng.integers(0, 4))  # no axis, or one that goes away
    for axis in (1, 2, 3):
        step = int(rng.choice([1, 2, -1, -2]))
        first = int(rng.integers(0, shape[axis]))
        last = shape[axis] + 3 if step > 0 else -shape[axis] - 3
        begin.append(first - shape[axis] * int(rng.integers(2)))
        end.append(last)
        if axis == shrink:
            begin[-1], end[-1], step = first, first + 1, 1
        else:
            out.append(len(range(first, shape[axis] if step > 0 else -1, step)))
        stride.append(step)
    y = like(w, x, tuple(out))
    return w.op(
        "STRIDED_SLICE", [x, w.constant(begin), w.constant(end), w.constant(stride)], [y],
        BeginMask=1, EndMask=1, ShrinkAxisMask=(1 << shrink) & 14,
    )  # fmt: skip


@case("slice")
def slice_(w: Writer, x: int, rng: Rng) -> list[int]:
    shape = shape_of(w, x)
    begin = [0, *(int(rng.integers(0, d)) for d in shape[1:])]
    size = [
        1,
        *(int(rng.integers(1, d - b + 1)) for d, b in zip(shape[1:], begin[1:], strict=True)),
    ]
    y = like(w, x, tuple(size))
    return w.op("SLICE", [x, w.constant(begin), w.constant(size)], [y])


@case("pad")
def pad(w: Writer, x: int, rng: Rng) -> list[int]:
    shape = shape_of(w, x)
    margins = np.vstack([[0, 0], rng.integers(0, 4, (3, 2))]).astype(np.int32)
    y = like(w, x, tuple(int(d + m.sum()) for d, m in zip(shape, margins, strict=True)))
    if rng.integers(2):
        return w.op("PAD", [x, w.constant(margins)], [y])
    t = w.tensors[x]
    fill = w.tensor((1,), float(t["scales"][0]), t["zero_point"], np.array([zero(rng)], np.int8))
    return w.op("PADV2", [x, w.constant(margins), fill], [y])


@case("resize_bilinear")
def resize_bilinear(w: Writer, x: int, rng: Rng) -> list[int]:
    shape = shape_of(w, x)
    size = [int(v) for v in rng.integers(1, 23, 2)]
    y = like(w, x, (1, *size, shape[3]))
    mode = int(rng.integers(3))
    return w.op(
        "RESIZE_BILINEAR", [x, w.constant(size)], [y], AlignCorners=mode == 1,
        HalfPixelCenters=mode == 2,
    )  # fmt: skip


@case("transpose_conv")
def transpose_conv(w: Writer, x: int, rng: Rng) -> list[int]:
    shape = shape_of(w, x)
    kernel, stride = ([int(v) for v in rng.integers(1, 5, 2)] for _ in range(2))
    same = bool(rng.integers(2))
    size = [
        n * s if same else (n - 1) * s + k
        for n, s, k in zip(shape[1:3], stride, kernel, strict=True)
    ]
    outputs = int(rng.integers(1, 6))
    fan = max(kernel[0] * kernel[1] * shape[3] // (stride[0] * stride[1]), 1)
    weight, bias, real = weights(w, x, rng, (outputs, *kernel, shape[3]), 0, fan)
    y = w.tensor((1, *size, outputs), real, zero(rng))
    return w.op(
        "TRANSPOSE_CONV", [w.constant([1, *size, outputs]), weight, x, bias], [y],
        Padding=int(not same), StrideH=stride[0], StrideW=stride[1],
        FusedActivationFunction=activation(rng),
    )  # fmt: skip


@case("resize_nearest")
def resize_nearest(w: Writer, x: int, rng: Rng) -> list[int]:
    shape = shape_of(w, x)
    size = [int(v) for v in rng.integers(1, 23, 2)]
    y = like(w, x, (1, *size, shape[3]))
    mode = int(rng.integers(3))
    return w.op(
        "RESIZE_NEAREST_NEIGHBOR", [x, w.constant(size)], [y], AlignCorners=mode == 1,
        HalfPixelCenters=mode == 2,
    )  # fmt: skip


@case("arg_max")
def arg_max(w: Writer, x: int, rng: Rng) -> list[int]:
    shape = shape_of(w, x)
    flat = like(w, x, (1, int(np.prod(shape))))
    w.op("RESHAPE", [x, w.constant([1, int(np.prod(shape))])], [flat])
    y = w.tensor((1,), dtype="INT32")
    return [flat, *w.op("ARG_MAX", [flat, w.constant(np.array(1))], [y], OutputType=2)]


@case("arg_max_axis")
def arg_max_axis(w: Writer, x: int, rng: Rng) -> list[int]:
    shape, axis = shape_of(w, x), int(rng.integers(1, 4))
    y = w.tensor(tuple(d for i, d in enumerate(shape) if i != axis), dtype="INT64")
    return w.op("ARG_MAX", [x, w.constant(np.array(axis - 4))], [y], OutputType=4)


@case("svdf")
def svdf(w: Writer, x: int, rng: Rng) -> list[int]:
    shape = shape_of(w, x)
    inputs = int(np.prod(shape))
    flat = like(w, x, (1, inputs))
    w.op("RESHAPE", [x, w.constant([1, inputs])], [flat])
    units, rank, memory = (int(v) for v in rng.integers(1, 7, 3))
    weight = rng.integers(-127, 128, (units * rank, inputs)).astype(np.int8)
    time = rng.integers(-3000, 3001, (units * rank, memory)).astype(np.int16)
    real, scales = float(w.tensors[x]["scales"][0]), (scale(rng, 0.002, 0.01), 3e-5)
    held = real * scales[0] * 74 * 90 * np.sqrt(inputs) / 9000
    constants = [
        w.tensor(weight.shape, scales[0], 0, weight),
        w.tensor(time.shape, scales[1], 0, time),
        w.tensor((units,), held * scales[1], 0, rng.integers(-9000, 9000, units).astype(np.int32))
        if rng.integers(3) else -1,
    ]  # fmt: skip
    state = w.variable((1, memory * units * rank), held, 0, "INT16")
    to = held * scales[1] * 9000 * 1700 * np.sqrt(rank) / 60
    y = w.tensor((1, units), to, zero(rng))
    return [flat, *w.op(
        "SVDF", [flat, *constants, state], [y], Rank=rank, FusedActivationFunction=1
    )]  # fmt: skip


@case("lstm")
def lstm(w: Writer, x: int, rng: Rng) -> list[int]:
    shape = shape_of(w, x)
    major, coupled = bool(rng.integers(2)), rng.integers(3) == 0
    inputs, cells = shape[3], int(rng.integers(1, 9))
    steps = shape[1] * shape[2]
    frames = like(w, x, (steps, 1, inputs) if major else (1, steps, inputs))
    w.op("RESHAPE", [x, w.constant(list(shape_of(w, frames)))], [frames])
    real = float(w.tensors[x]["scales"][0])
    code = (scale(rng, 0.004, 0.01), int(rng.integers(-20, 20)))

    def matrix(rows: int, columns: int) -> int:
        values = rng.integers(-127, 128, (rows, columns)).astype(np.int8)
        return w.tensor(values.shape, scale(rng, 0.002, 0.02), 0, values)

    skip = {0} if coupled else set()
    weights = [-1 if g in skip else matrix(cells, inputs) for g in range(4)]
    recurrent = [-1 if g in skip else matrix(cells, cells) for g in range(4)]
    bias = [
        -1 if g in skip else w.tensor(
            (cells,), real * float(w.tensors[weights[g]]["scales"][0]), 0,
            rng.integers(-3000, 3000, cells).astype(np.int32),
        )
        for g in range(4)
    ]  # fmt: skip
    hidden = w.variable((1, cells), *code, "INT8")
    cell = w.variable((1, cells), 2.0 ** -int(rng.integers(9, 16)), 0, "INT16")
    inner = [w.tensor((), 2.0**-12, 0, dtype="INT16") for _ in range(4)]
    inner.append(w.tensor((), *code))
    y = w.tensor((*shape_of(w, frames)[:2], cells), *code)
    none = [-1]
    return w.op(
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        [frames, *weights, *recurrent, *none * 3, *bias, -1, -1, hidden, cell, *none * 4], [y],
        FusedActivationFunction=4, CellClip=float(rng.choice([0.0, 0.5])), ProjClip=0.0,
        TimeMajor=major, Intermediates=inner,
    )  # fmt: skip


def zoo(seed: int, cases: list[str]) -> bytes:
    """One model with every case as a branch of its own."""
    w, x, rng = start(seed)
    outputs = [index for name in cases for index in CASES[name](w, x, rng)]
    return w.finish([x], outputs)

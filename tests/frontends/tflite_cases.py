"""One-operator models with random shapes, scales and zero points, by operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tflite_models import Writer

Rng = np.random.Generator
# Adds operators that read tensor `x` (1, *shape) to the model; answers what they write.
Case = Callable[[Writer, int, Rng], list[int]]
CASES: dict[str, Case] = {}


def case(name: str) -> Callable[[Case], Case]:
    def register(make: Case) -> Case:
        CASES[name] = make
        return make

    return register


def scale(rng: Rng, low: float = 0.01, high: float = 0.2) -> float:
    return float(np.float32(np.exp(rng.uniform(np.log(low), np.log(high)))))


def zero(rng: Rng) -> int:
    return int(rng.integers(-128, 128))


def shape_of(w: Writer, x: int) -> tuple[int, ...]:
    return tuple(w.tensors[x]["shape"])


def like(w: Writer, x: int, shape: tuple[int, ...]) -> int:
    """A tensor of another shape in the code of x."""
    t = w.tensors[x]
    return w.tensor(shape, float(t["scales"][0]), t["zero_point"])


def image(rng: Rng, channels: int | None = None) -> tuple[int, ...]:
    return (1, *(int(v) for v in rng.integers(4, 10, 2)), channels or int(rng.integers(1, 9)))


def start(seed: int, shape: tuple[int, ...] | None = None) -> tuple[Writer, int, Rng]:
    rng = np.random.default_rng(seed)
    w = Writer()
    x = w.tensor(shape or image(rng), scale(rng), zero(rng), name="input")
    return w, x, rng


def activation(rng: Rng) -> int:
    return int(rng.integers(0, 4))


def _window(rng: Rng, shape: tuple[int, ...], kernel: tuple[int, int], dilated: bool) -> Any:
    """Padding, strides, dilation and the output's height and width."""
    dilation = [int(v) for v in rng.integers(1, 3 if dilated else 2, 2)]
    stride = [1, 1] if max(dilation) > 1 else [int(v) for v in rng.integers(1, 4, 2)]
    same = bool(rng.integers(2))
    out = []
    for i in (0, 1):
        reach = (kernel[i] - 1) * dilation[i] + 1
        if not same and reach > shape[i + 1]:
            same, out = True, []
            return _window(rng, shape, kernel, dilated)
        out.append(
            -(-shape[i + 1] // stride[i]) if same else (shape[i + 1] - reach) // stride[i] + 1
        )
    return int(not same), stride, dilation, out


def _weights(w: Writer, x: int, rng: Rng, shape: tuple[int, ...], axis: int, fan: int) -> Any:
    channels = shape[axis]
    per_channel = bool(rng.integers(2))
    scales = np.array([scale(rng, 0.002, 0.02) for _ in range(channels if per_channel else 1)])
    data = rng.integers(-127, 128, shape).astype(np.int8)
    weight = w.tensor(shape, scales, 0, data, axis=axis)
    source = float(w.tensors[x]["scales"][0])
    bias = rng.integers(-20000, 20000, channels).astype(np.int32)
    biased = w.tensor((channels,), np.float32(source) * scales.astype(np.float32), 0, bias)
    output = source * float(scales.mean()) * 74 * 100 * np.sqrt(fan) / 60
    return weight, biased, float(np.float32(output))


@case("conv_2d")
def conv_2d(w: Writer, x: int, rng: Rng) -> list[int]:
    shape = shape_of(w, x)
    kernel = tuple(int(v) for v in rng.integers(1, 5, 2))
    outputs = int(rng.integers(1, 10))
    padding, stride, dilation, out = _window(rng, shape, kernel, True)
    fan = kernel[0] * kernel[1] * shape[3]
    weight, bias, real = _weights(w, x, rng, (outputs, *kernel, shape[3]), 0, fan)
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
    padding, stride, dilation, out = _window(rng, shape, kernel, True)
    weight, bias, real = _weights(w, x, rng, (1, *kernel, outputs), 3, kernel[0] * kernel[1])
    y = w.tensor((1, *out, outputs), real, zero(rng))
    return w.op(
        "DEPTHWISE_CONV_2D", [x, weight, bias], [y], Padding=padding, StrideH=stride[0],
        StrideW=stride[1], DilationHFactor=dilation[0], DilationWFactor=dilation[1],
        DepthMultiplier=multiplier, FusedActivationFunction=activation(rng),
    )  # fmt: skip


@case("fully_connected")
def fully_connected(w: Writer, x: int, rng: Rng) -> list[int]:
    inputs = int(np.prod(shape_of(w, x)))
    outputs = int(rng.integers(1, 20))
    weight, bias, real = _weights(w, x, rng, (outputs, inputs), 0, inputs)
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
        padding, stride, _, out = _window(rng, shape, kernel, False)
        y = like(w, x, (1, *out, shape[3]))
        return w.op(
            kind, [x], [y], Padding=padding, StrideH=stride[0], StrideW=stride[1],
            FilterHeight=kernel[0], FilterWidth=kernel[1], FusedActivationFunction=activation(rng),
        )  # fmt: skip

    return make


CASES["average_pool_2d"] = _pool("AVERAGE_POOL_2D")
CASES["max_pool_2d"] = _pool("MAX_POOL_2D")


@case("mean")
def mean(w: Writer, x: int, rng: Rng) -> list[int]:
    shape = shape_of(w, x)
    axes = [[1, 2], [2, 1], [3], [-1], [1], [2, 3], [1, 2, 3]][int(rng.integers(7))]
    keep = bool(rng.integers(2))
    gone = {a % 4 for a in axes}
    out = tuple(1 if i in gone else d for i, d in enumerate(shape) if keep or i not in gone)
    y = w.tensor(out, scale(rng), zero(rng))
    return w.op("MEAN", [x, w.constant(axes)], [y], KeepDims=keep)


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
    return w.op("ARG_MAX", [flat, w.constant(np.array(1))], [y], OutputType=2)


def zoo(seed: int, cases: list[str]) -> bytes:
    """One model with every case as a branch of its own."""
    w, x, rng = start(seed)
    outputs = [index for name in cases for index in CASES[name](w, x, rng)]
    return w.finish([x], outputs)

"""The list of cases of .tflite operators, and the random codes, windows and weights they use."""

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


def window(rng: Rng, shape: tuple[int, ...], kernel: tuple[int, int], dilated: bool) -> Any:
    """Padding, strides, dilation and the output's height and width."""
    dilation = [int(v) for v in rng.integers(1, 3 if dilated else 2, 2)]
    stride = [1, 1] if max(dilation) > 1 else [int(v) for v in rng.integers(1, 4, 2)]
    same = bool(rng.integers(2))
    out = []
    for i in (0, 1):
        reach = (kernel[i] - 1) * dilation[i] + 1
        if not same and reach > shape[i + 1]:
            same, out = True, []
            return window(rng, shape, kernel, dilated)
        out.append(
            -(-shape[i + 1] // stride[i]) if same else (shape[i + 1] - reach) // stride[i] + 1
        )
    return int(not same), stride, dilation, out


def weights(w: Writer, x: int, rng: Rng, shape: tuple[int, ...], axis: int, fan: int) -> Any:
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

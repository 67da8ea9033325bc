"""Whole networks as TensorFlow Lite files: random weights, scales calibrated on random inputs.

The shapes are those of networks that people bring: a MobileNetV1 at width 0.25 for 96x96 images, an
auto-encoder of dense layers, inverted residuals of a MobileNetV2, a depthwise-separable network
with kernels that are not square. As a script it writes them: `tflite_networks.py FOLDER`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from tflite_models import Writer

from faults import spoil
from spikelet.graph import Array

NONE, RELU, RELU6 = 0, 1, 3
SAME, VALID = 0, 1
SAMPLES = 4


@dataclass
class Network:
    """A network in the making; layers answer their output's index, and know its real values."""

    seed: int = 0
    per_channel: bool = True
    faults: bool = False  # channels that are dead, constant or one-sided
    w: Writer = field(default_factory=Writer)
    real: dict[int, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rng, self.others = np.random.default_rng(self.seed), np.random.default_rng(self.seed)

    def input(self, shape: tuple[int, ...], name: str = "input") -> int:
        """Real values of about -1 to 1, as of a normalised image."""
        smooth = self.rng.normal(0, 0.5, (SAMPLES, *shape)).cumsum(axis=1)
        return self._tensor(np.tanh(smooth), name)

    def _tensor(self, values: Array, name: str) -> int:
        low, high = min(float(values.min()), 0.0), max(float(values.max()), 1e-3)
        scale = np.float32((high - low) / 255)
        index = self.w.tensor(
            (1, *values.shape[1:]), scale, int(np.clip(round(-128 - low / scale), -128, 127)),
            name=name,
        )  # fmt: skip
        self.real[index] = values
        return index

    def _weights(
        self, x: int, shape: tuple[int, ...], axis: int, fan: float, name: str
    ) -> tuple[Array, Array, list[int]]:
        """Real weights and biases, and the indices of their constants."""
        real = self.rng.normal(0, np.sqrt(2 / fan), shape)
        bias = self.rng.normal(0, 0.1, shape[axis])
        others = tuple(i for i in range(len(shape)) if i != axis)
        one_a_channel = [n if i == axis else 1 for i, n in enumerate(shape)]
        real *= self.rng.uniform(0.5, 1.5, one_a_channel)
        if self.faults and self.per_channel and shape[axis] > 4:
            spoil(self.others, real, bias, axis)
        largest = np.abs(real).max(axis=others if self.per_channel else None)
        scales = np.atleast_1d(np.maximum(largest, 1e-12) / 127).astype(np.float32)
        spread = scales.reshape([-1 if i == axis else 1 for i in range(len(shape))])
        codes = np.clip(np.round(real / spread), -127, 127).astype(np.int8)
        unit = np.float32(self.w.tensors[x]["scales"][0]) * scales
        found = np.clip(np.round(bias / unit), -(1 << 30), 1 << 30).astype(np.int32)
        weight = self.w.tensor(shape, scales, 0, codes, axis=axis, name=f"{name}/kernel")
        biased = self.w.tensor((shape[axis],), unit, 0, found, name=f"{name}/bias")
        return codes * spread, found * unit, [weight, biased]

    def _clamp(self, values: Array, activation: int) -> Array:
        low, high = {NONE: (-np.inf, np.inf), RELU: (0, np.inf), RELU6: (0, 6)}[activation]
        return np.clip(values, low, high)

    def _windows(
        self, x: int, kernel: tuple[int, int], stride: tuple[int, int], padding: int
    ) -> Array:
        """(N, H, W, C, KH, KW)."""
        values = self.real[x]
        margins = []
        for axis in (0, 1):
            size = values.shape[axis + 1]
            total = max((-(-size // stride[axis]) - 1) * stride[axis] + kernel[axis] - size, 0)
            total = total if padding == SAME else 0
            margins.append((total // 2, total - total // 2))
        values = np.pad(values, ((0, 0), *margins, (0, 0)))
        return sliding_window_view(values, kernel, axis=(1, 2))[:, :: stride[0], :: stride[1]]

    def conv(
        self,
        x: int,
        outputs: int,
        kernel: tuple[int, int] = (1, 1),
        stride: tuple[int, int] = (1, 1),
        activation: int = RELU,
        padding: int = SAME,
        name: str = "conv",
    ) -> int:
        """CONV_2D."""
        depth = self.real[x].shape[3]
        shape = (outputs, *kernel, depth)
        weight, bias, constants = self._weights(x, shape, 0, kernel[0] * kernel[1] * depth, name)
        seen = self._windows(x, kernel, stride, padding)
        sums = np.tensordot(seen, weight, ([4, 5, 3], [1, 2, 3])) + bias
        y = self._tensor(self._clamp(sums, activation), name)
        self.w.op(
            "CONV_2D", [x, *constants], [y], Padding=padding, StrideH=stride[0], StrideW=stride[1],
            DilationHFactor=1, DilationWFactor=1, FusedActivationFunction=activation,
        )  # fmt: skip
        return y

    def depthwise(
        self,
        x: int,
        kernel: tuple[int, int] = (3, 3),
        stride: tuple[int, int] = (1, 1),
        activation: int = RELU,
        padding: int = SAME,
        name: str = "depthwise",
    ) -> int:
        """DEPTHWISE_CONV_2D of multiplier 1."""
        depth = self.real[x].shape[3]
        shape = (1, *kernel, depth)
        weight, bias, constants = self._weights(x, shape, 3, kernel[0] * kernel[1], name)
        seen = self._windows(x, kernel, stride, padding)
        sums = np.einsum("nhwcij,ijc->nhwc", seen, weight[0]) + bias
        y = self._tensor(self._clamp(sums, activation), name)
        self.w.op(
            "DEPTHWISE_CONV_2D", [x, *constants], [y], Padding=padding, StrideH=stride[0],
            StrideW=stride[1], DepthMultiplier=1, DilationHFactor=1, DilationWFactor=1,
            FusedActivationFunction=activation,
        )  # fmt: skip
        return y

    def dense(
        self, x: int, outputs: int, activation: int = NONE, name: str = "dense", gain: float = 1.0
    ) -> int:
        """FULLY_CONNECTED; `gain` on its weights."""
        values = self.real[x].reshape(SAMPLES, -1)
        width = values.shape[1]
        weight, bias, constants = self._weights(x, (outputs, width), 0, width / gain**2, name)
        y = self._tensor(self._clamp(values @ weight.T + bias, activation), name)
        self.w.op("FULLY_CONNECTED", [x, *constants], [y], FusedActivationFunction=activation)
        return y

    def add(self, a: int, b: int, activation: int = NONE, name: str = "add") -> int:
        """ADD."""
        y = self._tensor(self._clamp(self.real[a] + self.real[b], activation), name)
        self.w.op("ADD", [a, b], [y], FusedActivationFunction=activation)
        return y

    def _in_code_of(self, x: int, values: Array, name: str) -> int:
        """A tensor in the code of x."""
        t = self.w.tensors[x]
        shape = (1, *values.shape[1:])
        index = self.w.tensor(shape, t["scales"], t["zero_point"], name=name)
        self.real[index] = values
        return index

    def average(self, x: int, window: tuple[int, int], name: str = "pool") -> int:
        """AVERAGE_POOL_2D without padding, window by window."""
        seen = self._windows(x, window, window, VALID)
        y = self._in_code_of(x, seen.mean(axis=(4, 5)), name)
        self.w.op(
            "AVERAGE_POOL_2D", [x], [y], Padding=VALID, StrideH=window[0], StrideW=window[1],
            FilterHeight=window[0], FilterWidth=window[1], FusedActivationFunction=NONE,
        )  # fmt: skip
        return y

    def mean(self, x: int, name: str = "mean") -> int:
        """MEAN over height and width."""
        y = self._tensor(self.real[x].mean(axis=(1, 2)), name)
        self.w.op("MEAN", [x, self.w.constant([1, 2])], [y], KeepDims=False)
        return y

    def pad(self, x: int, margins: list[list[int]], name: str = "pad") -> int:
        """PAD with the code of 0."""
        y = self._in_code_of(x, np.pad(self.real[x], margins), name)
        self.w.op("PAD", [x, self.w.constant(margins)], [y])
        return y

    def reshape(self, x: int, shape: tuple[int, ...], name: str = "flatten") -> int:
        """RESHAPE; `shape` without the batch axis."""
        y = self._in_code_of(x, self.real[x].reshape(SAMPLES, *shape), name)
        self.w.op("RESHAPE", [x, self.w.constant([-1, *shape])], [y])
        return y

    def softmax(self, x: int, name: str = "softmax") -> int:
        """SOFTMAX."""
        y = self.w.tensor((1, *self.real[x].shape[1:]), 1 / 256, -128, name=name)
        self.w.op("SOFTMAX", [x], [y], Beta=1.0)
        return y


def mobilenet() -> bytes:
    """MobileNetV1 x 0.25 with two classes: 96x96x3, 28 layers with weights."""
    n = Network(seed=1)
    x = n.input((96, 96, 3))
    y = n.conv(x, 8, (3, 3), (2, 2), name="model/conv1/Relu;model/conv1/BiasAdd")
    plan = [
        (16, 1),
        (32, 2),
        (32, 1),
        (64, 2),
        (64, 1),
        (128, 2),
        *[(128, 1)] * 5,
        (256, 2),
        (256, 1),
    ]
    for i, (outputs, stride) in enumerate(plan):
        y = n.depthwise(y, stride=(stride, stride), name=f"model/dw{i}/Relu")
        y = n.conv(y, outputs, name=f"model/pw{i}/Relu")
    y = n.average(y, (3, 3))
    y = n.dense(n.reshape(y, (256,)), 2, name="logits")
    return n.w.finish([x], [n.softmax(y)])


def dying() -> bytes:
    """Residuals, pools and depthwise layers, most of whose channels say nothing."""
    n = Network(seed=6, faults=True)
    x = n.input((20, 20, 3))
    y = n.conv(x, 24, (3, 3), (2, 2), name="stem")
    for i, outputs in enumerate([24, 24, 40]):
        first = y
        y = n.conv(n.depthwise(y, activation=RELU6, name=f"dw{i}"), outputs, name=f"pw{i}")
        if outputs == 24:
            y = n.add(first, y, RELU, name=f"add{i}")
    y = n.conv(y, 32, (3, 3), activation=NONE, name="mixed")
    y = n.conv(n.average(y, (2, 2)), 48, name="head")
    y = n.dense(n.reshape(y, (5 * 5 * 48,)), 16, RELU, name="hidden")
    return n.w.finish([x], [n.softmax(n.dense(y, 10, name="logits", gain=0.2))])


def autoencoder() -> bytes:
    """640 inputs to 8 and back through dense layers of 128, one scale a layer."""
    n = Network(seed=2, per_channel=False)
    x = y = n.input((640,))
    for i, outputs in enumerate([128, 128, 128, 128, 8, 128, 128, 128, 128]):
        y = n.dense(y, outputs, RELU, name=f"dense_{i}")
    return n.w.finish([x], [n.dense(y, 640, name="output")])


def mobilenet_v2() -> bytes:
    """Inverted residuals at 48x48x3: explicit padding before a stride, adds, global mean."""
    n = Network(seed=3)
    x = n.input((48, 48, 3))
    y = n.pad(x, [[0, 0], [0, 1], [0, 1], [0, 0]])
    y = n.conv(y, 8, (3, 3), (2, 2), RELU6, VALID, name="stem")
    plan = [(8, 1, 1), (16, 2, 6), (16, 1, 6), (24, 2, 6), (24, 1, 6), (24, 1, 6), (40, 2, 6)]
    for i, (outputs, stride, expansion) in enumerate(plan):
        first, depth = y, n.real[y].shape[3]
        if expansion > 1:
            y = n.conv(y, depth * expansion, activation=RELU6, name=f"expand{i}")
        if stride == 2:
            y = n.pad(y, [[0, 0], [0, 1], [0, 1], [0, 0]], f"pad{i}")
            y = n.depthwise(y, stride=(2, 2), activation=RELU6, padding=VALID, name=f"dw{i}")
        else:
            y = n.depthwise(y, activation=RELU6, name=f"dw{i}")
        y = n.conv(y, outputs, activation=NONE, name=f"project{i}")
        if stride == 1 and outputs == depth:
            y = n.add(first, y, name=f"add{i}")
    y = n.mean(n.conv(y, 96, activation=RELU6, name="head"))
    return n.w.finish([x], [n.softmax(n.dense(y, 10, name="logits", gain=0.2))])


def separable() -> bytes:
    """A keyword-spotting network whose kernels are not square, on 49x10 spectrograms."""
    n = Network(seed=4)
    x = n.input((49, 10, 1))
    y = n.conv(x, 24, (10, 4), (2, 2), name="first")
    for i, kernel in enumerate([(5, 3), (3, 1), (1, 3), (7, 5)]):
        y = n.depthwise(y, kernel, name=f"dw{i}")
        y = n.conv(y, 24 + 4 * i, name=f"pw{i}")
    height, width = n.real[y].shape[1:3]
    y = n.reshape(n.average(y, (height, width)), (36,))
    return n.w.finish([x], [n.softmax(n.dense(y, 12, name="logits"))])


NETWORKS: dict[str, Callable[[], bytes]] = {
    "mobilenet": mobilenet,
    "autoencoder": autoencoder,
    "mobilenet_v2": mobilenet_v2,
    "separable": separable,
    "dying": dying,
}


if __name__ == "__main__":
    for name, make in NETWORKS.items():
        Path(sys.argv[1], f"{name}.tflite").write_bytes(make())

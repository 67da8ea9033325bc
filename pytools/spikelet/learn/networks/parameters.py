"""Weights and biases of a layer that learns: in real numbers, then in a precision.

`RealLayer` says what a layer is. `DenseParameters` and `ConvolutionParameters` store it in the
formats of a network, and make its operators.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spikelet.graph import Array, GraphError, Learned, Operator, Tensor
from spikelet.learn.bases.convolution import InputGradient
from spikelet.learn.bases.weight_step import WeightStep
from spikelet.learn.layers.codes import MOST
from spikelet.learn.layers.conv2d import Conv2dForward, Conv2dInputGradient, Conv2dUpdate
from spikelet.learn.layers.dense import DenseForward, DenseUpdate
from spikelet.learn.layers.depthwise_conv2d import (
    DepthwiseConv2dForward,
    DepthwiseConv2dInputGradient,
    DepthwiseConv2dUpdate,
)
from spikelet.learn.numbers import float32, scalar
from spikelet.learn.numbers.scalar import Descent

Format = tuple[float, int]  # scale and largest code
FLOAT: Format = (1.0, 0)
BIAS_LIMIT = (1 << 30) - 1  # the other half of a sum is for products
Pair = tuple[int, int]
Margins = tuple[int, int, int, int]


@dataclass(frozen=True)
class Learns:
    """What of a layer learns.

    Attributes:
        channels: so many of its output channels, the first ones, have weights that do.
        bias: whether all of its biases do.
    """

    channels: int = 0
    bias: bool = False

    def __bool__(self) -> bool:
        return self.channels > 0 or self.bias


@dataclass(frozen=True, eq=False)
class DeployedCodes:
    """What a deployed layer makes of its sums.

    Attributes:
        scale: of a code.
        nudge: see `AsCodes`.
        low: lowest code, less the zero point.
        high: highest code, less the same.
    """

    scale: float
    nudge: Array
    low: int = -MOST
    high: int = MOST

    @property
    def has_limit(self) -> bool:
        """Whether there is a limit."""
        return (self.low, self.high) != (-MOST, MOST)


@dataclass(frozen=True, eq=False)
class RealLayer:
    """A layer with weights, in real numbers.

    Attributes:
        weight: (O, I) of a dense layer, (KH, KW, I, O) of a convolution, (KH, KW, I) of one that
            convolves each channel for itself.
        bias: (O,); None where they start from 0.
        learns: what learns.
        relu: negative outputs become 0.
        codes: what becomes of its sums, of a deployed layer.
        rate: learning rate in place of the network's.
        stride: of a convolution, height and width.
        padding: of a convolution: top, left, bottom, right.
    """

    weight: Array
    bias: Array | None
    learns: Learns
    relu: bool = False
    codes: DeployedCodes | None = None
    rate: float | None = None
    stride: Pair = (1, 1)
    padding: Margins = (0, 0, 0, 0)

    @property
    def dense(self) -> bool:
        """Whether it is no convolution."""
        return self.weight.ndim == 2

    @property
    def axis(self) -> int:
        """Of the output channels in the weight."""
        return 0 if self.dense else -1

    @property
    def outputs(self) -> int:
        """Output channels."""
        return int(self.weight.shape[self.axis])

    @property
    def inputs(self) -> int:
        """Products in a sum of the forward pass."""
        return self.weight.size // self.outputs

    @property
    def products(self) -> int:
        """Products in a sum forward or backward, whichever has more."""
        shape = self.weight.shape
        if self.dense:
            return int(max(shape))
        return math.prod(shape[:2]) * (max(shape[2:]) if len(shape) == 4 else 1)


@dataclass(kw_only=True, eq=False)
class Parameters(ABC):
    """A layer's weights and biases: learned tensors as far as they learn, else constants.

    Attributes:
        name: of the layer: learned are `name.weight` and `name.bias`.
        x: what it reads.
        precision: one of `scalar.PRECISIONS`.
        real: the layer in real numbers.
        format: of the weights.
        output: format of what it writes.
        bias_limit: largest code of a bias, on integers.
        descent: its step.
        scheduled: a tensor named `schedule` says how much of the rate to use.
        learned: the learned tensors, weight first.
        frozen: stored weights that do not learn; None where all do.
        frozen_bias: stored biases where they do not learn.
        bias_scale: of the biases, on integers.
        state: learned tensors of its steps, None before it has one: all steps share them.
    """

    name: str
    x: Tensor
    precision: str
    real: RealLayer
    format: Format
    output: Format
    bias_limit: int = BIAS_LIMIT
    descent: Descent
    scheduled: bool = False
    learned: list[Learned] = field(init=False, default_factory=list)
    frozen: Array | None = field(init=False, default=None)
    frozen_bias: Array | None = field(init=False, default=None)
    bias_scale: float = field(init=False, default=1.0)
    state: list[Learned] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        n, channels = self.real.learns.channels, self.real.outputs
        if not 0 <= n <= channels:
            raise GraphError(f"layer {self.name}: {n} of its {channels} channels cannot learn")
        if not scalar.is_float(self.precision):
            self.bias_scale = self.format[0] * self.x.scale
        weight = self._store(self.real.weight, self.precision, self.format)
        first, rest = map(np.ascontiguousarray, np.split(weight, [n], self.real.axis))
        self.frozen = rest if n < channels else None
        if n:
            self._learn("weight", self.precision, first.shape, first, self.format)
        total, biases = scalar.sum_dtype(self.precision), (self.bias_scale, self.bias_limit)
        given = self.real.bias
        bias = None if given is None else self._store(given, total, biases)
        if self.real.learns.bias:
            self._learn("bias", total, (channels,), bias, biases)
        else:
            self.frozen_bias = bias

    def _store(self, values: Array, dtype: str, format: Format) -> Array:
        if dtype == "f16":
            return float32.to_half(values)
        if dtype == "f32":
            return values.astype(np.float32)
        return scalar.quantise(values, *format, dtype)

    def _learn(
        self, role: str, dtype: str, shape: tuple[int, ...], start: Array | None, format: Format
    ) -> None:
        scale, limit = format
        ends = {} if scalar.is_float(self.precision) else {"low": -limit, "high": limit}
        name = f"{self.name}.{role}"
        self.learned.append(Learned.of(name, dtype, shape, start, scale=scale, **ends))

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the learned tensors: what an operator reads behind x."""
        return tuple(k.tensor.name for k in self.learned)

    @property
    @abstractmethod
    def y(self) -> Tensor:
        """What `forward` writes under the layer's own name."""

    @abstractmethod
    def forward(self, name: str, x: str, **how: Any) -> Operator:
        """The operator of y.

        Args:
            name: its own.
            x: what it reads.
            how: see `Operator.when` and `DenseForward.again`.
        """

    @abstractmethod
    def step(self, name: str) -> WeightStep:
        """The operator of a step, which does not read anything yet."""

    def _forward(self, name: str, x: str) -> dict[str, Any]:
        """What forward operators of all kinds have."""
        return {
            "name": name,
            "inputs": (x, *self.inputs),
            "relu": self.real.relu,
            "output_scale": self.output[0],
            "output_limit": self.output[1],
            "precision": self.precision,
            "frozen": self.frozen,
            "frozen_bias": self.frozen_bias,
            "weight_scale": self.format[0],
        }

    def _step(self, name: str) -> dict[str, Any]:
        """What steps of all kinds have."""
        return {
            "name": name,
            "inputs": (),
            "precision": self.precision,
            "bias": self.real.learns.bias,
            "weight_scale": self.format[0],
            "scheduled": self.scheduled,
            **dataclasses.asdict(self.descent),
        }

    def begin(self, seed: int) -> list[Learned]:
        """The state of its steps, named after the layer: for one that learns in several places."""
        error = dataclasses.replace(self.y, name="error")
        self.state = self.step(self.name).state(self.x, error, self.bias_scale, seed)
        return self.state

    def bind(
        self, step: WeightStep, x: Tensor, error: Tensor, seed: int, limits: Pair
    ) -> list[Learned]:
        """Name what a step reads; the learned tensors that are new with it.

        Args:
            step: the operator.
            x: what the layer learns from.
            error: of what it wrote.
            seed: of stochastic rounding, not 0.
            limits: largest size of values of x, and of the error, on integers, for a batch.
        """
        new: list[Learned] = []
        if self.state is None:
            new = self.state = step.state(x, error, self.bias_scale, seed, limits)
        names = [*self.inputs, *(k.tensor.name for k in self.state)]
        given = {"x": x.name, "error": error.name} | {n.rpartition(".")[2]: n for n in names}
        step.inputs = tuple(given.get(role, role) for role in step.roles(x.shape))
        return new


class DenseParameters(Parameters):
    """Of a dense layer: `y = weight @ x + bias`, then ReLU if asked for."""

    @property
    def y(self) -> Tensor:
        """See `Parameters`."""
        return value(self.precision, self.name, (self.real.outputs,), self.output[0])

    def forward(self, name: str, x: str, **how: Any) -> DenseForward:
        """See `Parameters`."""
        return DenseForward(outputs=self.real.outputs, **self._forward(name, x), **how)

    def step(self, name: str, gradient: Format | None = None, mask: bool = False) -> DenseUpdate:
        """The operator of a step, which does not read anything yet.

        Args:
            name: of the operator, and of the gradient of x.
            gradient: format of the gradient of x; None where it is not wanted.
            mask: that gradient is 0 where x is not positive.
        """
        scale, limit = gradient or FLOAT
        return DenseUpdate(
            outputs=self.real.outputs,
            frozen=self.frozen,
            gradient=gradient is not None,
            mask=mask,
            gradient_scale=scale,
            gradient_limit=limit,
            **self._step(name),
        )


class ConvolutionParameters(Parameters):
    """Of a convolution of x (H, W, I), or of each of its channels for itself."""

    @property
    def geometry(self) -> dict[str, Any]:
        """What its operators have of its window."""
        real = self.real
        window = {"kernel": real.weight.shape[:2], "stride": real.stride, "padding": real.padding}
        return window if self._depthwise else {**window, "outputs": real.outputs}

    @property
    def _depthwise(self) -> bool:
        return self.real.weight.ndim == 3

    @property
    def y(self) -> Tensor:
        """See `Parameters`."""
        real = self.real
        image = image_shape(self.x.shape, real.weight.shape[:2], real.stride, real.padding)
        return value(self.precision, self.name, (*image, real.outputs), self.output[0])

    def forward(self, name: str, x: str, **how: Any) -> Operator:
        """See `Parameters`."""
        kind = DepthwiseConv2dForward if self._depthwise else Conv2dForward
        return kind(**self.geometry, **self._forward(name, x), **how)

    def step(self, name: str) -> WeightStep:
        """See `Parameters`."""
        kind = DepthwiseConv2dUpdate if self._depthwise else Conv2dUpdate
        frozen = self.real.outputs - self.real.learns.channels
        return kind(**self.geometry, frozen_outputs=frozen, **self._step(name))

    @property
    def input_gradient(self) -> type[InputGradient]:
        """The operator of the gradient of x."""
        return DepthwiseConv2dInputGradient if self._depthwise else Conv2dInputGradient


def image_shape(shape: tuple[int, ...], kernel: Pair, stride: Pair, padding: Margins) -> Pair:
    """Height and width of what a window makes of (H, W, ...)."""
    top, left, bottom, right = padding
    return (
        (shape[0] + top + bottom - kernel[0]) // stride[0] + 1,
        (shape[1] + left + right - kernel[1]) // stride[1] + 1,
    )


def format_of(precision: str, largest: float, bits: int) -> Format:
    """The format of numbers to +-largest, of `bits` bits beside the sign on integers."""
    if scalar.is_float(precision):
        return FLOAT
    return scalar.power_scale(largest, bits), scalar.limit_of(bits)


def value(precision: str, name: str, shape: tuple[int, ...], scale: float = 1.0) -> Tensor:
    """A tensor of activations or errors."""
    return Tensor(name, scalar.value_dtype(precision), shape, scale=scale)

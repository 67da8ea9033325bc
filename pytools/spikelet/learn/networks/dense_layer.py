"""Weights and biases in a precision, and a dense layer: what builders of networks share.

Formats are the builders' own: scale and limit of codes on integers, FLOAT on floats.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spikelet.graph import Array, GraphError, Learned, Tensor
from spikelet.graph.graph import LABEL
from spikelet.learn.layers.dense import DenseForward, DenseUpdate
from spikelet.learn.layers.softmax_cross_entropy import SoftmaxCrossEntropy
from spikelet.learn.numbers import float32, scalar
from spikelet.learn.numbers.scalar import Descent

Format = tuple[float, int]
FLOAT: Format = (1.0, 0)
BIAS_LIMIT = (1 << 30) - 1  # the other half of a sum is for products


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


@dataclass(kw_only=True, eq=False)
class Parameters:
    """A layer's weights and biases: learned tensors as far as they learn, else constants.

    Attributes:
        name: of the layer: learned are `name.weight` and `name.bias`.
        x: what it reads.
        precision: one of `scalar.PRECISIONS`.
        weight: real numbers, output channels last; of a dense layer first, (O, I).
        bias: real numbers, (O,); None where they start from 0.
        learns: what learns.
        format: of the weights.
        bias_limit: largest code of a bias, on integers.
        axis: of the output channels in the weight.
        learned: the learned tensors, weight first.
        frozen: stored weights that do not learn; None where all do.
        frozen_bias: stored biases where they do not learn.
        bias_scale: of the biases, on integers.
    """

    name: str
    x: Tensor
    precision: str
    weight: Array
    bias: Array | None
    learns: Learns
    format: Format
    bias_limit: int = BIAS_LIMIT
    axis: int = -1
    learned: list[Learned] = field(init=False, default_factory=list)
    frozen: Array | None = field(init=False, default=None)
    frozen_bias: Array | None = field(init=False, default=None)
    bias_scale: float = field(init=False, default=1.0)

    def __post_init__(self) -> None:
        n, channels = self.learns.channels, self.weight.shape[self.axis]
        if not 0 <= n <= channels:
            raise GraphError(f"layer {self.name}: {n} of its {channels} channels cannot learn")
        if not self.real:
            self.bias_scale = self.format[0] * self.x.scale
        weight = self._stored(self.weight, self.precision, *self.format)
        first, rest = map(np.ascontiguousarray, np.split(weight, [n], self.axis))
        self.frozen = rest if n < channels else None
        if n:
            self._learn("weight", self.precision, first.shape, first, *self.format)
        total, ends = scalar.sum_dtype(self.precision), (self.bias_scale, self.bias_limit)
        bias = None if self.bias is None else self._stored(self.bias, total, *ends)
        if self.learns.bias:
            self._learn("bias", total, (channels,), bias, *ends)
        else:
            self.frozen_bias = bias

    def _stored(self, values: Array, dtype: str, scale: float, limit: int) -> Array:
        if dtype == "f16":
            return float32.to_half(values)
        if dtype == "f32":
            return values.astype(np.float32)
        return scalar.quantise(values, scale, limit, dtype)

    def _learn(
        self, role: str, dtype: str, shape: tuple[int, ...], start: Array | None, scale: float,
        limit: int,
    ) -> None:  # fmt: skip
        ends = {} if self.real else {"low": -limit, "high": limit}
        name = f"{self.name}.{role}"
        self.learned.append(Learned.of(name, dtype, shape, start, scale=scale, **ends))

    @property
    def real(self) -> bool:
        """Whether numbers are floats."""
        return scalar.is_float(self.precision)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the learned tensors: what an operator reads behind x."""
        return tuple(k.tensor.name for k in self.learned)

    @property
    def constants(self) -> dict[str, Any]:
        """What a forward operator has beside them."""
        return {
            "precision": self.precision,
            "frozen": self.frozen,
            "frozen_bias": self.frozen_bias,
            "weight_scale": self.format[0],
        }

    def bind(
        self,
        update: Any,
        roles: tuple[str, ...],
        x: Tensor,
        error: Tensor,
        seed: int,
        limits: tuple[int, int] | None = None,
    ) -> list[Learned]:
        """Name the inputs of an update operator; the learned tensors that it has of its own.

        Args:
            update: the operator.
            roles: what its inputs are; one that is none of its own is a tensor of that name.
            x: what the layer read.
            error: of what it wrote.
            seed: of stochastic rounding, not 0.
            limits: largest size of values of x, and of the error, on integers, for a batch.
        """
        state: list[Learned] = update.state(x, error, self.bias_scale, seed, limits)
        names = [*self.inputs, *(k.tensor.name for k in state)]
        given = {"x": x.name, "error": error.name} | {n.rpartition(".")[2]: n for n in names}
        update.inputs = tuple(given.get(role, role) for role in roles)
        return state


@dataclass(kw_only=True, eq=False)
class DenseLayer(Parameters):
    """A dense layer: `y = weight @ x + bias`, then ReLU if asked for.

    Attributes:
        relu: negative outputs become 0.
        output: format of y.
    """

    axis: int = 0
    relu: bool = False
    output: Format

    @property
    def y(self) -> Tensor:
        """What `forward` writes."""
        return value(self.precision, self.name, (len(self.weight),), self.output[0])

    def forward(
        self, name: str = "", x: str = "", when: tuple[str, int] | None = None, again: bool = False
    ) -> DenseForward:
        """The operator of y.

        Args:
            name: its own; that of the layer without one.
            x: what it reads, in place of x.
            when: see `Operator.when`.
            again: see `DenseForward.again`.
        """
        return DenseForward(
            name=name or self.name,
            inputs=(x or self.x.name, *self.inputs),
            when=when,
            again=again,
            outputs=len(self.weight),
            relu=self.relu,
            output_scale=self.output[0],
            output_limit=self.output[1],
            **self.constants,
        )

    def update(
        self,
        name: str,
        error: Tensor,
        descent: Descent,
        seed: int,
        *,
        x: Tensor | None = None,
        gradient: bool = False,
        to: Format = FLOAT,
        mask: bool = False,
        scheduled: bool = False,
        limits: tuple[int, int] | None = None,
    ) -> tuple[DenseUpdate, list[Learned]]:
        """The operator of a step, and the learned tensors that it has of its own.

        Args:
            name: of the operator, and of the gradient of x.
            error: of y.
            descent: the step.
            seed: of stochastic rounding, not 0.
            x: what it learns from, in place of x.
            gradient: whether the gradient of x is wanted.
            to: its format.
            mask: the gradient is 0 where x is not positive.
            scheduled: a tensor named `schedule` says how much of the rate to use.
            limits: largest size of values of x, and of the error, on integers, for a batch.
        """
        node = DenseUpdate(
            name=name,
            inputs=(),
            precision=self.precision,
            outputs=len(self.weight),
            frozen=self.frozen,
            bias=self.learns.bias,
            gradient=gradient,
            mask=mask,
            gradient_scale=to[0],
            gradient_limit=to[1],
            weight_scale=self.format[0],
            scheduled=scheduled,
            **dataclasses.asdict(descent),
        )
        return node, self.bind(
            node, node.roles((x or self.x).shape), x or self.x, error, seed, limits
        )


def fitted(precision: str, largest: float, bits: int) -> Format:
    """The format of numbers to +-largest, of `bits` bits beside the sign on integers."""
    if scalar.is_float(precision):
        return FLOAT
    return scalar.power_scale(largest, bits), scalar.limit_of(bits)


def value(precision: str, name: str, shape: tuple[int, ...], scale: float = 1.0) -> Tensor:
    """A tensor of activations or errors."""
    return Tensor(name, scalar.value_dtype(precision), shape, scale=scale)


def softmax_loss(
    name: str, scores: Tensor, precision: str, bits: int, label: str = LABEL, health: str = ""
) -> tuple[SoftmaxCrossEntropy, Tensor, list[Learned]]:
    """Softmax cross-entropy, the error of the scores, and the learned tensors that it has.

    Args:
        name: of the operator, and of the error.
        scores: of the classes.
        precision: one of `scalar.PRECISIONS`.
        bits: of the error's fraction, on integers.
        label: tensor of the label.
        health: on floats, where skipped samples are counted; `name.health` without one.
    """
    real = scalar.is_float(precision)
    learned = [Learned.of(health or f"{name}.health", "i32", (1,))] if real else []
    node = SoftmaxCrossEntropy(
        name=name,
        inputs=(scores.name, label, *(k.tensor.name for k in learned)),
        precision=precision,
        error_bits=bits,
    )
    return node, value(precision, name, scores.shape, 1.0 if real else 2.0**-bits), learned

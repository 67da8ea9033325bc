"""A small perceptron as nodes of a graph, for learners that train one on integer features.

Formats are chosen here: features count as scaled to a mean square of 1, and what weights, hidden
values and logits may reach is a constant.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from spikelet.graph import Array, Learned, Operator, Tensor
from spikelet.learn import scalar
from spikelet.learn.layers.dense import DenseForward, DenseUpdate
from spikelet.learn.layers.softmax_cross_entropy import SoftmaxCrossEntropy

REACH = {"weight": 4.0, "hidden": 16.0, "logits": 32.0, "bias": 16.0, "gradient": 4.0}


@dataclass
class Perceptron:
    """Dense layers with ReLU between them; softmax cross-entropy; plain descent, sample by sample.

    Attributes:
        name: layer l = 1, 2, ... has the learned tensors `name.weight_l`, `name.bias_l`, ...
        x: what it reads: u8 or i8 codes; I elements.
        sizes: outputs of its layers, the last one the classes.
        rate: learning rate for features whose mean square is 1.
        precision: of `learn/scalar.py`.
        rounding: of integer weights: nearest or stochastic.
        size: root of the mean square of the features, in real units; 0 for half of their range.
        seed: of the initial weights, and of stochastic rounding.
        decay: weight decay.
        learned: what the graph needs for it.
    """

    name: str
    x: Tensor
    sizes: Sequence[int]
    rate: float
    precision: str = "i16"
    rounding: str = "nearest"
    size: float = 0.0
    seed: int = 0
    decay: float = 0.0
    learned: list[Learned] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self._layers: list[_Layer] = []
        low, high = self.x.limits
        largest = max(abs(low - self.x.zero_point), abs(high - self.x.zero_point))
        size = self.size or largest * self.x.scale / 2
        rng = np.random.default_rng(self.seed)
        x, code_bits = self.x, int(largest).bit_length()
        for number, outputs in enumerate(self.sizes, 1):
            last = number == len(self.sizes)
            layer = _Layer(self, number, x, code_bits, outputs, size, last)
            self._layers.append(layer)
            self.learned += layer.make(rng)
            following = 1 if last else self.sizes[number]
            code_bits = scalar.value_bits(self.precision, outputs) if following else 0
            real = scalar.is_float(self.precision)
            dtype = scalar.value_dtype(self.precision)
            x = Tensor(f"{self.name}_{number}", dtype, (outputs,), scale=1 if real else layer.scale)
            size = 1.0
        if scalar.is_float(self.precision):
            self.learned.append(Learned.of(f"{self.name}.health", "i32", (1,), low=0))

    @property
    def macs(self) -> int:
        """Of one execution."""
        return sum(layer.x.size * layer.outputs for layer in self._layers)

    def forward(
        self, x: str, prefix: str, when: tuple[str, int] | None = None, again: bool = False
    ) -> list[Operator]:
        """Nodes `prefix_1` ... from the tensor x to the logits.

        Args:
            x: a tensor like `self.x`.
            prefix: of the nodes' names.
            when: see `Operator.when`.
            again: for learning, where the tensor x is known since the prediction.
        """
        nodes: list[Operator] = []
        for layer in self._layers:
            source = nodes[-1].name if nodes else x
            nodes.append(layer.forward(source, f"{prefix}_{layer.number}", when, again))
        return nodes

    def backward(self, x: str, prefix: str, label: str) -> list[Operator]:
        """Nodes of one step from x, what `forward` made of it under that prefix, and a label."""
        real = scalar.is_float(self.precision)
        last = self._layers[-1]
        nodes: list[Operator] = [
            SoftmaxCrossEntropy(
                name=f"{prefix}_error",
                inputs=(
                    f"{prefix}_{last.number}",
                    label,
                    *([f"{self.name}.health"] if real else []),
                ),
                precision=self.precision,
                error_bits=last.error_bits,
            )
        ]
        for layer in reversed(self._layers):
            source = x if layer.number == 1 else f"{prefix}_{layer.number - 1}"
            nodes.append(layer.update(nodes[-1].name, source, f"{prefix}_update_{layer.number}"))
        return nodes


def root_mean_square(x: Tensor, features: Array) -> float:
    """Of features (N, *shape) of a tensor, in real units; 0 where there are none."""
    real = (features.astype(np.float64) - x.zero_point) * x.scale
    return float(np.sqrt(np.mean(real**2))) if real.size else 0.0


class _Layer:
    """The formats and names of one layer."""

    def __init__(
        self,
        of: Perceptron,
        number: int,
        x: Tensor,
        code_bits: int,
        outputs: int,
        size: float,
        last: bool,
    ) -> None:
        self.of, self.number, self.x, self.outputs, self.last = of, number, x, outputs, last
        self.own = f"{of.name}_{number}"
        self.real = scalar.is_float(of.precision)
        self.size = size
        most = 15 if of.precision == "i16" else 7
        self.weight_bits = min(most, 30 - math.ceil(math.log2(max(x.size, 2))) - code_bits)
        self.weight_scale = scalar.power_scale(REACH["weight"] / size, self.weight_bits)
        bits = 15 if last else scalar.value_bits(of.precision, outputs)
        self.limit = scalar.limit_of(bits)
        self.scale = scalar.power_scale(REACH["logits" if last else "hidden"], bits)
        # An input gradient is a sum over the outputs.
        room = 30 - self.weight_bits - math.ceil(math.log2(max(outputs, 2)))
        self.error_bits = min(11, max(4, room))

    def make(self, rng: np.random.Generator) -> list[Learned]:
        precision, inputs = self.of.precision, self.x.size
        drawn = rng.normal(0, math.sqrt((1 if self.last else 2) / inputs), (self.outputs, inputs))
        drawn /= self.size
        dtype = scalar.sum_dtype(precision)
        if self.real:
            stored = drawn.astype(np.float16 if precision == "f16" else np.float32)
            made = [
                Learned.of(f"{self.own}.weight", precision, drawn.shape, stored),
                Learned.of(f"{self.own}.bias", dtype, (self.outputs,)),
            ]
        else:
            limit = scalar.limit_of(self.weight_bits)
            stored = scalar.quantise(drawn, self.weight_scale, limit, precision)
            scale = self.weight_scale * self.x.scale
            most = min((1 << 30) - 1, int(REACH["bias"] / scale))
            made = [
                Learned.of(
                    f"{self.own}.weight", precision, drawn.shape, stored,
                    low=-limit, high=limit, scale=self.weight_scale,
                ),
                Learned.of(
                    f"{self.own}.bias", dtype, (self.outputs,), low=-most, high=most, scale=scale
                ),
            ]  # fmt: skip
        error = Tensor("error", scalar.value_dtype(precision), (self.outputs,))
        state = self._update(self.own, ("", "")).state(
            self.x, error, made[1].tensor.scale, self._seed
        )
        return [*made, *state]

    @property
    def _seed(self) -> int:
        return (self.of.seed * 8 + self.number) & 0xFFFFFFFF or 1

    def forward(self, x: str, name: str, when: tuple[str, int] | None, again: bool) -> Operator:
        return DenseForward(
            name=name,
            inputs=(x, f"{self.own}.weight", f"{self.own}.bias"),
            when=when,
            again=again,
            precision=self.of.precision,
            outputs=self.outputs,
            relu=not self.last,
            weight_scale=1.0 if self.real else self.weight_scale,
            output_scale=1.0 if self.real else self.scale,
            output_limit=0 if self.real else self.limit,
        )

    def update(self, error: str, x: str, name: str) -> Operator:
        given = {"error": error, "x": x}
        roles = self._update(name, ()).roles
        return self._update(name, tuple(given.get(role, f"{self.own}.{role}") for role in roles))

    def _update(self, name: str, inputs: tuple[str, ...]) -> DenseUpdate:
        inner = self.number > 1
        return DenseUpdate(
            name=name,
            inputs=inputs,
            precision=self.of.precision,
            outputs=self.outputs,
            gradient=inner,
            mask=inner,
            gradient_scale=1.0 if self.real else scalar.power_scale(REACH["gradient"], 11),
            gradient_limit=0 if self.real else scalar.limit_of(11),
            weight_scale=1.0 if self.real else self.weight_scale,
            rate=self.of.rate / self.size**2,
            decay=self.of.decay * self.size**2,
            rounding="nearest" if self.real else self.of.rounding,
        )

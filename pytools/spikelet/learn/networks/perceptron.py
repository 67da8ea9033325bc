"""A small perceptron as nodes of a graph, for learners that train one on integer features.

Formats are chosen here: features count as scaled to a mean square of 1, and what weights, hidden
values and logits may reach is a constant.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from spikelet.graph import Array, Learned, Operator, Tensor
from spikelet.learn.layers.dense import DenseUpdate
from spikelet.learn.networks.dense_layer import (
    BIAS_LIMIT,
    DenseLayer,
    Learns,
    fitted,
    softmax_loss,
    value,
)
from spikelet.learn.numbers import scalar
from spikelet.learn.numbers.scalar import Descent

REACH = {"weight": 4.0, "hidden": 16.0, "logits": 32.0, "bias": 16.0, "gradient": 4.0}


@dataclass
class Perceptron:
    """Dense layers with ReLU between them; softmax cross-entropy; plain descent, sample by sample.

    Attributes:
        name: layer l = 1, 2, ... has the learned tensors `name_l.weight`, `name_l.bias`, ...
        x: what it reads: u8 or i8 codes; I elements.
        sizes: outputs of its layers, the last one the classes.
        rate: learning rate for features whose mean square is 1.
        precision: of `learn/numbers/scalar.py`.
        rounding: of integer weights: nearest or stochastic.
        size: root of the mean square of the features, in real units; 0 for half of their range.
        seed: of the initial weights, and of stochastic rounding.
        silent: the last layer starts from weights of 0, so that all logits are equal.
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
    silent: bool = False
    learned: list[Learned] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self._layers: list[DenseLayer] = []
        self._steps: list[DenseUpdate] = []
        low, high = self.x.limits
        largest = max(abs(low - self.x.zero_point), abs(high - self.x.zero_point))
        size = self.size or largest * self.x.scale / 2
        rng = np.random.default_rng(self.seed)
        x, code_bits = self.x, int(largest).bit_length()
        for number, outputs in enumerate(self.sizes, 1):
            bits = self._weight_bits(code_bits, x.size)
            layer = self._layer(number, x, outputs, size, bits, rng)
            step, state = self._step(number, layer, size)
            self._layers.append(layer)
            self._steps.append(step)
            self.learned += [*layer.learned, *state]
            code_bits = scalar.value_bits(self.precision, outputs)
            x, size = layer.y, 1.0
        # An input gradient is a sum over the outputs.
        self._error_bits = min(11, max(4, 30 - bits - math.ceil(math.log2(max(outputs, 2)))))
        if scalar.is_float(self.precision):
            self.learned.append(Learned.of(f"{self.name}.health", "i32", (1,), low=0))

    def _weight_bits(self, code_bits: int, inputs: int) -> int:
        most = 15 if self.precision == "i16" else 7
        return min(most, 30 - math.ceil(math.log2(max(inputs, 2))) - code_bits)

    def _layer(
        self, number: int, x: Tensor, outputs: int, size: float, bits: int, rng: np.random.Generator
    ) -> DenseLayer:
        last = number == len(self.sizes)
        drawn = rng.normal(0, math.sqrt((1 if last else 2) / x.size), (outputs, x.size)) / size
        weight = fitted(self.precision, REACH["weight"] / size, bits)
        y_bits = 15 if last else scalar.value_bits(self.precision, outputs)
        reach = REACH["logits" if last else "hidden"]
        return DenseLayer(
            name=f"{self.name}_{number}",
            x=x,
            precision=self.precision,
            weight=np.zeros_like(drawn) if last and self.silent else drawn,
            bias=None,
            learns=Learns(outputs, bias=True),
            format=weight,
            bias_limit=min(BIAS_LIMIT, int(REACH["bias"] / (weight[0] * x.scale))),
            relu=not last,
            output=fitted(self.precision, reach, y_bits),
        )

    def _step(
        self, number: int, layer: DenseLayer, size: float
    ) -> tuple[DenseUpdate, list[Learned]]:
        """What `backward` executes under other names, and the state of all its executions."""
        return layer.update(
            layer.name,
            value(self.precision, "error", layer.y.shape),
            Descent(
                self.rate / size**2,
                rounding="nearest" if layer.real else self.rounding,
            ),
            (self.seed * 8 + number) & 0xFFFFFFFF or 1,
            gradient=number > 1,
            to=fitted(self.precision, REACH["gradient"], 11),
            mask=number > 1,
        )

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
        for number, layer in enumerate(self._layers, 1):
            source = nodes[-1].name if nodes else x
            nodes.append(layer.forward(f"{prefix}_{number}", source, when, again))
        return nodes

    def backward(self, x: str, prefix: str, label: str) -> list[Operator]:
        """Nodes of one step from x, what `forward` made of it under that prefix, and a label."""
        count = len(self._layers)
        scores = dataclasses.replace(self._layers[-1].y, name=f"{prefix}_{count}")
        error, _, _ = softmax_loss(
            f"{prefix}_error",
            scores,
            self.precision,
            self._error_bits,
            label,
            f"{self.name}.health",
        )
        nodes: list[Operator] = [error]
        for number in range(count, 0, -1):
            step = self._steps[number - 1]
            read = (nodes[-1].name, x if number == 1 else f"{prefix}_{number - 1}")
            name = f"{prefix}_update_{number}"
            nodes.append(dataclasses.replace(step, name=name, inputs=(*read, *step.inputs[2:])))
        return nodes


def root_mean_square(x: Tensor, features: Array) -> float:
    """Of features (N, *shape) of a tensor, in real units; 0 where there are none."""
    real = (features.astype(np.float64) - x.zero_point) * x.scale
    return float(np.sqrt(np.mean(real**2))) if real.size else 0.0

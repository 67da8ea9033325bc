"""Dense classifiers with ranges that are given: for learners with layers of their own."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spikelet.errors import UsageError
from spikelet.graph import Array, Graph, Learned, Tensor
from spikelet.learn.learner import Setting
from spikelet.learn.networks.builder import NetworkBuilder
from spikelet.learn.networks.formats import Given
from spikelet.learn.networks.parameters import Learns, Parameters, RealLayer
from spikelet.learn.numbers import scalar
from spikelet.learn.numbers.scalar import Descent

HE = 2.0  # variance of initial weights times inputs, in front of a ReLU
SCORES = 0.5  # the same, of logits


def widths(hidden: str) -> list[int]:
    """Layer widths of a text such as `256-256`; none of `0`.

    Raises:
        ValueError: it is not numbers of 1 to 4096 with dashes between.
    """
    parts = hidden.split("-")
    if hidden == "0":
        return []
    if not all(p.isdigit() and 1 <= int(p) <= 4096 for p in parts):
        raise ValueError(f"hidden {hidden!r} is not widths such as 256-256, or 0")
    return [int(p) for p in parts]


def random_layer(
    rng: np.random.Generator,
    inputs: int,
    outputs: int,
    variance: float = HE,
    *,
    bias: bool = True,
    size: float = 1.0,
) -> RealLayer:
    """A dense layer that begins with normal weights; biases begin at 0.

    Args:
        rng: of the weights.
        inputs: I.
        outputs: O.
        variance: of a weight, times inputs: `HE` with a ReLU, else logits.
        bias: whether it has one.
        size: root of the mean square of what it reads, real.
    """
    weight = rng.normal(0, math.sqrt(variance / inputs), (outputs, inputs)) / size
    start = None if bias else np.zeros(outputs)
    return RealLayer(weight, start, Learns(outputs, bias), relu=variance == HE)


def network_behind(
    backbone: Graph, setting: Setting, precision: str, descent: Descent, samples: int = 0
) -> NetworkBuilder:
    """A network that will read the features of a backbone.

    Args:
        backbone: what is in front.
        setting: of the learner.
        precision: one of `scalar.PRECISIONS`.
        descent: the step; floats are not rounded.
        samples: of a task, along which the rate falls to 0; 0 for a constant rate.

    Raises:
        UsageError: the backbone has no such tensor, or no layer of the precision reads it.
    """
    name, real = setting.features, scalar.is_float(precision)
    if name not in backbone.tensors:
        raise UsageError(
            f"graph {backbone.name} has no tensor {name!r}",
            "a mistyped name, or a tensor of another model",
            "name a tensor of the backbone",
        )
    x = backbone.tensors[name]
    if x.dtype not in ("u8", "i8", scalar.value_dtype(precision)):
        raise UsageError(
            f"features {name} are {x.dtype}, a dense layer of precision {precision} reads "
            f"u8, i8 or {scalar.value_dtype(precision)}",
            "another tensor of the backbone was meant",
            "name one with --features",
        )
    largest = 1
    if not real:
        low, high = backbone.bounds[name]
        largest = max(1, x.zero_point - int(low.min()), int(high.max()) - x.zero_point)
    return NetworkBuilder(
        {name: x},
        Given(precision=precision, largest=largest),
        dataclasses.replace(descent, rounding="nearest") if real else descent,
        np.random.default_rng(setting.seed),
        samples=samples,
    )


def classifier(
    net: NetworkBuilder, features: str, hidden: Sequence[int], classes: int, *, bias: bool = True
) -> list[Parameters]:
    """Layers `hidden0` ... of these widths, then one of logits, `scores`.

    Args:
        net: what they become part of.
        features: what the first one reads.
        hidden: widths.
        classes: how many logits.
        bias: whether hidden layers have one.
    """
    layers: list[Parameters] = []
    x = net.tensor(features)
    for i, width in enumerate(hidden):
        made = random_layer(net.rng, x.size, width, bias=bias)
        layers.append(net.layer(f"hidden{i}", x.name, made))
        x = layers[-1].y
    made = random_layer(net.rng, x.size, classes, SCORES)
    return [*layers, net.layer("scores", x.name, made)]


@dataclass
class Perceptron:
    """A classifier that a graph executes, and teaches, in several places, on features in codes.

    Features count as scaled to a mean square of 1. Descent is plain, sample by sample.

    Attributes:
        net: what it becomes part of, see `perceptron_network`.
        name: layer l = 1, 2, ... has the learned tensors `name_l.weight`, `name_l.bias`, ...
        x: what it reads: u8 or i8 codes.
        sizes: outputs of its layers, the last one the classes.
        seed: of the initial weights, and of stochastic rounding.
        silent: the last layer starts from weights of 0, so that all logits are equal.
    """

    net: NetworkBuilder
    name: str
    x: Tensor
    sizes: Sequence[int]
    seed: int = 0
    silent: bool = False
    layers: list[Parameters] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        formats, rate = self.net.formats, self.net.descent.rate
        if not isinstance(formats, Given):
            raise TypeError(f"perceptron {self.name}: its formats are given, not {formats}")
        x, size = self.x, formats.unit
        for number, outputs in enumerate(self.sizes, 1):
            last = number == len(self.sizes)
            made = random_layer(rng, x.size, outputs, 1.0 if last else HE, size=size)
            made = dataclasses.replace(made, rate=rate / size**2)
            if last and self.silent:
                made = dataclasses.replace(made, weight=np.zeros_like(made.weight))
            layer = self.net.parameters(f"{self.name}_{number}", x, made)
            self.net.learned += layer.begin((self.seed * 8 + number) & 0xFFFFFFFF or 1)
            self.layers.append(layer)
            x, size = layer.y, 1.0
        if formats.real:
            self.net.learned.append(Learned.of(f"{self.name}.health", "i32", (1,), low=0))

    def forward(self, x: str, prefix: str, **how: Any) -> None:
        """Operators `prefix_1` ... from x, a tensor like `self.x`, to the logits; see `lay`."""
        for number, layer in enumerate(self.layers, 1):
            update = f"{prefix}_update_{number}"
            x = self.net.lay(layer, f"{prefix}_{number}", x, step=update, **how)

    def backward(self, prefix: str, label: str) -> None:
        """One step, from a label through what `forward` made under that prefix."""
        scores, health = f"{prefix}_{len(self.layers)}", f"{self.name}.health"
        self.net.backward(scores, f"{prefix}_error", label=label, health=health)


def perceptron_network(
    x: Tensor, size: float, precision: str, rate: float, rounding: str
) -> NetworkBuilder:
    """A network of perceptrons.

    Args:
        x: what they read.
        size: root of the mean square of the features, in real units; 0 for half of their range.
        precision: one of `scalar.PRECISIONS`.
        rate: learning rate for features whose mean square is 1.
        rounding: of integer weights: nearest or stochastic.
    """
    low, high = x.limits
    largest = max(abs(low - x.zero_point), abs(high - x.zero_point))
    formats = Given(
        precision=precision,
        largest=int(largest),
        hidden=16.0,
        errors=4.0,
        weights=4.0,
        wide_weights=4.0,
        biases=16.0,
        error_bits=11,
        unit=size or largest * x.scale / 2,
        whole_bits=True,
    )
    descent = Descent(rate, rounding="nearest" if formats.real else rounding)
    return NetworkBuilder({x.name: x}, formats, descent, np.random.default_rng(0))


def root_mean_square(x: Tensor, features: Array) -> float:
    """Of features (N, *shape) of a tensor, in real units; 0 where there are none."""
    real = (features.astype(np.float64) - x.zero_point) * x.scale
    return float(np.sqrt(np.mean(real**2))) if real.size else 0.0

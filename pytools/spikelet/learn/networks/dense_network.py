"""Dense layers that learn, put together: what learners with layers of their own build on.

Formats of integers, beside G = ceil(log2(inputs)): weights and values share 30 - G bits, so that no
sum leaves 32. Real ranges are fixed by design: hidden values to 8, logits to 32, errors to 1, and
weights to 2 or, of more than 256 inputs, 1. What leaves them saturates, and is counted.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from spikelet.errors import UsageError
from spikelet.graph import Graph, Learned, Operator, Tensor
from spikelet.learn.layers.dense_backward import DenseBackward
from spikelet.learn.layers.relu_gradient import ReluGradient
from spikelet.learn.layers.schedule import scheduled
from spikelet.learn.learner import Setting, extended
from spikelet.learn.networks.dense_layer import (
    DenseLayer,
    Format,
    Learns,
    fitted,
    softmax_loss,
    value,
)
from spikelet.learn.numbers import scalar
from spikelet.learn.numbers.scalar import Descent

SCHEDULE = "schedule"
HIDDEN, LOGIT, ERROR = 8.0, 32.0, 1.0  # largest real values
ERROR_BITS = 11


@dataclass
class DenseNetwork:
    """Operators and learned tensors, in the order in which they are asked for.

    Attributes:
        backbone: what is in front.
        setting: of the learner.
        precision: one of `scalar.PRECISIONS`.
        rate: learning rate.
        rounding: of integer weights.
        samples: of a task, along which the rate falls to 0; 0 for a constant rate.
        nodes: operators.
        learned: tensors.
        largest: by tensor, the largest size of its codes without zero point, on integers.
    """

    backbone: Graph
    setting: Setting
    precision: str = "i16"
    rate: float = 0.03
    rounding: str = "stochastic"
    samples: int = 0
    nodes: list[Operator] = field(default_factory=list)
    learned: list[Learned] = field(default_factory=list)
    largest: dict[str, int] = field(default_factory=dict)
    _rng: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.setting.seed)
        name = self.setting.features
        if name not in self.backbone.tensors:
            raise UsageError(
                f"graph {self.backbone.name} has no tensor {name!r}",
                "a mistyped name, or a tensor of another model",
                "name a tensor of the backbone",
            )
        x = self.backbone.tensors[name]
        if x.dtype not in ("u8", "i8", scalar.value_dtype(self.precision)):
            raise UsageError(
                f"features {name} are {x.dtype}, a dense layer of precision {self.precision} reads "
                f"u8, i8 or {scalar.value_dtype(self.precision)}",
                "another tensor of the backbone was meant",
                "name one with --features",
            )
        if not self.real:
            low, high = self.backbone.bounds[name]
            self.largest[name] = max(
                1, x.zero_point - int(low.min()), int(high.max()) - x.zero_point
            )
        if self.samples:
            learned, nodes = scheduled(SCHEDULE, self.samples)
            self.learned += learned
            self.nodes += nodes

    @property
    def real(self) -> bool:
        """Whether it calculates with floats."""
        return scalar.is_float(self.precision)

    @property
    def features(self) -> Tensor:
        """What the first layer reads."""
        return self.backbone.tensors[self.setting.features]

    def layer(
        self, name: str, x: Tensor, outputs: int, *, hidden: bool = True, bias: bool = True
    ) -> DenseLayer:
        """A layer with weights of its own.

        Args:
            name: of the layer, and of what it writes.
            x: what it reads.
            outputs: how many.
            hidden: with ReLU and He's initial weights; else logits, with initial weights of half
                that size.
            bias: whether it has one.
        """
        inputs = x.size
        spread = math.sqrt(2 / inputs) * (1.0 if hidden else 0.5)
        y_bits = scalar.value_bits(self.precision, outputs) if hidden else 15
        layer = DenseLayer(
            name=name,
            x=x,
            precision=self.precision,
            weight=self._rng.normal(0, spread, (outputs, inputs)),
            bias=None if bias else np.zeros(outputs),
            learns=Learns(outputs, bias),
            format=self._weight_format(x),
            relu=hidden,
            output=fitted(self.precision, HIDDEN if hidden else LOGIT, y_bits),
        )
        self.largest[name] = layer.output[1]
        self.learned += layer.learned
        self.nodes.append(layer.forward())
        return layer

    def _weight_format(self, x: Tensor) -> Format:
        """Of weights beside x."""
        inputs, bits = x.size, 7
        if self.precision == "i16":
            largest = self.largest[x.name]
            room = ((1 << 30) - 1) // (inputs * largest)
            bits = min(15, (room + 1).bit_length() - 1)
        if bits < 6:
            raise UsageError(
                f"features {self.setting.features}: {inputs} values of up to {largest} leave "
                f"{bits} bits to a weight",
                "more features than integer sums hold",
                "choose a tensor that is smaller, or has fewer bits",
            )
        return fitted(self.precision, 1.0 if inputs > 256 else 2.0, bits)

    def loss(self, name: str, logits: Tensor) -> Tensor:
        """Softmax cross-entropy with the label: the error of the logits."""
        node, error, health = softmax_loss(name, logits, self.precision, ERROR_BITS)
        self.learned += health
        self.nodes.append(node)
        self.largest[name] = 1 << ERROR_BITS
        return error

    def update(
        self,
        layer: DenseLayer,
        error: Tensor,
        *,
        x: Tensor | None = None,
        gradient: bool = False,
        mask: bool = True,
        through: DenseLayer | None = None,
    ) -> Tensor:
        """A step of a layer, and the error of what it reads, if it is wanted.

        Args:
            layer: that learns.
            error: of its outputs.
            x: what it learns from, in place of what it reads.
            gradient: whether the error of x is wanted.
            mask: that error is 0 where x is not positive.
            through: the layer that the error of x goes back through next, None for none: it gets
                fewer bits, so that sums over that layer's outputs fit.
        """
        name = f"{layer.name}_update"
        source = layer.x if x is None else x
        to = self._error_format(name, through)
        update, state = layer.update(
            name,
            error,
            Descent(self.rate, rounding="nearest" if self.real else self.rounding),
            self.seed(),
            x=source,
            gradient=gradient,
            to=to,
            mask=gradient and mask,
            scheduled=self.samples > 0,
        )
        self.learned += state
        self.nodes.append(update)
        return value(self.precision, name, source.shape, to[0])

    def backward(
        self, name: str, layer: DenseLayer, error: Tensor, through: DenseLayer | None = None
    ) -> Tensor:
        """The error of what a layer reads, a ReLU's, of an error that it does not learn from.

        Args:
            name: of the operator, and of that error.
            layer: that it goes back through.
            error: of its outputs.
            through: see `update`.
        """
        to = self._error_format(name, through)
        self.nodes.append(
            DenseBackward(
                name=name,
                inputs=(error.name, layer.inputs[0], layer.x.name),
                precision=self.precision,
                output_scale=to[0],
                output_limit=to[1],
            )
        )
        return value(self.precision, name, layer.x.shape, to[0])

    def _error_format(self, name: str, through: DenseLayer | None) -> Format:
        """Of the error of what a layer reads; see `update`."""
        bits = 12
        if through is not None and not self.real:
            room = ((1 << 31) - 1) // (through.y.size * through.format[1])
            bits = min(bits, (room + 1).bit_length() - 1)
        to = fitted(self.precision, ERROR, bits)
        self.largest[name] = to[1]
        return to

    def classifier(self, hidden: list[int], *, bias: bool = True) -> list[DenseLayer]:
        """Layers of these widths, then one of logits, `scores`.

        Args:
            hidden: widths.
            bias: whether hidden layers have one.
        """
        layers: list[DenseLayer] = []
        x = self.features
        for i, width in enumerate(hidden):
            layers.append(self.layer(f"hidden{i}", x, width, bias=bias))
            x = layers[-1].y
        return [*layers, self.layer("scores", x, self.setting.classes, hidden=False)]

    def descend(
        self,
        layers: list[DenseLayer],
        before: Callable[[DenseLayer, Tensor], Tensor | None] = lambda layer, error: None,
    ) -> None:
        """Backpropagation from the label through all layers.

        Args:
            layers: of `classifier`.
            before: called for each layer with its error before the layer learns, the last layer
                first; it may add nodes, and say what the layer is to learn from.
        """
        error = self.loss("loss", layers[-1].y)
        for i in range(len(layers) - 1, -1, -1):
            layer = layers[i]
            x = before(layer, error)
            through = layers[i - 1] if i > 1 else None
            error = self.update(layer, error, x=x, gradient=i > 0, mask=x is None, through=through)
            if i > 0 and x is not None:
                name = f"{layer.name}_error"
                self.nodes.append(
                    ReluGradient(
                        name=name, inputs=(error.name, layer.x.name), precision=self.precision
                    )
                )
                error = dataclasses.replace(error, name=name)

    def seed(self) -> int:
        """A state of xorshift32."""
        return int(self._rng.integers(1, 1 << 32))

    def graph(self, outputs: list[str]) -> Graph:
        """The backbone with all of it."""
        return extended(self.backbone, self.nodes, self.learned, outputs, self.setting.classes)


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

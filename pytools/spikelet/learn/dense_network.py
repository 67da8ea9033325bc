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
from spikelet.graph.graph import LABEL
from spikelet.learn import scalar
from spikelet.learn.layers.dense import DenseForward, DenseUpdate
from spikelet.learn.layers.relu_gradient import ReluGradient
from spikelet.learn.layers.schedule import scheduled
from spikelet.learn.layers.softmax_cross_entropy import SoftmaxCrossEntropy
from spikelet.learn.learner import Setting, extended

SCHEDULE = "schedule"
HIDDEN, LOGIT, ERROR = 8.0, 32.0, 1.0  # largest real values
ERROR_BITS = 11


@dataclass(frozen=True)
class Layer:
    """A dense layer.

    Attributes:
        name: of its outputs.
        x: what it reads.
        y: what it writes.
        weight: its weights (outputs, inputs).
        biased: whether it has a bias.
        most: largest code of a weight; 0 on floats.
    """

    name: str
    x: Tensor
    y: Tensor
    weight: Tensor
    biased: bool
    most: int


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
    ) -> Layer:
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
        weights = self._rng.normal(0, spread, (outputs, inputs))
        y_bits = scalar.value_bits(self.precision, outputs) if hidden else 15
        limit = scalar.limit_of(y_bits)
        y_scale = scalar.power_scale(HIDDEN if hidden else LOGIT, y_bits)
        if self.real:
            stored = weights.astype(np.float16 if self.precision == "f16" else np.float32)
            scale, bias_scale, y_scale, most = 1.0, 1.0, 1.0, 0
            weight = Learned.of(f"{name}.weight", self.precision, weights.shape, stored)
            zeros = np.zeros(outputs, np.float32)
        else:
            scale, most = self._weight_format(inputs, self.largest[x.name])
            codes = scalar.quantise(weights, scale, most, self.precision)
            weight = Learned.of(
                f"{name}.weight", self.precision, weights.shape, codes,
                low=-most, high=most, scale=scale,
            )  # fmt: skip
            bias_scale = scale * x.scale
            zeros = np.zeros(outputs, np.int32)
            self.largest[name] = limit
        self.learned.append(weight)
        inputs_of = [x.name, weight.tensor.name]
        if bias:
            ends = None if self.real else (1 << 30) - 1
            made = Learned.of(
                f"{name}.bias", scalar.sum_dtype(self.precision), (outputs,), scale=bias_scale,
                low=ends and -ends, high=ends,
            )  # fmt: skip
            self.learned.append(made)
            inputs_of.append(made.tensor.name)
        self.nodes.append(
            DenseForward(
                name=name,
                inputs=tuple(inputs_of),
                precision=self.precision,
                outputs=outputs,
                frozen_bias=None if bias else zeros,
                relu=hidden,
                weight_scale=scale,
                output_scale=y_scale,
                output_limit=0 if self.real else limit,
            )
        )
        y = Tensor(name, scalar.value_dtype(self.precision), (outputs,), scale=y_scale)
        return Layer(name, x, y, weight.tensor, bias, most)

    def _weight_format(self, inputs: int, largest: int) -> tuple[float, int]:
        """Scale and limit of integer weights."""
        if self.precision == "i8":
            bits = 7
        else:
            room = ((1 << 30) - 1) // (inputs * largest)
            bits = min(15, (room + 1).bit_length() - 1)
        if bits < 6:
            raise UsageError(
                f"features {self.setting.features}: {inputs} values of up to {largest} leave "
                f"{bits} bits to a weight",
                "more features than integer sums hold",
                "choose a tensor that is smaller, or has fewer bits",
            )
        return scalar.power_scale(1.0 if inputs > 256 else 2.0, bits), scalar.limit_of(bits)

    def loss(self, name: str, logits: Tensor) -> Tensor:
        """Softmax cross-entropy with the label: the error of the logits."""
        inputs = [logits.name, LABEL]
        if self.real:
            health = Learned.of(f"{name}.health", "i32", (1,))
            self.learned.append(health)
            inputs.append(health.tensor.name)
        self.nodes.append(
            SoftmaxCrossEntropy(
                name=name, inputs=tuple(inputs), precision=self.precision, error_bits=ERROR_BITS
            )
        )
        scale = 1.0 if self.real else 2.0**-ERROR_BITS
        self.largest[name] = 1 << ERROR_BITS
        return Tensor(name, scalar.value_dtype(self.precision), logits.shape, scale=scale)

    def update(
        self,
        layer: Layer,
        error: Tensor,
        *,
        x: Tensor | None = None,
        gradient: bool = False,
        mask: bool = True,
        through: Layer | None = None,
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
        if self.real:
            scale, limit = 1.0, 0
        else:
            bits = 12
            if through is not None:
                room = ((1 << 31) - 1) // (through.y.size * through.most)
                bits = min(bits, (room + 1).bit_length() - 1)
            scale, limit = scalar.power_scale(ERROR, bits), scalar.limit_of(bits)
            self.largest[name] = limit
        update = DenseUpdate(
            name=name,
            inputs=(),
            precision=self.precision,
            outputs=layer.y.size,
            bias=layer.biased,
            gradient=gradient,
            mask=gradient and mask,
            gradient_scale=scale,
            gradient_limit=limit,
            weight_scale=layer.weight.scale,
            rate=self.rate,
            rounding="nearest" if self.real else self.rounding,
            scheduled=self.samples > 0,
        )
        bias_scale = layer.weight.scale * layer.x.scale
        state = update.state(source, error, bias_scale, self.seed())
        self.learned += state
        names = {
            "error": error.name,
            "x": source.name,
            "weight": layer.weight.name,
            "bias": f"{layer.name}.bias",
            "schedule": SCHEDULE,
            **{k.tensor.name.split(".")[1]: k.tensor.name for k in state},
        }
        update.inputs = tuple(names[role] for role in update.roles)
        self.nodes.append(update)
        return Tensor(name, scalar.value_dtype(self.precision), source.shape, scale=scale)

    def classifier(self, hidden: list[int], *, bias: bool = True) -> list[Layer]:
        """Layers of these widths, then one of logits, `scores`.

        Args:
            hidden: widths.
            bias: whether hidden layers have one.
        """
        layers: list[Layer] = []
        x = self.features
        for i, width in enumerate(hidden):
            layers.append(self.layer(f"hidden{i}", x, width, bias=bias))
            x = layers[-1].y
        return [*layers, self.layer("scores", x, self.setting.classes, hidden=False)]

    def descend(
        self,
        layers: list[Layer],
        before: Callable[[Layer, Tensor], Tensor | None] = lambda layer, error: None,
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

"""A trainable network of dense layers behind a tensor of a graph, in any precision."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spikelet.errors import UsageError
from spikelet.graph import Array, Graph, Learned, Operator, Tensor
from spikelet.learn.layers.mse import Mse
from spikelet.learn.learner import extended
from spikelet.learn.networks.dense_layer import (
    FLOAT,
    DenseLayer,
    Format,
    Learns,
    fitted,
    softmax_loss,
    value,
)
from spikelet.learn.numbers import scalar
from spikelet.learn.numbers.scalar import Descent

_ERROR_BITS = 11
_LOGITS = 16.0


@dataclass(frozen=True, eq=False)
class Dense:
    """A dense layer in real numbers.

    Attributes:
        weight: (O, I).
        bias: (O,).
        relu: whether negative outputs become 0.
        rows: how many rows of the weight learn, the first ones; None for all.
        bias_learns: whether the bias learns.
    """

    weight: Array
    bias: Array
    relu: bool = False
    rows: int | None = None
    bias_learns: bool = True

    @property
    def learning_rows(self) -> int:
        """How many rows learn."""
        return len(self.weight) if self.rows is None else self.rows

    @property
    def learns(self) -> bool:
        """Whether anything of it learns."""
        return self.learning_rows > 0 or self.bias_learns

    def forward(self, x: Array) -> Array:
        """(N, O) of (N, I), in float64."""
        y = x @ self.weight.T.astype(np.float64) + self.bias
        out: Array = np.maximum(y, 0) if self.relu else y
        return out


@dataclass
class _Formats:
    """Scales and limits of one layer; 1 and 0 on floats."""

    weight: Format = FLOAT
    output: Format = FLOAT
    gradient: Format = FLOAT


def trainable(
    backbone: Graph,
    features: str,
    layers: Sequence[Dense],
    precision: str,
    descent: Descent,
    calibration: Array,
    loss: str = "softmax_cross_entropy",
    headroom: float = 2.0,
    seed: int = 1,
    prefix: str = "",
) -> Graph:
    """The graph with a network of dense layers that learns; its output is the last layer's.

    Args:
        backbone: graph that computes `features`.
        features: tensor that the first layer reads: codes u8 or i8, or values of the precision.
        layers: first to last.
        precision: one of `scalar.PRECISIONS`.
        descent: the step of every layer.
        calibration: features (N, *shape) as the backbone computes them: what integers must hold.
        loss: softmax_cross_entropy, for labels, or mse, for a target tensor named `target`.
        headroom: by which integer weights, outputs and gradients may grow before they saturate.
        seed: of stochastic rounding.
        prefix: of the names of its tensors and operators.

    Raises:
        UsageError: no layer learns, or there is no such loss.
        GraphError: a format does not hold the rate, or a layer does not fit; names the layer.
    """
    first = next((i for i, layer in enumerate(layers) if layer.learns), None)
    if first is None or loss not in ("softmax_cross_entropy", "mse"):
        raise UsageError(
            f"cannot build a network of {len(layers)} layers with loss {loss!r}",
            "no layer learns, or the loss is unknown",
            "let a layer learn; losses are softmax_cross_entropy and mse",
        )
    source = x = backbone.tensors[features]
    formats = _formats(source, layers, precision, calibration, headroom, loss)
    real = scalar.is_float(precision)
    made = []
    for i, (layer, f) in enumerate(zip(layers, formats, strict=True)):
        made.append(
            DenseLayer(
                name=f"{prefix}dense{i}",
                x=x,
                precision=precision,
                weight=layer.weight,
                bias=layer.bias,
                learns=Learns(layer.learning_rows, layer.bias_learns),
                format=f.weight,
                relu=layer.relu,
                output=f.output,
            )
        )
        x = made[-1].y
    nodes: list[Operator] = [layer.forward() for layer in made]
    learned = [k for layer in made for k in layer.learned]
    targets: list[Tensor] = []
    name, end = f"{prefix}error", formats[-1].gradient
    if loss == "mse":
        health = [Learned.of(f"{name}.health", "i32", (1,))] if real else []
        targets.append(Tensor("target", x.dtype, x.shape, kind="target", scale=x.scale))
        inputs = (x.name, "target", *(k.tensor.name for k in health))
        node: Operator = Mse(
            name=name, inputs=inputs, precision=precision, error_scale=end[0], error_limit=end[1]
        )
        error = value(precision, name, x.shape, end[0])
    else:
        bits = _ERROR_BITS if real else end[1].bit_length() - 1
        node, error, health = softmax_loss(name, x, precision, bits)
    nodes.append(node)
    learned += health
    low, high = backbone.bounds[features]
    reach = 0 if real else max(-int(low.min()), int(high.max()))
    step = dataclasses.replace(descent, rounding="nearest") if real else descent
    for i in range(len(layers) - 1, first - 1, -1):
        inner = i > first
        to = formats[i - 1].gradient if inner else FLOAT
        mask = i > 0 and layers[i - 1].relu
        update, state = made[i].update(
            f"{prefix}learn{i}",
            error,
            step,
            seed + i,
            gradient=inner,
            to=to,
            mask=mask,
            limits=(formats[i - 1].output[1] if i else reach, formats[i].gradient[1]),
        )
        nodes.append(update)
        learned += state
        error = value(precision, update.name, made[i].x.shape, to[0])
    classes = 0 if loss == "mse" else len(layers[-1].weight)
    return extended(backbone, nodes, learned, [x.name], classes, targets)


def _formats(
    source: Tensor,
    layers: Sequence[Dense],
    precision: str,
    calibration: Array,
    headroom: float,
    loss: str,
) -> list[_Formats]:
    """Scales and limits of integers, from a forward and a backward pass in real numbers."""
    if scalar.is_float(precision):
        return [_Formats() for _ in layers]
    x = (calibration.reshape(len(calibration), -1).astype(np.float64) - source.zero_point) * (
        source.scale
    )
    values = [x]
    for layer in layers:
        values.append(layer.forward(values[-1]))
    errors = _errors(layers, values, loss)
    formats = []
    for i, layer in enumerate(layers):
        outputs, inputs = layer.weight.shape
        bits = scalar.weight_bits(precision, inputs)
        below = layers[i + 1].weight.shape[1] if i + 1 < len(layers) else 1
        out_bits = scalar.value_bits(precision, below)
        reach = headroom * _largest(values[i + 1])
        if i + 1 == len(layers) and loss == "softmax_cross_entropy":
            reach = max(reach, _LOGITS)  # of a network that is sure of its class
        room = min(_ERROR_BITS, 30 - bits - max(0, outputs - 1).bit_length())
        if i + 1 == len(layers) and loss == "softmax_cross_entropy":
            gradient = 2.0 ** -(room - 1), 1 << (room - 1)
        else:
            gradient = fitted(precision, headroom * _largest(errors[i]), room)
        formats.append(
            _Formats(
                fitted(precision, headroom * _largest(layer.weight), bits),
                fitted(precision, reach, out_bits),
                gradient,
            )
        )
    return formats


def _largest(values: Array) -> float:
    """The largest size, 1 where all are 0: a layer that calibration did not reach."""
    return float(np.abs(values).max()) or 1.0


def _errors(layers: Sequence[Dense], values: Sequence[Array], loss: str) -> list[Array]:
    """Errors at each layer's output: of labels that are drawn, or of a target of 0."""
    y = values[-1]
    if loss == "mse":
        error = 2 * y / y.shape[1]
    else:
        powers = np.exp(y - y.max(axis=1, keepdims=True))
        error = powers / powers.sum(axis=1, keepdims=True)
        drawn = np.random.default_rng(0).integers(0, y.shape[1], len(y))
        error[np.arange(len(y)), drawn] -= 1
    found = [error]
    for layer, x in zip(reversed(layers[1:]), reversed(values[1:-1]), strict=True):
        error = (error @ layer.weight.astype(np.float64)) * (x > 0)
        found.insert(0, error)
    return found

"""A trainable network of dense layers behind a tensor of a graph, in any precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spikelet.errors import UsageError
from spikelet.graph import Array, Graph, Learned, Operator, Tensor
from spikelet.learn import float32, scalar
from spikelet.learn.layers.dense import DenseForward, DenseUpdate
from spikelet.learn.layers.mse import Mse
from spikelet.learn.layers.softmax_cross_entropy import SoftmaxCrossEntropy
from spikelet.learn.learner import extended
from spikelet.learn.scalar import Descent

_BIAS_LIMIT = (1 << 30) - 1
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

    weight: tuple[float, int] = (1.0, 0)
    bias_scale: float = 1.0
    output: tuple[float, int] = (1.0, 0)
    gradient: tuple[float, int] = (1.0, 0)


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
    source = backbone.tensors[features]
    formats = _formats(source, layers, precision, calibration, headroom, loss)
    made = _Made(precision, formats, descent, seed, prefix)
    x = source
    inputs = []
    for i, layer in enumerate(layers):
        inputs.append(x)
        x = made.forward(i, layer, x)
    classes = len(layers[-1].weight)
    targets: list[Tensor] = []
    error = made.loss(loss, x, targets)
    for i in range(len(layers) - 1, first - 1, -1):
        below = formats[i - 1] if i > first else _Formats()
        error = made.update(i, layers[i], below, inputs[i], error, i > first)
    return extended(
        backbone,
        made.nodes,
        made.learned,
        [x.name],
        classes if loss == "softmax_cross_entropy" else 0,
        targets,
    )


class _Made:
    """The operators and learned tensors, as they are made."""

    def __init__(
        self, precision: str, formats: list[_Formats], descent: Descent, seed: int, prefix: str
    ) -> None:
        self.precision = precision
        self.formats = formats
        self.descent = descent
        self.seed = seed
        self.prefix = prefix
        self.nodes: list[Operator] = []
        self.learned: list[Learned] = []
        self.weights: dict[int, tuple[Array | None, str, str]] = {}

    def forward(self, i: int, layer: Dense, x: Tensor) -> Tensor:
        """The operator of layer i, and its weights."""
        f = self.formats[i]
        name = f"{self.prefix}dense{i}"
        real = scalar.is_float(self.precision)
        stored = self._stored(layer.weight, f.weight)
        rows = layer.learning_rows
        inputs, frozen_bias = [x.name], None
        if rows:
            limits: dict[str, int] = {} if real else {"low": -f.weight[1], "high": f.weight[1]}
            inputs.append(f"{name}.weight")
            self.learned.append(
                Learned.of(
                    inputs[-1],
                    self.precision,
                    stored[:rows].shape,
                    stored[:rows],
                    scale=f.weight[0],
                    **limits,
                )
            )
        total = scalar.sum_dtype(self.precision)
        if real:
            bias = layer.bias.astype(np.float32)
        else:
            bias = scalar.quantise(layer.bias, f.bias_scale, _BIAS_LIMIT, total)
        if layer.bias_learns:
            limits = {} if real else {"low": -_BIAS_LIMIT, "high": _BIAS_LIMIT}
            inputs.append(f"{name}.bias")
            self.learned.append(
                Learned.of(inputs[-1], total, bias.shape, bias, scale=f.bias_scale, **limits)
            )
        else:
            frozen_bias = bias
        frozen = stored[rows:] if rows < len(stored) else None
        self.weights[i] = frozen, f"{name}.weight", f"{name}.bias"
        self.nodes.append(
            DenseForward(
                name=name,
                inputs=tuple(inputs),
                precision=self.precision,
                outputs=len(stored),
                frozen=frozen,
                frozen_bias=frozen_bias,
                relu=layer.relu,
                weight_scale=f.weight[0],
                output_scale=f.output[0],
                output_limit=f.output[1],
            )
        )
        return self._value(name, (len(stored),), f.output[0])

    def loss(self, loss: str, y: Tensor, targets: list[Tensor]) -> Tensor:
        """The operator that the backward pass starts from."""
        f = self.formats[-1]
        name = f"{self.prefix}error"
        real = scalar.is_float(self.precision)
        health = [f"{name}.health"] if real else []
        self.learned += [Learned.of(h, "i32", (1,)) for h in health]
        if loss == "mse":
            targets.append(Tensor("target", y.dtype, y.shape, kind="target", scale=y.scale))
            self.nodes.append(
                Mse(
                    name=name,
                    inputs=(y.name, "target", *health),
                    precision=self.precision,
                    error_scale=f.gradient[0],
                    error_limit=f.gradient[1],
                )
            )
            return self._value(name, y.shape, f.gradient[0])
        bits = _ERROR_BITS if real else f.gradient[1].bit_length() - 1
        self.nodes.append(
            SoftmaxCrossEntropy(
                name=name,
                inputs=(y.name, "label", *health),
                precision=self.precision,
                error_bits=bits,
            )
        )
        return self._value(name, y.shape, 2.0**-bits)

    def update(
        self, i: int, layer: Dense, below: _Formats, x: Tensor, error: Tensor, gradient: bool
    ) -> Tensor:
        """The backward operator of layer i; the gradient of its input."""
        f = self.formats[i]
        frozen, weight, bias = self.weights[i]
        before = self.nodes[i - 1] if i else None
        node = DenseUpdate(
            name=f"{self.prefix}learn{i}",
            inputs=(),
            precision=self.precision,
            outputs=len(layer.weight),
            frozen=frozen,
            bias=layer.bias_learns,
            gradient=gradient,
            mask=isinstance(before, DenseForward) and before.relu,
            gradient_scale=below.gradient[0],
            gradient_limit=below.gradient[1],
            weight_scale=f.weight[0],
            rate=self.descent.rate,
            momentum=self.descent.momentum,
            decay=self.descent.decay,
            batch=self.descent.batch,
            rounding="nearest" if scalar.is_float(self.precision) else self.descent.rounding,
        )
        state = node.state(x, error, f.bias_scale, self.seed + i)
        self.learned += state
        known = {"error": error.name, "x": x.name, "weight": weight, "bias": bias}
        known.update({k.tensor.name.split(".")[1]: k.tensor.name for k in state})
        node.inputs = tuple(known[role] for role in node.roles)
        self.nodes.append(node)
        return self._value(node.name, x.shape, below.gradient[0])

    def _stored(self, weight: Array, f: tuple[float, int]) -> Array:
        if self.precision == "f32":
            return weight.astype(np.float32)
        if self.precision == "f16":
            return float32.to_half(weight.astype(np.float32))
        return scalar.quantise(weight, f[0], f[1], self.precision)

    def _value(self, name: str, shape: tuple[int, ...], scale: float) -> Tensor:
        return Tensor(name, scalar.value_dtype(self.precision), shape, scale=scale)


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
    scale = source.scale
    for i, layer in enumerate(layers):
        outputs, inputs = layer.weight.shape
        bits = scalar.weight_bits(precision, inputs)
        weight = scalar.power_scale(headroom * _largest(layer.weight), bits)
        below = layers[i + 1].weight.shape[1] if i + 1 < len(layers) else 1
        out_bits = scalar.value_bits(precision, below)
        reach = headroom * _largest(values[i + 1])
        if i + 1 == len(layers) and loss == "softmax_cross_entropy":
            reach = max(reach, _LOGITS)  # of a network that is sure of its class
        out = scalar.power_scale(reach, out_bits)
        room = min(_ERROR_BITS, 30 - bits - max(0, outputs - 1).bit_length())
        size = _largest(errors[i])
        if i + 1 == len(layers) and loss == "softmax_cross_entropy":
            gradient = 2.0 ** -(room - 1), 1 << (room - 1)
        else:
            gradient = scalar.power_scale(headroom * size, room), scalar.limit_of(room)
        formats.append(
            _Formats(
                (weight, scalar.limit_of(bits)),
                weight * scale,
                (out, scalar.limit_of(out_bits)),
                gradient,
            )
        )
        scale = out
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

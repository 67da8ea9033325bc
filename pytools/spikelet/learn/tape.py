"""Layers laid one on the other, and the backward pass through them, as operators of a graph.

A tape holds what was laid. `backward` goes through it from the end: each layer that learns gets its
update, and each that something learnable lies below gets the gradient of its input. Nothing goes
below the first layer that learns, and nothing below that is kept.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spikelet.graph import Array, Graph, GraphError, Learned, Operator, Tensor
from spikelet.graph.graph import LABEL, NAME_BYTES
from spikelet.graph.ops.reshape import Reshape
from spikelet.learn import scalar
from spikelet.learn.layers.average_pool2d import AveragePool2dForward, AveragePool2dInputGradient
from spikelet.learn.layers.conv2d import Conv2dForward, Conv2dInputGradient, Conv2dUpdate
from spikelet.learn.layers.dense import DenseForward, DenseUpdate
from spikelet.learn.layers.depthwise_conv2d import (
    DepthwiseConv2dForward,
    DepthwiseConv2dInputGradient,
    DepthwiseConv2dUpdate,
)
from spikelet.learn.layers.softmax_cross_entropy import SoftmaxCrossEntropy
from spikelet.learn.layers.weighted_sum import WeightedSum
from spikelet.learn.scalar import Descent

VALUE_BITS = 11  # beside the sign, of activations and errors on integers
BIAS_LIMIT = (1 << 30) - 1  # the other half of a sum is for products
ROOM = 1.5  # what a range may grow by while the network learns
SURE = 16.0  # scores saturate beyond this
FRESH = 4.0  # ... and weights that start at 0, of what they reached on the calibration data
_STORED = {"f32": np.float32, "f16": np.float16, "i16": np.int16, "i8": np.int8}


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


@dataclass(frozen=True)
class Formats:
    """The scales of a precision's numbers.

    Attributes:
        precision: one of `scalar.PRECISIONS`.
        ranges: on integers, the largest size of each activation and error by name, real.
    """

    precision: str
    ranges: Mapping[str, float] = field(default_factory=dict)

    @property
    def real(self) -> bool:
        """Whether numbers are floats, which need no scale."""
        return scalar.is_float(self.precision)

    def value(self, name: str) -> tuple[float, int]:
        """Scale and limit of an activation or error."""
        if self.real:
            return 1.0, 0
        if name not in self.ranges:
            raise GraphError(f"tensor {name}: its range is not known")
        largest = ROOM * self.ranges[name]
        return scalar.power_scale(largest, VALUE_BITS), scalar.limit_of(VALUE_BITS)

    def weight(self, name: str, values: Array, products: int) -> tuple[Array, float, int]:
        """Stored weights, their scale and limit, for sums of `products` forward or backward."""
        stored = _STORED[self.precision]
        if self.real:
            return values.astype(stored), 1.0, 0
        room = 30 - VALUE_BITS - max(0, products - 1).bit_length()
        bits = min(room, 8 * np.dtype(stored).itemsize - 1)
        if bits < 4:
            raise GraphError(f"sums of {products} products leave {bits} bits for a weight")
        largest = float(np.abs(values).max(initial=0))
        if not largest:  # it starts from nothing, and has far to go
            largest = max(FRESH * self.ranges.get(name, 0.0), 2 / math.sqrt(products))
        largest = ROOM * max(largest, self.ranges.get(name, 0.0))
        scale, limit = scalar.power_scale(largest, bits), scalar.limit_of(bits)
        return scalar.quantise(values, scale, limit, self.precision), scale, limit

    def bias(self, values: Array, scale: float) -> Array:
        """Stored biases, in units of `scale`."""
        if self.real:
            return values.astype(np.float32)
        return scalar.quantise(values, scale, BIAS_LIMIT, "i32")


@dataclass
class _Laid:
    """One layer on the tape.

    Attributes:
        node: what computes its output.
        tensor: the output.
        reads: activations that it is a function of.
        positive: the output came through a ReLU.
        live: it depends on something that learns.
        back: given the name of its error, adds the operators of its backward pass.
    """

    node: Operator
    tensor: Tensor
    reads: tuple[str, ...]
    positive: bool
    live: bool
    back: Callable[[str], None]


class Tape:
    """Layers that learn, and the operators that they are made of.

    Attributes:
        nodes: in order of execution.
        learned: tensors that the operators change.
    """

    def __init__(
        self,
        given: Mapping[str, Tensor],
        formats: Formats,
        descent: Descent,
        seed: int = 0,
        again: Collection[str] = (),
    ) -> None:
        """An empty tape.

        Args:
            given: tensors that layers may read, by name: codes, or values of the precision.
            formats: of the numbers.
            descent: the step of what learns.
            seed: of stochastic rounding.
            again: layers whose outputs are computed once more in the backward pass, not kept.
        """
        self.formats = formats
        self.descent = descent
        self.nodes: list[Operator] = []
        self.learned: list[Learned] = []
        self.again = again
        self._given = given
        self._draws = np.random.default_rng([seed, 29])
        self._laid: dict[str, _Laid] = {}
        self._errors: dict[str, list[str]] = {}
        self._scales: dict[str, float] = {}  # of errors
        self._computed_again: dict[str, str] = {}

    def live(self, name: str) -> bool:
        """Whether a tensor depends on something that learns."""
        return name in self._laid and self._laid[name].live

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a tensor."""
        return self._tensor(name).shape

    def values_of(self, name: str) -> bool:
        """Whether a tensor is one of the tape's own, not codes of the frozen network."""
        return name in self._laid

    def dense(
        self, name: str, x: str, weight: Array, bias: Array, learns: Learns, relu: bool = False
    ) -> str:
        """`y = weight @ x + bias`, weight (O, I), bias (O,), real numbers; the name of y."""
        outputs, inputs = weight.shape
        parts = self._parts(name, x, weight, bias, max(outputs, inputs), learns, axis=0)
        scale, limit = self.formats.value(name)
        node = DenseForward(
            name=name,
            inputs=(x, *parts.names),
            precision=self.formats.precision,
            outputs=outputs,
            frozen=parts.frozen,
            frozen_bias=parts.frozen_bias,
            relu=relu,
            weight_scale=parts.scale,
            output_scale=scale,
            output_limit=limit,
        )

        def back(error: str) -> None:
            wanted = self.live(x)
            to = named(name, "update")
            scale, limit = self.formats.value(to) if wanted else (1.0, 0)
            update = DenseUpdate(
                name=to,
                inputs=(),
                precision=self.formats.precision,
                outputs=outputs,
                frozen=parts.frozen,
                bias=learns.bias,
                gradient=wanted,
                mask=self._positive(x),
                gradient_scale=scale,
                gradient_limit=limit,
                weight_scale=parts.scale,
                **self._descent(),
            )
            seen = self.kept(x)
            state = update.state(
                self._tensor(x),
                self._error(error, (outputs,)),
                parts.bias_scale,
                int(self._draws.integers(1, 1 << 32)),
            )
            self._finish(update, update.roles, {"error": error, "x": seen, **parts.at}, state)
            if wanted:
                self._arrives(x, to, scale)

        return self._lay(node, (outputs,), scale, (x,), relu, bool(learns), back)

    def conv2d(
        self,
        name: str,
        x: str,
        weight: Array,
        bias: Array,
        learns: Learns,
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int, int, int] = (0, 0, 0, 0),
        relu: bool = False,
    ) -> str:
        """A convolution of x (H, W, I) with weight (KH, KW, I, O), bias (O,); the name of y.

        padding: top, left, bottom, right.
        """
        height, width, depth, outputs = weight.shape
        products = height * width * max(depth, outputs)
        parts = self._parts(name, x, weight, bias, products, learns, axis=3)
        shape = (*_image(self.shape(x), (height, width), stride, padding), outputs)
        geometry = {
            "kernel": (height, width),
            "stride": stride,
            "padding": padding,
            "outputs": outputs,
        }
        classes = (Conv2dForward, Conv2dInputGradient, Conv2dUpdate)
        return self._convolution(name, x, classes, geometry, parts, shape, learns, relu)

    def depthwise_conv2d(
        self,
        name: str,
        x: str,
        weight: Array,
        bias: Array,
        learns: Learns,
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int, int, int] = (0, 0, 0, 0),
        relu: bool = False,
    ) -> str:
        """The same of each channel for itself: x (H, W, C), weight (KH, KW, C), bias (C,)."""
        height, width, channels = weight.shape
        parts = self._parts(name, x, weight, bias, height * width, learns, axis=2)
        shape = (*_image(self.shape(x), (height, width), stride, padding), channels)
        geometry = {"kernel": (height, width), "stride": stride, "padding": padding}
        classes = (DepthwiseConv2dForward, DepthwiseConv2dInputGradient, DepthwiseConv2dUpdate)
        return self._convolution(name, x, classes, geometry, parts, shape, learns, relu)

    def _convolution(
        self,
        name: str,
        x: str,
        classes: tuple[type[Any], type[Any], type[Any]],
        geometry: Mapping[str, Any],
        parts: _Parts,
        shape: tuple[int, ...],
        learns: Learns,
        relu: bool,
    ) -> str:
        forward, input_gradient, update_of = classes
        scale, limit = self.formats.value(name)
        precision = self.formats.precision
        node = forward(
            name=name,
            inputs=(x, *parts.names),
            precision=precision,
            **geometry,
            frozen=parts.frozen,
            frozen_bias=parts.frozen_bias,
            relu=relu,
            weight_scale=parts.scale,
            output_scale=scale,
            output_limit=limit,
        )

        def back(error: str) -> None:
            if self.live(x):  # before the weights change
                mask = self._positive(x)
                to = named(name, "back")
                scale, limit = self.formats.value(to)
                self.nodes.append(
                    input_gradient(
                        name=to,
                        inputs=(
                            error,
                            *(parts.at[role] for role in ("weight",) if role in parts.at),
                            *((self.kept(x),) if mask else ()),
                        ),
                        precision=precision,
                        **geometry,
                        shape=self.shape(x),
                        frozen=parts.frozen,
                        mask=mask,
                        weight_scale=parts.scale,
                        gradient_scale=scale,
                        gradient_limit=limit,
                    )
                )
                self._arrives(x, to, scale)
            if not learns:
                return
            channels = shape[-1]
            update = update_of(
                name=named(name, "update"),
                inputs=(),
                precision=precision,
                **geometry,
                frozen_outputs=channels - learns.channels,
                bias=learns.bias,
                weight_scale=parts.scale,
                **self._descent(),
            )
            state = update.state(
                self._tensor(x),
                self._error(error, shape),
                parts.bias_scale,
                int(self._draws.integers(1, 1 << 32)),
            )
            roles = update.roles(self.shape(x)[-1])
            at = {"error": error, "x": self.kept(x), **parts.at}
            self._finish(update, roles, at, state)

        return self._lay(node, shape, scale, (x,), relu, bool(learns), back)

    def mean(self, name: str, x: str) -> str:
        """The mean over height and width of (H, W, C): (1, 1, C); the name."""
        height, width, channels = self.shape(x)
        scale, limit = self.formats.value(name)
        geometry: dict[str, Any] = {
            "precision": self.formats.precision,
            "kernel": (height, width),
            "stride": (1, 1),
            "padding": (0, 0, 0, 0),
        }
        node = AveragePool2dForward(
            name=name, inputs=(x,), **geometry, output_scale=scale, output_limit=limit
        )

        def back(error: str) -> None:
            mask = self._positive(x)
            to = named(name, "back")
            scale, limit = self.formats.value(to)
            self.nodes.append(
                AveragePool2dInputGradient(
                    name=to,
                    inputs=(error, *((self.kept(x),) if mask else ())),
                    **geometry,
                    shape=(height, width, channels),
                    mask=mask,
                    gradient_scale=scale,
                    gradient_limit=limit,
                )
            )
            self._arrives(x, to, scale)

        return self._lay(node, (1, 1, channels), scale, (x,), False, False, back)

    def weighted_sum(
        self, name: str, reads: tuple[str, ...], gains: tuple[float, ...], relu: bool = False
    ) -> str:
        """`sum of gains[i] * reads[i]`, one or two; the name of the sum."""
        scale, limit = self.formats.value(name)
        node = WeightedSum(
            name=name,
            inputs=reads,
            precision=self.formats.precision,
            gains=gains,
            relu=relu,
            output_scale=scale,
            output_limit=limit,
        )

        def back(error: str) -> None:
            for part, gain in zip(reads, gains, strict=True):
                if self.live(part):
                    self._pass_on(name, part, error, gain, node.again)

        return self._lay(node, self.shape(reads[0]), scale, reads, relu, False, back)

    def reshape(self, name: str, x: str, shape: tuple[int, ...]) -> str:
        """The same elements in another shape; the name."""
        node = Reshape(name=name, inputs=(x,), shape=shape)
        before = self.shape(x)

        def back(error: str) -> None:
            to = named(name, "back")
            self.nodes.append(Reshape(name=to, inputs=(error,), shape=before))
            self._arrives(x, to, self._scales[error])

        scale = self._tensor(x).scale
        return self._lay(node, shape, scale, (x,), self._positive(x), False, back)

    def backward(self, scores: str, name: str = "error") -> None:
        """From the softmax cross-entropy of the scores down to the first layer that learns."""
        health = [] if not self.formats.real else [Learned.of(f"{name}.health", "i32", (1,))]
        self.learned += health
        node = SoftmaxCrossEntropy(
            name=name,
            inputs=(scores, LABEL, *(k.tensor.name for k in health)),
            precision=self.formats.precision,
            error_bits=VALUE_BITS - 1,
        )
        self.nodes.append(node)
        self._arrives(scores, name, 1.0 if self.formats.real else 2.0**-node.error_bits)
        for made in reversed(list(self._laid.values())):
            arrived = self._errors.get(made.tensor.name, [])
            if arrived and made.live:
                made.back(self._summed(made.tensor.name, arrived))

    def kept(self, x: str) -> str:
        """The name under which a backward operator finds an activation."""
        if x not in self._laid or x not in self.again:
            return x
        if x not in self._computed_again:
            made = self._laid[x]
            inputs = tuple(self.kept(n) if n in self._laid else n for n in made.node.inputs)
            to = named(x, "again")
            node = dataclasses.replace(made.node, name=to, inputs=inputs, again=True)  # type: ignore[call-arg]
            self.nodes.append(node)
            self._computed_again[x] = to
        return self._computed_again[x]

    # --- within ---

    def _parts(
        self,
        name: str,
        x: str,
        weight: Array,
        bias: Array,
        products: int,
        learns: Learns,
        axis: int,
    ) -> _Parts:
        """Weights and biases in the precision: learned tensors, and constants."""
        n = learns.channels
        channels = weight.shape[axis]
        if not 0 <= n <= channels:
            raise GraphError(f"layer {name}: {n} of its {channels} channels cannot learn")
        codes, scale, limit = self.formats.weight(f"{name}.weight", weight, products)
        first, rest = np.split(codes, [n], axis=axis)
        bias_scale = scale * (1.0 if self.formats.real else self._tensor(x).scale)
        stored = self.formats.bias(bias, bias_scale)
        parts = _Parts(
            scale,
            bias_scale,
            np.ascontiguousarray(rest) if n < channels else None,
            None if learns.bias else stored,
        )
        precision = self.formats.precision
        if n:
            ends = {} if self.formats.real else {"low": -limit, "high": limit}
            parts.at["weight"] = f"{name}.weight"
            self.learned.append(
                Learned.of(
                    parts.at["weight"],
                    precision,
                    first.shape,
                    np.ascontiguousarray(first),
                    scale=scale,
                    **ends,
                )
            )
        if learns.bias:
            ends = {} if self.formats.real else {"low": -BIAS_LIMIT, "high": BIAS_LIMIT}
            parts.at["bias"] = f"{name}.bias"
            dtype = scalar.sum_dtype(precision)
            self.learned.append(
                Learned.of(parts.at["bias"], dtype, stored.shape, stored, scale=bias_scale, **ends)
            )
        return parts

    def _descent(self) -> dict[str, Any]:
        step = self.descent
        return {
            "rate": step.rate,
            "momentum": step.momentum,
            "decay": step.decay,
            "batch": step.batch,
            "rounding": step.rounding,
        }

    def _finish(
        self, update: Any, roles: tuple[str, ...], at: Mapping[str, str], state: list[Learned]
    ) -> None:
        """Add an update operator, with its learned tensors among its inputs."""
        self.learned += state
        found = {k.tensor.name.rpartition(".")[2]: k.tensor.name for k in state} | dict(at)
        inputs = tuple(found[role] for role in roles)
        self.nodes.append(dataclasses.replace(update, inputs=inputs))

    def _lay(
        self,
        node: Operator,
        shape: tuple[int, ...],
        scale: float,
        reads: tuple[str, ...],
        positive: bool,
        learns: bool,
        back: Callable[[str], None],
    ) -> str:
        live = learns or any(self.live(x) for x in reads)
        tensor = Tensor(node.name, scalar.value_dtype(self.formats.precision), shape, scale=scale)
        self.nodes.append(node)
        self._laid[node.name] = _Laid(node, tensor, reads, positive, live, back)
        return node.name

    def _tensor(self, name: str) -> Tensor:
        return self._laid[name].tensor if name in self._laid else self._given[name]

    def _positive(self, name: str) -> bool:
        return name in self._laid and self._laid[name].positive

    def _error(self, name: str, shape: tuple[int, ...]) -> Tensor:
        dtype = scalar.value_dtype(self.formats.precision)
        return Tensor(name, dtype, shape, scale=self._scales[name])

    def _arrives(self, at: str, error: str, scale: float) -> None:
        """An error of a tensor: one of several, where several layers read it."""
        self._errors.setdefault(at, []).append(error)
        self._scales[error] = scale

    def _summed(self, name: str, errors: list[str]) -> str:
        """The one error of a tensor."""
        total = errors[0]
        for i, error in enumerate(errors[1:]):
            total = self._sum_of_errors(named(name, f"error{i or ''}"), (total, error), (1.0, 1.0))
        return total

    def _pass_on(self, layer: str, part: str, error: str, gain: float, again: bool) -> None:
        """`gain * error` to what a sum was made of; the error itself where it would be the same."""
        positive = self._positive(part)
        if gain == 1.0 and not positive:
            self._arrives(part, error, self._scales[error])
            return
        to = named(part, f"from_{len(self._errors.get(part, []))}")
        kept = (self.kept(part),) if positive else ()
        self._arrives(part, to, 0.0)
        self._sum_of_errors(to, (error,), (gain,), kept)

    def _sum_of_errors(
        self,
        to: str,
        errors: tuple[str, ...],
        gains: tuple[float, ...],
        kept: tuple[str, ...] = (),
    ) -> str:
        scale, limit = self.formats.value(to)
        self._scales[to] = scale
        self.nodes.append(
            WeightedSum(
                name=to,
                inputs=(*errors, *kept),
                precision=self.formats.precision,
                gains=gains,
                mask=bool(kept),
                output_scale=scale,
                output_limit=limit,
            )
        )
        return to


@dataclass
class _Parts:
    """A layer's weights and biases.

    Attributes:
        scale: of the weights, on integers.
        bias_scale: of the biases, on integers.
        frozen: weights that do not learn; None where all do.
        frozen_bias: biases where they do not learn.
        at: learned tensors by role.
    """

    scale: float
    bias_scale: float
    frozen: Array | None
    frozen_bias: Array | None
    at: dict[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The learned tensors, weight first."""
        return tuple(self.at[role] for role in ("weight", "bias") if role in self.at)


def _image(
    shape: tuple[int, ...],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
) -> tuple[int, int]:
    """Height and width of a convolution's output."""
    top, left, bottom, right = padding
    return (
        (shape[0] + top + bottom - kernel[0]) // stride[0] + 1,
        (shape[1] + left + right - kernel[1]) // stride[1] + 1,
    )


def named(layer: str, part: str) -> str:
    """A name of an operator that belongs to a layer, within the limit of names."""
    return f"{layer[: NAME_BYTES - len(part) - 1]}_{part}"


def ranges(
    graph: Graph, inputs: Mapping[str, Array], labels: Array, scores: Collection[str]
) -> dict[str, float]:
    """The largest size of each float tensor while a graph learns N samples, by name.

    Args:
        graph: in floats.
        inputs: by name, (N, *shape).
        labels: (N,).
        scores: tensors that grow until the network is sure: they get a reach of `SURE`.
    """
    learned = graph.initial()
    found: dict[str, float] = {}
    nodes = graph.order
    for i, label in enumerate(labels):
        env = {name: values[i : i + 1] for name, values in inputs.items()}
        env |= learned | {LABEL: np.array([[label]], np.int32)}
        for node in nodes:
            node.start(env, 1)
        for node in nodes:
            node.golden(env, 0)
            for tensor in graph.written(node):
                if tensor.dtype == "f32":
                    size = float(np.abs(env[tensor.name]).max())
                    found[tensor.name] = max(found.get(tensor.name, 0.0), size)
            if node.stops(env):
                raise GraphError(f"layer {node.name}: learning diverged; lower the learning rate")
    for name, values in learned.items():
        found[name] = float(np.abs(values).max())
    for name in scores:
        found[name] = max(found[name], SURE / ROOM)
    return {name: max(size, 2.0**-20) for name, size in found.items() if math.isfinite(size)}

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
from spikelet.learn.layers.average_pool2d import AveragePool2dForward, AveragePool2dInputGradient
from spikelet.learn.layers.codes import MOST, AsCodes, AsCodesGradient
from spikelet.learn.layers.conv2d import Conv2dForward, Conv2dInputGradient, Conv2dUpdate
from spikelet.learn.layers.depthwise_conv2d import (
    DepthwiseConv2dForward,
    DepthwiseConv2dInputGradient,
    DepthwiseConv2dUpdate,
)
from spikelet.learn.layers.weighted_sum import WeightedSum
from spikelet.learn.networks.dense_layer import (
    FLOAT,
    DenseLayer,
    Format,
    Learns,
    Parameters,
    fitted,
    softmax_loss,
    value,
)
from spikelet.learn.numbers import scalar
from spikelet.learn.numbers.scalar import Descent

VALUE_BITS = 11  # beside the sign, of activations and errors on integers
PARTS = 64  # of a code, in which the sums of averages are on integers
FINE = 0.1  # the coarsest scale of integer scores that softmax reads
LIMITS = (scalar.limit_of(VALUE_BITS),) * 2  # of activations and errors
ROOM = 1.5  # what a range may grow by while the network learns
SURE = 16.0  # scores saturate beyond this
FRESH = 4.0  # ... and weights that start at 0, of what they reached on the calibration data


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

    def value(self, name: str) -> Format:
        """Of an activation or error."""
        if self.real:
            return FLOAT
        if name not in self.ranges:
            raise GraphError(f"tensor {name}: its range is not known")
        return fitted(self.precision, ROOM * self.ranges[name], VALUE_BITS)

    def weight(self, name: str, values: Array, products: int, deployed: bool = False) -> Format:
        """Of weights, for sums of `products` forward or backward.

        Those of a deployed layer use all codes that sums leave room for, not a power of two: the
        layer is to say what it said before.
        """
        if self.real:
            return FLOAT
        room = 30 - VALUE_BITS - max(0, products - 1).bit_length()
        bits = min(room, 15 if self.precision == "i16" else 7)
        if bits < 4:
            raise GraphError(f"sums of {products} products leave {bits} bits for a weight")
        largest = float(np.abs(values).max(initial=0))
        if not largest:  # it starts from nothing, and has far to go
            largest = max(FRESH * self.ranges.get(name, 0.0), 2 / math.sqrt(products))
        largest = ROOM * max(largest, self.ranges.get(name, 0.0))
        if deployed:
            most = ((1 << 30) - 1) // (products * scalar.limit_of(VALUE_BITS))
            limit = min(most, 32767 if self.precision == "i16" else 127)
            return largest / limit, limit
        return fitted(self.precision, largest, bits)


@dataclass(frozen=True, eq=False)
class Codes:
    """What a deployed layer makes of its sums.

    Attributes:
        scale: of a code.
        low: lowest code, less the zero point.
        high: highest code, less the same.
        nudge: see `AsCodes`.
    """

    scale: float
    nudge: Array
    low: int = -MOST
    high: int = MOST

    @property
    def held(self) -> bool:
        """Whether there is a limit."""
        return (self.low, self.high) != (-MOST, MOST)


@dataclass
class _Laid:
    """One layer on the tape.

    Attributes:
        node: what computes its output.
        tensor: the output.
        positive: the output came through a ReLU.
        live: it depends on something that learns.
        back: given its error, adds the operators of its backward pass.
    """

    node: Operator
    tensor: Tensor
    positive: bool
    live: bool
    back: Callable[[Tensor], None]


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
        self.again = set(again)
        self._given = given
        self._draws = np.random.default_rng([seed, 29])
        self._laid: dict[str, _Laid] = {}
        self._errors: dict[str, list[Tensor]] = {}  # by tensor
        self._computed_again: dict[str, str] = {}

    def live(self, name: str) -> bool:
        """Whether a tensor depends on something that learns."""
        return name in self._laid and self._laid[name].live

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a tensor."""
        return self._tensor(name).shape

    def dense(
        self,
        name: str,
        x: str,
        weight: Array,
        bias: Array,
        learns: Learns,
        relu: bool = False,
        codes: Codes | None = None,
    ) -> str:
        """`y = weight @ x + bias`, weight (O, I), bias (O,), real numbers; the name of y."""
        layer = DenseLayer(
            name=name,
            x=self._tensor(x),
            precision=self.formats.precision,
            weight=weight,
            bias=self._nudged(bias, codes),
            learns=learns,
            format=self.formats.weight(
                f"{name}.weight", weight, max(weight.shape), codes is not None
            ),
            relu=relu,
            output=self._output(name, codes),
        )
        self.learned += layer.learned

        def back(error: Tensor) -> None:
            wanted = self.live(x)
            to = named(name, "update")
            end = self.formats.value(to) if wanted else FLOAT
            update, state = layer.update(
                to,
                error,
                self.descent,
                self._seed(),
                x=self._found(x),
                gradient=wanted,
                to=end,
                mask=self._positive(x),
                limits=LIMITS,
            )
            self.learned += state
            self.nodes.append(update)
            if wanted:
                self._arrives(x, to, end[0])

        return self._lay(layer.forward(), layer.y, (x,), back, relu, bool(learns), codes)

    def convolution(
        self,
        name: str,
        x: str,
        weight: Array,
        bias: Array,
        learns: Learns,
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int, int, int] = (0, 0, 0, 0),
        relu: bool = False,
        codes: Codes | None = None,
    ) -> str:
        """A convolution of x (H, W, I), of real numbers; the name of its output.

        Args:
            name: of the layer.
            x: what it reads.
            weight: (KH, KW, I, O); (KH, KW, I) convolves each channel for itself.
            bias: (O,); (I,).
            learns: what learns.
            stride: of height and width.
            padding: top, left, bottom, right.
            relu: negative outputs become 0.
            codes: what becomes of its sums, of a deployed layer.
        """
        kernel, channels = weight.shape[:2], weight.shape[-1]
        geometry: dict[str, Any] = {"kernel": kernel, "stride": stride, "padding": padding}
        forward: type[Any] = DepthwiseConv2dForward
        gradient: type[Any] = DepthwiseConv2dInputGradient
        update_of: type[Any] = DepthwiseConv2dUpdate
        products = math.prod(kernel)
        if weight.ndim == 4:
            forward, gradient, update_of = Conv2dForward, Conv2dInputGradient, Conv2dUpdate
            geometry["outputs"] = channels
            products *= max(weight.shape[2:])
        parts = Parameters(
            name=name,
            x=self._tensor(x),
            precision=self.formats.precision,
            weight=weight,
            bias=self._nudged(bias, codes),
            learns=learns,
            format=self.formats.weight(f"{name}.weight", weight, products, codes is not None),
        )
        self.learned += parts.learned
        scale, limit = self._output(name, codes)
        node = forward(
            name=name,
            inputs=(x, *parts.inputs),
            **geometry,
            relu=relu,
            output_scale=scale,
            output_limit=limit,
            **parts.constants,
        )

        def back(error: Tensor) -> None:
            if self.live(x):  # before the weights change
                read = (error.name, *parts.inputs[: learns.channels > 0])
                held = {"frozen": parts.frozen, "weight_scale": parts.format[0]}
                self._input_gradient(gradient, name, x, read, **geometry, **held)
            if not learns:
                return
            update = update_of(
                name=named(name, "update"),
                inputs=(),
                precision=self.formats.precision,
                **geometry,
                frozen_outputs=channels - learns.channels,
                bias=learns.bias,
                weight_scale=parts.format[0],
                **dataclasses.asdict(self.descent),
            )
            roles = update.roles(self.shape(x))
            self.learned += parts.bind(update, roles, self._found(x), error, self._seed(), LIMITS)
            self.nodes.append(update)

        shape = (*_image(self.shape(x), kernel, stride, padding), channels)
        tensor = self._value(name, shape, scale)
        return self._lay(node, tensor, (x,), back, relu, bool(learns), codes)

    def average(
        self,
        name: str,
        x: str,
        kernel: tuple[int, int],
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int, int, int] = (0, 0, 0, 0),
        codes: Codes | None = None,
    ) -> str:
        """The mean of each window of (H, W, C), without what is padding; the name."""
        scale, limit = self._output(name, codes, PARTS)
        geometry: dict[str, Any] = {"kernel": kernel, "stride": stride, "padding": padding}
        node = AveragePool2dForward(
            name=name,
            inputs=(x,),
            precision=self.formats.precision,
            **geometry,
            output_scale=scale,
            output_limit=limit,
        )

        def back(error: Tensor) -> None:
            self._input_gradient(AveragePool2dInputGradient, name, x, (error.name,), **geometry)

        shape = (*_image(self.shape(x), kernel, stride, padding), self.shape(x)[2])
        return self._lay(node, self._value(name, shape, scale), (x,), back, codes=codes)

    def weighted_sum(
        self,
        name: str,
        reads: tuple[str, ...],
        gains: tuple[float, ...],
        relu: bool = False,
        codes: Codes | None = None,
    ) -> str:
        """`sum of gains[i] * reads[i]`, one or two; the name of the sum."""
        scale, limit = self._output(name, codes)
        node = WeightedSum(
            name=name,
            inputs=reads,
            precision=self.formats.precision,
            gains=gains,
            relu=relu,
            output_scale=scale,
            output_limit=limit,
        )

        def back(error: Tensor) -> None:
            for part, gain in zip(reads, gains, strict=True):
                if self.live(part):
                    self._pass_on(part, error, gain)

        tensor = self._value(name, self.shape(reads[0]), scale)
        return self._lay(node, tensor, reads, back, relu, codes=codes)

    def reshape(self, name: str, x: str, shape: tuple[int, ...]) -> str:
        """The same elements in another shape; the name."""
        before = self._tensor(x)

        def back(error: Tensor) -> None:
            to = named(name, "back")
            self.nodes.append(Reshape(name=to, inputs=(error.name,), shape=before.shape))
            self._arrives(x, to, error.scale)

        node = Reshape(name=name, inputs=(x,), shape=shape)
        return self._lay(
            node, self._value(name, shape, before.scale), (x,), back, self._positive(x)
        )

    def backward(self, scores: str, name: str = "error") -> None:
        """From the softmax cross-entropy of the scores down to the first layer that learns."""
        node, error, health = softmax_loss(
            name, self._tensor(scores), self.formats.precision, VALUE_BITS - 1
        )
        self.learned += health
        self.nodes.append(node)
        self._errors[scores] = [error]
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

    def _seed(self) -> int:
        return int(self._draws.integers(1, 1 << 32))

    def _value(self, name: str, shape: tuple[int, ...], scale: float) -> Tensor:
        return value(self.formats.precision, name, shape, scale)

    def _tensor(self, name: str) -> Tensor:
        return self._laid[name].tensor if name in self._laid else self._given[name]

    def _found(self, name: str) -> Tensor:
        """An activation as a backward operator finds it."""
        return dataclasses.replace(self._tensor(name), name=self.kept(name))

    def _positive(self, name: str) -> bool:
        return name in self._laid and self._laid[name].positive

    def _lay(
        self,
        node: Operator,
        tensor: Tensor,
        reads: tuple[str, ...],
        back: Callable[[Tensor], None],
        positive: bool = False,
        learns: bool = False,
        codes: Codes | None = None,
    ) -> str:
        name = node.name
        if codes is not None:
            node = dataclasses.replace(node, name=_sum(name))
            tensor = dataclasses.replace(tensor, name=node.name)
        live = learns or any(self.live(x) for x in reads)
        self.nodes.append(node)
        self._laid[node.name] = _Laid(node, tensor, positive, live, back)
        return name if codes is None else self._lay_codes(name, tensor, codes)

    def _lay_codes(self, name: str, sums: Tensor, codes: Codes) -> str:
        """Round the sums of a layer to its codes; the layer's name."""
        precision, real = self.formats.precision, self.formats.real
        ends: dict[str, Any] = {"low": codes.low, "high": codes.high, "scale": codes.scale}
        fraction = 0
        if not (real or codes.held):
            fraction = min(8, max(0, math.frexp(codes.scale / FINE)[1]))
            ends |= {"low": -(MOST >> fraction), "high": MOST >> fraction}
        if name in self.again:
            self.again.add(sums.name)
        node = AsCodes(
            name=name,
            inputs=(sums.name,),
            precision=precision,
            fraction=fraction,
            nudge=codes.nudge,
            **ends,
        )

        def back(error: Tensor) -> None:
            if not codes.held:
                self._errors.setdefault(sums.name, []).append(error)
                return
            to = named(name, "held")
            reads = (error.name, self.kept(name))
            self.nodes.append(AsCodesGradient(name=to, inputs=reads, precision=precision, **ends))
            self._arrives(sums.name, to, error.scale)

        tensor = self._value(name, sums.shape, 1.0 if real else codes.scale / (1 << fraction))
        return self._lay(node, tensor, (sums.name,), back)

    def _output(self, name: str, codes: Codes | None, parts: int = 1) -> Format:
        """The format of a layer's output; integers that become codes are in parts of a code."""
        if codes is None:
            return self.formats.value(name)
        return FLOAT if self.formats.real else (codes.scale / parts, MOST)

    def _nudged(self, bias: Array, codes: Codes | None) -> Array:
        """The bias of integers: sums above 0 are rounded as those of the deployed layer."""
        if codes is None or self.formats.real or codes.low < 0:
            return bias
        return bias + codes.nudge * codes.scale

    def _input_gradient(
        self, make: type[Any], layer: str, x: str, reads: tuple[str, ...], **fields: Any
    ) -> None:
        """The operator of the gradient of a layer's input."""
        mask = self._positive(x)
        to = named(layer, "back")
        scale, limit = self.formats.value(to)
        node = make(
            name=to,
            inputs=(*reads, *((self.kept(x),) if mask else ())),
            precision=self.formats.precision,
            shape=self.shape(x),
            mask=mask,
            gradient_scale=scale,
            gradient_limit=limit,
            **fields,
        )
        self.nodes.append(node)
        self._arrives(x, to, scale)

    def _arrives(self, at: str, error: str, scale: float) -> None:
        """An error of a tensor: one of several, where several layers read it."""
        found = self._value(error, self.shape(at), scale)
        self._errors.setdefault(at, []).append(found)

    def _summed(self, name: str, errors: list[Tensor]) -> Tensor:
        """The one error of a tensor."""
        total = errors[0]
        for i, error in enumerate(errors[1:]):
            total = self._sum_of_errors(named(name, f"error{i or ''}"), (total, error), (1.0, 1.0))
        return total

    def _pass_on(self, part: str, error: Tensor, gain: float) -> None:
        """`gain * error` to what a sum was made of; the error itself where it would be the same."""
        arrived = self._errors.setdefault(part, [])
        positive = self._positive(part)
        if gain != 1.0 or positive:
            kept = (self.kept(part),) if positive else ()
            to = named(part, f"from_{len(arrived)}")
            error = self._sum_of_errors(to, (error,), (gain,), kept)
        arrived.append(error)

    def _sum_of_errors(
        self,
        to: str,
        errors: tuple[Tensor, ...],
        gains: tuple[float, ...],
        kept: tuple[str, ...] = (),
    ) -> Tensor:
        scale, limit = self.formats.value(to)
        self.nodes.append(
            WeightedSum(
                name=to,
                inputs=(*(error.name for error in errors), *kept),
                precision=self.formats.precision,
                gains=gains,
                mask=bool(kept),
                output_scale=scale,
                output_limit=limit,
            )
        )
        return self._value(to, errors[0].shape, scale)


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


def _sum(layer: str) -> str:
    """Name of the operator of a layer's sums, where another one rounds them to codes."""
    return named(layer, "sum")


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
            for tensor in node.outs:
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

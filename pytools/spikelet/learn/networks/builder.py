"""The builder of networks that learn: layers one on the other, and the backward pass through them.

A `NetworkBuilder` keeps what was laid. `backward` goes through it from the end: each layer that
learns gets its step, and each that something learnable lies below gets the gradient of its input.
Nothing goes below the first layer that learns, and nothing below that is kept.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from spikelet.graph import Learned, Operator, Tensor
from spikelet.graph.graph import LABEL, NAME_BYTES
from spikelet.graph.ops.reshape import Reshape
from spikelet.learn.layers.average_pool2d import AveragePool2dForward, AveragePool2dInputGradient
from spikelet.learn.layers.codes import MOST, AsCodes, AsCodesGradient
from spikelet.learn.layers.relu_gradient import ReluGradient
from spikelet.learn.layers.schedule import restarting_schedule
from spikelet.learn.layers.softmax_cross_entropy import SoftmaxCrossEntropy
from spikelet.learn.layers.weighted_sum import WeightedSum
from spikelet.learn.networks.formats import Formats
from spikelet.learn.networks.parameters import (
    FLOAT,
    ConvolutionParameters,
    DenseParameters,
    DeployedCodes,
    Format,
    Margins,
    Pair,
    Parameters,
    RealLayer,
    image_shape,
    value,
)
from spikelet.learn.numbers.scalar import Descent

SCHEDULE = "schedule"
PARTS = 64  # of a code, in which the sums of averages are on integers
FINE = 0.1  # the coarsest scale of integer scores that softmax reads

Before = Callable[[Parameters, Tensor], Tensor | None]


@dataclass
class _Laid:
    """One operator of the forward pass.

    Attributes:
        node: what computes its output.
        tensor: the output.
        positive: the output came through a ReLU.
        live: it depends on something that learns.
        back: given its error, adds the operators of its backward pass.
        layer: its weights, where it has some.
        below: its error goes on to what it reads.
    """

    node: Operator
    tensor: Tensor
    positive: bool
    live: bool
    back: Callable[[Tensor], None]
    layer: Parameters | None = None
    below: bool = False


class NetworkBuilder:
    """Layers that learn, and the operators that they are made of.

    Attributes:
        formats: of the numbers.
        descent: the step of what learns.
        rng: of the seeds of stochastic rounding.
        nodes: in order of execution.
        learned: tensors that the operators change.
        largest: by tensor, the largest code without zero point, where formats are given.
    """

    def __init__(
        self,
        given: Mapping[str, Tensor],
        formats: Formats,
        descent: Descent,
        rng: np.random.Generator,
        *,
        again: Collection[str] = (),
        samples: int = 0,
    ) -> None:
        """A network without layers.

        Args:
            given: tensors that layers may read, by name: codes, or values of the precision.
            formats: of the numbers.
            descent: the step of what learns.
            rng: of the seeds of stochastic rounding.
            again: layers whose outputs are computed once more in the backward pass, not kept.
            samples: of a task, along which the rate falls to 0; 0 for a constant rate.
        """
        self.formats = formats
        self.descent = descent
        self.rng = rng
        self.nodes: list[Operator] = []
        self.learned: list[Learned] = []
        self.largest = dict.fromkeys(given, formats.largest)
        self._again = set(again)
        self._scheduled = samples > 0
        self._given = dict(given)
        self._laid: dict[str, _Laid] = {}
        self._errors: dict[str, list[Tensor]] = {}  # by tensor, in one backward pass
        self._before: Before | None = None
        self._computed_again: dict[str, str] = {}
        if self._scheduled:
            self.learned, self.nodes = restarting_schedule(SCHEDULE, samples)

    def live(self, name: str) -> bool:
        """Whether a tensor depends on something that learns."""
        return name in self._laid and self._laid[name].live

    def tensor(self, name: str) -> Tensor:
        """What a layer wrote, or was given."""
        return self._laid[name].tensor if name in self._laid else self._given[name]

    def seed(self) -> int:
        """A state of xorshift32."""
        return int(self.rng.integers(1, 1 << 32))

    # --- forward ---

    def layer(self, name: str, x: str, real: RealLayer, detached: bool = False) -> Parameters:
        """A layer with weights of its own, that writes `name`.

        Args:
            name: of the layer.
            x: what it reads.
            real: the layer in real numbers.
            detached: no error goes back to x.
        """
        layer = self.parameters(name, self.tensor(x), real)
        self.lay(layer, name, x, detached=detached)
        return layer

    def parameters(self, name: str, x: Tensor, real: RealLayer) -> Parameters:
        """The weights of a layer that reads x, or tensors like x: see `lay`."""
        formats, codes = self.formats, real.codes
        format = formats.weight(f"{name}.weight", real, x, self.largest.get(x.name, 0))
        if codes is not None and not formats.real and codes.low >= 0 and real.bias is not None:
            # Sums above 0 are rounded as those of the deployed layer.
            real = dataclasses.replace(real, bias=real.bias + codes.nudge * codes.scale)
        rate = self.descent.rate if real.rate is None else real.rate
        kind = DenseParameters if real.dense else ConvolutionParameters
        layer = kind(
            name=name,
            x=x,
            precision=formats.precision,
            real=real,
            format=format,
            output=self._output(name, codes, real.outputs, real.relu),
            bias_limit=formats.bias_limit(format, x),
            descent=dataclasses.replace(self.descent, rate=rate),
            scheduled=self._scheduled,
        )
        self.learned += layer.learned
        self.largest[name] = layer.output[1]
        return layer

    def lay(
        self,
        layer: Parameters,
        name: str,
        x: str,
        *,
        step: str = "",
        detached: bool = False,
        **how: Any,
    ) -> str:
        """Execute a layer here, too; the name of its output.

        Args:
            layer: of `parameters`.
            name: of the output.
            x: what it reads.
            step: name of its step in the backward pass.
            detached: no error goes back to x.
            how: `when` and `again`, see `Operator` and `DenseForward`.
        """
        if x not in self._laid:
            self._given.setdefault(x, dataclasses.replace(layer.x, name=x))
        learns, below = bool(layer.real.learns), self.live(x) and not detached
        step = step or part_name(name, "update")

        def back(error: Tensor) -> None:
            if isinstance(layer, DenseParameters):
                self._learn_dense(layer, step, x, error, below)
            elif isinstance(layer, ConvolutionParameters):
                self._learn_convolution(layer, step, x, error, below)

        laid = _Laid(
            node=layer.forward(name, x, **how),
            tensor=dataclasses.replace(layer.y, name=name),
            positive=layer.real.relu,
            live=learns or below,
            back=back,
            layer=layer,
            below=below,
        )
        return self._lay(laid, layer.real.codes)

    def average(
        self,
        name: str,
        x: str,
        kernel: Pair,
        stride: Pair = (1, 1),
        padding: Margins = (0, 0, 0, 0),
        codes: DeployedCodes | None = None,
    ) -> str:
        """The mean of each window of (H, W, C), without what is padding; the name."""
        scale, limit = self._output(name, codes, parts=PARTS)
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

        shape = self.tensor(x).shape
        tensor = self._value(name, (*image_shape(shape, kernel, stride, padding), shape[2]), scale)
        return self._lay(_Laid(node, tensor, False, self.live(x), back), codes)

    def weighted_sum(
        self,
        name: str,
        reads: tuple[str, ...],
        gains: tuple[float, ...],
        relu: bool = False,
        codes: DeployedCodes | None = None,
    ) -> str:
        """`sum of gains[i] * reads[i]`, one or two; the name of the sum."""
        scale, limit = self._output(name, codes, relu=relu)
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

        tensor = self._value(name, self.tensor(reads[0]).shape, scale)
        return self._lay(_Laid(node, tensor, relu, any(map(self.live, reads)), back), codes)

    def reshape(self, name: str, x: str, shape: tuple[int, ...]) -> str:
        """The same elements in another shape; the name."""
        before = self.tensor(x)

        def back(error: Tensor) -> None:
            to = part_name(name, "back")
            self.nodes.append(Reshape(name=to, inputs=(error.name,), shape=before.shape))
            self._arrives(x, to, error.scale)

        node = Reshape(name=name, inputs=(x,), shape=shape)
        tensor = self._value(name, shape, before.scale)
        return self._lay(_Laid(node, tensor, self._positive(x), self.live(x), back))

    def _lay(self, laid: _Laid, codes: DeployedCodes | None = None) -> str:
        name = laid.node.name
        if codes is not None:
            laid.node = dataclasses.replace(laid.node, name=part_name(name, "sum"))
            laid.tensor = dataclasses.replace(laid.tensor, name=laid.node.name)
        self.nodes.append(laid.node)
        self._laid[laid.node.name] = laid
        return name if codes is None else self._lay_codes(name, laid.tensor, codes)

    def _lay_codes(self, name: str, sums: Tensor, codes: DeployedCodes) -> str:
        """Round the sums of a layer to its codes; the layer's name."""
        precision, real = self.formats.precision, self.formats.real
        ends: dict[str, Any] = {"low": codes.low, "high": codes.high, "scale": codes.scale}
        fraction = 0
        if not (real or codes.has_limit):
            fraction = min(8, max(0, math.frexp(codes.scale / FINE)[1]))
            ends |= {"low": -(MOST >> fraction), "high": MOST >> fraction}
        if name in self._again:
            self._again.add(sums.name)
        node = AsCodes(
            name=name,
            inputs=(sums.name,),
            precision=precision,
            fraction=fraction,
            nudge=codes.nudge,
            **ends,
        )

        def back(error: Tensor) -> None:
            if not codes.has_limit:
                self._errors.setdefault(sums.name, []).append(error)
                return
            to = part_name(name, "held")
            reads = (error.name, self._recompute(name))
            self.nodes.append(AsCodesGradient(name=to, inputs=reads, precision=precision, **ends))
            self._arrives(sums.name, to, error.scale)

        tensor = self._value(name, sums.shape, 1.0 if real else codes.scale / (1 << fraction))
        return self._lay(_Laid(node, tensor, False, self.live(sums.name), back))

    # --- backward ---

    def backward(
        self,
        scores: str,
        name: str = "error",
        *,
        label: str = LABEL,
        health: str = "",
        before: Before | None = None,
    ) -> None:
        """From the softmax cross-entropy of the scores down to the first layer that learns.

        Args:
            scores: of the classes.
            name: of the error of the scores.
            label: tensor of the label.
            health: a learned tensor that counts skipped samples, on floats; `name.health` is made
                without one.
            before: see `descend`.
        """
        self.descend(scores, self.loss(scores, name, label=label, health=health), before)

    def loss(self, scores: str, name: str, *, label: str = LABEL, health: str = "") -> Tensor:
        """Softmax cross-entropy: the error of the scores; see `backward`."""
        real, laid = self.formats.real, self._laid[scores]
        if real and not health:
            health = f"{name}.health"
            self.learned.append(Learned.of(health, "i32", (1,)))
        bits = self.formats.loss_bits(laid.layer)
        node = SoftmaxCrossEntropy(
            name=name,
            inputs=(scores, label, *((health,) if real else ())),
            precision=self.formats.precision,
            error_bits=bits,
        )
        self.nodes.append(node)
        self.largest[name] = 1 << bits
        return self._value(name, laid.tensor.shape, 1.0 if real else 2.0**-bits)

    def descend(self, at: str, error: Tensor, before: Before | None = None) -> None:
        """From the error of a tensor down to the first layer that learns.

        Args:
            at: the tensor.
            error: of it.
            before: called for each layer with its error before the layer learns, the last layer
                first; it may add operators, and say what the layer learns from in place of what it
                reads.
        """
        self._errors, self._before = {at: [error]}, before
        for laid in reversed(list(self._laid.values())):
            arrived = self._errors.get(laid.tensor.name, [])
            if arrived and laid.live:
                laid.back(self._sum_errors(laid.tensor.name, arrived))

    def error_format(self, name: str, x: str) -> Format:
        """The format of an error of x."""
        laid = self._laid.get(x)
        format = self.formats.error(name, laid.layer if laid is not None and laid.below else None)
        self.largest[name] = format[1]
        return format

    def _learn_dense(
        self, layer: DenseParameters, name: str, x: str, error: Tensor, below: bool
    ) -> None:
        source = None if self._before is None else self._before(layer, error)
        mask = below and self._positive(x)
        gradient = self.error_format(name, x) if below else None
        step = layer.step(name, gradient, mask and source is None)
        reads = self._found(x) if source is None else source
        self.learned += layer.bind(step, reads, error, self.seed(), self.formats.kept_limits)
        self.nodes.append(step)
        if gradient is None:
            return
        if mask and source is not None:
            masked = ReluGradient(
                name=part_name(layer.name, "error"), inputs=(name, x), precision=layer.precision
            )
            self.nodes.append(masked)
            name = masked.name
        self._arrives(x, name, gradient[0])

    def _learn_convolution(
        self, layer: ConvolutionParameters, name: str, x: str, error: Tensor, below: bool
    ) -> None:
        learns = layer.real.learns
        if below:  # before the weights change
            reads = (error.name, *layer.inputs[: learns.channels > 0])
            held = {**layer.geometry, "frozen": layer.frozen, "weight_scale": layer.format[0]}
            self._input_gradient(layer.input_gradient, layer.name, x, reads, **held)
        if learns:
            step = layer.step(name)
            source = self._found(x)
            self.learned += layer.bind(step, source, error, self.seed(), self.formats.kept_limits)
            self.nodes.append(step)

    def _input_gradient(
        self, make: type[Any], layer: str, x: str, reads: tuple[str, ...], **fields: Any
    ) -> None:
        """The operator of the gradient of a layer's input."""
        mask = self._positive(x)
        to = part_name(layer, "back")
        scale, limit = self.error_format(to, x)
        node = make(
            name=to,
            inputs=(*reads, *((self._recompute(x),) if mask else ())),
            precision=self.formats.precision,
            shape=self.tensor(x).shape,
            mask=mask,
            gradient_scale=scale,
            gradient_limit=limit,
            **fields,
        )
        self.nodes.append(node)
        self._arrives(x, to, scale)

    def _arrives(self, at: str, error: str, scale: float) -> None:
        """An error of a tensor: one of several, where several layers read it."""
        arrived = self._value(error, self.tensor(at).shape, scale)
        self._errors.setdefault(at, []).append(arrived)

    def _sum_errors(self, name: str, errors: list[Tensor]) -> Tensor:
        """The one error of a tensor."""
        total = errors[0]
        for i, error in enumerate(errors[1:]):
            to = part_name(name, f"error{i or ''}")
            total = self._sum_of_errors(to, (total, error), (1.0, 1.0))
        return total

    def _pass_on(self, part: str, error: Tensor, gain: float) -> None:
        """`gain * error` to what a sum was made of; the error itself where it would be the same."""
        arrived = self._errors.setdefault(part, [])
        positive = self._positive(part)
        if gain != 1.0 or positive:
            kept = (self._recompute(part),) if positive else ()
            to = part_name(part, f"from_{len(arrived)}")
            error = self._sum_of_errors(to, (error,), (gain,), kept)
        arrived.append(error)

    def _sum_of_errors(
        self,
        to: str,
        errors: tuple[Tensor, ...],
        gains: tuple[float, ...],
        kept: tuple[str, ...] = (),
    ) -> Tensor:
        scale, limit = self.formats.error(to)
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

    def _recompute(self, x: str) -> str:
        """The name under which a backward operator finds an activation."""
        if x not in self._laid or x not in self._again:
            return x
        if x not in self._computed_again:
            node = self._laid[x].node
            inputs = tuple(self._recompute(n) if n in self._laid else n for n in node.inputs)
            to = part_name(x, "again")
            repeated = dataclasses.replace(node, name=to, inputs=inputs, again=True)  # type: ignore[call-arg]
            self.nodes.append(repeated)
            self._computed_again[x] = to
        return self._computed_again[x]

    def _found(self, name: str) -> Tensor:
        """An activation as a backward operator finds it."""
        return dataclasses.replace(self.tensor(name), name=self._recompute(name))

    def _positive(self, name: str) -> bool:
        return name in self._laid and self._laid[name].positive

    def _value(self, name: str, shape: tuple[int, ...], scale: float) -> Tensor:
        return value(self.formats.precision, name, shape, scale)

    def _output(
        self,
        name: str,
        codes: DeployedCodes | None,
        outputs: int = 1,
        relu: bool = False,
        parts: int = 1,
    ) -> Format:
        """The format of a layer's output; integers that become codes are in parts of a code."""
        if codes is None:
            return self.formats.output(name, outputs, relu)
        return FLOAT if self.formats.real else (codes.scale / parts, MOST)


def part_name(layer: str, part: str) -> str:
    """A name of an operator that belongs to a layer, within the limit of names."""
    return f"{layer[: NAME_BYTES - len(part) - 1]}_{part}"

"""Layers with parameters: weights, neurons, delays; in real numbers or in those of the graph.

Where numbers are rounded the gradient passes straight through (Bengio, Leonard, Courville,
"Estimating or propagating gradients through stochastic neurons", 2013).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from spikelet.errors import UsageError
from spikelet.frontends.spiking.coded import weight_codes
from spikelet.frontends.spiking.held import Held
from spikelet.frontends.spiking.network import Conv2d, Delay, Linear, Neurons, OneToOne
from spikelet.frontends.spiking.neurons import NeuronLowering, nearest
from spikelet.graph import Array, Graph
from spikelet.graph.fixed import Q15_ONE
from spikelet.train.spiking.delays import Delays, arrivals, late_sums, shifted, spread
from spikelet.train.spiking.neurons import Numbers, Slope, over_time, start, step
from spikelet.train.spiking.rounding import Grid, snapped

EXACT = 1 << 24  # integers below it are exact in float32
LOWEST_THRESHOLD = 0.05


class WeightPart(nn.Module):
    """A linear layer or a convolution, with a batch norm if asked for."""

    def __init__(self, layer: Linear | Conv2d, normed: bool) -> None:
        super().__init__()
        self.source = layer
        self.weight = nn.Parameter(_float(layer.weight))
        bias = None if layer.bias is None else nn.Parameter(_float(layer.bias))
        self.register_parameter("bias", bias)
        self.norm: nn.BatchNorm1d | nn.BatchNorm2d | None = None
        self.factor = 1  # see Executor.coarsen
        if normed:
            kind = nn.BatchNorm2d if isinstance(layer, Conv2d) else nn.BatchNorm1d
            self.norm = kind(len(layer.weight))

    def forward(self, x: Tensor, grid: Grid | None) -> Tensor:
        """Sums (N, *shape), real or in units of the graph."""
        return self.stepping(grid)(x)

    def stepping(self, grid: Grid | None) -> Callable[[Tensor], Tensor]:
        """The same for one batch after the other; the numbers of a grid are found once."""
        if grid is None:
            own, norm = self.bias, self.norm
            whole = None if own is None else own * self.factor
            if norm is None:
                return lambda x: self._sums(x, self.weight, whole)
            return lambda x: cast(Tensor, norm(self._sums(x, self.weight, whole)))
        weight, bias = self._codes(grid)
        most = grid.held[self.source.inputs[0]].most / float(
            grid.held[self.source.inputs[0]].unit[0]
        )
        if float(weight.detach().abs().flatten(1).sum(dim=1).max()) * most < EXACT:
            return lambda x: self._sums(x, weight, bias)
        exact, exact_bias = weight.double(), None if bias is None else bias.double()
        return lambda x: self._sums(x.double(), exact, exact_bias)

    def layer(self, grid: Grid | None) -> Linear | Conv2d:
        """What it stands for, with its batch norm folded; with a grid its weights lie on it."""
        weight, bias = self._folded()
        real = weight.detach().double()
        if grid is not None:
            at = torch.from_numpy(grid.step(self.source))
            codes = snapped(real, at, grid.bits[self.source.name])
            real = codes * at.reshape(-1, *(1,) * (real.dim() - 1))
        held = None if bias is None else bias.detach().double().numpy()
        return dataclasses.replace(self.source, weight=real.numpy(), bias=held)

    def fold(self) -> None:
        """Put the batch norm into weights and bias."""
        if self.norm is None:
            return
        weight, bias = self._folded()
        self.weight = nn.Parameter(weight.detach().clone())
        self.bias = nn.Parameter(cast(Tensor, bias).detach().clone())
        self.norm = None

    def _folded(self) -> tuple[Tensor, Tensor | None]:
        weight: Tensor = self.weight
        bias: Tensor | None = self.bias
        norm = self.norm
        if norm is None:
            return weight, bias
        mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
        factor = norm.weight / torch.sqrt(variance + norm.eps)
        shift = norm.bias - factor * mean
        bias = shift if bias is None else shift + factor * bias
        return weight * factor.reshape(-1, *(1,) * (weight.dim() - 1)), bias

    def _codes(self, grid: Grid) -> tuple[Tensor, Tensor | None]:
        """Codes as the lowering writes them, with the gradient of the weights."""
        name = self.source.name
        held, unit = grid.held[self.source.inputs[0]], grid.units[name]
        codes = weight_codes(self.layer(grid), dataclasses.replace(held, zero=0), unit)
        at = _float(grid.step(self.source)).reshape(-1, *(1,) * (self.weight.dim() - 1))
        weight = _through(self.weight / at, _float(codes.weight))
        if self.bias is None or codes.bias is None:
            return weight, None
        return weight, _through(self.bias / _float(unit), _float(codes.bias))

    def _sums(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        layer = self.source
        if isinstance(layer, Linear):
            return functional.linear(x, weight, bias)
        top, left, bottom, right = layer.padding
        padding: Any = (top, left)
        if (top, left) != (bottom, right):
            x, padding = functional.pad(x, (left, right, top, bottom)), 0
        return functional.conv2d(
            x, weight, bias, layer.stride, padding, layer.dilation, layer.groups
        )


class OneToOnePart(nn.Module):
    """A weight of its own for each element or channel."""

    def __init__(self, layer: OneToOne) -> None:
        super().__init__()
        self.source = layer
        self.weight = nn.Parameter(_float(layer.weight))

    def forward(self, x: Tensor, grid: Grid | None) -> Tensor:
        """Sums (N, *shape)."""
        weight: Tensor = self.weight
        if grid is not None:
            unit = grid.units[self.source.name]
            real = weight.detach().double().numpy() / np.resize(unit, max(len(weight), len(unit)))
            weight = _through(weight / _float(unit), _float(np.clip(nearest(real), -32768, 32767)))
        if x.dim() > 2 and weight.numel() == x.shape[1]:
            return x * weight.reshape(1, -1, *(1,) * (x.dim() - 2))
        return x * (weight.reshape(1, *x.shape[1:]) if weight.numel() > 1 else weight)

    def layer(self, grid: Grid | None) -> OneToOne:
        """What it stands for."""
        return dataclasses.replace(self.source, weight=self.weight.detach().double().numpy())


class NeuronPart(nn.Module):
    """Neurons; what is learned of them is learned for each channel, of images, or neuron.

    Args:
        layer: the neurons.
        channels: C of (C, H, W), or n of (n,).
        learn: of `leak`, `current`, `threshold`.
        slope: of the surrogate gradient.
    """

    def __init__(self, layer: Neurons, channels: int, learn: Collection[str], slope: Slope) -> None:
        super().__init__()
        self.source, self.slope = layer, slope
        rule = layer.rule
        for what in rule.switches():
            raise UsageError(
                f"layer {layer.called}: {what} are not trained here",
                next="train the network in its own framework, and export it",
            )
        leaky = bool((rule.kept < 1).any())
        self.kept = _maybe(rule.kept, channels, leaky and "leak" in learn)
        self.kept_current = _maybe(rule.kept_current, channels, "current" in learn)
        self.threshold = _maybe(rule.threshold, channels, "threshold" in learn)
        self.initial = rule.initial
        self.factor = 1  # see Executor.coarsen

    def layer(self, grid: Grid | None = None) -> Neurons:
        """What they stand for."""
        rule = dataclasses.replace(
            self.source.rule,
            kept=_unit(self.kept.detach()).double().numpy(),
            kept_current=_numpy(self.kept_current, 0.0, 1.0),
            threshold=_numpy(self.threshold, LOWEST_THRESHOLD, math.inf),
            initial=self.initial,
        )
        return dataclasses.replace(self.source, rule=rule)

    def over_time(self, x: Tensor, steps: int, grid: Grid | None) -> Tensor:
        """Spikes or membranes (T, N, *shape)."""
        shape = tuple(x.shape[2:])
        return over_time(self.source.rule, self.numbers(shape, grid), x, steps, self.slope)

    def stepping(self, grid: Grid | None) -> Callable[[Tensor], Tensor]:
        """A function that makes one step after the other, from the start."""
        numbers: list[Numbers] = []
        states: list[Any] = []

        def forward(x: Tensor) -> Tensor:
            if not numbers:
                numbers.append(self.numbers(tuple(x.shape[1:]), grid))
                states.append(start(self.source.rule, numbers[0], x))
            states[0], made = step(self.source.rule, numbers[0], states[0], x, self.slope)
            return made.to(x.dtype)

        return forward

    def numbers(self, shape: tuple[int, ...], grid: Grid | None) -> Numbers:
        """What they compute with for inputs (N, *shape)."""
        rule = self.source.rule

        def spread_out(values: Tensor | Array | None) -> Tensor:
            if not isinstance(values, Tensor):
                values = _float(np.zeros(1) if values is None else values).to(self.kept.dtype)
            return _broadcast(values, shape)

        current = None
        if self.kept_current is not None:
            current = spread_out(self._kept(self.kept_current))
        threshold = None
        if self.threshold is not None:
            threshold = spread_out(self.threshold.clamp(min=LOWEST_THRESHOLD))
        real = Numbers(
            kept=spread_out(self._kept(self.kept)),
            kept_current=current,
            gain=spread_out(rule.gain),
            drift=spread_out(rule.drift) * self.factor,
            threshold=threshold,
            value=spread_out(rule.value),
            initial=torch.tensor(self.initial, dtype=self.kept.dtype),
        )
        return real if grid is None else self._rounded(real, shape, grid)

    def _kept(self, values: Tensor) -> Tensor:
        """What is kept by a step that is executed."""
        kept = _unit(values)
        return kept if self.factor == 1 else kept**self.factor

    def _rounded(self, real: Numbers, shape: tuple[int, ...], grid: Grid) -> Numbers:
        """The integers that the lowering makes of them, float64, with the gradient of the reals."""
        layer, name = self.layer(), self.source.name
        source, bits = grid.held[self.source.inputs[0]], grid.fraction_bits[name]
        made = NeuronLowering(layer, source, True, _no_graph).build(bits)
        if made is None:
            raise UsageError(f"layer {layer.called}: its threshold exceeds 32 bits of weight steps")
        node = made[-1].attributes() | made[-1].arrays()

        def codes(field: str) -> Tensor:
            values = node.get(field)
            return _in_network_order(np.zeros(1) if values is None else values, source, shape)

        def kept(attributes: dict[str, Any]) -> Tensor:
            leaks = attributes.get("leaks")
            held = np.array([attributes["leak"]]) if leaks is None else leaks
            return _in_network_order(held, source, shape) / Q15_ONE

        current = real.kept_current
        if current is not None:
            current = _through(current.double(), kept(made[0].attributes() | made[0].arrays()))
        threshold = real.threshold
        if threshold is not None:
            unit = _in_network_order(source.unit, source, shape) * real.gain / (1 << bits)
            threshold = _through(threshold / unit, codes("threshold"))
        return Numbers(
            kept=_through(real.kept.double(), kept(node)),
            kept_current=current,
            gain=torch.tensor(float(1 << bits), dtype=torch.float64),
            drift=codes("drift"),
            threshold=threshold,
            value=codes("reset_value"),
            initial=codes("initials"),
            rounded=True,
        )


class LatePart(WeightPart):
    """A linear layer with a delay a synapse, over all steps.

    Args:
        layer: with delays.
        normed: see `WeightPart`.
        learned: whether its delays are.
    """

    def __init__(self, layer: Linear, normed: bool, learned: bool) -> None:
        super().__init__(layer, normed)
        assert layer.delays is not None
        self.times, self.width = Delays(_float(layer.delays), learned), 0.0

    def over_time(self, x: Tensor, steps: int, width: float, grid: Grid | None) -> Tensor:
        """Sums (T, N, O) of spikes (T or 1, N, I); see `DelayPart.forward`."""
        self.width = width
        made = self.stepping(grid)(x.expand(steps, *x.shape[1:]).permute(1, 2, 0))
        return made.permute(2, 0, 1)

    def layer(self, grid: Grid | None) -> Linear:
        """What it stands for, with whole steps."""
        held = super().layer(grid)
        assert isinstance(held, Linear)
        return dataclasses.replace(held, delays=self.times.whole().numpy())

    def _sums(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        share = arrivals(self.times.executed(), self.width)
        return late_sums(x, weight, bias, share.to(weight.dtype))


class DelayPart(nn.Module):
    """Delays, one a neuron; learned as real numbers of steps, in the network's order."""

    def __init__(self, layer: Delay, neurons: int, learned: bool) -> None:
        super().__init__()
        self.source = layer
        steps = np.resize(layer.steps, neurons) if learned else layer.steps
        self.times = Delays(_float(steps), learned)

    def forward(self, x: Tensor, steps: int, width: float) -> Tensor:
        """Spikes (T, N, *shape) as they arrive; spread by `width` steps where it is not 0."""
        x = x.expand(steps, *x.shape[1:])
        flat = x.flatten(2)
        delays = self.times.executed().expand(flat.shape[2])
        if width:
            return spread(flat, delays, width).reshape(x.shape)
        return shifted(flat, delays.detach().round().long()).reshape(x.shape)

    def layer(self, grid: Grid | None = None) -> Delay:
        """What they stand for: whole steps."""
        return dataclasses.replace(self.source, steps=self.times.whole().numpy())


def _no_graph(*arguments: Any) -> Graph:
    raise NotImplementedError


def _float(values: Array) -> Tensor:
    return torch.from_numpy(np.asarray(values, np.float32).copy())


def _maybe(values: Array | None, count: int, learned: bool) -> Any:
    """A parameter, of `count` values where it is learned; None for None."""
    if values is None:
        return None
    if learned and len(values) == 1:
        values = np.resize(values, count)
    return nn.Parameter(_float(values), requires_grad=learned)


def _unit(values: Tensor) -> Tensor:
    return values.clamp(0, 1)


def _numpy(values: Tensor | None, low: float, high: float) -> Array | None:
    return None if values is None else values.detach().clamp(low, high).double().numpy()


def _through(value: Tensor, rounded: Tensor) -> Tensor:
    """`rounded` forward, the gradient of `value` backward."""
    value = value.to(rounded.dtype)
    return rounded + (value - value.detach())


def _broadcast(values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """One value, one a channel or one a neuron, as it broadcasts to (N, *shape)."""
    n = values.numel()
    if n == 1:
        return values.reshape(())
    if n == math.prod(shape):
        return values.reshape(shape)
    return values.reshape(-1, *(1,) * (len(shape) - 1))


def _in_network_order(values: Array, source: Held, shape: tuple[int, ...]) -> Tensor:
    """One value, one a channel or one a neuron of the graph's tensor, float64: channels first."""
    flat = torch.from_numpy(np.asarray(values, np.float64).reshape(-1).copy())
    n = math.prod(shape)
    if flat.numel() in (1, n) and len(source.shape) == 1:
        return _broadcast(flat, shape)
    if flat.numel() == n:  # (H, W, C) in memory, images or what was flattened
        return flat.reshape(source.shape).permute(2, 0, 1).reshape(shape)
    if len(shape) == 1 and flat.numel() > 1:  # by channel of what was flattened
        return flat.repeat_interleave(n // flat.numel())
    return _broadcast(flat, shape)

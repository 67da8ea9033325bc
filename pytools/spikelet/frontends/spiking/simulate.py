"""A spiking network executed in real numbers: what an import is compared with its source by."""

from __future__ import annotations

from collections.abc import Mapping
from functools import singledispatch

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from spikelet.frontends.spiking.network import (
    Activation,
    Add,
    Conv2d,
    Delay,
    Flatten,
    Layer,
    Linear,
    Neurons,
    OneToOne,
    Pool2d,
    Previous,
    Rule,
    SpikingNetwork,
)
from spikelet.graph import Array


class Simulation:
    """A network with the state of its neurons, for N samples at once, in float64.

    Args:
        network: any.
        samples: N.
    """

    def __init__(self, network: SpikingNetwork, samples: int) -> None:
        self.network, self.samples = network, samples
        self.values: dict[str, Tensor] = {}
        self.membranes: dict[str, Tensor] = {}
        self.currents: dict[str, Tensor] = {}
        self.inhibitory: dict[str, Tensor] = {}
        self.waiting: dict[str, Tensor] = {}
        self.adaptations: dict[str, Tensor] = {}
        self.seen: dict[str, list[Tensor]] = {}

    def step(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """One step: every tensor (N, *shape) by name, for inputs (N, *shape)."""
        before = self.values
        now = {name: torch.from_numpy(np.asarray(x, np.float64)) for name, x in inputs.items()}
        for layer in self.network.layers:
            if isinstance(layer, Previous):
                nothing = torch.zeros((self.samples, *layer.shape), dtype=torch.float64)
                now[layer.name] = before.get(layer.of, nothing)
            elif isinstance(layer, Delay):
                now[layer.name] = self._delay(layer, now[layer.inputs[0]])
            elif isinstance(layer, Linear) and layer.delays is not None:
                now[layer.name] = self._late_sums(layer, layer.delays, now[layer.inputs[0]])
            elif isinstance(layer, Neurons):
                now[layer.name] = self._fire(layer, now[layer.inputs[0]])
            else:
                now[layer.name] = compute(layer, [now[name] for name in layer.inputs])
        self.values = now
        return {name: x.numpy() for name, x in now.items()}

    def _delay(self, layer: Delay, x: Tensor) -> Tensor:
        """What was seen so many steps ago; the newest comes first."""
        seen = self.seen.setdefault(layer.name, [])
        seen.insert(0, x)
        steps = torch.from_numpy(np.resize(layer.steps.astype(np.int64), x[0].numel()))
        late = torch.zeros_like(x)
        for ago in range(min(int(steps.max()) + 1, len(seen))):
            late = torch.where((steps == ago).reshape(1, *x.shape[1:]), seen[ago], late)
        del seen[int(steps.max()) + 1 :]
        return late

    def _late_sums(self, layer: Linear, delays: Array, x: Tensor) -> Tensor:
        """Sums of what each synapse saw so many steps ago; the newest comes first."""
        seen = self.seen.setdefault(layer.name, [])
        seen.insert(0, x)
        del seen[int(delays.max()) + 1 :]
        weight, steps = torch.from_numpy(layer.weight), torch.from_numpy(delays.astype(np.int64))
        sums = torch.zeros(len(x), len(weight), dtype=torch.float64)
        for ago, spikes in enumerate(seen):
            sums = sums + functional.linear(spikes, weight * (steps == ago))
        return sums if layer.bias is None else sums + torch.from_numpy(layer.bias)

    def _fire(self, layer: Neurons, x: Tensor) -> Tensor:
        rule, name = layer.rule, layer.name
        if rule.kept_inhibitory is not None:
            return self._fire_alpha(layer, x)
        if rule.kept_current is not None:
            held = self.currents.get(name, torch.zeros_like(x))
            self.currents[name] = _each(rule.kept_current, x) * held + x
            x = held if rule.late else self.currents[name]
        stored = self.membranes.get(name, torch.full_like(x, rule.initial))
        waiting = self.waiting.get(name, torch.zeros_like(x))
        w = self.adaptations.get(name, torch.zeros_like(x))
        idle = waiting > 0
        v, spikes = neurons_step(rule, stored, x, w, idle)
        if rule.refractory:
            left = torch.where(idle, waiting - 1, 0.0)
            self.waiting[name] = torch.where(spikes > 0, float(rule.refractory), left)
        if rule.adapts != "nothing":
            kept, coupling, jump = (
                _each(part, x) for part in (rule.kept_adaptation, rule.coupling, rule.jump)
            )
            self.adaptations[name] = kept * w + coupling * v + jump * spikes
        self.membranes[name] = v
        return v if rule.threshold is None else spikes * rule.height

    def _fire_alpha(self, layer: Neurons, x: Tensor) -> Tensor:
        """Neurons with an alpha-shaped synapse: their membrane is what two currents differ by."""
        rule, name = layer.rule, layer.name
        assert rule.kept_current is not None and rule.kept_inhibitory is not None
        nothing = torch.zeros_like(x)
        j = self.inhibitory.get(name, nothing)
        new_i = _each(rule.kept_current, x) * self.currents.get(name, nothing) + x
        new_j = _each(rule.kept_inhibitory, x) * j - x
        v = _each(rule.gain, x) * (new_i + new_j)
        if rule.threshold is None:
            self.currents[name], self.inhibitory[name] = new_i, new_j
            return v
        threshold = _each(rule.threshold, x)
        stored = self.membranes.get(name, nothing)
        over = stored > threshold if rule.compare == ">" else stored >= threshold
        reset = (over & (rule.reset != "none")).double()
        if rule.reset == "zero":
            v, new_i = (1 - reset) * v, (1 - reset) * new_i
        else:
            v, new_i = v + reset * j, new_i - reset * threshold
        self.currents[name], self.inhibitory[name] = new_i, (1 - reset) * new_j
        self.membranes[name] = v
        spikes = v > threshold if rule.compare == ">" else v >= threshold
        return spikes.double() * rule.height


def neurons_step(
    rule: Rule, stored: Tensor, x: Tensor, w: Tensor, idle: Tensor
) -> tuple[Tensor, Tensor]:
    """Membranes and how often they fire, (N, *shape) each, after a step.

    Args:
        rule: of the neurons.
        stored: membranes before it.
        x: what they take in.
        w: their adaptations.
        idle: which of them wait.
    """
    kept, gain, drift = (_each(part, x) for part in (rule.kept, rule.gain, rule.drift))
    if rule.threshold is None:
        v = kept * stored + gain * x + drift
        return v, torch.zeros_like(v)
    threshold, value = _each(rule.threshold, x), _each(rule.value, x)

    def fires(v: Tensor, level: Tensor) -> Tensor:
        return v > level if rule.compare == ">" else v >= level

    to_value = rule.reset in ("zero", "value")
    value = value if rule.reset == "value" else torch.zeros_like(value)
    late = fires(stored, threshold) & (rule.timing != "same_step") & (rule.reset != "none")
    begin = stored
    if to_value and rule.timing in ("next_step", "both_steps"):
        begin = torch.where(late, value, stored)
    v = kept * begin + gain * (x - w if rule.adapts == "input" else x) + drift
    if rule.reset == "subtract":
        v = v - late * threshold
    if to_value and rule.timing == "next_step_input_lost":
        v = torch.where(late, value, v)
    level = threshold + w if rule.adapts == "threshold" else threshold
    spikes = _spikes(rule, fires(v, level) & ~idle, v - level, idle)
    if rule.timing == "same_step" and to_value:
        v = torch.where(spikes > 0, value, v)
    elif rule.timing in ("same_step", "both_steps") and rule.reset != "none":
        times = spikes - late.double()
        v = v - times * (threshold if rule.reset == "subtract" else v - value)
    return torch.where(idle, stored, v), spikes


def _spikes(rule: Rule, fires: Tensor, over: Tensor, idle: Tensor) -> Tensor:
    """How often each neuron fires; over: how far it is above its threshold."""
    if rule.inhibition:
        flat = torch.where(idle, -torch.inf, over).flatten(1)
        first = torch.zeros_like(flat, dtype=torch.bool)
        first[torch.arange(len(flat)), flat.argmax(dim=1)] = True
        fires = fires & first.reshape(fires.shape)
    if rule.most == 1:
        return fires.double()
    assert rule.threshold is not None
    threshold = _each(rule.threshold, over)
    times = over / threshold
    times = torch.ceil(times) if rule.compare == ">" else torch.floor(times) + 1
    return torch.where(fires, times.clamp(max=rule.most), 0.0)


def _each(values: Array, like: Tensor) -> Tensor:
    """One value, one a channel of images, or one a neuron, to go with samples (N, *shape)."""
    made = torch.from_numpy(np.asarray(values, np.float64))
    if made.numel() == 1:
        return made.reshape(())
    if like.dim() > 2 and made.numel() == like.shape[1] != like[0].numel():
        return made.reshape(1, -1, *(1,) * (like.dim() - 2))
    return made.reshape(1, *like.shape[1:])


@singledispatch
def compute(layer: Layer, inputs: list[Tensor]) -> Tensor:
    """What a layer without a state writes, (N, *shape)."""
    raise NotImplementedError(type(layer).__name__)


def _tensor(values: Array | None) -> Tensor | None:
    return None if values is None else torch.from_numpy(np.asarray(values, np.float64))


@compute.register
def _(layer: Linear, inputs: list[Tensor]) -> Tensor:
    weight = _tensor(layer.weight)
    assert weight is not None
    return functional.linear(inputs[0], weight, _tensor(layer.bias))


@compute.register
def _(layer: Conv2d, inputs: list[Tensor]) -> Tensor:
    top, left, bottom, right = layer.padding
    x = functional.pad(inputs[0], (left, right, top, bottom))
    weight = _tensor(layer.weight)
    assert weight is not None
    return functional.conv2d(
        x, weight, _tensor(layer.bias), layer.stride, 0, layer.dilation, layer.groups
    )


@compute.register
def _(layer: OneToOne, inputs: list[Tensor]) -> Tensor:
    x, weight = inputs[0], _tensor(layer.weight)
    assert weight is not None
    if x.dim() > 1 and weight.numel() == x.shape[1] != x[0].numel():  # by channel
        return x * weight.reshape(1, -1, *(1,) * (x.dim() - 2))
    return x * (weight.reshape(1, *x.shape[1:]) if weight.numel() > 1 else weight)


@compute.register
def _(layer: Pool2d, inputs: list[Tensor]) -> Tensor:
    top, left, bottom, right = layer.padding
    outside = -np.inf if layer.mode == "max" else 0.0
    x = functional.pad(inputs[0], (left, right, top, bottom), value=outside)
    if layer.mode == "max":
        return functional.max_pool2d(x, layer.window, layer.stride)
    divisor = None if layer.mode == "mean" else 1
    return functional.avg_pool2d(x, layer.window, layer.stride, divisor_override=divisor)


@compute.register
def _(layer: Activation, inputs: list[Tensor]) -> Tensor:
    if layer.function == "tanh":
        return torch.tanh(inputs[0])
    return inputs[0].clamp(0.0 if layer.function == "relu" else -layer.limit, layer.limit)


@compute.register
def _(layer: Flatten, inputs: list[Tensor]) -> Tensor:
    return inputs[0].flatten(1)


@compute.register
def _(layer: Add, inputs: list[Tensor]) -> Tensor:
    total = inputs[0]
    for x in inputs[1:]:
        total = total + x
    return total

"""A spiking network executed in real numbers: what an import is compared with its source by."""

from __future__ import annotations

from collections.abc import Mapping
from functools import singledispatch

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from spikelet.frontends.spiking.network import (
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
        self.waiting: dict[str, Tensor] = {}
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

    def _fire(self, layer: Neurons, x: Tensor) -> Tensor:
        rule, name = layer.rule, layer.name
        if rule.kept_current is not None:
            held = self.currents.get(name, torch.zeros_like(x))
            x = _each(rule.kept_current, x) * held + x
            self.currents[name] = x
        stored = self.membranes.get(name, torch.full_like(x, rule.initial))
        waiting = self.waiting.get(name, torch.zeros_like(x))
        v, spikes = neurons_step(rule, stored, x)
        if rule.refractory:
            idle = waiting > 0
            v, spikes = torch.where(idle, stored, v), spikes & ~idle
            left = torch.where(idle, waiting - 1, 0.0)
            self.waiting[name] = torch.where(spikes, float(rule.refractory), left)
        self.membranes[name] = v
        return v if rule.threshold is None else spikes.double()


def neurons_step(rule: Rule, stored: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Membranes and spikes (N, *shape) after a step without refractory times."""
    kept, gain, drift, value = (
        _each(part, x) for part in (rule.kept, rule.gain, rule.drift, rule.value)
    )
    if rule.threshold is None:
        v = kept * stored + gain * x + drift
        return v, torch.zeros_like(v, dtype=torch.bool)
    threshold = _each(rule.threshold, x)

    def fires(v: Tensor) -> Tensor:
        return v > threshold if rule.compare == ">" else v >= threshold

    to_value = rule.reset in ("zero", "value")
    value = value if rule.reset == "value" else torch.zeros_like(value)
    late = fires(stored) & (rule.timing != "same_step") & (rule.reset != "none")
    begin = stored
    if to_value and rule.timing == "next_step":
        begin = torch.where(late, value, stored)
    v = kept * begin + gain * x + drift
    if rule.reset == "subtract":
        v = v - late * threshold
    if to_value and rule.timing == "next_step_input_lost":
        v = torch.where(late, value, v)
    spikes = fires(v)
    if rule.timing == "same_step":
        if rule.reset == "subtract":
            v = v - spikes * threshold
        elif to_value:
            v = torch.where(spikes, value, v)
    return v, spikes


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
def _(layer: Flatten, inputs: list[Tensor]) -> Tensor:
    return inputs[0].flatten(1)


@compute.register
def _(layer: Add, inputs: list[Tensor]) -> Tensor:
    total = inputs[0]
    for x in inputs[1:]:
        total = total + x
    return total

"""Neurons over time, with a surrogate gradient.

A spike's derivative by the membrane is a bump about the threshold (Neftci, Mostafa, Zenke,
"Surrogate gradient learning in spiking neural networks", 2019): of the arc tangent, or of the fast
sigmoid (Zenke, Ganguli, "SuperSpike", 2018). What a spike resets is taken as a constant.

Numbers are real, or integers of the graph held in float64, where a leak rounds toward zero as it
does there and lets the gradient pass.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from spikelet.frontends.spiking.network import Rule

Surrogate = Literal["atan", "fast_sigmoid"]
SMALLEST = 1e-6  # a threshold that a membrane is measured in


@dataclass(frozen=True)
class Slope:
    """A surrogate of the step function, of `u = v / threshold - 1`."""

    kind: Surrogate = "atan"
    steepness: float = 2.0

    def at(self, u: Tensor) -> Tensor:
        """Its derivative."""
        if self.kind == "atan":
            return (self.steepness / 2) / (1 + (math.pi / 2 * self.steepness * u) ** 2)
        return 1 / (1 + self.steepness * u.abs()) ** 2


@dataclass(frozen=True)
class Numbers:
    """What a layer of neurons computes with; each broadcasts to (N, *shape).

    Attributes:
        kept: part of the membrane that a step keeps.
        kept_current: of the current, or None.
        gain: of the input; of integers 2 to the fraction bits.
        drift, threshold, value, initial: see `Rule`; threshold None for integrators.
        rounded: they are integers.
    """

    kept: Tensor
    kept_current: Tensor | None
    gain: Tensor
    drift: Tensor
    threshold: Tensor | None
    value: Tensor
    initial: Tensor
    rounded: bool = False


@dataclass
class State:
    """What neurons keep: membrane, current and steps that are left to wait, (N, *shape)."""

    membrane: Tensor
    current: Tensor | None = None
    waiting: Tensor | None = None


class Spike(torch.autograd.Function):
    """1 where a membrane fires."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, threshold: Tensor, inclusive: bool, slope: Slope) -> Tensor:
        """Spikes of membranes, both (N, *shape)."""
        ctx.save_for_backward(v, threshold)
        ctx.slope = slope
        return (v >= threshold if inclusive else v > threshold).to(v.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        """The surrogate's gradient, of membranes and thresholds."""
        v, threshold = ctx.saved_tensors
        size = threshold.clamp(min=SMALLEST)
        bump = grad * ctx.slope.at(v / size - 1) / size
        return bump, _summed(-bump * v / size, threshold), None, None


def start(rule: Rule, numbers: Numbers, like: Tensor) -> State:
    """Before the first step, for inputs like (N, *shape)."""
    zeros = torch.zeros_like(like, dtype=numbers.kept.dtype)
    return State(
        zeros + numbers.initial,
        None if rule.kept_current is None else zeros,
        zeros if rule.refractory else None,
    )


def step(
    rule: Rule, numbers: Numbers, state: State, x: Tensor, slope: Slope
) -> tuple[State, Tensor]:
    """One step of any rule: the state after it, and spikes or membranes (N, *shape)."""
    x = x.to(numbers.kept.dtype) * numbers.gain
    current = None
    if numbers.kept_current is not None and state.current is not None:
        x = current = _leak(state.current, numbers.kept_current, numbers.rounded) + x
    if numbers.threshold is None:
        v = _leak(state.membrane, numbers.kept, numbers.rounded) + x + numbers.drift
        return State(v, current), v
    stored, threshold = state.membrane, numbers.threshold

    def fires(v: Tensor) -> Tensor:
        fired: Tensor = Spike.apply(  # type: ignore[no-untyped-call]
            v, threshold, rule.compare == ">=", slope
        )
        return fired

    to_value = rule.reset in ("zero", "value")
    value = numbers.value if rule.reset == "value" else torch.zeros_like(numbers.value)
    late = None
    if rule.timing != "same_step" and rule.reset != "none":
        late = fires(stored).detach()
    begin = stored
    if late is not None and to_value and rule.timing in ("next_step", "both_steps"):
        begin = torch.where(late > 0, value, stored)
    v = _leak(begin, numbers.kept, numbers.rounded) + x + numbers.drift
    if late is not None and rule.reset == "subtract":
        v = v - late * threshold
    if late is not None and to_value and rule.timing == "next_step_input_lost":
        v = torch.where(late > 0, value, v)
    spikes = fires(v)
    if rule.timing == "same_step":
        fired = spikes.detach()
        if rule.reset == "subtract":
            v = v - fired * threshold
        elif to_value:
            v = torch.where(fired > 0, value, v)
    elif late is not None and rule.timing == "both_steps":
        times = spikes.detach() - late
        v = v - times * (threshold if rule.reset == "subtract" else v - value)
    if state.waiting is None:
        return State(v, current), spikes
    idle = state.waiting > 0
    v, spikes = torch.where(idle, stored, v), torch.where(idle, 0.0, spikes)
    left = torch.where(idle, state.waiting - 1, 0.0)
    waiting = torch.where(spikes.detach() > 0, float(rule.refractory), left)
    return State(v, current, waiting), spikes


def over_time(rule: Rule, numbers: Numbers, x: Tensor, steps: int, slope: Slope) -> Tensor:
    """Spikes or membranes (T, N, *shape) of inputs (T, N, *shape), or (1, N, *shape) for all T."""
    if _is_plain(rule):
        threshold = numbers.threshold
        assert threshold is not None
        kind = _Kind(rule.compare == ">=", rule.reset, steps, slope)
        made: Tensor = _Plain.apply(  # type: ignore[no-untyped-call]
            x, numbers.kept, threshold, numbers.drift, numbers, kind
        )
        return made
    state, outputs = start(rule, numbers, x[0]), []
    for t in range(steps):
        state, made = step(rule, numbers, state, x[t if len(x) > 1 else 0], slope)
        outputs.append(made)
    return torch.stack(outputs).to(x.dtype)


def _is_plain(rule: Rule) -> bool:
    return (
        rule.threshold is not None
        and rule.kept_current is None
        and not rule.refractory
        and rule.timing == "same_step"
    )


@dataclass(frozen=True)
class _Kind:
    inclusive: bool
    reset: str
    steps: int
    slope: Slope


class _Plain(torch.autograd.Function):
    """`over_time` of neurons that are reset in the same step: the same numbers, five times as fast.

    The backward pass is written out, so that no step is recorded.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        kept: Tensor,
        threshold: Tensor,
        drift: Tensor,
        numbers: Numbers,
        kind: _Kind,
    ) -> Tensor:
        gain, value = numbers.gain, numbers.value
        shape = (kind.steps, *x.shape[1:])
        spikes = x.new_empty(shape)
        before = x.new_empty(shape)  # membranes before the reset, in float32 for the gradient
        whole, drifts = bool((kept == 1).all()), bool((drift != 0).any())
        v = torch.zeros_like(x[0], dtype=kept.dtype) + numbers.initial
        constant = x[0].to(kept.dtype) * gain if len(x) == 1 else None
        for t in range(kind.steps):
            if not whole:
                v.mul_(kept)
                if numbers.rounded:
                    v.trunc_()
            v.add_(x[t].to(kept.dtype) * gain if constant is None else constant)
            if drifts:
                v.add_(drift)
            before[t] = v
            fired = v >= threshold if kind.inclusive else v > threshold
            spikes[t] = fired
            if kind.reset == "subtract":
                v.sub_(fired * threshold)
            elif kind.reset == "zero":
                v.masked_fill_(fired, 0.0)
            elif kind.reset == "value":
                v = torch.where(fired, value, v)
        ctx.save_for_backward(spikes, before, kept, threshold, drift, gain, value, numbers.initial)
        ctx.kind, ctx.constant = kind, constant is not None
        return spikes

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        spikes, before, *rest = ctx.saved_tensors
        kept, threshold, drift, gain, value, initial = (part.to(before.dtype) for part in rest)
        kind, needs = ctx.kind, ctx.needs_input_grad
        size = threshold.clamp(min=SMALLEST)
        bumps = grad * kind.slope.at(before / size - 1) / size
        to_x = torch.zeros_like(grad[:1]) if ctx.constant else torch.empty_like(grad)
        to_kept, to_threshold = torch.zeros_like(kept), torch.zeros_like(threshold)
        to_drift = torch.zeros_like(drift)
        held = torch.zeros_like(grad[0])
        for t in range(kind.steps - 1, -1, -1):
            if needs[2]:
                share = -bumps[t] * before[t] / size
                share = share - held * spikes[t] if kind.reset == "subtract" else share
                to_threshold += _summed(share, threshold)
            if kind.reset in ("zero", "value"):
                held.mul_(1 - spikes[t])
            held.add_(bumps[t])
            if needs[3]:
                to_drift += _summed(held, to_drift)
            if ctx.constant:
                to_x[0].add_(held)
            else:
                to_x[t] = held
            if needs[1]:
                then = initial.expand_as(held) if t == 0 else _reset(kind, before, spikes, t - 1,
                                                                     threshold, value)  # fmt: skip
                to_kept += _summed(held * then, kept)
            held.mul_(kept)
        of_numbers = [
            made.to(part.dtype) if needed else None
            for made, part, needed in zip(
                (to_kept, to_threshold, to_drift), rest, needs[1:4], strict=False
            )
        ]
        return (to_x * gain if needs[0] else None), *of_numbers, None, None


def _reset(
    kind: _Kind, before: Tensor, spikes: Tensor, t: int, threshold: Tensor, value: Tensor
) -> Tensor:
    """The membranes of step t after the reset."""
    if kind.reset == "subtract":
        return before[t] - spikes[t] * threshold
    if kind.reset == "none":
        return before[t]
    to = value if kind.reset == "value" else torch.zeros_like(value)
    return torch.where(spikes[t] > 0, to, before[t])


def _leak(v: Tensor, kept: Tensor, rounded: bool) -> Tensor:
    """What a step keeps of a membrane; rounded toward zero, with the gradient passed through."""
    held = v * kept
    return held + (held.trunc() - held).detach() if rounded else held


def _summed(values: Tensor, like: Tensor) -> Tensor:
    """Values (N, *shape) summed to what broadcast to them."""
    return values.sum_to_size(like.shape) if like.dim() else values.sum()

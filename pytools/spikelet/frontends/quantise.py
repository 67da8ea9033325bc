"""Real numbers to the integers of the graph; export and quantisation-aware training share them.

Everything here computes in float64, so that training sees the very codes that export writes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from spikelet.graph.fixed import Q15_ONE

WEIGHT_MAX = 127
# A weight's step is never finer than this part of the threshold: a channel of very small weights,
# which can hardly fire, would else need a threshold beyond the membrane's type.
_FINEST = 8192


def round_away(x: Tensor) -> Tensor:
    """To the nearest integer, halves away from zero."""
    return torch.sign(x) * torch.floor(torch.abs(x) + 0.5)


def leak_factor(beta: float) -> int:
    """The Q15 factor of a decay in [0, 1]: exact where Q15 holds it, else the nearest odd one.

    An odd factor lets the kernel round toward zero without a branch, at an error below 2^-15.
    """
    exact = beta * Q15_ONE
    return int(exact) if exact == int(exact) else 2 * math.floor(exact / 2) + 1


def weight_step(weight: Tensor, threshold: Tensor | None, amplitude: float, shared: bool) -> Tensor:
    """The weight's step of each output channel, (m,), for symmetric int8 codes.

    Args:
        weight: (m, n).
        threshold: (m,) or (1,) of the neurons behind, None for a readout.
        amplitude: the largest input value; 1 for spikes.
        shared: one step for all channels, which a readout that compares channels needs.
    """
    step = weight.detach().double().abs().amax(dim=1) / WEIGHT_MAX
    if threshold is not None:
        step = torch.maximum(step, threshold.detach().double() / (_FINEST * amplitude))
    if shared:
        step = step.max().expand_as(step)
    return torch.where(step > 0, step, torch.ones_like(step))


def weight_codes(weight: Tensor, step: Tensor) -> Tensor:
    """(m, n) codes in -127..127, float64."""
    return round_away(weight.detach().double() / step[:, None]).clamp(-WEIGHT_MAX, WEIGHT_MAX)


def bias_codes(bias: Tensor, unit: Tensor) -> Tensor:
    """(m,) codes in units of the sum, float64."""
    return round_away(bias.detach().double() / unit)


def threshold_codes(
    threshold: Tensor, unit: Tensor, fraction_bits: int, strict: bool, subtract: bool
) -> Tensor:
    """(m,) thresholds in units of the membrane, float64.

    An integer is above a real threshold exactly when it is above its floor, and at or above it
    exactly when it is at or above its ceiling. A threshold that is also subtracted is rounded to
    the nearest, so that resets do not add up an error of one sign.
    """
    exact = threshold.detach().double() / unit * (1 << fraction_bits)
    if subtract:
        return round_away(exact)
    return torch.floor(exact) if strict else torch.ceil(exact)

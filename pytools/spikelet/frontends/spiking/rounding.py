"""Real numbers to the integers of the graph; export and quantisation-aware training share them.

Everything here computes in float64, so that training sees the very codes that export writes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from spikelet.graph.fixed import Q15_ONE

WEIGHT_MAX = 127
# Of an exact state: holds every float32 decay of 2^-7 or more as it is.
EXACT_LEAK_BITS = 31
# Two float32 roundings, of a weight and of its row's largest.
_FLOAT32 = 2.0**-22
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


def exact_leak(beta: float) -> int:
    """The factor of a decay in [0, 1] with EXACT_LEAK_BITS, rounded to the nearest."""
    return math.floor(beta * (1 << EXACT_LEAK_BITS) + 0.5)


def weight_step(weight: Tensor, threshold: Tensor | None, amplitude: float, shared: bool) -> Tensor:
    """The weight's step of each output channel, (m,), for symmetric int8 codes.

    Weights that lie on a grid of at most 127 steps keep it: they quantise without error.

    Args:
        weight: (m, n).
        threshold: (m,) or (1,) of the neurons behind, None for a readout.
        amplitude: the largest input value; 1 for spikes.
        shared: one step for all channels, which a readout that compares channels needs.
    """
    rows = weight.detach().double()
    rows = rows.reshape(1, -1) if shared else rows
    step = (rows.abs().amax(dim=1) / _grid(rows)).expand(len(weight))
    if threshold is not None:
        step = torch.maximum(step, threshold.detach().double() / (_FINEST * amplitude))
    return torch.where(step > 0, step, torch.ones_like(step))


def _grid(rows: Tensor) -> Tensor:
    """(m,) steps to each row's largest weight: the most, up to 127, that its weights lie on.

    127 where there is no such grid. The first columns tell for nearly every row that has none.
    """
    ratio = rows / rows.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(rows.dtype).tiny)
    scales = torch.full((len(rows),), WEIGHT_MAX, dtype=rows.dtype)
    steps = torch.arange(1, WEIGHT_MAX + 1, dtype=rows.dtype)
    few = ratio[:, :8, None] * steps
    hopeful = _whole(few).all(dim=1)  # (m, steps)
    left = hopeful.any(dim=1)
    for count in range(WEIGHT_MAX, 0, -1):
        on = left & hopeful[:, count - 1]
        if bool(on.any()):
            index = torch.nonzero(on)[:, 0]
            index = index[_whole(ratio[index] * count).all(dim=1)]
            scales[index] = count
            left[index] = False
    return scales


def _whole(values: Tensor) -> Tensor:
    """Where values are integers but for the rounding of float32."""
    return (values - values.round()).abs() <= values.abs() * _FLOAT32


def is_exact(values: Tensor, codes: Tensor, unit: Tensor) -> bool:
    """Whether `codes * unit` are the values, but for the rounding of float32."""
    values = values.detach().double()
    return bool(((codes * unit - values).abs() <= values.abs() * _FLOAT32).all())


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

"""Channels as real networks have them and random weights do not: dead, constant, one-sided."""

from __future__ import annotations

import numpy as np

from spikelet.graph import Array

SHARE = 0.4  # of channels that are spoilt


def spoil(rng: np.random.Generator, weight: Array, bias: Array, axis: int = 0) -> None:
    """Makes some output channels of real weights and biases useless, in place.

    Dead: all zero. Vanishing: as good as zero, with a scale of its own. Constant: a bias alone.
    Huge: a bias beside which the weights do not count. One-sided: never above zero, or never below.

    Args:
        rng: the choice.
        weight: output channels along `axis`.
        bias: (O,).
        axis: of the weights.
    """
    rows = np.moveaxis(weight, axis, 0)
    for channel in np.flatnonzero(rng.random(len(bias)) < SHARE):
        row = rows[channel]
        kind = rng.integers(6)
        if kind in (0, 2):
            row[...] = 0
        if kind == 1:
            row *= 1e-9
        reach = 4 * float(np.abs(row).sum())
        bias[channel] = {0: 0.0, 1: 1e-8, 2: rng.uniform(0.1, 1), 3: 1e3 * reach}.get(
            int(kind), -reach if kind == 4 else reach
        )

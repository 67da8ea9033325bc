"""Codes of int32 sums, rounded once, halves to even, as other people's low-bit files mean it.

With scales that are powers of two some 3 % of the sums lie exactly on a half, so a rule for halves
is part of the model. Whatever a file does between a sum and its code (scale, bias, batch norm,
clamp) never falls where the sum rises, so it is known by its steps: `steps[k]` is the least sum
with a code above `low + k`. Few steps are kept as they are. Of many, a line `sum * multiplier +
offset` is kept, if it is proved to round to the same code for every sum that can occur: both rise,
so they agree everywhere if they agree on either side of every step.
C twin: firmware/kernels/requantise_even.h.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from spikelet.graph.tensor import Array

MOST_BITS = 62  # of a product with its offset
MOST_RIGHT = 62
NO_SUM = (1 << 31) - 1  # a step that no sum reaches

Codes = Callable[[Array], Array]  # of sums (O, K): codes (O, K)


def reached(sums: Array, steps: Array) -> Array:
    """How many of its channel's steps each sum reaches.

    Args:
        sums: (..., O) integers.
        steps: (O, n) integers, ascending.

    Returns:
        int64 array of the shape of `sums`.
    """
    counts = np.empty(sums.shape, np.int64)
    for channel, own in enumerate(steps):
        counts[..., channel] = np.searchsorted(own, sums[..., channel], side="right")
    return counts


def half_even(sums: Array, multiplier: Array, right: Array, offset: Array) -> Array:
    """`(sum * multiplier + offset) / 2^right`, rounded down; an odd integer without rest less 1.

    With a half in the offset that rounds to the nearest integer, halves to even.

    Args:
        sums: (..., O) integers.
        multiplier: (O,) 0 to 2^31 - 1.
        right: (O,) 1 to 62.
        offset: (O,) int64; a product with it has at most 62 bits.

    Returns:
        int64 array of the shape of `sums`.
    """
    product = sums.astype(np.int64) * multiplier.astype(np.int64) + offset
    whole = product >> right
    tie = (whole << right) == product
    result: Array = whole - (tie & ((whole & 1) == 1))
    return result


def find_steps(codes: Codes, ends: tuple[Array, Array], limits: tuple[int, int]) -> Array:
    """(O, high - low) int64: the least sum of each channel with a code above low, low + 1, ...

    Args:
        codes: what the sums (O, K) become; it never falls where a sum rises.
        ends: (O,) lowest and highest sum that can occur.
        limits: low and high, of all codes.

    Returns:
        Steps; one that no sum reaches is `NO_SUM`.
    """
    low, high = limits
    wanted = np.arange(low + 1, high + 1)[None]
    first = np.repeat(ends[0][:, None].astype(np.int64), high - low, axis=1)
    last = np.repeat(ends[1][:, None].astype(np.int64) + 1, high - low, axis=1)
    while np.any(first < last):
        middle = (first + last) >> 1
        enough = codes(np.minimum(middle, ends[1][:, None])) >= wanted
        last = np.where(enough, np.minimum(last, middle), last)
        first = np.where(enough, first, np.minimum(middle + 1, last))
    return np.where(first > ends[1][:, None], NO_SUM, first)


@dataclass(frozen=True)
class Line:
    """A channel's `half_even`."""

    multiplier: int
    right: int
    offset: int

    def fits(self, ends: tuple[int, int]) -> bool:
        """Whether no product of a sum between `ends` leaves 62 bits, and no result 31."""
        products = [s * self.multiplier + self.offset for s in ends]
        most = max(abs(p) for p in (*products, self.offset))
        inside = max(abs(s) for s in ends) * self.multiplier + abs(self.offset)
        return inside < 1 << MOST_BITS and most >> self.right < 1 << 30

    def rounded(self, sums: Array) -> Array:
        """`half_even` of sums of any shape."""
        one = (np.array([v]) for v in (self.multiplier, self.right, self.offset))
        return half_even(sums[..., None], *one)[..., 0]

    def holds(self, bounds: _Bounds) -> bool:
        """Whether it has the code on either side of each step."""
        reached_ = np.all(self.rounded(bounds.at) >= bounds.at_least)
        return bool(reached_ and np.all(self.rounded(bounds.before) < bounds.below))


@dataclass(frozen=True)
class _Bounds:
    """What a channel's line must do: `f(at) >= at_least` and `f(before) < below`; int64 arrays."""

    at: Array
    at_least: Array
    before: Array
    below: Array


def find_line(
    steps: Array, ends: tuple[int, int], low: int, slope: Fraction, start: Fraction
) -> Line | None:
    """A line proved to have a channel's steps for every sum between `ends`; None where none is.

    Args:
        steps: (n,) of the channel, `NO_SUM` where no sum reaches it.
        ends: lowest and highest sum.
        low: the code below the first step, less the output's zero point.
        slope: codes a sum, not negative: what the line should be but for rounding.
        start: code of sum 0, less the zero point.
    """
    values = low + 1 + np.arange(len(steps))
    up, down = steps <= ends[1], steps > ends[0]
    bounds = _Bounds(
        np.maximum(steps[up], ends[0]), values[up], np.minimum(steps[down] - 1, ends[1]),
        values[down],
    )  # fmt: skip
    for right in range(MOST_RIGHT, 0, -1):
        multiplier = round(slope * (1 << right))
        line = Line(multiplier, right, round((start + Fraction(1, 2)) * (1 << right)))
        if multiplier >> 31 or not line.fits(ends):
            continue
        if line.holds(bounds):
            return line
        line = _through(bounds, multiplier, right)
        return line if line.fits(ends) and line.holds(bounds) else None
    return None


def _through(bounds: _Bounds, multiplier: int, right: int) -> Line:
    """The line that keeps farthest from the wrong side of every step, near a multiplier.

    What is left between the two sides is concave in the multiplier: a ternary search.
    """

    def room(m: int) -> tuple[int, int]:
        least = (bounds.at_least << right) - bounds.at * m
        most = (bounds.below << right) - bounds.before * m
        return int(least.max(initial=-(1 << MOST_BITS))), int(most.min(initial=1 << MOST_BITS))

    near = multiplier >> 8
    first, last = max(0, multiplier - near), min(multiplier + near, NO_SUM)
    while last - first > 2:
        third = (last - first) // 3
        a, b = (room(m) for m in (first + third, last - third))
        if a[1] - a[0] < b[1] - b[0]:
            first += third
        else:
            last -= third
    best = max(range(first, last + 1), key=lambda m: room(m)[1] - room(m)[0])
    low, high = room(best)
    return Line(best, right, (low + high) >> 1)

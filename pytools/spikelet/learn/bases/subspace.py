"""A subspace of a layer's traces: a learned basis, and coordinates in it, on integers.

Base of the operators of HLOP and CUBER. C twin: firmware/learn/hlop.h.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from spikelet.graph.c import Fields
from spikelet.graph.operator import Interval, Operator
from spikelet.graph.tensor import Array, Tensor
from spikelet.learn.numbers.fixed import INT32_MAX, shift_round

ONE = 1 << 12  # 1.0 of a basis
USED, BEGUN = 0, 1  # places in `columns`


def largest_value(n: int) -> int:
    """The largest x of n elements: sums of basis * x and of x * x fit 32 bits, and x itself 16."""
    squares = math.isqrt(((1 << 32) - 1) // n)
    return min(INT32_MAX // (ONE * n), squares, (1 << 15) - 1)


@dataclass(frozen=True)
class Subspace:
    """What an input and its basis are proved to be.

    Attributes:
        n: elements of x.
        capacity: columns of the basis.
        zero: of x.
        shift: a coordinate is a sum by 2^-shift.
        limit: a coordinate stays within +-limit.
        largest: size of an element of x less its zero point.
    """

    n: int
    capacity: int
    zero: int
    shift: int
    limit: int
    largest: int

    @property
    def most(self) -> int:
        """The largest element of a trace that is written."""
        return min(2 * self.largest, largest_value(self.n))


@dataclass(frozen=True)
class Gradients(Subspace):
    """The same with the fraction bits of a gradient.

    Attributes:
        fraction: bits of an element.
    """

    fraction: int


@dataclass(kw_only=True)
class SubspaceOperator(Operator):
    """What reads a basis (n, K) i16, Q12 within +-1.0, and its columns (2,) i32: used, begun."""

    facts: Subspace = field(init=False, repr=False, compare=False)

    def expect_subspace(
        self, x: Tensor, basis: Tensor, columns: Tensor, bounds: dict[str, Interval]
    ) -> Subspace:
        """What x and its basis are; refuses others, and sums beyond 32 bits."""
        if x.dtype not in ("u8", "i8", "i16"):
            raise self.error(f"input {x.name} is {x.dtype}, expected u8, i8 or i16")
        low, high = bounds[basis.name]
        if (
            (basis.kind, basis.dtype, basis.shape[:1]) != ("learned", "i16", (x.size,))
            or len(basis.shape) != 2
            or int(low.min()) < -ONE
            or int(high.max()) > ONE
        ):
            raise self.error(
                f"basis {basis.name} is {basis.kind} {basis.dtype} of shape {basis.shape}, "
                f"expected learned i16 ({x.size}, columns) within +-{ONE}"
            )
        n, capacity = basis.shape
        first, last = bounds[columns.name]
        if (
            (columns.kind, columns.dtype, columns.shape) != ("learned", "i32", (2,))
            or int(first.min()) < 0
            or int(last.max()) > capacity
        ):
            raise self.error(
                f"{columns.name} is {columns.kind} {columns.dtype} of shape {columns.shape}, "
                f"expected learned i32 (2,) within 0 and {capacity}"
            )
        low, high = (ends.astype(np.int64) - x.zero_point for ends in bounds[x.name])
        largest = max(1, int(-low.min()), int(high.max()))
        fits = largest_value(n)
        if largest > fits:
            raise self.error(
                f"input {x.name} reaches {largest}, and sums of {n} products fit 32 bits up "
                f"to {fits}: give it fewer bits"
            )
        limit = INT32_MAX // (ONE * capacity) - 1
        reach = math.isqrt(largest * largest * n)
        shift = max(0, ((reach - 1) // max(limit, 1)).bit_length())
        if limit < 1 or shift > 12:
            raise self.error(f"a basis of {capacity} columns is too large for 32 bits")
        return Subspace(n, capacity, x.zero_point, shift, limit, largest)

    def _coordinates(self, x: Array, basis: Array) -> Array:
        """(K,) of x (n,) in the columns of a basis (n, K)."""
        sums = x.astype(np.float64) @ basis.astype(np.float64)  # exact: below 2^31
        rounded = shift_round(sums.astype(np.int64), 12 + self.facts.shift)
        return np.clip(rounded, -self.facts.limit, self.facts.limit)

    def _back(self, basis: Array, y: Array) -> Array:
        sums = basis.astype(np.float64) @ y.astype(np.float64)
        return shift_round(sums.astype(np.int64), 12 - self.facts.shift)

    def _layer(self) -> Fields:
        return {
            "n": self.facts.n,
            "capacity": self.facts.capacity,
            "zero": self.facts.zero,
            "shift": self.facts.shift,
            "limit": self.facts.limit,
        }

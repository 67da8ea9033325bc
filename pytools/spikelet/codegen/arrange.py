"""Where blocks of memory lie, so that they take as little as can be, and how little that is.

Two blocks that are in use at the same time lie one above the other, or, where that is permitted,
both at the same place. Which one is above is free; each way asks for a distance between their
beginnings: the lower one's size, or less where the two may overlap. Ways that cannot be within a
given size leave others; where none is left, this size is proved to be too small.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from spikelet.graph.tensor import Array

TRIALS = 300  # moves of a block to another place in the order, and decisions, that are tried
WORK = 40000  # pairs of blocks that trials may look at, in all

Distances = Mapping[tuple[int, int], int]


@dataclass(frozen=True)
class Problem:
    """What is to be arranged.

    Attributes:
        sizes: of the blocks, multiples of the unit.
        above: `above[a, b]` for each pair in use together, in both orders: the least distance from
            the beginning of `a` to that of `b` when `b` is above; a multiple of the unit.
        same: pairs (a, b), in both orders, that may begin at the same place.
    """

    sizes: Sequence[int]
    above: Distances
    same: Set[tuple[int, int]] = frozenset()

    def extent(self, places: Sequence[int]) -> int:
        """Bytes in all."""
        return max(place + size for place, size in zip(places, self.sizes, strict=True))


def arrange(problem: Problem, unit: int, floor: int) -> tuple[list[int], int]:
    """The beginning of each block, and bytes that no arrangement goes below.

    Args:
        problem: the blocks.
        unit: of all sizes and places.
        floor: bytes that are needed at the least.
    """
    best = _by_rule(problem, floor)
    budget, pairs = [_trials(problem)], _Pairs(problem)
    low = floor  # sizes below were tried, some without an answer
    while low < (high := problem.extent(best)):
        middle = low + (high - low) // 2 // unit * unit
        order = _Ways.undecided(problem, middle, pairs).solve(budget)
        if order:
            best = order
            continue
        low = middle + unit
        if order is False:
            floor = low
    return best, floor


def _trials(problem: Problem) -> int:
    return min(TRIALS, WORK // max(1, len(problem.above)))


@dataclass(frozen=True)
class _Near:
    """What else may be in the way of a block.

    Attributes:
        apart: of each other block that is in use together with it: its number, the least distance
            to it from this one below it, and from it to this one above it.
        same: blocks that may begin where it begins.
    """

    apart: list[tuple[int, int, int]] = field(default_factory=list)
    same: list[int] = field(default_factory=list)


def _by_rule(problem: Problem, floor: int) -> list[int]:
    """Each block at the lowest place that is free, in the best of several orders."""
    sizes = problem.sizes
    count = range(len(sizes))
    near = [_Near() for _ in count]
    for (a, b), distance in problem.above.items():
        near[a].apart.append((b, distance, problem.above[b, a]))
    for a, b in problem.same:
        near[a].same.append(b)
    orders = [
        sorted(count, key=lambda i: -sizes[i]),
        list(count),
        list(reversed(count)),
        sorted(count, key=lambda i: -sum(sizes[j] for j, *_ in near[i].apart)),
    ]
    tried = [(_lowest(order, near), order) for order in orders]
    best, order = min(tried, key=lambda t: problem.extent(t[0]))
    draw = random.Random(0)
    for _ in range(_trials(problem) if len(sizes) > 2 else 0):
        if problem.extent(best) <= floor:
            break
        changed = list(order)
        a, b = draw.sample(count, 2)
        changed.insert(b, changed.pop(a))
        places = _lowest(changed, near)
        if problem.extent(places) <= problem.extent(best):
            best, order = places, changed
    return best


def _lowest(order: Sequence[int], near: Sequence[_Near]) -> list[int]:
    places = [-1] * len(order)
    for block in order:
        # Between these ends, and on neither of them, it may not begin.
        taken = sorted(
            (at - below, at + above)
            for other, below, above in near[block].apart
            if (at := places[other]) >= 0
        )
        place = 0
        for start, end in taken:
            if start >= place:
                break
            place = max(place, end)
        for at in sorted(places[other] for other in near[block].same):
            if 0 <= at < place and _is_free(at, near[block], places):
                place = at
                break
        places[block] = place
    return places


def _is_free(place: int, near: _Near, places: Sequence[int]) -> bool:
    """Whether a block may begin at a place where others do that it may share it with."""
    return all(
        at < 0 or place >= at + above or at >= place + below or (place == at and i in near.same)
        for i, below, above in near.apart
        for at in (places[i],)
    )


class _Pairs:
    """The pairs of a problem as columns: the blocks `a` < `b`, and the distances both ways."""

    def __init__(self, problem: Problem) -> None:
        self.pairs = sorted((a, b) for a, b in problem.above if a < b)
        self.a, self.b = np.array(self.pairs, np.int64).reshape(-1, 2).T
        self.b_above = np.array([problem.above[a, b] for a, b in self.pairs], np.int64)
        self.a_above = np.array([problem.above[b, a] for a, b in self.pairs], np.int64)

    def needs(self, head: Sequence[int], tail: Sequence[int]) -> tuple[Array, Array]:
        """Of each pair the bytes in all when `b` is above `a`, and when `a` is above `b`."""
        heads, tails = np.array(head, np.int64), np.array(tail, np.int64)
        return (
            heads[self.a] + self.b_above + tails[self.b],
            heads[self.b] + self.a_above + tails[self.a],
        )


@dataclass
class _Ways:
    """How blocks lie to one another, as far as it is decided; all within `limit` bytes.

    Attributes:
        pairs: all that are in use together.
        head: the lowest place of each block.
        tail: the least from its beginning to the end of all.
        decided: distances, at the least.
        open: (pairs,) which of them are not decided.
    """

    problem: Problem
    limit: int
    pairs: _Pairs
    head: list[int]
    tail: list[int]
    decided: dict[tuple[int, int], int]
    open: Array

    @classmethod
    def undecided(cls, problem: Problem, limit: int, pairs: _Pairs) -> _Ways:
        """Every way is open."""
        head, tail = [0] * len(problem.sizes), list(problem.sizes)
        return cls(problem, limit, pairs, head, tail, {}, np.ones(len(pairs.pairs), bool))

    def solve(self, budget: list[int]) -> list[int] | Literal[False] | None:
        """Places within the limit, False where there are none, None where the budget ends."""
        if not self._propagate():
            return False
        if not self.open.any():
            return list(self.head)
        if budget[0] <= 0:
            return None
        b_above, a_above = self.pairs.needs(self.head, self.tail)
        needs = np.where(self.open, b_above + a_above, -1)
        chosen = len(needs) - 1 - int(np.argmax(needs[::-1]))  # of equals the last
        pair = self.pairs.pairs[chosen]
        left = self.open.copy()
        left[chosen] = False
        unknown = False
        for _, distances in sorted(self._ways(*pair), key=lambda way: way[0]):
            if budget[0] <= 0:
                return None
            budget[0] -= 1
            branch = _Ways(
                self.problem, self.limit, self.pairs, list(self.head), list(self.tail),
                {**self.decided, **distances}, left.copy(),
            )  # fmt: skip
            order = branch.solve(budget)
            if order:
                return order
            unknown |= order is None
        return None if unknown else False

    def _ways(self, a: int, b: int) -> list[tuple[int, dict[tuple[int, int], int]]]:
        """Each way that is within the limit: bytes in all, and its distances."""
        head, tail, above = self.head, self.tail, self.problem.above
        ways = [
            (head[low] + above[low, high] + tail[high], {(low, high): above[low, high]})
            for low, high in ((a, b), (b, a))
        ]
        if (a, b) in self.problem.same:
            need = max(head[a], head[b]) + max(tail[a], tail[b])
            ways.append((need, {(a, b): 0, (b, a): 0}))
        return [way for way in ways if way[0] <= self.limit]

    def _propagate(self) -> bool:
        head, tail = self.head, self.tail
        changed = True
        while changed:
            changed = False
            for (low, high), distance in self.decided.items():
                if head[low] + distance > head[high]:
                    head[high] = head[low] + distance
                    changed = True
                if tail[high] + distance > tail[low]:
                    tail[low] = tail[high] + distance
                    changed = True
                if max(head[low] + tail[low], head[high] + tail[high]) > self.limit:
                    return False
            # Most pairs have both ways.
            narrow = self.open & (np.maximum(*self.pairs.needs(head, tail)) > self.limit)
            for number in np.flatnonzero(narrow):
                ways = self._ways(*self.pairs.pairs[number])
                if not ways:
                    return False
                if len(ways) == 1:
                    self.decided.update(ways[0][1])
                    self.open[number] = False
                    changed = True
        return all(h + t <= self.limit for h, t in zip(head, tail, strict=True))

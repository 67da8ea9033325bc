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
    budget = [_trials(problem)]
    low = floor  # sizes below were tried, some without an answer
    while low < (high := problem.extent(best)):
        middle = low + (high - low) // 2 // unit * unit
        order = _Ways(problem, middle).solve(budget)
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


@dataclass
class _Ways:
    """How blocks lie to one another, as far as it is decided; all within `limit` bytes."""

    problem: Problem
    limit: int
    head: list[int] = field(default_factory=list)  # the lowest place of each
    tail: list[int] = field(default_factory=list)  # the least from its beginning to the end of all
    decided: dict[tuple[int, int], int] = field(default_factory=dict)  # distances, at the least
    open: set[tuple[int, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        if not self.head:
            self.head, self.tail = [0] * len(self.problem.sizes), list(self.problem.sizes)
            self.open = {(a, b) for a, b in self.problem.above if a < b}

    def solve(self, budget: list[int]) -> list[int] | Literal[False] | None:
        """Places within the limit, False where there are none, None where the budget ends."""
        if not self._propagate():
            return False
        if not self.open:
            return list(self.head)
        if budget[0] <= 0:
            return None
        a, b = max(self.open, key=lambda pair: (sum(self._needs(*pair)), pair))
        unknown = False
        for _, distances in sorted(self._ways(a, b), key=lambda way: way[0]):
            if budget[0] <= 0:
                return None
            budget[0] -= 1
            branch = _Ways(
                self.problem, self.limit, list(self.head), list(self.tail),
                {**self.decided, **distances}, self.open - {(a, b)},
            )  # fmt: skip
            order = branch.solve(budget)
            if order:
                return order
            unknown |= order is None
        return None if unknown else False

    def _needs(self, a: int, b: int) -> tuple[int, int]:
        """Bytes in all when `b` is above `a`, and when `a` is above `b`."""
        head, tail, above = self.head, self.tail, self.problem.above
        return head[a] + above[a, b] + tail[b], head[b] + above[b, a] + tail[a]

    def _ways(self, a: int, b: int) -> list[tuple[int, dict[tuple[int, int], int]]]:
        """Each way that is within the limit: bytes in all, and its distances."""
        pairs = zip(self._needs(a, b), ((a, b), (b, a)), strict=True)
        ways = [(need, {pair: self.problem.above[pair]}) for need, pair in pairs]
        if (a, b) in self.problem.same:
            need = max(self.head[a], self.head[b]) + max(self.tail[a], self.tail[b])
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
            for pair in list(self.open):
                if max(self._needs(*pair)) <= self.limit:
                    continue  # both ways, as most pairs have
                ways = self._ways(*pair)
                if not ways:
                    return False
                if len(ways) == 1:
                    self.decided.update(ways[0][1])
                    self.open.discard(pair)
                    changed = True
        return all(h + t <= self.limit for h, t in zip(head, tail, strict=True))

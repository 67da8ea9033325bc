"""Places of memory blocks: valid always, the best there are where they are few."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from spikelet.codegen.arrange import Problem, arrange

UNIT = 8


@st.composite
def problems(draw: st.DrawFn, most: int) -> Problem:
    sizes = [UNIT * n for n in draw(st.lists(st.integers(1, 9), min_size=1, max_size=most))]
    above: dict[tuple[int, int], int] = {}
    same: set[tuple[int, int]] = set()
    for a, b in itertools.combinations(range(len(sizes)), 2):
        kind = draw(st.integers(0, 4))
        if kind > 0:
            above[a, b], above[b, a] = sizes[a], sizes[b]
        if kind == 3:  # b may begin a little before a
            above[b, a] = UNIT * draw(st.integers(0, sizes[b] // UNIT))
        if kind == 4:
            same |= {(a, b), (b, a)}
    return Problem(sizes, above, same)


def valid(problem: Problem, places: list[int]) -> bool:
    above, same = problem.above, problem.same
    return all(
        places[b] - places[a] >= above[a, b]
        or places[a] - places[b] >= above[b, a]
        or (places[a] == places[b] and (a, b) in same)
        for a, b in above
    ) and all(place >= 0 and place % UNIT == 0 for place in places)


def worth_trying(problem: Problem, places: dict[int, int], block: int) -> list[int]:
    """Places of a block above those that have one: as low as it can be, or where a twin is."""
    above, same = problem.above, problem.same
    low = max(
        (
            places[i] + above[i, block]
            for i in places
            if (i, block) in above and (i, block) not in same
        ),
        default=0,
    )
    twins = [i for i in places if (i, block) in same]
    tried = {low, *(places[i] for i in twins)}
    tried |= {places[i] + above[i, block] for i in twins}
    return [
        place
        for place in tried
        if place >= low
        and all(place == places[i] or place >= places[i] + above[i, block] for i in twins)
    ]


def least(problem: Problem) -> int:
    """By trying each order of the blocks, and for each of them the places that could be best."""
    best = sum(problem.sizes)
    for order in itertools.permutations(range(len(problem.sizes))):
        partial: list[dict[int, int]] = [{}]
        for block in order:
            partial = [
                {**places, block: place}
                for places in partial
                for place in worth_trying(problem, places, block)
            ]
        for places in partial:
            best = min(best, problem.extent([places[i] for i in range(len(order))]))
    return best


@given(problems(5))
@settings(max_examples=150, deadline=None)
def test_few_blocks_take_no_byte_too_many_and_the_bound_says_so(
    problem: Problem,
) -> None:
    places, bound = arrange(problem, UNIT, max(problem.sizes))
    assert valid(problem, places)
    assert problem.extent(places) == bound == least(problem)


@given(problems(25))
@settings(max_examples=25, deadline=None)
def test_many_blocks_are_apart_and_the_bound_is_none_too_high(
    problem: Problem,
) -> None:
    places, bound = arrange(problem, UNIT, max(problem.sizes))
    assert valid(problem, places)
    assert max(problem.sizes) <= bound <= problem.extent(places)


def test_a_chain_slides_down_by_its_leads() -> None:
    sizes = [800] * 10
    above = {}
    for i in range(9):
        above[i, i + 1], above[i + 1, i] = 800, 40
    problem = Problem(sizes, above)
    places, bound = arrange(problem, UNIT, 800)
    assert problem.extent(places) == bound == 800 + 9 * 40

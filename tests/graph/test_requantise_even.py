"""Halves to even: steps and lines against exact fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from int8_graphs import even
from spikelet.graph import Array, Graph, GraphError
from spikelet.graph.quantised import Quantised
from spikelet.graph.requantise_even import NO_SUM, Line, find_line, find_steps, half_even, reached


def exact(slope: Fraction, start: Fraction, sums: Array, limits: tuple[int, int]) -> Array:
    """Codes of fractions; Python rounds their halves to even."""
    codes = [round(slope * int(s) + start) for s in sums.reshape(-1)]
    return np.clip(np.array(codes), *limits).reshape(sums.shape)


def value(line: Line, sums: Array) -> Array:
    fields = (np.array([v]) for v in (line.multiplier, line.right, line.offset))
    return half_even(sums[:, None], *fields)[:, 0]


@given(st.integers(1, 1 << 12), st.integers(4, 30), st.integers(-4096, 4096), st.integers(0, 9))
@settings(max_examples=150, deadline=None)
def test_a_line_of_a_dyadic_slope_is_exact_where_halves_are(
    odd: int, shift: int, start: int, seed: int
) -> None:
    """At both ends of the range, and around every half in it."""
    slope, first = Fraction(odd, 1 << shift), Fraction(start, 64)
    end = min(int(Fraction(300) / slope) + 1, 1 << 29)
    limits = -128, 127

    def codes(sums: Array) -> Array:
        return exact(slope, first, sums, limits)

    ends = np.array([-end]), np.array([end])
    steps = find_steps(codes, ends, limits)
    line = find_line(steps[0], (-end, end), -128, slope, first)
    assert line is not None
    halves = [int((Fraction(2 * j + 1, 2) - first) / slope) for j in range(-129, 129)]
    near = np.array([h + d for h in halves for d in (-1, 0, 1)])
    rng = np.random.default_rng(seed)
    sums = np.unique(np.clip([*near, *rng.integers(-end, end, 50), -end, end], -end, end))
    wanted = codes(sums)
    assert np.array_equal(np.clip(value(line, sums), *limits), wanted)
    assert np.array_equal(-128 + reached(sums[:, None], steps)[:, 0], wanted)


@pytest.mark.parametrize("slope", [Fraction(1, 6), Fraction(1, 10), Fraction(3, 14)])
def test_halves_that_no_line_holds_are_left_to_steps(slope: Fraction) -> None:
    """A multiplier of 31 bits is not 1/6, so it cannot know the halves: no line is claimed."""
    end, limits = 700, (-60, 60)

    def codes(sums: Array) -> Array:
        return exact(slope, Fraction(0), sums, limits)

    steps = find_steps(codes, (np.array([-end]), np.array([end])), limits)
    assert find_line(steps[0], (-end, end), -60, slope, Fraction(0)) is None
    sums = np.arange(-end, end + 1)
    assert np.array_equal(-60 + reached(sums[:, None], steps)[:, 0], codes(sums))


@given(st.integers(0, 1 << 30), st.integers(8, 20), st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_line_that_is_found_has_the_codes_of_single_precision(
    seed: int, shift: int, shifted: bool
) -> None:
    """For every sum of the interval, whatever float32 made of scale, bias and division."""
    rng = np.random.default_rng(seed)
    scale, step = (np.float32(v) for v in rng.uniform(0.5, 1, 2))
    unit, bias = np.float32(scale * 2.0**-shift), np.float32(rng.normal() * 20)
    end, limits = 1 << min(shift + 7, 18), (0, 200) if shifted else (-128, 127)

    def codes(sums: Array) -> Array:
        real = (sums * float(unit)).astype(np.float32) + bias
        return np.clip(np.rint(real / step), *limits).astype(np.int64)

    steps = find_steps(codes, (np.array([-end]), np.array([end])), limits)
    slope = Fraction(float(unit)) / Fraction(float(step))
    line = find_line(steps[0], (-end, end), limits[0], slope, Fraction(float(bias / step)))
    sums = np.arange(-end, end + 1)
    assert np.array_equal(limits[0] + reached(sums[:, None], steps)[:, 0], codes(sums))
    if line is not None:
        assert np.array_equal(np.clip(value(line, sums), *limits), codes(sums))


def test_a_step_that_no_sum_reaches_is_no_sum() -> None:
    steps = find_steps(lambda sums: sums, (np.array([-2]), np.array([1])), (-4, 3))
    assert steps.tolist() == [[-2, -2, -1, 0, 1, NO_SUM, NO_SUM]]


def test_a_layer_keeps_its_steps_and_its_lines() -> None:
    graph = even()
    layers = [node for node in graph.nodes if isinstance(node, Quantised)]
    assert sum(node.steps is not None for node in layers) > 10
    assert sum(node.offset is not None for node in layers) > 10
    again = Graph.from_json(graph.to_json(), graph.constants())
    assert [n.attributes() for n in again.nodes] == [n.attributes() for n in graph.nodes]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": np.zeros((9, 2), np.int32)}, "steps of shape"),
        ({"steps": np.arange(9 * 255, 0, -1, dtype=np.int32).reshape(9, 255)}, "ascending"),
        ({"multiplier": np.ones(9, np.int32)}, "steps and a multiplier"),
        ({"offset": np.zeros((9, 2), np.int32)}, "steps and an offset"),
        ({"steps": None, "offset": np.zeros((9, 3), np.int32)}, "expected .9, 2."),
        (
            {
                "steps": None, "offset": np.full((9, 2), (1 << 30), np.int32),
                "shift": np.full(9, -1, np.int32),
            },
            "may leave 62 bits",
        ),
    ],
)  # fmt: skip
def test_what_is_no_rounding_is_refused(changes: dict[str, Array | None], words: str) -> None:
    import dataclasses

    graph = even()
    node = dataclasses.replace(graph.nodes[0], **changes)
    with pytest.raises(GraphError, match=words):
        Graph("one", 1, [graph.inputs[0]], [node], [node.name])

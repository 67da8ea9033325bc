"""Codes of sums and membranes against exact fractions; integrators that read codes."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plain_neurons import exact_leak
from spikelet.graph import Graph, GraphError, Tensor
from spikelet.graph.ops.codes import Codes
from spikelet.graph.ops.leaky_readout import LeakyReadout


def code(x: int, multiplier: int, shift: int, low: int, high: int) -> int:
    """Rounded twice: halves up, then halves away from zero."""
    first = math.floor(Fraction(x * 2 ** max(shift, 0) * multiplier, 1 << 31) + Fraction(1, 2))
    exact = Fraction(abs(first), 2 ** max(-shift, 0))
    size = math.floor(exact + Fraction(1, 2))
    return max(low, min(high, size if first >= 0 else -size))


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_codes_equal_exact_fractions(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    channels, dtype = data.draw(st.integers(1, 7)), data.draw(st.sampled_from(["i16", "i32"]))
    most = 1 if dtype == "i32" else 10
    shift = rng.integers(-31, most, channels if rng.integers(2) else 1).astype(np.int32)
    multiplier = rng.integers(1 << 30, 1 << 31, channels).astype(np.int32)
    limits = data.draw(st.sampled_from([(-127, 127), (0, 127), (-5, 90)]))
    x = Tensor("x", dtype, (3, channels), kind="input")
    node = Codes(name="y", inputs=("x",), multiplier=multiplier, shift=shift, limits=limits)
    graph = Graph("one", 1, [x], [node], ["y"])
    low, high = x.limits
    values = rng.integers(low, high + 1, (4, 3, channels)).astype(x.numpy_dtype)
    values.reshape(-1)[:2] = low, high
    found = graph.run({"x": values}).outputs["y"]
    for index, v in np.ndenumerate(values):
        k = index[-1]
        wanted = code(int(v), int(multiplier[k]), int(shift[k % len(shift)]), *limits)
        assert found[index] == wanted
    ends = graph.bounds["y"]
    assert (ends[0] <= found).all() and (found <= ends[1]).all()


def test_an_integrator_of_codes_equals_plain_integers() -> None:
    x = Tensor("x", "i8", (4,), kind="input")
    node = LeakyReadout(name="y", inputs=("x",), leak=30001, input_shift=5, leak_round="floor")
    codes = np.array([[-128, -1, 3, 127]], np.int8)
    trace = Graph("one", 20, [x], [node], ["y"]).run({"x": codes}, trace=True).trace["y"]
    held = [0] * 4
    for t in range(20):
        held = [
            exact_leak(v, 30001, "floor", 15) + 32 * int(c)
            for v, c in zip(held, codes[0], strict=True)
        ]
        assert trace[t, 0].tolist() == held


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"shift": np.array([3], np.int32)}, "a shift to the left may carry values beyond 32 bits"),
        ({"shift": np.zeros(3, np.int32)}, "shift has 3 values for 4 channels"),
    ],
)
def test_codes_that_cannot_be_are_refused(fields: dict[str, object], text: str) -> None:
    x = Tensor("x", "i32", (4,), kind="input")
    given_fields = {"multiplier": np.array([1 << 30], np.int32), **fields}
    node = Codes(name="y", inputs=("x",), **given_fields)  # type: ignore[arg-type]
    with pytest.raises(GraphError, match=text):
        Graph("bad", 1, [x], [node], ["y"])

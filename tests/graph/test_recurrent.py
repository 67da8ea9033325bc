"""Operators with a state of their own: the fixed point beneath them, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from spikelet.graph import Array, Graph, GraphError, Operator, Tensor
from spikelet.graph.fixed16 import logistic, tanh
from spikelet.graph.ops.frame import Frame
from spikelet.graph.ops.lstm import Lstm
from spikelet.graph.ops.svdf import Svdf

EVERY = np.arange(-(1 << 15), 1 << 15)


def test_logistic_is_near_the_real_one_for_every_code() -> None:
    wanted = 1 / (1 + np.exp(-EVERY / 4096))
    found = logistic(EVERY)
    assert found.min() >= 0 and found.max() <= 32767
    assert np.abs(found / 32768 - wanted).max() < 1e-3
    # 1 - logistic(x), in steps that leave out one: 32767 - code.
    assert np.array_equal(found[1:][::-1], np.where(EVERY[1:] == 0, 16384, 32767 - found[1:]))


@pytest.mark.parametrize("bits", range(7))
def test_tanh_is_near_the_real_one_for_every_code(bits: int) -> None:
    found = tanh(EVERY, bits)
    assert np.abs(found / 32768 - np.tanh(EVERY / (1 << (15 - bits)))).max() < 2e-3
    assert np.array_equal(found[1:], -found[1:][::-1])


def graph(node: Operator, shape: tuple[int, ...], steps: int = 1) -> Graph:
    x = Tensor("x", "i8", shape, kind="input", scale=0.1, zero_point=-4)
    return Graph("recurrent", steps, [x], [node], [node.name])


def svdf(**changes: Any) -> Svdf:
    fields: dict[str, Any] = {
        "weight": np.ones((4, 3), np.int8),
        "time": np.full((4, 5), 100, np.int16),
        "bias": np.zeros(2, np.int32),
        "state_factor": (1 << 30, 0),
        "output_factor": (1 << 30, -8),
    }
    return Svdf(name="svdf", inputs=("x",), **{**fields, **changes})


def test_svdf_weighs_the_last_frames() -> None:
    """One unit that adds up its last two frames."""
    node = Svdf(
        name="svdf",
        inputs=("frame",),
        weight=np.ones((1, 1), np.int8),
        time=np.ones((1, 2), np.int16),
        bias=np.zeros(1, np.int32),
        state_factor=(1 << 30, 1),
        output_factor=(1 << 30, 1),
    )
    x = Tensor("x", "i8", (4, 1), kind="input")
    found = Graph("sums", 4, [x], [Frame(name="frame", inputs=("x",)), node], ["svdf"])
    frames: Array = np.array([[[3], [5], [-20], [7]]], np.int8)
    trace = found.run({"x": frames}, trace=True).trace
    assert trace["svdf"][:, 0, 0].tolist() == [3, 8, -15, -13]
    assert trace["svdf.state"][-1][0].tolist() == [[-20, 7]]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"time": np.full((4, 5), 32767, np.int16), "state_factor": (1 << 30, 12)}, "a unit may"),
        ({"state_factor": (1 << 30, 24)}, "a frame may reach"),
        ({"weight": np.ones((4, 2), np.int8)}, "do not fit input"),
        ({"bias": np.zeros(3, np.int32)}, "do not fit input"),
        ({"time": np.ones((4, 5), np.int8)}, "time is int8"),
    ],
)
def test_an_svdf_that_may_overflow_or_does_not_fit_is_refused(changes: Any, text: str) -> None:
    assert graph(svdf(), (3,)).tensors["svdf.state"].shape == (4, 5)
    with pytest.raises(GraphError, match=text):
        graph(svdf(**changes), (3,))


def lstm(**changes: Any) -> Lstm:
    fields: dict[str, Any] = {
        "weight": np.ones((4, 2, 3), np.int8),
        "recurrent": np.ones((4, 2, 2), np.int8),
        "bias": np.zeros((4, 2), np.int32),
        "multiplier": np.full((2, 4), 1 << 30, np.int32),
        "shift": np.zeros((2, 4), np.int32),
        "cell_bits": 4,
        "cell_clip": 0,
        "hidden_factor": (1 << 30, -20),
    }
    return Lstm(name="lstm", inputs=("x",), **{**fields, **changes})


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"weight": np.ones((2, 2, 3), np.int8)}, "does not fit input"),
        ({"recurrent": np.ones((4, 2, 3), np.int8)}, "recurrent has shape"),
        ({"bias": np.full((4, 2), (1 << 31) - 1, np.int32)}, "sum of a gate may reach"),
        ({"shift": np.full((2, 4), 25, np.int32)}, "sum of a gate may reach"),
        ({"cell_bits": 7}, "cell_bits is 7"),
        ({"hidden_factor": (1 << 30, 3)}, r"hidden_factor\[1\] is 3"),
    ],
)
def test_an_lstm_that_may_overflow_or_does_not_fit_is_refused(changes: Any, text: str) -> None:
    assert graph(lstm(), (5, 3)).tensors["lstm"].shape == (5, 2)
    with pytest.raises(GraphError, match=text):
        graph(lstm(**changes), (5, 3))


def test_a_sequence_has_a_frame_for_every_step() -> None:
    with pytest.raises(GraphError, match=r"expected i8 or u8 \(3, \.\.\.\)"):
        graph(Frame(name="frame", inputs=("x",)), (4, 2), steps=3)

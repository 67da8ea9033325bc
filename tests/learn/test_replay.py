"""Replay: what is kept and drawn, with which probability, and that device and twin agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learning import USUAL, device_equals_twin
from spikelet.errors import UsageError
from spikelet.graph import Array, Graph, GraphError, Learned
from spikelet.learn import Setting, Twin, identity
from spikelet.learn.learner import extend
from spikelet.learn.learners.replay import Replay, ReplayClose, ReplayDraw, ReplayStore

INPUTS = 19
CLASSES = 4


def samples(count: int, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(1).integers(-100, 100, (CLASSES, INPUTS))
    y = rng.integers(0, CLASSES, count)
    x = np.clip(centres[y] + rng.normal(0, 30, (count, INPUTS)), -128, 127).astype(np.int8)
    return x, y


def learner(**options: Any) -> Graph:
    setting = Setting("features", CLASSES, seed=4, calibration={"x": samples(100, 9)[0]})
    return Replay(**options).attach(identity((INPUTS,), scale=1 / 64), setting)


@pytest.mark.parametrize("target", USUAL)
def test_device_equals_twin(target: str, tmp_path: Path) -> None:
    count = 300 if target.startswith("native") else 120
    graph = learner(hidden=6, blocks=3, slots=5, replays=1, exponent=1.0)
    x, y = samples(count)
    commits = range(count // 6, count, count // 6)
    twin = device_equals_twin(target, graph, {"x": x}, y, tmp_path, block=40, commit_after=commits)
    health = Replay().health(twin.learned)
    assert health == {"stored": 15, "tasks": 3, "saturations": 0}


@pytest.mark.parametrize(("target", "precision"), [("rv32f-gcc-qemu", "f32"), (USUAL[1], "i8")])
def test_other_precisions_and_a_linear_head_on_the_device(
    target: str, precision: Any, tmp_path: Path
) -> None:
    rounding = "stochastic" if precision == "i8" else "nearest"
    graph = learner(hidden=0, replays=1, length=40, precision=precision, rounding=rounding)
    x, y = samples(100)
    twin = device_equals_twin(target, graph, {"x": x}, y, tmp_path)
    assert twin.learned["replay.used"][0] == 3
    late = samples(200, 3)
    scores = twin.predict({"x": late[0]}).outputs["head_1"]
    assert (graph.predicted(scores) == late[1]).mean() > 0.8


def memory(blocks: int, slots: int, length: int = 0, cumulative: Array | None = None) -> Graph:
    """Store, and draw one, with the sample's number as the sample."""
    held = [
        Learned.of("samples", "u8", (blocks, slots, 2)),
        Learned.of("labels", "u8", (blocks, slots), low=0, high=9),
        Learned.of("fill", "i32", (blocks,), low=0, high=slots),
        Learned.of("now", "i32", (1,), low=0, high=blocks - 1),
        Learned.of("used", "i32", (1,), np.ones(1, np.int32), low=1, high=blocks),
        Learned.of("seen", "i32", (1,), low=0),
        Learned.of("random", "u32", (1,), np.array([99], np.uint32), low=1),
    ]
    names = tuple(k.tensor.name for k in held)
    if cumulative is None:
        cumulative = np.arange(1, blocks + 1).astype(np.uint16)
    nodes = [
        ReplayStore(name="store", inputs=("features", "label", *names), length=length),
        ReplayDraw(name="draw", inputs=names, cumulative=cumulative),
        ReplayClose(name="close", inputs=names[:6]),
    ]
    return extend(identity((2,), "u8"), nodes, held, ["features"], 10)


def numbered_samples(first: int, end: int) -> dict[str, Array]:
    n = np.arange(first, end)
    return {"x": np.stack([n & 255, n >> 8], axis=1).astype(np.uint8)}


def numbers_in_block(twin: Twin, block: int) -> list[int]:
    rows = twin.learned["samples"][block].astype(int)
    return [int(a + 256 * b) for a, b in rows[: twin.learned["fill"][block]]]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 6), st.lists(st.integers(0, 15), max_size=7))
def test_each_task_has_a_block_and_the_oldest_is_replaced(
    blocks: int, slots: int, tasks: list[int]
) -> None:
    twin, total = Twin(memory(blocks, slots)), 0
    kept: list[tuple[int, int]] = [(0, 0)]
    for count in tasks:
        if count:
            twin.observe(numbered_samples(total, total + count), np.full(count, len(kept) % 10))
        kept[-1] = (total, total + count)
        total += count
        twin.commit()
        if count:
            kept.append((total, total))
    assert twin.learned["used"][0] == min(len(kept), blocks)
    for age in range(min(len(kept), blocks)):
        block = (int(twin.learned["now"][0]) - age) % blocks
        first, end = kept[-1 - age]
        found = numbers_in_block(twin, block)
        assert len(found) == len(set(found)) == min(slots, end - first)
        assert all(first <= n < end for n in found)
        if end - first <= slots:
            assert found == list(range(first, end))


def test_a_block_keeps_every_sample_with_the_same_probability() -> None:
    slots, count, rounds = 8, 40, 400
    twin = Twin(memory(2, slots, length=count))
    seen = np.zeros(count)
    for number in range(rounds):
        twin.observe(numbered_samples(0, count), np.zeros(count, int))
        seen[numbers_in_block(twin, int(twin.learned["now"][0]))] += 1
        assert twin.learned["used"][0] == min(number + 1, 2)
    expected = rounds * slots / count
    assert ((seen - expected) ** 2 / expected).sum() < 72.1  # chi-squared, 39 degrees, p = 0.001


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_closed_blocks_are_drawn_by_the_weight_of_their_age(exponent: float) -> None:
    blocks, draws = 5, 3000
    weights = np.rint(1024 * np.arange(1.0, blocks + 1) ** -exponent)
    graph = memory(blocks, 4, cumulative=np.cumsum(weights).astype(np.uint16))
    twin = Twin(graph)
    for task in range(blocks):
        twin.observe(numbered_samples(4 * task, 4 * task + 4), np.full(4, task))
        if task < blocks - 1:
            twin.commit()
    draw = next(node for node in graph.nodes if isinstance(node, ReplayDraw))
    found = np.zeros((blocks, 4))
    env: dict[str, Array] = dict(twin.learned)
    for _ in range(draws):
        draw.golden(env, 0)
        number = int(env["draw"][0, 0])
        assert env["draw.label"][0, 0] == number // 4
        found[number // 4, number % 4] += 1
    assert found[-1].sum() == 0  # the open block's samples are new: only older ones are drawn
    closed = weights[: blocks - 1][::-1]  # the oldest first
    expected = np.repeat(draws * closed / closed.sum() / 4, 4)
    assert ((found[:-1].ravel() - expected) ** 2 / expected).sum() < 37.7  # 15 degrees, p = 0.001


def test_replayed_classes_are_not_forgotten() -> None:
    x, y = samples(600)
    order = np.argsort(y, kind="stable")
    accuracy = []
    for replays in (0, 2):
        graph = learner(hidden=8, replays=replays, length=100)
        twin = Twin(graph)
        twin.observe({"x": x[order]}, y[order])
        late = samples(300, 5)
        scores = twin.predict({"x": late[0]}).outputs["head_2"]
        accuracy.append((graph.predicted(scores) == late[1]).mean())
    assert accuracy[1] - accuracy[0] > 0.15
    assert accuracy[1] > 0.9


def test_what_does_not_fit_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"blocks = 33 is not in 1\.\.32"):
        Replay(blocks=33)
    with pytest.raises(UsageError, match="replay of i16 features in 3 classes"):
        Replay().attach(identity((4,), "i16"), Setting("features", 3))
    with pytest.raises(GraphError, match=r"layer draw .* cumulative is not \(blocks,\) uint16"):
        memory(2, 3, cumulative=np.array([4, 4], np.uint16))
    with pytest.raises(GraphError, match=r"layer store .* expected 2 elements u8"):
        graph = memory(2, 3)
        ins = [graph.tensors[n] for n in ("now", "label", *graph.nodes[1].inputs[2:])]
        graph.nodes[1].place(ins, graph.bounds, 1)

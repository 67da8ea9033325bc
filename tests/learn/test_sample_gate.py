"""The sample gate: what it leaves out, what it counts, and that device and twin agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learning import USUAL, device_equals_twin
from spikelet.errors import UsageError
from spikelet.graph import Array, Graph, GraphError
from spikelet.learn import Setting, Twin, identity
from spikelet.learn.learners.nearest_mean import NearestMean
from spikelet.learn.learners.replay import Replay
from spikelet.learn.learners.sample_gate import COUNT, Gated, SampleGate, add_gate

INPUTS, CLASSES = 19, 4
SETTING = Setting("features", CLASSES, seed=4)


def samples(count: int, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(1).integers(-100, 100, (CLASSES, INPUTS))
    y = rng.integers(0, CLASSES, count)
    x = np.clip(centres[y] + rng.normal(0, 30, (count, INPUTS)), -128, 127).astype(np.int8)
    return x, y


def head(precision: Any = "i16", **options: Any) -> Graph:
    learner = Replay(hidden=5, replays=0, precision=precision, **options)
    return learner.attach(identity((INPUTS,), scale=1 / 64), SETTING)


@pytest.mark.parametrize(
    ("target", "precision"), [*((target, "i16") for target in USUAL), ("rv32f-gcc-qemu", "f32")]
)
def test_device_equals_twin(target: str, precision: str, tmp_path: Path) -> None:
    count = 200 if target.startswith("native") else 100
    x, y = samples(count)
    graph = add_gate(head(precision), 0.8)
    twin = device_equals_twin(target, graph, {"x": x}, y, tmp_path, block=50)
    skipped, seen = twin.learned[COUNT]
    assert seen == count
    assert count * 0.2 < skipped < count * 0.9


def errors(graph: Graph, twin: Twin, x: Array, y: Array) -> Array:
    """|p - y| summed, in floats, of the logits of each sample."""
    scores = twin.predict({"x": x}).outputs[graph.outputs[0]]
    logits = scores * graph.tensors[graph.outputs[0]].scale
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    wrong = 1 - (powers / powers.sum(axis=1, keepdims=True))[np.arange(len(y)), y]
    found: Array = 2 * wrong
    return found


@settings(max_examples=15, deadline=None)
@given(st.floats(0, 2), st.sampled_from(["i16", "f32"]), st.integers(0, 100))
def test_a_sample_teaches_exactly_where_its_error_reaches_the_threshold(
    threshold: float, precision: str, seed: int
) -> None:
    graph = add_gate(head(precision), threshold)
    twin = Twin(graph)
    x, y = samples(40, seed)
    for i in range(len(x)):
        before = twin.state()
        error = errors(graph, twin, x[i : i + 1], y[i : i + 1])[0]
        twin.observe({"x": x[i : i + 1]}, y[i : i + 1])
        moved = [name for name, v in before.items() if not (twin.learned[name] == v).all()]
        skipped = twin.learned[COUNT][0] > before[COUNT][0]
        if abs(error - threshold) > 0.01:  # integers know the error within a few thousandths
            assert skipped == (error < threshold)
        if skipped:
            assert moved == [COUNT]
    assert twin.learned[COUNT][1] == len(x)


def test_without_threshold_nothing_is_left_out_and_the_weights_are_the_same() -> None:
    x, y = samples(60)
    plain, behind = Twin(head()), Twin(add_gate(head(), 0.0))
    plain.observe({"x": x}, y)
    behind.observe({"x": x}, y)
    assert behind.learned[COUNT][0] == 0
    for name, values in plain.learned.items():
        np.testing.assert_array_equal(behind.learned[name], values)


def test_most_updates_are_saved_without_a_loss() -> None:
    x, y = samples(900)
    late = samples(400, 5)
    found = []
    for learner in (Gated(learner="replay;hidden=5;replays=0", threshold=0.0), Gated()):
        graph = learner.attach(identity((INPUTS,), scale=1 / 64), SETTING)
        twin = Twin(graph)
        twin.observe({"x": x}, y)
        scores = twin.predict({"x": late[0]}).outputs[graph.outputs[0]]
        health = learner.health(twin.learned)
        found.append(((graph.predicted(scores) == late[1]).mean(), health))
    assert found[0][1]["skipped"] == 0
    assert found[1][1]["skipped"] / found[1][1]["seen"] > 0.6
    assert found[1][0] >= found[0][0] - 0.01


def test_what_does_not_fit_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"threshold = 3 is not in 0\.\.2"):
        Gated(threshold=3)
    with pytest.raises(UsageError, match="learner 'repla' is not known"):
        Gated(learner="repla")
    with pytest.raises(UsageError, match="learner replay has no option 'hiden'"):
        Gated(learner="replay;hiden=3")
    with pytest.raises(UsageError, match="no error that a sample gate could look at"):
        add_gate(NearestMean().attach(identity((INPUTS,)), SETTING), 0.4)
    with pytest.raises(GraphError, match=r"layer gate .* count is i32 of shape \(1,\)"):
        graph = add_gate(head(), 0.1)
        error = graph.tensors["head_error"]
        count = graph.tensors["replay.seen"]
        wrong = type(count)("count", "i32", (1,), "learned")
        node = SampleGate(name="gate", inputs=("e", "count"), precision="i16", threshold=1)
        node.place([error, wrong], {}, 1)

"""Early exit: golden stops each sample where a loop over all steps says, and a device does, too."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from spikelet.board import find_board
from spikelet.early_exit import (
    NEVER,
    calibrate,
    judge,
    margins,
    running_scores,
    stops,
    with_early_exit,
    with_exit,
)
from spikelet.errors import UsageError
from spikelet.graph import Graph, GraphError, Tensor
from spikelet.graph.ops.argmax import Argmax
from spikelet.graph.ops.direct import Direct
from spikelet.package import Package
from spikelet.run.session import compare
from spikelet.run.session_folder import Recording, SessionFolder
from spikelet.run.workflow import SessionTarget, connect, make
from spikelet.streams import package_stream
from spiking_graphs import event_frames, event_network, recurrent_spikes

LEADS = np.array([NEVER, 1, 2, 2, 3, 1, 1, 1], np.int32)


def first_sure(scores: np.ndarray, leads: np.ndarray) -> list[int]:
    """Steps that each sample takes, one by one."""
    taken = []
    for sample in range(scores.shape[1]):
        for t in range(len(scores)):
            best, second = sorted(scores[t, sample].tolist())[:-3:-1]
            if best - second >= leads[t]:
                break
        taken.append(t + 1)
    return taken


def test_golden_stops_each_sample_by_itself() -> None:
    graph = event_network()
    inputs = {"x": event_frames("bit", samples=40)}
    scores = running_scores(graph, inputs)
    expected = first_sure(scores, LEADS)
    assert len(set(expected)) > 3
    made = with_exit(graph, LEADS).run(inputs, trace=True)
    assert made.steps.tolist() == expected
    assert stops(margins(scores), LEADS).tolist() == expected
    for sample, steps in enumerate(expected):
        short = Graph("short", steps, graph.inputs, graph.nodes, graph.outputs)
        alone = short.run({"x": inputs["x"][sample : sample + 1, :steps]}, trace=True)
        for name, values in alone.outputs.items():
            np.testing.assert_array_equal(made.outputs[name][sample], values[0])
        for name, values in alone.trace.items():
            if name != "label":
                np.testing.assert_array_equal(made.trace[name][:steps, sample], values[:, 0])
                assert not made.trace[name][steps:, sample].any()


def test_saturations_and_recurrence_end_with_the_sample() -> None:
    graph = recurrent_spikes()
    rng = np.random.default_rng(1)
    inputs = {
        "x": rng.integers(0, 256, (9, 40)).astype(np.uint8),
        "seed": rng.integers(1, 1 << 32, (9, 1), dtype=np.uint64).astype(np.uint32),
    }
    leads = np.full(graph.steps, 2, np.int32)
    made = with_exit(graph, leads).run(inputs)
    for i, steps in enumerate(made.steps):
        alone = dataclasses.replace(graph, steps=int(steps)).run(
            {name: values[i : i + 1] for name, values in inputs.items()}
        )
        np.testing.assert_array_equal(alone.outputs["counts"][0], made.outputs["counts"][i])
        assert alone.saturations[0] == made.saturations[i]


def test_thresholds_keep_the_loss_and_take_the_fewest_steps() -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 5, 300)
    noise = rng.normal(0, 4, (20, 300, 5)).cumsum(axis=0)
    scores = noise + 3 * np.arange(1, 21)[:, None, None] * np.eye(5)[labels]
    found = calibrate(scores.round().astype(np.int64), labels, 0.01)
    assert found.accuracy >= found.whole - 0.01
    assert found.mean_steps < 12  # of 20
    again = judge(scores.round().astype(np.int64), labels, found.leads)
    assert (again.mean_steps, again.accuracy) == (found.mean_steps, found.accuracy)
    useless = calibrate(np.zeros((4, 50, 5), np.int64), rng.integers(0, 5, 50), 0.0)
    assert useless.mean_steps == 4  # nothing leads: all steps


@pytest.mark.parametrize(("board", "layers"), [("native", True), ("virt-rv32", False)])
def test_a_device_stops_at_golden_s_step(tmp_path: Path, board: str, layers: bool) -> None:
    graph = event_network()
    x = event_frames("bit", samples=12)
    package = Package(with_exit(graph, LEADS), {"x": x}, {"name": "sure"}).with_golden()
    target = SessionTarget(find_board(board), make(package, find_board(board), tmp_path / "i",
                                                   trace=layers))  # fmt: skip
    with connect(target, package) as (device, _):
        outcome = compare(
            package, device, package_stream(package),
            Recording(SessionFolder(tmp_path / "s"), {}, resume=False), layers=layers,
        )  # fmt: skip
    steps = package.graph.run({"x": x}).steps
    assert outcome.mismatches == 0
    assert [s.steps for s in outcome.samples] == steps.tolist()
    assert outcome.mean_steps == steps.mean() < graph.steps


def test_a_package_keeps_its_thresholds(tmp_path: Path) -> None:
    x = event_frames("bit", samples=30)
    base = Package(event_network(), {"x": x}, {"name": "sure"}).with_golden()
    labels = base.graph.run({"x": x}).outputs["label"][:, 0]
    made = with_early_exit(base, {"x": x}, labels, 0.1)
    made.save(tmp_path / "sure.spk")
    again = Package.load(tmp_path / "sure.spk")
    assert again.graph.exit == made.graph.exit == "unsure"
    assert again.manifest["early_exit"]["mean_steps"] < 8
    assert "exit" not in base.graph.to_json()
    with pytest.raises(UsageError, match="stops early already"):
        with_early_exit(made, {"x": x}, labels)


def test_what_cannot_stop_early_is_refused() -> None:
    graph = event_network()
    with pytest.raises(UsageError, match="is not the largest of scores that each step writes"):
        nodes = [Direct(name="once", inputs=("x",)), Argmax(name="label", inputs=("once",))]
        x = Tensor("x", "u8", (4,), kind="input")
        running_scores(Graph("no_time", 1, [x], nodes, ["label"]), {})
    with pytest.raises(GraphError, match=r"exit 'counts' is counts i16 \(5,\), expected u8"):
        dataclasses.replace(graph, exit="counts")
    with pytest.raises(GraphError, match="7 leads beside a lead of 0, expected either 8"):
        with_exit(graph, LEADS[:7])

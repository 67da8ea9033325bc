"""HLOP on spiking layers: what old tasks use stays, and the device's bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from graphs import digits_like, random_inputs
from learned_states import check_any_state
from learning import USUAL, device_equals_twin
from spikelet.errors import UsageError
from spikelet.graph import Graph
from spikelet.learn import Setting, Twin, identity
from spikelet.learn.backbone import readable
from spikelet.learn.bases.subspace import ONE
from spikelet.learn.continual.protocol import attach, learner
from spikelet.learn.learners.hlop import Hlop
from spikelet.train.data import load

DIGITS = load("digits").held_out().flat()


def network(dtype: str = "u8", zero_point: int = 0, **options: object) -> Graph:
    hlop = Hlop(**{"neurons": "lif", "rate": 0.003, **options})  # type: ignore[arg-type]
    backbone = identity((64,), dtype, scale=1 / 255, zero_point=zero_point)
    return hlop.attach(backbone, Setting("features", 10, seed=1))


@pytest.mark.parametrize("target", USUAL)
def test_device_equals_twin(target: str, tmp_path: Path) -> None:
    graph = network(hidden="20-17", first="12-6-5", more="6-3-3", tasks=3, samples=20, steps=4)
    x, y = DIGITS.x_train[:80], DIGITS.y_train[:80]
    twin = device_equals_twin(
        target, graph, {"x": x}, y, tmp_path, block=20, commit_after=(20, 40, 60)
    )
    health = Hlop().health(twin.learned)
    assert health["skipped"] == 20  # a fourth task has no room
    assert health["free_rank.hidden1"] == 1 - 12 / 20
    assert health["free_rank.logits"] == 1 - 11 / 17
    assert graph.steps == 4


ENDS: list[dict[str, object]] = [
    {"hidden": "4", "tasks": 1, "first": "1-1", "more": "1-1", "steps": 1},
    {"hidden": "12-9", "tasks": 2, "steps": 128},
    {"hidden": "8", "tasks": 2, "rate": 100.0, "samples": 1, "step": 2.0**-15},
    {"hidden": "8", "tasks": 2, "rate": 1e-6, "samples": (1 << 31) - 1, "rounding": "nearest"},
    {"hidden": "0", "tasks": 2, "precision": "i8"},
]


@pytest.mark.parametrize(
    "options", [ENDS[2], *(pytest.param(e, marks=pytest.mark.long) for e in ENDS)]
)
def test_options_at_their_ends(options: dict[str, object], tmp_path: Path) -> None:
    graph = network(**options)
    x, y = DIGITS.x_train[:12], DIGITS.y_train[:12]
    device_equals_twin(
        "native-gcc-sanitized", graph, {"x": x}, y, tmp_path, block=6, commit_after=(6,)
    )


def test_any_state_is_survived(tmp_path: Path) -> None:
    graph = network(hidden="9", steps=3, tasks=2)
    check_any_state(graph, {"x": DIGITS.x_train[:3]}, DIGITS.y_train[:3], tmp_path, states=4)


def test_weights_do_not_move_along_what_old_tasks_used() -> None:
    graph = network(hidden="40-24", first="20-12-8", more="4-4-4", rounding="nearest", steps=4)
    x, y = DIGITS.x_train, DIGITS.y_train
    twin = Twin(graph)
    twin.observe({"x": x[:60]}, y[:60])
    twin.commit()
    before = twin.state()
    order = np.random.default_rng(3).permutation(64)
    twin.observe({"x": x[60:80][:, order]}, y[60:80])
    for layer, columns in (("hidden0", 20), ("hidden1", 12), ("logits", 8)):
        weight, basis = f"{layer}.weight", before[f"{layer}.basis"][:, :columns] / ONE
        np.testing.assert_allclose(basis.T @ basis, np.eye(columns), atol=0.02)
        moved = twin.learned[weight].astype(float) - before[weight]
        along = np.linalg.norm(basis.T @ moved) / np.linalg.norm(moved)
        assert np.linalg.norm(moved) > 500, layer
        assert along < 0.02, layer


def test_it_learns_and_the_twin_predicts_from_spikes() -> None:
    graph = network(hidden="32", tasks=1, first="8-8", rate=0.006)
    twin = Twin(graph)
    x, y = DIGITS.x_train[:250], DIGITS.y_train[:250]
    first = twin.observe({"x": x}, y)["scores"]
    assert (graph.predicted(first[-60:]) == y[-60:]).mean() > 0.65
    spikes = graph.run({"x": x[:50]}, trace=True).trace["hidden0_lif.spikes"]
    assert spikes.shape == (8, 50, 32) and 0.02 < spikes.mean() < 0.6


def test_behind_spiking_layers_it_reads_their_spikes_not_their_rates() -> None:
    graph, rate = readable(digits_like(), "lif1.spikes")
    options = "hlop,neurons=lif,hidden=8,tasks=2"
    made = attach(graph, learner(options), Setting(rate, 4, 0))
    assert made.steps == 6 and made.outputs == ["scores"]
    first = next(node for node in made.nodes if node.name == "hidden0")
    assert first.inputs == ("lif1.spikes", "hidden0.weight")
    assert rate not in made.tensors
    twin, inputs = Twin(made), random_inputs(made, 12, np.random.default_rng(5))
    twin.observe(inputs, np.arange(12) % 4)
    assert (twin.learned["hidden0.weight"] != made.initial()["hidden0.weight"]).any()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cuber": 5}, "cuber=5 with neurons=lif"),
        ({"dtype": "i8", "zero_point": -3}, "zero point -3, spiking layers read"),
        ({"hidden": "8", "first": "60-2", "more": "1-1"}, "60 columns for the first task"),
    ],
)
def test_what_it_refuses(options: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        network(**options)  # type: ignore[arg-type]

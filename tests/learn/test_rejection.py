"""Open-set rejection: against float64, its percentile, unknown digits, and on devices."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from learned_states import check_any_state
from learning import USUAL, device_equals_twin
from spikelet.graph import Array, Graph
from spikelet.learn import Setting, Twin, identity
from spikelet.learn.learners.rejection import MEMORY, STEP, OpenSet
from spikelet.learn.numbers.fixed import ONE
from spikelet.train.data import load

FEATURES, CLASSES = 9, 4
Base = Literal["streaming_lda", "nearest_mean"]
Measure = Literal["ratio", "distance"]
KINDS: list[tuple[Base, Measure]] = [
    ("streaming_lda", "ratio"), ("nearest_mean", "ratio"),
    ("nearest_mean", "distance"), ("streaming_lda", "distance"),
]  # fmt: skip


def graph_of(base: Base = "streaming_lda", measure: Measure = "ratio", percent: int = 95) -> Graph:
    learner = OpenSet(base=base, measure=measure, percent=percent)
    return learner.attach(identity((FEATURES,)), Setting("features", CLASSES))


def blobs(samples: int, seed: int = 0) -> tuple[Array, Array]:
    """Samples about one centre a class; labels."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(1).normal(0, 40, (CLASSES, FEATURES))
    y = rng.integers(0, CLASSES, samples)
    x = centres[y] + rng.normal(0, 12, (samples, FEATURES))
    return np.clip(x, -128, 127).astype(np.int8), y


@pytest.mark.parametrize(("target", "kind"), list(zip(USUAL, KINDS, strict=True)))
def test_device_equals_twin(target: str, kind: tuple[Base, Measure], tmp_path: Path) -> None:
    x, y = blobs(500)
    x[3], x[4] = -128, 127
    twin = device_equals_twin(target, graph_of(*kind), {"x": x}, y, tmp_path, block=250)
    assert (twin.learned["rejection.seen"] == MEMORY).all()


def test_from_any_state_device_equals_twin(tmp_path: Path) -> None:
    x, y = blobs(5)
    check_any_state(graph_of("nearest_mean", "distance"), {"x": x}, y, tmp_path)


@pytest.mark.parametrize(
    ("kind", "percent"), [(KINDS[0], 95), (KINDS[2], 80)], ids=["lda-ratio", "mean-distance"]
)
def test_the_percentile_is_kept(kind: tuple[Base, Measure], percent: int) -> None:
    """Of samples that come after the first 800, that many are accepted."""
    x, y = blobs(2000)
    outputs = Twin(graph_of(*kind, percent)).observe({"x": x}, y)
    accepted = (outputs["rejection.unknown"][800:] == 0).mean()
    assert abs(accepted - percent / 100) <= 0.03


@pytest.mark.parametrize("measure", ["ratio", "distance"])
def test_novelty_is_that_of_real_distances(measure: Measure) -> None:
    x, y = blobs(400)
    graph = graph_of("nearest_mean", measure)
    twin = Twin(graph)
    twin.observe({"x": x}, y)
    state = {name.partition(".")[2]: v / ONE for name, v in twin.learned.items()}
    at = blobs(100, seed=5)[0]
    means = np.stack([x[y == c].astype(float).mean(axis=0) for c in range(CLASSES)])
    squares = 16 * ((at[:, None].astype(float) - means) ** 2).sum(axis=2) + 1
    best, ordered = squares.argmin(axis=1), np.sort(squares, axis=1)
    value = np.log2(ordered[:, 0]) - (np.log2(ordered[:, 1]) if measure == "ratio" else 0)
    expected = value - state["mean"][best] - state["deviation"][best] * state["spread"][0]
    found = twin.predict({"x": at}).outputs["rejection.novelty"][:, 0] / ONE
    assert np.abs(found - expected).max() <= 0.05


def test_everything_is_unknown_at_first_and_what_is_far_stays_so() -> None:
    x, y = blobs(300)
    graph = graph_of("streaming_lda", "distance")
    twin = Twin(graph)
    assert (twin.predict({"x": x}).outputs["rejection.unknown"] == 1).all()
    twin.observe({"x": x}, y)
    far = np.where(np.arange(FEATURES) % 2, -128, 127).astype(np.int8)[None]
    assert twin.predict({"x": far}).outputs["rejection.unknown"][0, 0] == 1


def test_spread_moves_by_the_percentile() -> None:
    x, y = blobs(60)
    twin = Twin(graph_of(percent=90))
    twin.observe({"x": x}, y)
    before = int(twin.learned["rejection.spread"][0])
    twin.observe({"x": blobs(1, seed=9)[0]}, blobs(1, seed=9)[1])
    moved = int(twin.learned["rejection.spread"][0]) - before
    assert moved in (STEP * 90 // 100, -(STEP * 10 // 100))


def test_unknown_digits_are_told_from_known_ones() -> None:
    data = load("digits").flat()
    graph = OpenSet().attach(identity((64,), "u8"), Setting("features", 8))
    twin = Twin(graph)
    rows = data.y_train < 8
    twin.observe({"x": data.x_train[rows]}, data.y_train[rows])
    twin.commit()
    outputs = twin.predict({"x": data.x_test}).outputs
    unknown = data.y_test >= 8
    assert roc_auc_score(unknown, outputs["rejection.novelty"][:, 0]) >= 0.89
    assert (outputs["rejection.unknown"][~unknown] == 0).mean() >= 0.9


def test_refuses_a_percentile_out_of_range() -> None:
    with pytest.raises(ValueError, match="percent = 100"):
        OpenSet(percent=100)

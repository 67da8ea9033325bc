"""FeTrIL: against a linear SVM on the same translation, its reservoir, and on devices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.svm import LinearSVC

from learning import USUAL, device_equals_twin
from spikelet.errors import UsageError
from spikelet.graph import Array, Graph
from spikelet.learn import Setting, Twin, identity
from spikelet.learn.learners.fetril import Fetril, weight_limit
from spikelet.learn.learners.nearest_mean import NearestMean

FEATURES, CLASSES = 11, 5
SMALL = Fetril(rows=12, epochs=4, margin=14)


def graph_of(learner: Fetril = SMALL, dtype: str = "i8", seed: int = 3) -> Graph:
    return learner.attach(identity((FEATURES,), dtype), Setting("features", CLASSES, seed))


def blobs(samples: int, dtype: str = "int8", seed: int = 0) -> tuple[Array, Array]:
    """Samples about one centre a class, the ends of the range among them; labels."""
    rng = np.random.default_rng(seed)
    info = np.iinfo(dtype)
    centres = np.random.default_rng(1).integers(info.min, info.max, (CLASSES, FEATURES))
    y = rng.integers(0, CLASSES, samples)
    x = np.clip(centres[y] + rng.normal(0, 30, (samples, FEATURES)), info.min, info.max)
    x[0], x[1] = info.min, info.max
    return x.astype(dtype), y


@pytest.mark.parametrize("target", USUAL)
def test_device_equals_twin(target: str, tmp_path: Path) -> None:
    dtype = "u8" if target.startswith("m4") else "i8"
    x, y = blobs(500, {"u8": "uint8", "i8": "int8"}[dtype])
    y[:200] %= 2  # the first task holds two classes, the last one holds one
    y[400:] = 4
    graph = graph_of(dtype=dtype)
    device_equals_twin(
        target, graph, {"x": x}, y, tmp_path, block=200, commit_after=(200, 400, 500)
    )  # fmt: skip


def test_is_as_good_as_a_linear_svm_on_the_same_translation() -> None:
    """Ten classes, five of them first, whose features vary alike, most of all in few directions."""
    classes, size, rng = 10, 24, np.random.default_rng(4)
    centres, mixing = rng.normal(0, 14, (classes, size)), rng.normal(0, 1, (size, size))
    mixing[:, :3] *= 9
    y = np.arange(1600) % classes
    x = np.clip(centres[y] + rng.normal(0, 1, (1600, size)) @ mixing.T, -128, 127).astype(np.int8)
    first, test = np.arange(1600) < 1000, np.arange(1600) >= 1000
    right = {}
    for learner in (Fetril(), NearestMean()):
        graph = learner.attach(identity((size,)), Setting("features", classes))
        twin = Twin(graph)
        for task in (range(5), [5], [6], [7], [8], [9]):
            rows = np.isin(y, list(task)) & first
            twin.observe({"x": x[rows]}, y[rows])
            twin.commit()
        found = graph.predicted(twin.predict({"x": x[test]}).outputs[graph.outputs[0]])
        right[learner.NAME] = (found == y[test]).mean()
    real = x[first] / 128
    means = np.stack([real[y[first] == c].mean(axis=0) for c in range(classes)])
    newest = real[y[first] == 9]
    moved = np.concatenate([newest + means[c] - means[9] for c in range(classes)])
    oracle = LinearSVC(C=1).fit(moved, np.repeat(np.arange(classes), len(newest)))
    expected = (oracle.predict(x[test] / 128) == y[test]).mean()
    assert right["fetril"] >= expected - 0.03
    assert right["fetril"] >= right["nearest_mean"] + 0.03


def test_a_class_is_not_predicted_before_its_task_is_committed() -> None:
    x, y = blobs(100)
    graph = graph_of()
    twin = Twin(graph)
    old = y < 4
    twin.observe({"x": x[old]}, y[old])
    twin.commit()
    twin.observe({"x": x[~old]}, y[~old])
    outputs = twin.predict({"x": x}).outputs[graph.outputs[0]]
    assert (outputs[:, 4] == -(1 << 31)).all()
    twin.commit()
    found = graph.predicted(twin.predict({"x": x}).outputs[graph.outputs[0]])
    assert (found == y).mean() >= 0.9
    assert SMALL.health(twin.learned)["kept"] == 0


def test_a_commit_without_new_samples_changes_nothing() -> None:
    x, y = blobs(60)
    twin = Twin(graph_of())
    twin.observe({"x": x}, y)
    twin.commit()
    before = twin.crc()
    twin.commit()
    assert twin.crc() == before


@given(samples=st.integers(1, 60), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_kept_rows_are_samples_of_the_task(samples: int, seed: int) -> None:
    x = np.arange(samples, dtype=np.int8)[:, None].repeat(FEATURES, axis=1)
    y = np.arange(samples) % CLASSES
    twin = Twin(graph_of(seed=seed))
    twin.observe({"x": x}, y)
    kept = int(twin.learned["fetril.kept"][0])
    rows = twin.learned["fetril.rows"][:kept, 0]
    assert kept == min(samples, SMALL.rows)
    assert len(set(rows.tolist())) == kept
    assert (rows < samples).all()
    assert np.array_equal(twin.learned["fetril.of"][:kept], rows % CLASSES)


def test_every_sample_is_kept_equally_often() -> None:
    samples, often = 40, np.zeros(40)
    x = np.arange(samples, dtype=np.int8)[:, None].repeat(FEATURES, axis=1)
    for seed in range(150):
        twin = Twin(graph_of(seed=seed))
        twin.observe({"x": x}, np.zeros(samples, np.int64))
        often[twin.learned["fetril.rows"][:, 0]] += 1
    share = SMALL.rows / samples
    expected, variance = 150 * share, 150 * share * (1 - share)
    assert ((often - expected) ** 2 / variance).sum() <= 75  # chi-squared, 40 degrees: 1 in 1000


def test_weights_saturate_and_are_counted() -> None:
    learner = Fetril(rows=12, epochs=200, margin=28)
    x, y = blobs(60)
    twin = Twin(graph_of(learner))
    limit = weight_limit(FEATURES, 128)
    twin.observe({"x": x}, y)
    twin.commit()
    assert np.abs(twin.learned["fetril.weight"]).max() == limit == 32767
    assert learner.health(twin.learned)["saturations"] > 0


def test_refuses_features_that_it_cannot_keep() -> None:
    with pytest.raises(UsageError, match="300 classes of features, i8 up to 128"):
        SMALL.attach(identity((FEATURES,)), Setting("features", 300))
    with pytest.raises(UsageError, match="i16 up to 32768"):
        graph_of(dtype="i16")


@pytest.mark.parametrize("option", ["rows", "epochs", "margin"])
def test_refuses_options_out_of_range(option: str) -> None:
    with pytest.raises(ValueError, match=f"{option} = 5000 is not in"):
        Fetril(**{option: 5000})

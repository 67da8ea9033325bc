"""Nearest class mean: against scikit-learn, in any order, at its limits, and on devices."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestCentroid

from learned_states import check_any_state
from learning import USUAL, device_equals_twin
from spikelet.graph import Array, Graph, GraphError
from spikelet.learn import Setting, Twin, identity
from spikelet.learn.learners.nearest_mean import NearestMean, most_samples
from spikelet.train.data import load

FEATURES, CLASSES = 23, 5
DTYPES = {"u8": np.uint8, "i8": np.int8, "i16": np.int16}
# Every type of features and both metrics, without an image for each pair.
KINDS: list[tuple[str, Literal["euclid", "cosine"]]] = [
    ("i8", "euclid"), ("u8", "cosine"), ("u8", "euclid"), ("i8", "cosine"),
]  # fmt: skip


def graph_of(
    dtype: str = "i8", metric: Literal["euclid", "cosine"] = "euclid", n: int = FEATURES
) -> Graph:
    zero = 0 if dtype == "u8" else -100
    backbone = identity((n,), dtype, zero_point=zero)
    return NearestMean(metric=metric).attach(backbone, Setting("features", CLASSES))


def blobs(samples: int, dtype: str = "i8", seed: int = 0) -> tuple[Array, Array]:
    """Samples about one centre a class, the ends of the type's range among them; labels."""
    rng = np.random.default_rng(seed)
    info = np.iinfo(DTYPES[dtype])
    centres = np.random.default_rng(1).integers(info.min, info.max, (CLASSES, FEATURES))
    y = rng.integers(0, CLASSES, samples)
    x = centres[y] + rng.normal(0, (info.max - info.min) / 6, (samples, FEATURES))
    x = np.clip(x, info.min, info.max).astype(DTYPES[dtype])
    x[0], x[1] = info.min, info.max
    return x, y


TWINS = [
    pytest.param(target, kind, marks=[pytest.mark.quick] * target.startswith("native"))
    for target, kind in zip(USUAL, KINDS, strict=True)
]


@pytest.mark.parametrize(("target", "kind"), TWINS)
def test_device_equals_twin(
    target: str, kind: tuple[str, Literal["euclid", "cosine"]], tmp_path: Path
) -> None:
    x, y = blobs(500, kind[0])
    device_equals_twin(target, graph_of(*kind), {"x": x}, y, tmp_path, block=250)


def test_from_any_state_device_equals_twin(tmp_path: Path) -> None:
    x, y = blobs(6)
    check_any_state(graph_of("i8", "cosine"), {"x": x}, y, tmp_path)


@given(order=st.permutations(range(40)))
@settings(max_examples=15, deadline=None)
def test_any_order_gives_the_same_bits(order: list[int]) -> None:
    x, y = blobs(40)
    graph, crcs = graph_of(), set()
    for rows in (order, range(40)):
        twin = Twin(graph)
        twin.observe({"x": x[list(rows)]}, y[list(rows)])
        crcs.add(twin.crc())
    assert len(crcs) == 1


@pytest.mark.quick
@pytest.mark.filterwarnings("ignore:self.within_class_std_dev_")  # pixels that are always 0
def test_equals_scikit_learn() -> None:
    data = load("digits").flat()
    graph = NearestMean().attach(identity((64,), "u8"), Setting("features", 10))
    twin = Twin(graph)
    twin.observe({"x": data.x_train}, data.y_train)
    scores = twin.predict({"x": data.x_test}).outputs[graph.outputs[0]]
    found = graph.predicted(scores)
    oracle = NearestCentroid().fit(data.x_train.astype(float), data.y_train)
    expected = oracle.predict(data.x_test.astype(float))
    means = twin.learned["nearest_mean.weight"] / 16
    assert np.abs(means - oracle.centroids_).max() <= 1 / 16
    lead = np.sort(scores, axis=1)[:, -1] - np.sort(scores, axis=1)[:, -2]
    # A mean is off by 1/16 at most: where they differ, a sample lies between two classes.
    assert (lead[found != expected] <= 2 * 16 * 255 * 64 / 16).all()
    assert (found == expected).mean() >= 0.995
    assert (found == data.y_test).mean() >= 0.897


def test_the_cosine_is_that_of_real_values() -> None:
    x, y = blobs(300)
    graph = graph_of("i8", "cosine")
    twin = Twin(graph)
    twin.observe({"x": x}, y)
    found = graph.predicted(twin.predict({"x": x}).outputs[graph.outputs[0]])
    real = x.astype(float) + 100
    means = np.stack([real[y == c].mean(axis=0) for c in range(CLASSES)])
    means /= np.linalg.norm(means, axis=1)[:, None]
    assert (found == (real @ means.T).argmax(axis=1)).mean() >= 0.99


def test_a_class_without_samples_is_never_predicted() -> None:
    x, y = blobs(100)
    graph = graph_of()
    twin = Twin(graph)
    rows = y != 2
    twin.observe({"x": x[rows]}, y[rows])
    outputs = twin.predict({"x": x}).outputs[graph.outputs[0]]
    assert 2 not in graph.predicted(outputs)
    assert (outputs[:, 2] == -(1 << 31)).all()


def test_a_full_class_skips_and_counts() -> None:
    graph = graph_of()
    most = most_samples(128)
    assert most == (2**31 - 1) // 128
    twin = Twin(graph)
    twin.learned["nearest_mean.count"][1] = most - 1
    twin.learned["nearest_mean.sum"][1] = -128 * (most - 1)
    x = np.full((3, FEATURES), -128, np.int8)
    twin.observe({"x": x}, [1, 1, 1])
    assert (twin.learned["nearest_mean.sum"][1] == -128 * most).all()
    assert (twin.learned["nearest_mean.weight"][1] == -128 * 16).all()
    assert NearestMean().health(twin.learned) == {"skipped": 2.0, "classes": 1.0}


@pytest.mark.parametrize(
    ("dtype", "metric", "n", "message"),
    [
        ("i16", "euclid", 8, "a score of 8 features .* beyond 32 bits"),
        ("i8", "euclid", 8192, "a score of 8192 features .* beyond 32 bits"),
        ("i16", "cosine", 4, "features of magnitude 32768 have no 16-bit mean"),
        ("u32", "euclid", 8, "u32"),
    ],
)
def test_refuses_features_that_could_overflow(
    dtype: str, metric: Literal["euclid", "cosine"], n: int, message: str
) -> None:
    with pytest.raises(GraphError, match=message):
        graph_of(dtype, metric, n)

"""Streaming LDA: against float64 and scikit-learn, in any order, at its limits, and on devices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from learning import USUAL, device_equals_twin
from spikelet.errors import UsageError
from spikelet.graph import Array, Graph, GraphError
from spikelet.learn import Setting, Twin, identity, needs
from spikelet.learn.bases.gaussian import LEAST_PIVOT, UNIT, cholesky, mahalanobis, scale, solve
from spikelet.learn.learners.streaming_lda import StreamingLda, most_samples
from spikelet.train.data import load

FEATURES, CLASSES, PRIOR = 13, 4, 16


def graph_of(dtype: str = "i8", n: int = FEATURES, refresh: int = 4) -> Graph:
    learner = StreamingLda(refresh=refresh)
    return learner.attach(identity((n,), dtype), Setting("features", CLASSES))


def blobs(
    samples: int, dtype: str = "int8", seed: int = 0, n: int = FEATURES
) -> tuple[Array, Array]:
    """Correlated samples about one centre a class, the ends of the range among them; labels."""
    rng = np.random.default_rng(seed)
    info = np.iinfo(dtype)
    fixed = np.random.default_rng(1)
    mixing, centres = fixed.normal(0, 9, (n, n)), fixed.normal(0, 25, (CLASSES, n))
    y = rng.integers(0, CLASSES, samples)
    x = (info.max + info.min) / 2 + centres[y] + rng.normal(0, 1, (samples, n)) @ mixing
    x = np.clip(x, info.min, info.max).astype(dtype)
    x[0], x[1] = info.min, info.max
    return x, y


def sums(x: Array, y: Array) -> tuple[Array, Array, Array]:
    """Counts, sums and moments."""
    x = x.astype(np.int64)
    total = np.stack([x[y == c].sum(axis=0) for c in range(CLASSES)])
    moment = (x.T @ x)[np.tril_indices(x.shape[1])]
    return np.bincount(y, minlength=CLASSES), total, moment


def reference(x: Array, y: Array, at: Array) -> tuple[Array, Array]:
    """Scores (N, C) and squared Mahalanobis distances (N, C) in float64, with `solve`'s prior."""
    x, at = x.astype(float), at.astype(float)
    n = len(x)
    means = np.stack([x[y == c].mean(axis=0) for c in range(CLASSES)])
    within = (x - means[y]).T @ (x - means[y])
    variance = within.diagonal() + n + PRIOR
    matrix = within / np.sqrt(np.outer(variance, variance)) * min(n / (n + PRIOR), 63 / 64)
    np.fill_diagonal(matrix, 1)
    deviation = np.sqrt(variance / (n + PRIOR))
    inverse = np.linalg.inv(matrix * np.outer(deviation, deviation))
    centre = x.mean(axis=0)
    weight = (means - centre) @ inverse
    apart = at[:, None] - means[None]
    return (
        at @ weight.T - ((means + centre) * weight).sum(axis=1) / 2,
        np.einsum("ncd,de,nce->nc", apart, inverse, apart),
    )


@pytest.mark.parametrize("target", USUAL)
def test_device_equals_twin(target: str, tmp_path: Path) -> None:
    dtype = "u8" if target.startswith("m4") else "i8"
    x, y = blobs(500, {"u8": "uint8", "i8": "int8"}[dtype])
    device_equals_twin(
        target, graph_of(dtype), {"x": x}, y, tmp_path, block=250, commit_after=(500,)
    )


@given(order=st.permutations(range(60)), refresh=st.sampled_from([0, 4, 16]))
@settings(max_examples=15, deadline=None)
def test_any_order_gives_the_same_bits(order: list[int], refresh: int) -> None:
    x, y = blobs(60)
    graph, crcs = graph_of(refresh=refresh), set()
    for rows in (order, sorted(order, key=lambda i: y[i])):
        twin = Twin(graph)
        twin.observe({"x": x[rows]}, y[rows])
        twin.commit()
        crcs.add(twin.crc())
    assert len(crcs) == 1


@pytest.mark.parametrize("samples", [8, 40, 3000])
def test_equals_float64(samples: int) -> None:
    x, y = blobs(samples)
    y[:CLASSES] = range(CLASSES)
    found = solve(*sums(x, y), PRIOR)
    at = blobs(200, seed=5)[0]
    scores = at.astype(np.int64) @ found.weight.T + found.bias
    expected, distances = reference(x, y, at)
    assert np.abs(scores * 2.0 ** (found.exponent - 16) - expected).max() <= 3e-3 * np.ptp(expected)
    squares = mahalanobis(at.astype(np.int64), found.centre, found.inverse, found.factor)
    apart = (squares[:, None] - 2 * scale(scores, 8 - found.exponent)) / 256
    assert np.abs(apart - distances).max() <= 2e-3 * distances.max()
    assert found.saturations == 0


def test_equals_scikit_learn() -> None:
    data = load("digits").flat()
    graph = StreamingLda().attach(identity((64,), "u8"), Setting("features", 10))
    twin = Twin(graph)
    twin.observe({"x": data.x_train}, data.y_train)
    twin.commit()
    found = graph.predicted(twin.predict({"x": data.x_test}).outputs[graph.outputs[0]])
    n = len(data.x_train)
    means = np.stack([data.x_train[data.y_train == c].mean(axis=0) for c in range(10)])
    deviation = np.sqrt(((data.x_train - means[data.y_train]) ** 2).mean(axis=0) + 1)
    oracle = LinearDiscriminantAnalysis(
        solver="lsqr", shrinkage=1 - min(n / (n + PRIOR), 63 / 64), priors=np.full(10, 0.1)
    )
    oracle.fit(data.x_train / deviation, data.y_train)
    assert (found == oracle.predict(data.x_test / deviation)).mean() >= 0.99
    assert (found == data.y_test).mean() >= 0.945


def test_fits_20_kilobytes_with_64_features() -> None:
    graph = StreamingLda().attach(identity((64,)), Setting("features", 10))
    found = needs(graph)
    assert found.learned_bytes + found.work_bytes <= 20 * 1024


@given(seed=st.integers(0, 10_000), rank=st.integers(1, 20))
@settings(max_examples=40, deadline=None)
def test_the_factor_s_square_is_the_matrix(seed: int, rank: int) -> None:
    """Correlations of any rank, shrunk by the least amount that there is."""
    rows = np.random.default_rng(seed).normal(size=(20, rank))
    rows /= np.linalg.norm(rows, axis=1)[:, None]
    matrix = np.round(rows @ rows.T * 63 / 64 * 2**30).astype(np.int64)
    np.fill_diagonal(matrix, UNIT * UNIT)
    factor, clipped = cholesky(matrix)
    assert clipped == 0
    assert (factor.diagonal() >= LEAST_PIVOT).all()
    lower = np.tril(factor.astype(float))
    assert np.abs(lower @ lower.T - matrix).max() <= 20 * 2**15


def test_a_matrix_that_is_none_of_correlations_is_counted() -> None:
    matrix = np.full((5, 5), 1 << 30, np.int64)
    np.fill_diagonal(matrix, UNIT * UNIT)
    factor, clipped = cholesky(-matrix)
    assert clipped > 0
    assert np.abs(factor).max() <= UNIT
    assert (factor.diagonal() >= LEAST_PIVOT).all()


def test_full_sums_skip_and_count() -> None:
    most = most_samples(128)
    assert most == 131071
    twin = Twin(graph_of())
    twin.learned["streaming_lda.count"][0] = most - 1
    twin.learned["streaming_lda.sum"][0] = -128 * (most - 1)
    twin.learned["streaming_lda.moment"][...] = 128 * 128 * (most - 1)
    twin.observe({"x": np.full((3, FEATURES), -128, np.int8)}, [0, 1, 0])
    assert (twin.learned["streaming_lda.moment"] == 128 * 128 * most).all()
    assert StreamingLda().health(twin.learned) == {"skipped": 2.0, "saturations": 0.0}


def test_a_new_class_is_predicted_at_once() -> None:
    x, y = blobs(400)
    graph = graph_of(refresh=0)
    twin = Twin(graph)
    old = y < 3
    twin.observe({"x": x[old]}, y[old])
    new = np.flatnonzero(y == 3)[2:4]  # the first two samples may be the ends of the range
    twin.observe({"x": x[new]}, y[new])
    found = graph.predicted(twin.predict({"x": x[y == 3]}).outputs[graph.outputs[0]])
    assert (found == 3).mean() >= 0.8


def test_refuses_more_features_than_scores_hold() -> None:
    with pytest.raises(GraphError, match="beyond 32 bits"):
        graph_of(n=256)
    with pytest.raises(UsageError, match="400 features"):
        graph_of(n=400)
    with pytest.raises(ValueError, match="prior = 3"):
        StreamingLda(prior=3)

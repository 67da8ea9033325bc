"""Projection off old tasks' subspace: against the singular value decomposition, and on devices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learning import device_equals_twin
from spikelet.errors import UsageError
from spikelet.graph import Array, Graph, GraphError, Learned
from spikelet.learn import Setting, Twin, identity
from spikelet.learn.bases.subspace import ONE
from spikelet.learn.layers.orthogonal_projection import HlopGate, HlopLearn, HlopMerge, HlopProject
from spikelet.learn.layers.to_scalar import ToScalar
from spikelet.learn.learner import extend
from spikelet.learn.learners.hlop import Hlop
from spikelet.train.data import load

# Integers only: a core with an FPU runs what one without it runs.
TARGETS = ("native-gcc-sanitized", "rv32-gcc-qemu", "m4-gcc-qemu")
DIGITS = load("digits").held_out().flat()
INT32_MAX = (1 << 31) - 1


def network(**options: object) -> Graph:
    learner = Hlop(**options)  # type: ignore[arg-type]
    return learner.attach(identity((64,), "u8", scale=1 / 255), Setting("features", 10, seed=1))


def subspace(n: int, capacity: int, dtype: str = "u8", first: int = 8, more: int = 4) -> Graph:
    """Project and learn alone, without a layer; of i16, what fits sums of n products."""
    backbone = identity((n,), dtype, zero_point=-128 if dtype == "i8" else 0)
    columns = ("h.columns",)
    bounded = ToScalar(
        name="x16", inputs=("features",), precision="i16", output_scale=1.0, output_limit=700
    )
    return extend(
        backbone,
        [
            *([bounded] if dtype == "i16" else []),
            HlopProject(name="trace", inputs=(source(dtype), "h.basis", *columns)),
            HlopLearn(
                name="hebb", inputs=("trace", "h.basis", *columns),
                first=first, more=more, step=1 << 13, seed=7,
            ),
            HlopMerge(name="merge", inputs=("h.basis", *columns)),
        ],
        [
            Learned.of("h.basis", "i16", (n, capacity), low=-ONE, high=ONE),
            Learned.of("h.columns", "i32", (2,), low=0, high=capacity),
        ],
        ["features"],
    )  # fmt: skip


def source(dtype: str) -> str:
    return "x16" if dtype == "i16" else "features"


def project(graph: Graph, basis: Array, used: int, x: Array) -> Array:
    node = next(n for n in graph.nodes if isinstance(n, HlopProject))
    env = {"features": x[None], "h.basis": basis, "h.columns": np.array([used, used], np.int32)}
    node.golden(env, 0)
    return np.asarray(env["trace"][0], np.int64)


@pytest.mark.parametrize("target", TARGETS)
def test_device_equals_twin(target: str, tmp_path: Path) -> None:
    graph = network(hidden="20", first="12-6", more="6-3", tasks=3, samples=120)
    x, y = DIGITS.x_train[:500], DIGITS.y_train[:500]
    twin = device_equals_twin(
        target, graph, {"x": x}, y, tmp_path, commit_after=(100, 200, 300, 400)
    )
    health = Hlop().health(twin.learned)
    assert health["skipped"] == 200  # a fourth and a fifth task have no room
    assert health["free_rank.hidden0"] == 1 - 24 / 64
    assert health["free_rank.scores"] == 1 - 12 / 20


def test_device_equals_twin_with_cuber(tmp_path: Path) -> None:
    graph = network(hidden="16", tasks=3, samples=120, cuber=60)
    x, y = DIGITS.x_train[:360].copy(), DIGITS.y_train[:360]
    x[240:] = x[240:, np.random.default_rng(0).permutation(64)]
    twin = device_equals_twin(
        "native-gcc-sanitized", graph, {"x": x}, y, tmp_path, block=60, commit_after=(120, 240)
    )
    assert twin.learned["hidden0.then"].any()


def test_cuber_frees_the_columns_of_a_task_that_agrees() -> None:
    """The same task again has the same gradient as the first; one with other labels has not."""
    graph = network(hidden="16", tasks=3, rate=0.02, cuber=200, cosine=0.3)
    x, y = DIGITS.x_train[:400], DIGITS.y_train[:400]
    for shift, agrees in ((0, True), (5, False)):
        twin = Twin(graph)
        twin.observe({"x": x}, y)
        twin.commit()
        twin.observe({"x": x[:199]}, (y[:199] + shift) % 10)
        assert not twin.learned["hidden0.allowed"].any()
        twin.observe({"x": x[199:200]}, (y[199:200] + shift) % 10)
        used = int(twin.learned["scores.columns"][0])
        assert twin.learned["scores.allowed"][:used].all() == agrees
        assert not twin.learned["scores.allowed"][used:].any()


@pytest.mark.parametrize("dtype", ["i8", "i16"])
def test_other_traces_on_the_device(dtype: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(-128, 128, (120, 37)).astype({"i8": np.int8, "i16": np.int16}[dtype])
    x[0], x[1], x[2] = -128, 127, 0
    if dtype == "i16":
        x *= 80
    device_equals_twin(
        "native-gcc-sanitized", subspace(37, 20, dtype), {"x": x}, None, tmp_path,
        block=40, commit_after=(40, 80),
    )  # fmt: skip


@given(seed=st.integers(0, 10_000), used=st.integers(0, 12), n=st.integers(16, 200))
@settings(max_examples=40, deadline=None)
def test_what_is_in_the_subspace_is_removed_and_the_rest_stays(
    seed: int, used: int, n: int
) -> None:
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.normal(size=(n, max(used, 1))))
    basis = np.zeros((n, 12), np.int16)
    basis[:, :used] = np.rint(q[:, :used] * ONE)
    graph = subspace(n, 12)
    x = rng.integers(0, 256, n).astype(np.uint8)
    trace = project(graph, basis, used, x)
    exact = x - q[:, :used] @ (q[:, :used].T @ x)
    assert np.abs(trace - exact).max() < 4  # codes, of 255
    assert np.abs(trace - x).max() <= (0 if used == 0 else INT32_MAX)


@given(
    seed=st.integers(0, 10_000), extreme=st.floats(0, 1), used=st.integers(0, 24),
    n=st.sampled_from([3, 64, 300]), dtype=st.sampled_from(["u8", "i8", "i16"]),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_no_sum_leaves_32_bits_and_no_value_its_range(
    seed: int, extreme: float, used: int, n: int, dtype: str
) -> None:
    """From any basis that a host could write, and any codes."""
    rng = np.random.default_rng(seed)
    graph = subspace(n, 24, dtype)
    kind = graph.tensors[source(dtype)]
    low, high = (int(end[0]) for end in graph.bounds[kind.name])
    ends = np.where(rng.random(n) < 0.5, low, high)
    x = np.where(rng.random(n) < extreme, ends, rng.integers(low, high + 1, n))
    flat = rng.integers(-ONE, ONE + 1, (n, 24))
    basis = np.where(rng.random((n, 24)) < extreme, np.sign(flat) * ONE, flat).astype(np.int16)
    node, hebb = (
        next(m for m in graph.nodes if isinstance(m, k)) for k in (HlopProject, HlopLearn)
    )
    values = np.abs(x - kind.zero_point).astype(np.int64)
    assert (values @ np.abs(basis.astype(np.int64))).max() <= INT32_MAX
    assert np.abs(basis.astype(np.int64)).sum(axis=1).max() * node.facts.limit <= INT32_MAX
    env = {
        kind.name: x.astype(kind.numpy_dtype)[None],
        "h.basis": basis,
        "h.columns": np.array([used, rng.integers(0, 25)], np.int32),
    }
    node.golden(env, 0)
    trace = env["trace"].astype(np.int64)
    most = int(graph.bounds["trace"][1][0])
    assert np.abs(trace).max() <= most
    assert n * most * most < 1 << 32
    assert n * most * ONE <= INT32_MAX
    hebb.golden(env, 0)
    assert np.abs(env["h.basis"]).max() <= ONE


def test_the_subspace_is_that_of_the_singular_vectors() -> None:
    """GPM takes the leading left singular vectors of what a task showed; two tasks, one by one."""
    rng = np.random.default_rng(3)
    n, rank, samples = 60, 8, 1500
    graph = subspace(n, 20, first=rank, more=rank)
    twin = Twin(graph)
    held: list[Array] = []
    for task in range(2):
        mixing = rng.normal(size=(rank, n)) * np.linspace(2, 1, rank)[:, None]
        x = rng.normal(size=(samples, rank)) @ mixing * 20 + 128 * (task == 0)
        x = np.clip(x + rng.normal(size=x.shape), 0, 255)  # 0 and 255 bend it a little
        held.append(x)
        for _ in range(2):
            twin.observe({"x": np.rint(x).astype(np.uint8)})
        twin.commit()
    used = int(twin.learned["h.columns"][0])
    assert used == 2 * rank
    basis = twin.learned["h.basis"][:, :used] / ONE
    assert np.abs(basis.T @ basis - np.eye(used)).max() < 0.1
    # The part of each task's energy that is left, against the best that GPM's vectors leave.
    u0 = np.linalg.svd(held[0].T, full_matrices=False)[0][:, :rank]
    left = held[1] - held[1] @ u0 @ u0.T
    u1 = np.linalg.svd(left.T, full_matrices=False)[0][:, :rank]
    gpm = np.concatenate([u0, u1], axis=1)
    for x in held:
        energy = (x**2).sum()
        ours = ((x - x @ basis @ basis.T) ** 2).sum() / energy
        best = ((x - x @ gpm @ gpm.T) ** 2).sum() / energy
        assert ours < best + 0.02, (ours, best)


@given(seed=st.integers(0, 10_000), used=st.integers(0, 6), alike=st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_merged_columns_are_orthonormal(seed: int, used: int, alike: float) -> None:
    """Even where a task has learned columns that lie in old ones."""
    rng = np.random.default_rng(seed)
    n, begun = 50, used + 5
    graph = subspace(n, 12)
    q, _ = np.linalg.qr(rng.normal(size=(n, max(used, 1))))
    columns = rng.normal(size=(n, 5)) / np.sqrt(n) * (1 - alike)
    if used:
        columns += alike * q[:, rng.integers(0, used, 5)]
    env = graph.initial()
    env["h.basis"][:, :used] = np.rint(q[:, :used] * ONE)
    env["h.basis"][:, used:begun] = np.clip(np.rint(columns * ONE), -ONE, ONE)
    env["h.columns"][...] = used, begun
    next(m for m in graph.nodes if isinstance(m, HlopMerge)).golden(env, 0)
    merged = env["h.basis"][:, :begun] / ONE
    gram = merged.T @ merged
    lengths = np.diag(gram)
    assert ((np.abs(lengths - 1) < 0.02) | (lengths == 0)).all()
    assert np.abs(gram - np.diag(lengths)).max() < 0.05
    assert (env["h.columns"] == begun).all()


def test_a_new_task_leaves_old_outputs_alone() -> None:
    """The same second task moves the outputs of the first far less than without projection."""
    images = DIGITS.x_train.reshape(-1, 8, 8)
    shuffled = np.random.default_rng(0).permutation(64)
    moved = {}
    for columns in ("40-16", "1-1"):
        graph = network(hidden="24", first=columns, more=columns, tasks=2, samples=700)
        twin = Twin(graph)
        twin.observe({"x": images[:700].reshape(-1, 64)}, DIGITS.y_train[:700])
        twin.commit()
        before = twin.predict({"x": DIGITS.x_test}).outputs["scores"].astype(np.float64)
        twin.observe({"x": images[:700].reshape(-1, 64)[:, shuffled]}, DIGITS.y_train[:700])
        after = twin.predict({"x": DIGITS.x_test}).outputs["scores"].astype(np.float64)
        moved[columns] = float(np.abs(after - before).mean() / before.std())
    assert moved["40-16"] < 0.5 * moved["1-1"], moved


def test_what_it_refuses() -> None:
    with pytest.raises(ValueError, match="are not for the 3 layers"):
        Hlop(hidden="20-10", first="20-8")
    with pytest.raises(UsageError, match="learn fewer tasks"):
        network(hidden="8", tasks=50)
    with pytest.raises(ValueError, match=r"step = 0\.0 is not in"):
        Hlop(step=0.0)
    with pytest.raises(UsageError, match="the first task at most 57"):
        network(hidden="20", first="60-6", more="6-3")
    with pytest.raises(GraphError, match="give it fewer bits"):
        subspace(1000, 20, "i16")
    with pytest.raises(GraphError, match="room is"):
        health = Learned.of("h.health", "i32", (1,))
        gate = HlopGate(name="gate", inputs=("h.health",), room=np.zeros(1, np.int32))
        extend(identity((4,)), [gate], [health], ["features"])

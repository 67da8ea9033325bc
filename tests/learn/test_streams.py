"""Streams: what each brings, in which order, and that one text says it all."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikelet.errors import UsageError
from spikelet.graph import Array, Tensor
from spikelet.learn.continual.streams import STREAMS, Course, Pool, stream

SHAPE = (3, 4)


def pool(samples: int, classes: int = 10, seed: int = 0) -> Pool:
    """Distinct samples of classes in turn."""
    tensor = Tensor("x", "u8", SHAPE, kind="input")
    x = np.random.default_rng(seed).integers(0, 256, (samples, *SHAPE)).astype(np.uint8)
    return Pool({"x": tensor}, {"x": x}, np.arange(samples) % classes)


def play(text: str, samples: int = 200) -> Course:
    return stream(text).play(pool(samples), pool(60, seed=1))


def labels_by_block(course: Course) -> list[list[int]]:
    return [sorted(set(block.samples.labels.tolist())) for block in course.blocks]


def rows(found: Pool) -> Array:
    return found.values["x"].reshape(len(found), -1)


def test_class_incremental_is_sorted_and_never_returns() -> None:
    course = play("class-incremental,tasks=5")
    assert labels_by_block(course) == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    assert course.tasks[0] == "classes 0 and 1"
    assert [set(p.labels.tolist()) for p in course.evaluation] == [
        {0, 1}, {2, 3}, {4, 5}, {6, 7}, {8, 9}
    ]  # fmt: skip
    assert course.samples == 200 and sum(map(len, course.evaluation)) == 60


def test_class_incremental_after_a_larger_first_task() -> None:
    course = play("class-incremental,first=5,tasks=6,blocks=2")
    assert labels_by_block(course)[::2] == [[0, 1, 2, 3, 4], [5], [6], [7], [8], [9]]
    assert course.tasks[:2] == ["classes 0 to 4", "class 5"]
    assert [b.task for b in course.blocks] == [t for t in range(6) for _ in range(2)]
    assert course.ends() == [1, 3, 5, 7, 9, 11]


def test_iid_mixes_all() -> None:
    course = play("iid,blocks=4")
    assert course.ends() == [3]
    assert all(found == list(range(10)) for found in labels_by_block(course))
    whole = np.concatenate([rows(b.samples) for b in course.blocks])
    assert sorted(map(bytes, whole)) == sorted(map(bytes, rows(pool(200))))


def test_permuted_tasks_hold_the_same_pixels_in_other_places() -> None:
    course = play("permuted,tasks=3")
    first, second, _ = (rows(p) for p in course.evaluation)
    assert np.array_equal(first, rows(pool(60, seed=1)))
    (order,) = {tuple(np.argsort(np.argsort(row, kind="stable"))) for row in second[:1]}
    assert len(order) == 12
    assert not np.array_equal(first, second)
    assert np.array_equal(np.sort(first, axis=1), np.sort(second, axis=1))
    # One permutation for the whole task, blocks and evaluation alike.
    places = [int(np.flatnonzero((second == first[:, [i]]).all(axis=0))[0]) for i in range(12)]
    assert sorted(places) == list(range(12))
    block = course.blocks[1].samples
    original = {bytes(row): row for row in np.sort(rows(pool(200)), axis=1)}
    back = rows(block)[:, places]
    assert all(bytes(row) in {bytes(r) for r in rows(pool(200))} for row in back)
    assert len(original) == 200


def test_drift_begins_clean_and_ends_at_full_strength() -> None:
    course = play("drifting,tasks=5,contrast=0.5,offset=0.25,noise=0")
    assert course.tasks == [f"drift {n} %" for n in (0, 25, 50, 75, 100)]
    clean = rows(pool(60, seed=1)).astype(np.float64)
    assert np.array_equal(rows(course.evaluation[0]), clean)
    expected = np.floor(255 * (0.5 * clean / 255 + 0.25) + 0.5)
    assert np.array_equal(rows(course.evaluation[4]), expected)
    spread = [rows(b.samples).std() for b in course.blocks]
    assert all(a > b for a, b in pairwise(spread))


def test_drift_of_a_signal_is_about_its_zero_point() -> None:
    tensor = Tensor("x", "i8", (2,), kind="input", zero_point=-28)
    x = np.array([[-28, 72], [-128, -28]], np.int8)
    found = Pool({"x": tensor}, {"x": x}, np.array([0, 1]))
    course = stream("drifting,tasks=2,contrast=0.5,offset=0,noise=0").play(found, found)
    assert course.evaluation[1].values["x"].tolist() == [[-28, 22], [-78, -28]]


def test_gamma_makes_a_drift_that_is_not_affine() -> None:
    course = play("drifting,tasks=2,contrast=1,offset=0,noise=0,gamma=2")
    clean = rows(pool(60, seed=1)).astype(np.float64)
    assert np.array_equal(rows(course.evaluation[1]), np.floor(255 * (clean / 255) ** 2 + 0.5))


def test_power_law_brings_old_tasks_back_by_age() -> None:
    course = stream("power-law,tasks=10,exponent=2,share=0.5").play(pool(20000), pool(60))
    assert labels_by_block(course)[0] == [0]
    last = np.bincount(course.blocks[9].samples.labels, minlength=10) / 2000
    assert last[9] == pytest.approx(0.5, abs=0.05)
    weights = (9 - np.arange(9.0)) ** -2
    assert last[:9] == pytest.approx(0.5 * weights / weights.sum(), abs=0.05)


def test_passes_and_limits() -> None:
    course = play("class-incremental,tasks=2,samples=7,evaluate=4,passes=3")
    assert [len(b.samples) for b in course.blocks] == [21, 21]
    assert [len(p) for p in course.evaluation] == [4, 4]
    chunks = rows(course.blocks[0].samples).reshape(3, 7, -1)
    seen = {tuple(sorted(map(bytes, chunk))) for chunk in chunks}
    assert len(seen) == 1
    assert len({chunk.tobytes() for chunk in chunks}) == 3


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(sorted(STREAMS)), st.integers(0, 2**31 - 1))
def test_a_text_plays_out_the_same_and_another_seed_does_not(kind: str, seed: int) -> None:
    text = f"{kind},seed={seed},samples=20"
    first, again = play(text), play(text)
    other = play(f"{kind},seed={seed ^ 1},samples=20")
    assert [b.samples.hashes() for b in first.blocks] == [b.samples.hashes() for b in again.blocks]
    assert [b.samples.hashes() for b in first.blocks] != [b.samples.hashes() for b in other.blocks]
    assert [p.hashes() for p in first.evaluation] == [p.hashes() for p in again.evaluation]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("classincremental", "class-incremental is meant"),
        ("nonsense", "choose one of class-incremental, drifting, iid, permuted, power-law"),
        ("iid,task=3", "has no option 'task'"),
        ("iid,tasks=3", "independent samples are one task"),
        ("permuted,tasks", "'tasks' is no option=value"),
        ("permuted,tasks=x", "tasks=x is not an integer"),
        ("permuted,tasks=2,tasks=3", "given twice"),
        ("permuted,tasks=0", "expected 1 to"),
        ("power-law,share=1", "expected 0 to less than 1"),
        ("power-law,share=nan", "share=nan is not a finite number"),
        ("drifting,noise=9", "expected 0 to 4"),
    ],
)
def test_a_text_that_is_wrong_is_told(text: str, expected: str) -> None:
    with pytest.raises(UsageError) as error:
        stream(text)
    assert expected in str(error.value)


def test_too_few_classes_or_samples_are_told() -> None:
    with pytest.raises(UsageError, match="10 classes for tasks=11"):
        play("class-incremental,tasks=11")
    with pytest.raises(UsageError, match="fewer than blocks=9"):
        play("class-incremental,tasks=10,blocks=9", samples=80)
    with pytest.raises(UsageError, match="no sample to evaluate class 9"):
        stream("class-incremental,tasks=10").play(pool(50), pool(9))
    spikes = Tensor("x", "bit", (4,), kind="input")
    found = Pool({"x": spikes}, {"x": np.ones((4, 4), np.uint8)}, np.arange(4))
    with pytest.raises(UsageError, match="x is bit"):
        stream("drifting").play(found, found)

"""The key-value table: against plain loops, in any order, and on devices."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learning import USUAL, device_equals_twin
from spikelet.errors import UsageError
from spikelet.graph import Array, Graph, GraphError, Learned
from spikelet.learn import Setting, Twin, identity
from spikelet.learn.learner import extend
from spikelet.learn.learners.key_value import (
    HALVINGS,
    MOST,
    UNSEEN,
    KeyValue,
    KeyValueCount,
    KeyValueScores,
    NearestKey,
    SignProjection,
)

FEATURES = 37  # no multiple of a draw's 32 signs, nor of a group's 4
CLASSES = 5


def blobs(samples: int, dtype: str, seed: int = 0) -> tuple[Array, Array]:
    """Samples about one centre a class, at the ends of the type's range too; labels."""
    rng = np.random.default_rng(seed)
    info = np.iinfo(dtype if dtype != "int32" else "int16")
    centres = np.random.default_rng(1).integers(info.min, info.max, (CLASSES, FEATURES))
    y = rng.integers(0, CLASSES, samples)
    spread = rng.normal(0, (info.max - info.min) / 8, (samples, FEATURES))
    x = np.clip(centres[y] + spread, info.min, info.max).astype(dtype)
    x[0], x[1] = info.min, info.max
    return x, y


def table(dtype: str = "uint8", books: int = 6, keys: int = 8, size: int = 3) -> Graph:
    kind = {"uint8": "u8", "int8": "i8", "int16": "i16"}[dtype]
    backbone = identity((FEATURES,), kind)
    fitted = {"x": blobs(200, dtype, 9)[0]}
    setting = Setting("features", CLASSES, seed=3, calibration=fitted)
    return KeyValue(books=books, keys=keys, size=size).attach(backbone, setting)


@pytest.mark.parametrize("target", USUAL)
def test_device_equals_twin(target: str, tmp_path: Path) -> None:
    samples = 600 if target.startswith("native") else 500
    x, y = blobs(samples, "uint8")
    y[100:450] = 2  # fills the counters of one class
    twin = device_equals_twin(target, table(books=4, keys=2), {"x": x}, y, tmp_path, block=150)
    health = KeyValue().health(twin.learned)
    assert health["saturations"] > 0
    assert health["samples"] == samples


@pytest.mark.parametrize("dtype", ["int8", "int16"])
def test_other_features_on_the_device(dtype: str, tmp_path: Path) -> None:
    x, y = blobs(60, dtype)
    device_equals_twin("native-gcc-sanitized", table(dtype, size=1), {"x": x}, y, tmp_path)


def test_a_prediction_is_naive_bayes_over_the_nearest_keys() -> None:
    graph = table()
    projection, nearest = graph.nodes[1], graph.nodes[2]
    assert isinstance(projection, SignProjection)
    assert isinstance(nearest, NearestKey)
    x, y = blobs(150, "uint8")
    twin = Twin(graph)
    twin.observe({"x": x[:120]}, y[:120])
    scores = twin.predict({"x": x[120:]}).outputs["kv_scores"] / 4096

    def index(sample: Array) -> list[int]:
        """The keys of one sample, by the words of the docstrings alone."""
        rows = len(projection.offset)
        state, signs = projection.seed, np.zeros((rows, 64), int)
        for first in range(0, FEATURES, 32):
            for row in range(rows):
                state ^= state << 13 & 0xFFFFFFFF
                state ^= state >> 17
                state ^= state << 5 & 0xFFFFFFFF
                signs[row, first : first + 32] = [1 if state >> i & 1 else -1 for i in range(32)]
        found = []
        sums = signs[:, :FEATURES] @ sample.astype(int) - projection.offset
        q = [max(-128, min(127, math.floor(s / 2**projection.shift + 0.5))) for s in sums]
        for b, book in enumerate(nearest.keys):
            size = book.shape[1]
            piece = np.array(q[b * size : (b + 1) * size])
            found.append(min(range(len(book)), key=lambda k: ((piece - book[k]) ** 2).sum()))
        return found

    where = [index(sample) for sample in x]
    for i, k in enumerate(where[120:]):
        for c in range(CLASSES):
            total = np.sum(y[:120] == c)
            expected = sum(
                math.log2(np.sum((y[:120] == c) & (np.array(where[:120])[:, b] == k[b])) + 0.25)
                - math.log2(total + 8 / 4)
                for b in range(6)
            )
            assert scores[i, c] == pytest.approx(expected, abs=0.01)


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(40)))
def test_any_order_of_samples_learns_the_same(order: list[int]) -> None:
    x, y = blobs(40, "uint8")
    twins = [Twin(GRAPH), Twin(GRAPH)]
    twins[0].observe({"x": x}, y)
    twins[1].observe({"x": x[order]}, y[order])
    assert twins[0].crc() == twins[1].crc()


GRAPH = table()


def test_a_class_without_samples_is_not_predicted() -> None:
    x, y = blobs(100, "uint8")
    twin = Twin(GRAPH)
    seen = y != 3
    twin.observe({"x": x[seen]}, y[seen])
    scores = twin.predict({"x": x}).outputs["kv_scores"]
    assert (scores[:, 3] == UNSEEN).all()
    assert not (GRAPH.predicted(scores) == 3).any()
    assert (GRAPH.predicted(scores)[seen] == y[seen]).mean() > 0.95


def counting(counts: Array) -> Graph:
    """A table behind indices that are the input itself."""
    books, _, classes = counts.shape
    learned = [
        Learned.of("counts", "u8", counts.shape, counts),
        Learned.of("totals", "i32", (classes,), np.full(classes, 1000, np.int32), low=0, high=MOST),
        Learned.of("halved", "u8", counts.shape[:2], low=0, high=HALVINGS),
    ]
    scores = KeyValueScores(name="scores", inputs=("key", "counts", "totals"))
    count = KeyValueCount(name="count", inputs=("key", "label", "counts", "totals", "halved"))
    key = NearestKey(
        name="key", inputs=("features",), keys=np.array([[[0], [100]]] * books, np.int8)
    )
    return extend(identity((books,)), [key, scores, count], learned, ["scores"], classes)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 255), min_size=6, max_size=6))
def test_a_full_counter_halves_its_column_and_no_other(drawn: list[int]) -> None:
    counts = np.array(drawn, np.uint8).reshape(1, 2, 3)
    counts[0, 1, 2] = 255
    twin = Twin(counting(counts))
    twin.observe({"x": np.array([[100]], np.int8)}, [2])
    halved = counts[0, 1] // 2
    halved[2] += 1
    np.testing.assert_array_equal(twin.learned["counts"][0], [counts[0, 0], halved])
    np.testing.assert_array_equal(twin.learned["halved"], [[0, 1]])


def test_classes_that_come_after_a_halving_are_counted_in_the_same_unit() -> None:
    twin = Twin(counting(np.zeros((1, 2, 3), np.uint8)))
    for label, samples in ((0, 900), (1, 300), (2, 600)):
        twin.observe({"x": np.full((samples, 1), 100, np.int8)}, [label] * samples)
    unit = 2 ** int(twin.learned["halved"][0, 1])
    assert unit == 4
    np.testing.assert_allclose(
        twin.learned["counts"][0, 1].astype(int) * unit, [900, 300, 600], atol=2 * unit
    )


def test_what_does_not_fit_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"has 0 samples to fit 64 keys on(.|\n)*256 broad"):
        KeyValue().attach(identity((8,)), Setting("features", 3))
    with pytest.raises(ValueError, match=r"keys = 257 is not in 2\.\.256"):
        KeyValue(keys=257)
    with pytest.raises(GraphError, match=r"layer key .* do not fit 2 queries"):
        NearestKey(name="key", inputs=("x",), keys=np.zeros((3, 2, 1), np.int8)).place(
            [identity((2,)).inputs[0]], {}, 1
        )
    wide = identity((2,), "i32")
    with pytest.raises(GraphError, match=r"may reach \d+, beyond 32 bits"):
        projection = SignProjection(
            name="p", inputs=("features",), offset=np.zeros(4, np.int32), seed=1, shift=0
        )
        extend(wide, [projection], [], ["p"])

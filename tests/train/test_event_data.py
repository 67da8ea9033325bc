"""Data sets of events: frames equal a loop over the file, folds part all recordings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from spikelet.events import Binning, EventError
from spikelet.graph import Array
from spikelet.train.data import DataError, load
from spikelet.train.recipe import DataSection

NAME = "nmnist_small"
Write = Callable[[dict[str, Array]], None]


def arrays() -> dict[str, Array]:
    """40 and 10 recordings of 20 to 59 events."""
    rng = np.random.default_rng(4)
    made: dict[str, Array] = {}
    for part, n in (("train", 40), ("test", 10)):
        lengths = rng.integers(20, 60, n)
        events = int(lengths.sum())
        made[f"offsets_{part}"] = np.concatenate([[0], np.cumsum(lengths)])
        made[f"labels_{part}"] = (np.arange(n) % 10).astype(np.uint8)
        made[f"dt_us_{part}"] = rng.integers(0, 9000, events).astype(np.uint16)
        for key, size in (("x", 34), ("y", 34), ("p", 2)):
            made[f"{key}_{part}"] = rng.integers(0, size, events).astype(np.uint8)
    return made


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    monkeypatch.setenv("SPIKELET_DATA", str(tmp_path))
    (tmp_path / NAME).mkdir()

    def write(changes: dict[str, Array]) -> None:
        np.savez(tmp_path / NAME / f"{NAME}.npz", **{**arrays(), **changes})

    return write


def counted(part: str, steps: int, bin_us: int, pool: int) -> Array:
    """Events of each address in each step, one by one."""
    made = arrays()
    offsets = made[f"offsets_{part}"]
    side = -(-34 // pool)
    frames = np.zeros((len(offsets) - 1, steps, side, side, 2), int)
    for i in range(len(frames)):
        t = 0
        for k in range(offsets[i], offsets[i + 1]):
            t += int(made[f"dt_us_{part}"][k])
            y, x, p = (int(made[f"{key}_{part}"][k]) for key in "yxp")
            if t < steps * bin_us:
                frames[i, t // bin_us, y // pool, x // pool, p] += 1
    return frames


@pytest.mark.parametrize(
    "binning", [Binning(30, 10_500), Binning(5, 20_000, counts=True), Binning(3, 9_000, pool=4)]
)
def test_recordings_become_frames(written: Write, binning: Binning) -> None:
    written({})
    data = load(NAME, binning)
    train, test = (
        counted(part, binning.steps, binning.bin_us, binning.pool) for part in ("train", "test")
    )
    if not binning.counts:
        train, test = np.minimum(train, 1), np.minimum(test, 1)
    assert data.x_train.dtype == np.uint8
    np.testing.assert_array_equal(data.x_train, train)
    np.testing.assert_array_equal(data.x_test, test)
    assert data.shape == train.shape[1:] and data.classes == 10
    np.testing.assert_array_equal(data.y_train, np.arange(40) % 10)
    total = len(arrays()["x_train"]) + len(arrays()["x_test"])
    assert f"of {total} events come after them" in data.test_part
    np.testing.assert_array_equal(data.real(data.x_test), test)


def test_frames_may_be_channels_of_one_image(written: Write) -> None:
    written({})
    events = {"steps": 3, "bin_us": 50_000, "counts": True, "pool": 2}
    given = DataSection.model_validate({"name": NAME, "events": events}).load()
    made = DataSection.model_validate({"name": NAME, "events": {**events, "image": True}}).load()
    assert made.shape == (17, 17, 6) == made.x_test.shape[1:]
    for step in range(3):
        for channel in range(2):
            expected = given.x_test[:, step, :, :, channel]
            np.testing.assert_array_equal(made.x_test[..., 2 * step + channel], expected)


def test_a_recipe_chooses_the_binning_and_the_fold(written: Write) -> None:
    written({})
    assert load(NAME).shape == (30, 34, 34, 2)
    events = {"steps": 6, "bin_us": 50_000, "pool": 2}
    parts = [
        DataSection.model_validate({"name": NAME, "events": events, "fold": k}).load()
        for k in range(5)
    ]
    rows = [row.tobytes() for part in parts for row in part.x_test]
    assert len(rows) == 50 == len(set(rows))  # each recording is tested once
    for part in parts:
        assert part.shape == (6, 17, 17, 2)
        assert set(np.bincount(part.y_test)) == {1}  # stratified
        assert len(part.x_train) == 40
        trained = {row.tobytes() for row in part.x_train}
        assert not any(row.tobytes() in trained for row in part.x_test)
    assert "fold 0 of 5 over all 50 samples: 10" in parts[0].test_part


def test_folds_and_binnings_that_do_not_fit_are_refused(written: Write) -> None:
    written({})
    with pytest.raises(DataError, match="fold 5 of 5"):
        load(NAME).fold(5)
    with pytest.raises(DataError, match="'digits' has no events"):
        load("digits", Binning(3, 1000))


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"offsets_test": np.arange(11)}, DataError, "offsets do not cut"),
        ({"labels_test": np.full(10, 10, np.uint8)}, DataError, "a label 10, but 10 classes"),
        ({"p_train": np.zeros(3, np.uint8)}, DataError, "p_train is uint8"),
        (
            {"x_test": np.full(len(arrays()["x_test"]), 34, np.uint8)},
            EventError,
            "nmnist_small, test, recording 0: events out of range: event 0 has x = 34",
        ),
    ],
)
def test_damaged_recordings_are_refused(
    written: Write, changes: dict[str, Array], error: type[Exception], text: str
) -> None:
    written(changes)
    with pytest.raises(error, match=text):
        load(NAME)

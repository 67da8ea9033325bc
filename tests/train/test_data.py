from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from spikelet.graph import Array
from spikelet.train.data import DATA_SETS, DataError, load


def write_idx(path: Path, values: Array, kind: int = 8) -> None:
    header = bytes((0, 0, kind, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape)
    path.write_bytes(gzip.compress(header + values.tobytes()))


def mnist_like(root: Path, name: str = "mnist") -> Path:
    folder = root / name
    folder.mkdir()
    rng = np.random.default_rng(0)
    for stem, n in (("train", 30), ("t10k", 12)):
        write_idx(
            folder / f"{stem}-images-idx3-ubyte.gz",
            rng.integers(0, 256, (n, 5, 4)).astype(np.uint8),
        )
        write_idx(folder / f"{stem}-labels-idx1-ubyte.gz", (np.arange(n) % 3).astype(np.uint8))
    return folder


def test_digits_are_split_as_stated() -> None:
    data = load("digits")
    assert data.x_train.shape == (1437, 64)
    assert data.x_test.shape == (360, 64)
    assert data.x_train.dtype == np.uint8
    assert data.y_test.dtype == np.int64
    # 36 a class, to within one: stratified.
    assert set(np.bincount(data.y_test)) <= {35, 36, 37}
    # Pixels 0 to 16 as round(p / 16 * 255).
    assert sorted(set(data.x_train.ravel())) == [int(p / 16 * 255 + 0.5) for p in range(17)]
    train = {row.tobytes() for row in data.x_train}
    assert not any(row.tobytes() in train for row in data.x_test)


def test_held_out_samples_come_from_the_training_part_only() -> None:
    data = load("digits")
    tuning = data.held_out()
    assert len(tuning.y_test) == 288
    assert len(tuning.y_train) + len(tuning.y_test) == len(data.y_train)
    train = {row.tobytes() for row in data.x_train}
    assert all(row.tobytes() in train for row in tuning.x_test)
    assert not any(row.tobytes() in {r.tobytes() for r in tuning.x_train} for row in tuning.x_test)
    assert tuning.test_part.startswith("validation: 288 of 1437")


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_idx_files_are_read(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mnist_like(tmp_path, name)
    monkeypatch.setenv("SPIKELET_DATA", str(tmp_path))
    data = load(name)
    assert data.x_train.shape == (30, 20)
    assert data.x_test.shape == (12, 20)
    assert data.shape == (5, 4)
    assert data.classes == 3
    first = np.random.default_rng(0).integers(0, 256, (30, 5, 4)).astype(np.uint8)
    np.testing.assert_array_equal(data.x_train, first.reshape(30, 20))
    np.testing.assert_array_equal(data.y_test, np.arange(12) % 3)


def test_absent_data_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPIKELET_DATA", raising=False)
    with pytest.raises(DataError, match="mnist is not at hand: SPIKELET_DATA is not set") as caught:
        load("mnist")
    assert "export SPIKELET_DATA=" in caught.value.next
    monkeypatch.setenv("SPIKELET_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"no folder .*fashion_mnist"):
        load("fashion_mnist")
    (mnist_like(tmp_path) / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"no file .*t10k-labels"):
        load("mnist")


def test_an_unknown_data_set_lists_the_known_ones() -> None:
    with pytest.raises(DataError, match="'cifar' is not known") as caught:
        load("cifar")
    assert all(name in caught.value.next for name in DATA_SETS)


def test_damaged_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKELET_DATA", str(tmp_path))
    path = mnist_like(tmp_path) / "train-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="not a gzip file"):
        load("mnist")
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(DataError, match="not a gzip file"):
        load("mnist")
    path.write_bytes(gzip.compress(gzip.decompress(whole)[:-1]))
    with pytest.raises(DataError, match="holds 599 bytes, its header says"):
        load("mnist")
    write_idx(path, np.zeros((30, 5, 4), np.uint8), kind=9)
    with pytest.raises(DataError, match="not an idx file of unsigned bytes"):
        load("mnist")
    write_idx(path, np.zeros((29, 5, 4), np.uint8))
    with pytest.raises(DataError, match="29 images and 30 labels"):
        load("mnist")

from __future__ import annotations

import dataclasses
import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from spikelet.graph import Array
from spikelet.train.data import DATA_SETS, DataError, load

CLIPS = 120  # of the little speech commands
CLASSES = 12


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
    assert data.x_train.shape == (1437, 8, 8, 1)
    assert data.x_test.shape == (360, 8, 8, 1)
    assert data.shape == (8, 8, 1)
    assert data.x_train.dtype == np.uint8
    assert data.y_test.dtype == np.int64
    # 36 a class, to within one: stratified.
    assert set(np.bincount(data.y_test)) <= {35, 36, 37}
    # Pixels 0 to 16 as round(p / 16 * 255).
    assert sorted(set(data.x_train.ravel())) == [int(p / 16 * 255 + 0.5) for p in range(17)]
    train = {row.tobytes() for row in data.x_train}
    assert not any(row.tobytes() in train for row in data.x_test)


def test_a_smaller_image_holds_the_means_of_areas() -> None:
    data = load("digits")
    small = data.resized(crop=6, size=4)
    assert small.shape == (4, 4, 1) and small.x_test.shape == (360, 4, 4, 1)
    assert "6x6 pixels about the middle as 4x4" in small.test_part
    middle = data.x_test[:, 1:7, 1:7].astype(np.float64)
    fine = middle.repeat(2, axis=1).repeat(2, axis=2)  # 12x12: each new pixel is 3x3 of these
    means = fine.reshape(-1, 4, 3, 4, 3, 1).mean(axis=(2, 4))
    assert np.abs(small.x_test - means).max() <= 0.501
    assert np.array_equal(data.resized().x_train, data.x_train)
    for crop, size in ((9, 4), (4, 6)):
        with pytest.raises(DataError, match="cannot be cut"):
            data.resized(crop, size)


def test_held_out_samples_come_from_the_training_part_only() -> None:
    data = load("digits")
    tuning = data.held_out()
    assert len(tuning.y_test) == 288
    assert len(tuning.y_train) + len(tuning.y_test) == len(data.y_train)
    train = {row.tobytes() for row in data.x_train}
    assert all(row.tobytes() in train for row in tuning.x_test)
    assert not any(row.tobytes() in {r.tobytes() for r in tuning.x_train} for row in tuning.x_test)
    assert tuning.test_part.startswith("validation: 288 of 1437")


def test_silence_is_zeros_behind_a_sample() -> None:
    whole = load("digits")
    data = dataclasses.replace(whole, offset=np.full(1, -128 / 255, np.float32)).with_silence(3)
    assert data.shape == (11, 8, 1) == data.x_train.shape[1:] == data.x_test.shape[1:]
    assert np.array_equal(data.x_test[:, :8], whole.x_test) and data.x_test.dtype == np.uint8
    assert np.abs(data.real(data.x_train[:, 8:])).max() < 1e-6
    assert "3 frames of zeros" in data.test_part
    with pytest.raises(DataError, match="hold no zero"):
        dataclasses.replace(whole, offset=np.full(1, 0.5, np.float32)).with_silence(3)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_idx_files_are_read(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mnist_like(tmp_path, name)
    monkeypatch.setenv("SPIKELET_DATA", str(tmp_path))
    data = load(name)
    assert data.x_train.shape == (30, 5, 4, 1)
    assert data.x_test.shape == (12, 5, 4, 1)
    assert data.shape == (5, 4, 1)
    assert data.classes == 3
    first = np.random.default_rng(0).integers(0, 256, (30, 5, 4)).astype(np.uint8)
    np.testing.assert_array_equal(data.x_train, first[..., np.newaxis])
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


def speech_like() -> dict[str, Array]:
    rng = np.random.default_rng(1)
    speakers = np.array([f"{i % 15:08x}" for i in range(CLIPS)])
    speakers[:5] = "sil"
    return {
        "x": rng.integers(0, 256, (CLIPS, 49, 40)).astype(np.uint8),
        "label": (np.arange(CLIPS) % CLASSES).astype(np.uint8),
        "is_test": np.isin(speakers, ["00000006", "00000007"]),
        "speaker": speakers,
        "name": np.array([f"word/{i}.wav" for i in range(CLIPS)]),
        "classes": np.array([f"word{i}" for i in range(CLASSES)]),
    }


def har_like() -> dict[str, Array]:
    rng = np.random.default_rng(2)
    y = np.tile(np.repeat([4, 3, 5, 0, 2, 1], 5), 20).astype(np.uint8)
    return {
        "x_train": rng.integers(-9000, 9000, (len(y), 128, 9)).astype(np.int16),
        "y_train": y,
        "x_test": rng.integers(-9000, 9000, (30, 128, 9)).astype(np.int16),
        "y_test": y[:30],
        "classes": np.array(["WALKING", "UP", "DOWN", "SITTING", "STANDING", "LAYING"]),
        "lsb_per_unit": np.array(4096),
    }


def ecg_like() -> dict[str, Array]:
    rng = np.random.default_rng(3)
    arrays: dict[str, Array] = {"classes": np.array(list("NSVFQ"))}
    for part, n, records in (("train", 100, 10), ("test", 40, 5)):
        arrays[f"x_{part}"] = rng.integers(-1000, 1000, (n, 128)).astype(np.int16)
        arrays[f"y_{part}"] = (np.arange(n) % 5).astype(np.uint8)
        arrays[f"rr_{part}"] = rng.uniform(0.5, 1.5, (n, 3)).astype(np.float32)
        arrays[f"record_{part}"] = (100 + np.arange(n) * records // n).astype(np.int16)
    return arrays


NPZ: dict[str, tuple[str, Callable[[], dict[str, Array]]]] = {
    "speech_commands_v2_test": ("logmel_u8.npz", speech_like),
    "uci_har_subset": ("uci_har_subset.npz", har_like),
    "mitbih_beats": ("mitbih_beats.npz", ecg_like),
}


@pytest.fixture
def written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, dict[str, Array]], Path]:
    monkeypatch.setenv("SPIKELET_DATA", str(tmp_path))

    def write(name: str, changes: dict[str, Array]) -> Path:
        file, make = NPZ[name]
        (tmp_path / name).mkdir(exist_ok=True)
        np.savez(tmp_path / name / file, **{**make(), **changes})
        return tmp_path / name / file

    return write


Write = Callable[[str, dict[str, Array]], Path]


def test_speech_commands_are_split_by_speaker(written: Write) -> None:
    written("speech_commands_v2_test", {})
    data = load("speech_commands_v2_test")
    arrays = speech_like()
    np.testing.assert_array_equal(data.x_test[..., 0], arrays["x"][arrays["is_test"]])
    np.testing.assert_array_equal(data.x_train[..., 0], arrays["x"][~arrays["is_test"]])
    np.testing.assert_array_equal(data.y_train, arrays["label"][~arrays["is_test"]])
    assert data.x_train.dtype == np.uint8
    assert (data.shape, data.classes) == ((49, 40, 1), 12)
    assert data.groups is not None
    speakers = arrays["speaker"][~arrays["is_test"]]
    for i in range(len(speakers)):
        same = (speakers == speakers[i]) & (speakers[i] != "sil")
        same[i] = True
        np.testing.assert_array_equal(data.groups == data.groups[i], same)
    assert data.real(np.array([[128]], np.uint8)) == 0
    assert data.real(np.array([[192]], np.uint8)) == 1


def test_activities_have_units_and_rounds(written: Write) -> None:
    written("uci_har_subset", {})
    data = load("uci_har_subset")
    assert data.x_train.dtype == np.int16
    assert (data.shape, data.classes) == ((128, 9), 6)
    assert data.class_names is not None and len(data.class_names) == 6
    assert "STANDING" in data.class_names and data.first(2).class_names == data.class_names[:2]
    real = data.real(np.full((1, 128, 9), 4096, np.int16))
    assert real.dtype == np.float32
    np.testing.assert_array_equal(real[0, 5], [2, 2, 2, 1, 1, 1, 1, 1, 1])
    # 20 rounds of 30 windows, two of them a subject
    np.testing.assert_array_equal(data.groups, np.arange(600) // 60)


def test_beats_know_nothing_of_the_next_one(written: Write) -> None:
    written("mitbih_beats", {})
    data = load("mitbih_beats")
    arrays = ecg_like()
    assert data.x_train.dtype == np.int16
    assert (data.shape, data.classes) == ((128, 4), 5)
    beats = data.x_train[..., 0]
    assert np.abs(beats.mean(axis=1)).max() < 1
    np.testing.assert_allclose(beats.std(axis=1), 1000, atol=1)
    lead = arrays["x_train"]
    correlation = [np.corrcoef(a, b)[0, 1] for a, b in zip(beats, lead, strict=True)]
    assert min(correlation) > 0.999
    before, _, mean = arrays["rr_train"].T.astype(np.float64)
    expected = np.stack([before, mean, before / mean], axis=1) * 1000
    assert np.abs(data.x_train[:, 77, 1:] - expected).max() <= 0.501
    np.testing.assert_array_equal(data.x_train[:, :1, 1:], data.x_train[:, -1:, 1:])
    np.testing.assert_array_equal(data.groups, arrays["record_train"])
    rr = arrays["rr_train"].copy()
    rr[:, 1] = 9  # the next interval
    written("mitbih_beats", {"rr_train": rr})
    np.testing.assert_array_equal(load("mitbih_beats").x_train, data.x_train)
    rr[:, 0] = 100  # a pause in the record
    written("mitbih_beats", {"rr_train": rr, "x_train": np.full_like(lead, 7)})
    paused = load("mitbih_beats").x_train
    assert (paused[..., 1] == 4000).all()
    assert (paused[..., 0] == 0).all()  # a lead that is off


@pytest.mark.parametrize("name", NPZ)
def test_held_out_groups_are_whole(written: Write, name: str) -> None:
    written(name, {})
    data = load(name)
    tuning = data.held_out()
    assert data.groups is not None
    assert tuning.groups is not None
    group = {row.tobytes(): g for row, g in zip(data.x_train, data.groups, strict=True)}
    held = {group[row.tobytes()] for row in tuning.x_test}
    assert held.isdisjoint(group[row.tobytes()] for row in tuning.x_train)
    assert held.isdisjoint(tuning.groups)
    assert len(tuning.y_train) + len(tuning.y_test) == len(data.y_train)
    assert len(tuning.y_train) > len(tuning.y_test) > 0.1 * len(data.y_train)
    text = f"{len(held)} of {len(np.unique(data.groups))} groups"
    assert text in tuning.test_part


@pytest.mark.parametrize(
    ("name", "changes", "text"),
    [
        (
            "uci_har_subset",
            {"y_test": np.zeros(29, np.uint8)},
            r"y_test is uint8 of shape \(29,\), not u1 of \(30\)",
        ),
        (
            "uci_har_subset",
            {"x_test": np.zeros((30, 128, 8), np.int16)},
            r"not i2 of \(30, 128, 9\)",
        ),
        ("mitbih_beats", {"rr_train": np.zeros((100, 3))}, "rr_train is float64 of shape"),
        ("mitbih_beats", {"y_test": np.full(40, 5, np.uint8)}, "a label 5, but 5 classes"),
        ("speech_commands_v2_test", {"is_test": np.ones(CLIPS, np.uint8)}, "is_test is uint8"),
        ("speech_commands_v2_test", {"label": np.full(CLIPS, 12, np.uint8)}, "a label 12, but 12"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    written: Write, name: str, changes: dict[str, Array], text: str
) -> None:
    written(name, changes)
    with pytest.raises(DataError, match=text):
        load(name)


@pytest.mark.parametrize("name", NPZ)
def test_damaged_npz_files_are_refused(written: Write, name: str) -> None:
    path = written(name, {})
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"<html>not found</html>", b""):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="not an npz file"):
            load(name)
    np.savez(path, other=np.zeros(3))
    with pytest.raises(DataError, match="is not a file in the archive"):
        load(name)
    path.unlink()
    with pytest.raises(DataError, match="no file"):
        load(name)


def test_only_codes_of_8_bits_are_flattened(written: Write) -> None:
    written("uci_har_subset", {})
    with pytest.raises(DataError, match="samples are int16, not u8 codes"):
        load("uci_har_subset").flat()
    data = load("digits")
    flat = data.flat()
    assert flat.x_train.shape == (1437, 64)
    assert flat.x_test.shape == (360, 64)
    assert flat.shape == (8, 8)
    np.testing.assert_array_equal(flat.x_test.reshape(-1, 8, 8, 1), data.x_test)


def test_some_classes_of_a_data_set_in_both_parts() -> None:
    whole = load("digits")
    some = whole.first(5)
    assert (some.classes, some.y_train.max(), some.y_test.max()) == (5, 4, 4)
    assert len(some.y_train) == (whole.y_train < 5).sum() == len(some.x_train)
    assert np.array_equal(some.x_test, whole.x_test[whole.y_test < 5])
    assert f"classes 0 to 4, {len(some.y_test)} samples" in some.test_part
    for classes in (1, 11):
        with pytest.raises(DataError, match=f"{classes} classes, it has 10"):
            whole.first(classes)

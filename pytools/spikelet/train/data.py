"""Data sets by name: integer samples in their natural shape, a test part that nobody trains on.

`digits` comes with scikit-learn; the others are read from the folder that SPIKELET_DATA names and
are never downloaded. This module needs neither PyTorch nor snnTorch.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from spikelet.events import Binning
from spikelet.graph import Array
from spikelet.text import words
from spikelet.train.data_files import (
    DataError,
    checked_labels,
    data_folder,
    read_idx,
    read_npz,
)

__all__ = ["DATA_SETS", "DataError", "DataSet", "area_means", "load", "smaller"]


@dataclass(frozen=True)
class DataSet:
    """Samples and labels.

    Attributes:
        name: a key of `DATA_SETS`.
        x_train: (N, *shape) integers; images are (height, width, channels), signals (length,
            channels). `flat()` makes them (N, n).
        y_train: (N,) int64, 0 to classes - 1.
        x_test: (M, *shape), of the same type.
        y_test: (M,) int64.
        classes: how many.
        shape: of one sample.
        test_part: in words, which samples the test part holds.
        scale, offset: float32, one a channel or one for all; see `real`.
        groups: (N,) int64, whom or what a training sample comes from; None where samples are
            independent. Validation never shares a group with training.
        class_names: in order, where the source has them.
    """

    name: str
    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array
    classes: int
    shape: tuple[int, ...]
    test_part: str
    scale: Array = dataclasses.field(default_factory=lambda: np.full(1, 1 / 255, np.float32))
    offset: Array = dataclasses.field(default_factory=lambda: np.zeros(1, np.float32))
    groups: Array | None = None
    class_names: tuple[str, ...] | None = None

    def real(self, x: Array) -> Array:
        """What a float network gets for samples (N, *shape): x * scale + offset, float32."""
        return np.asarray(x.astype(np.float32) * self.scale + self.offset)

    def flat(self) -> DataSet:
        """The same samples as (N, n) u8 codes, for networks of spikes.

        Raises:
            DataError: the samples are not u8.
        """
        if self.x_train.dtype != np.uint8:
            raise DataError(
                f"data set {self.name}: samples are {self.x_train.dtype}, not u8 codes",
                "a network of spikes takes codes of 0 to 255",
                "choose digits, mnist, fashion_mnist or speech_commands_v2_test",
            )
        return dataclasses.replace(
            self,
            x_train=self.x_train.reshape(len(self.x_train), -1),
            x_test=self.x_test.reshape(len(self.x_test), -1),
            shape=self.shape[:-1] if self.shape[-1] == 1 else self.shape,
        )

    def one_image(self) -> DataSet:
        """Frames (T, H, W, C) as one image (H, W, T * C), a frame's channels beside each other."""

        def stacked(x: Array) -> Array:
            last = np.moveaxis(x, 1, 3)
            return np.ascontiguousarray(last.reshape(*last.shape[:3], -1))

        x_train, x_test = stacked(self.x_train), stacked(self.x_test)
        return dataclasses.replace(self, x_train=x_train, x_test=x_test, shape=x_train.shape[1:])

    def with_silence(self, frames: int) -> DataSet:
        """So many frames behind each sample, whose first axis is time, that are 0 as real values.

        Raises:
            DataError: the samples' integers hold no 0.
        """
        zero = -self.offset / self.scale
        ends = np.iinfo(self.x_train.dtype)
        code = np.round(zero)
        if (abs(zero - code) > 0.01).any() or (code < ends.min).any() or (code > ends.max).any():
            raise DataError(
                f"data set {self.name}: its {self.x_train.dtype} samples hold no zero",
                "their scale and offset leave it out",
                "leave silent out of the recipe's [data]",
            )

        def longer(x: Array) -> Array:
            rest = np.broadcast_to(code.astype(x.dtype), (len(x), frames, *self.shape[1:]))
            return np.concatenate([x, rest], axis=1)

        return dataclasses.replace(
            self,
            x_train=longer(self.x_train),
            x_test=longer(self.x_test),
            shape=(self.shape[0] + frames, *self.shape[1:]),
            test_part=f"{self.test_part}; {frames} frames of zeros behind each",
        )

    def first(self, classes: int) -> DataSet:
        """The samples of classes 0 to `classes` - 1 only, in both parts.

        Raises:
            DataError: there are not so many.
        """
        if not 2 <= classes <= self.classes:
            raise DataError(
                f"data set {self.name}: {classes} classes, it has {self.classes}",
                "another data set was meant",
                f"give classes = 2 to {self.classes} in the recipe's [data]",
            )
        train, test = self.y_train < classes, self.y_test < classes
        return dataclasses.replace(
            self,
            x_train=self.x_train[train],
            y_train=self.y_train[train],
            x_test=self.x_test[test],
            y_test=self.y_test[test],
            classes=classes,
            class_names=self.class_names and self.class_names[:classes],
            test_part=f"{self.test_part}; classes 0 to {classes - 1}, {test.sum()} samples",
            groups=None if self.groups is None else self.groups[train],
        )

    def resized(self, crop: int | None = None, size: int | None = None) -> DataSet:
        """Images of u8 codes in another size: a new pixel is the mean of the area that it covers.

        Args:
            crop: side of the square about the middle that is kept first; None for all.
            size: side of the new images; None for that of the square.

        Raises:
            DataError: the samples are no square images of u8 codes, or smaller than that.
        """
        height, width = self.shape[0], self.shape[1] if len(self.shape) == 3 else 0
        crop = crop or height
        size = size or crop
        if self.x_train.dtype != np.uint8 or height != width or not size <= crop <= height:
            raise DataError(
                f"data set {self.name}: samples {self.x_train.dtype} of shape {self.shape} cannot "
                f"be cut to {crop} pixels and made {size}",
                "resizing is for square images of u8 codes, and makes them smaller",
                f"give size <= crop <= {height} in the recipe's [data]",
            )
        return dataclasses.replace(
            self,
            x_train=smaller(self.x_train, crop, size),
            x_test=smaller(self.x_test, crop, size),
            shape=(size, size, self.shape[2]),
            test_part=f"{self.test_part}; {crop}x{crop} pixels about the middle as {size}x{size}",
        )

    def held_out(self, share: float = 0.2) -> DataSet:
        """For tuning: a share of the training part, stratified, in place of the test part.

        Where there are groups, whole groups are held out.
        """
        from sklearn.model_selection import StratifiedGroupKFold, train_test_split

        indices = np.arange(len(self.y_train))
        if self.groups is None:
            keep, hold = train_test_split(
                indices, test_size=share, stratify=self.y_train, random_state=1
            )
            how = "stratified, random_state 1"
        else:
            folds = StratifiedGroupKFold(n_splits=round(1 / share), shuffle=True, random_state=1)
            keep, hold = next(folds.split(indices, self.y_train, self.groups))
            held = len(np.unique(self.groups[hold]))
            how = f"{held} of {len(np.unique(self.groups))} groups, stratified, random_state 1"
        keep, hold = np.sort(keep), np.sort(hold)
        return dataclasses.replace(
            self,
            x_train=self.x_train[keep],
            y_train=self.y_train[keep],
            x_test=self.x_train[hold],
            y_test=self.y_train[hold],
            test_part=f"validation: {len(hold)} of {len(self.y_train)} training samples, {how}",
            groups=None if self.groups is None else self.groups[keep],
        )

    def fold(self, index: int, folds: int = 5) -> DataSet:
        """All samples of both parts, of which fold `index` is the test part: cross-validation.

        Folds are stratified and shuffled with random_state 0.

        Args:
            index: 0 to folds - 1.
            folds: how many.

        Raises:
            DataError: there is no such fold, or samples come in groups.
        """
        from sklearn.model_selection import StratifiedKFold

        if not 0 <= index < folds:
            raise DataError(
                f"data set {self.name}: fold {index} of {folds}",
                next=f"give fold = 0 to {folds - 1} in the recipe's [data]",
            )
        if self.groups is not None:
            raise DataError(
                f"data set {self.name}: folds over both parts, whose samples come in groups",
                "the groups of the test part are not known",
                "use its own test part",
            )
        x = np.concatenate([self.x_train, self.x_test])
        y = np.concatenate([self.y_train, self.y_test])
        parts = StratifiedKFold(folds, shuffle=True, random_state=0).split(y, y)
        train, test = list(parts)[index]
        return dataclasses.replace(
            self,
            x_train=x[train],
            y_train=y[train],
            x_test=x[test],
            y_test=y[test],
            test_part=f"fold {index} of {folds} over all {len(y)} samples: {len(test)}, "
            "stratified, random_state 0",
        )


def smaller(x: Array, crop: int, size: int) -> Array:
    """Images (N, side, side, C) of u8 codes as (N, size, size, C), see `DataSet.resized`."""
    rows = area_means(x.shape[1], crop, size)
    parts = np.array_split(x.astype(np.float32), max(1, len(x) // 1000))
    means = [np.einsum("ah,nhwc,bw->nabc", rows, part, rows, optimize=True) for part in parts]
    return np.concatenate([np.floor(part + 0.5) for part in means]).astype(np.uint8)


def area_means(pixels: int, crop: int, size: int) -> Array:
    """(size, pixels) float32: what each new pixel of a line takes of each old one."""
    edges = (pixels - crop) / 2 + np.arange(size + 1) * (crop / size)
    old = np.arange(pixels)
    covered = np.minimum(edges[1:, None], old + 1) - np.maximum(edges[:-1, None], old)
    means: Array = (np.maximum(covered, 0) * (size / crop)).astype(np.float32)
    return means


def load(name: str, events: Binning | None = None) -> DataSet:
    """The data set of that name.

    Args:
        name: a key of `DATA_SETS`.
        events: how address events become frames; None for the data set's own way.

    Raises:
        DataError: it is not known, not at hand or damaged, or has no events to bin.
    """
    if events is not None and name in EVENT_SETS:
        return EVENT_SETS[name](name, events)
    if events is not None:
        raise DataError(
            f"data set {name!r} has no events",
            "[data.events] says how address events become frames",
            f"choose one of {', '.join(sorted(EVENT_SETS))}, or leave [data.events] away",
        )
    if name not in DATA_SETS:
        raise DataError(
            f"data set {name!r} is not known",
            "a misspelt name in the recipe's [data]",
            f"choose one of {', '.join(sorted(DATA_SETS))}",
        )
    return DATA_SETS[name](name)


@functools.cache
def _digits_file() -> tuple[Array, Array]:
    """What scikit-learn's text of the digits holds, which takes 30 ms to read; not to be written.

    Returns:
        (1797, 64) float64 pixels of 0 to 16, and (1797,) labels.
    """
    from sklearn.datasets import load_digits

    pixels, y = load_digits(return_X_y=True)
    pixels.setflags(write=False)
    y.setflags(write=False)
    return pixels, y


def _digits(name: str) -> DataSet:
    """scikit-learn's digits: 8x8 pixels of 0 to 16, as codes of 0 to 255."""
    from sklearn.model_selection import train_test_split

    pixels, y = _digits_file()
    x = np.floor(pixels / 16 * 255 + 0.5).astype(np.uint8)
    x_train, x_test, y_train, y_test = train_test_split(
        x, y.astype(np.int64), test_size=360, stratify=y, random_state=0
    )
    return DataSet(
        name,
        x_train.reshape(-1, 8, 8, 1),
        y_train,
        x_test.reshape(-1, 8, 8, 1),
        y_test,
        10,
        (8, 8, 1),
        "360 of 1797 samples, train_test_split(test_size=360, stratify=y, random_state=0)",
    )


def _idx_images(name: str) -> DataSet:
    """MNIST and its like: four idx.gz files in SPIKELET_DATA/NAME."""
    folder = data_folder(name)
    parts: list[Array] = []
    for stem in ("train", "t10k"):
        images = read_idx(folder / f"{stem}-images-idx3-ubyte.gz", 3)
        labels = read_idx(folder / f"{stem}-labels-idx1-ubyte.gz", 1)
        if len(images) != len(labels):
            raise DataError(
                f"data set {name}: {len(images)} images and {len(labels)} labels in {stem}",
                "files of different origin in one folder",
                "fetch the four files again",
            )
        parts += [images, labels.astype(np.int64)]
    x_train, y_train, x_test, y_test = parts
    return DataSet(
        name,
        x_train[..., np.newaxis],
        y_train,
        x_test[..., np.newaxis],
        y_test,
        int(y_train.max()) + 1,
        (*x_train.shape[1:], 1),
        "t10k, the data set's own test part",
    )


def _speech_commands(name: str) -> DataSet:
    """Speech commands as log-mel images: 49 frames of 20 ms by 40 bands, 12 classes.

    Codes are 2.2 a decibel; real 0 is code 128, about the mean. The groups are speakers; clips of
    silence have none and stand for themselves.
    """
    path = data_folder(name) / "logmel_u8.npz"
    arrays = read_npz(
        path,
        x=("u1", ("N", 49, 40)),
        label=("u1", ("N",)),
        is_test=("b1", ("N",)),
        speaker=("U", ("N",)),
        name=("U", ("N",)),
        classes=("U", ("classes",)),
    )
    silent = arrays["speaker"] == "sil"
    groups = np.unique(np.where(silent, arrays["name"], arrays["speaker"]), return_inverse=True)[1]
    test, x = arrays["is_test"], arrays["x"][..., np.newaxis]
    y = checked_labels(path, arrays["label"], arrays["classes"])
    return DataSet(
        name,
        x[~test],
        y[~test],
        x[test],
        y[test],
        len(arrays["classes"]),
        x.shape[1:],
        "the clips of is_test: a quarter of the speakers in Speech Commands' own test part",
        np.full(1, 1 / 64, np.float32),
        np.full(1, -2, np.float32),
        groups[~test],
        _names(arrays["classes"]),
    )


def _uci_har(name: str) -> DataSet:
    """Activities from a phone at the waist: 128 samples at 50 Hz by 9 channels, 6 classes.

    Channels are acceleration without and rotation, then acceleration with gravity, x y z. Units
    are g and rad/s; acceleration without gravity is doubled, for its range is half of the others'.
    Windows overlap by half, and subjects are not given. But each went through the activities
    twice, beginning with standing, so two such rounds are a group.
    """
    path = data_folder(name) / "uci_har_subset.npz"
    arrays = read_npz(
        path,
        x_train=("i2", ("N", 128, 9)),
        y_train=("u1", ("N",)),
        x_test=("i2", ("M", 128, 9)),
        y_test=("u1", ("M",)),
        classes=("U", ("classes",)),
        lsb_per_unit=("i8", ()),
    )
    classes = arrays["classes"]
    y = checked_labels(path, arrays["y_train"], classes)
    standing = classes[y] == "STANDING"
    rounds = np.cumsum(standing & ~np.roll(standing, 1))
    return DataSet(
        name,
        arrays["x_train"],
        y,
        arrays["x_test"],
        checked_labels(path, arrays["y_test"], classes),
        len(classes),
        (128, 9),
        "the subset's own test part: other subjects",
        (np.repeat([2, 1, 1], 3) / arrays["lsb_per_unit"]).astype(np.float32),
        np.zeros(1, np.float32),
        (rounds - 1) // 2,
        _names(classes),
    )


def _mitbih_beats(name: str) -> DataSet:
    """Heart beats: 128 samples at 180 Hz about an R peak by 4 channels, 5 classes (AAMI).

    The channels are the lead, less its mean over the window and by its standard deviation; the RR
    interval before the beat; the mean of the last ten; and the first by the second. The three are
    constant along a beat. All are in thousandths, of a second the intervals. Nothing that comes
    after the window is used. Groups are records, which are patients.
    """
    path = data_folder(name) / "mitbih_beats.npz"
    expected: dict[str, tuple[str, tuple[int | str, ...]]] = {"classes": ("U", ("classes",))}
    for part in ("train", "test"):
        expected |= {
            f"x_{part}": ("i2", (part, 128)),
            f"y_{part}": ("u1", (part,)),
            f"rr_{part}": ("f4", (part, 3)),
            f"record_{part}": ("i2", (part,)),
        }
    arrays = read_npz(path, **expected)

    def channels(part: str) -> Array:
        x, rr = arrays[f"x_{part}"].astype(np.float64), arrays[f"rr_{part}"]
        x -= x.mean(axis=1, keepdims=True)
        x /= np.maximum(x.std(axis=1, keepdims=True), 1)
        beat = np.round(x * 1000).astype(np.int16)[..., np.newaxis]
        before, mean = rr[:, 0], rr[:, 2]
        known = np.stack([before, mean, before / np.maximum(mean, 1e-3)], axis=1)
        known = np.clip(np.round(known * 1000), 0, 4000).astype(np.int16)
        known = np.broadcast_to(known[:, np.newaxis], (len(x), 128, 3))
        return np.concatenate([beat, known], axis=2)

    return DataSet(
        name,
        channels("train"),
        checked_labels(path, arrays["y_train"], arrays["classes"]),
        channels("test"),
        checked_labels(path, arrays["y_test"], arrays["classes"]),
        len(arrays["classes"]),
        (128, 4),
        "inter-patient: the 22 records of de Chazal's DS2",
        np.array([1 / 2000, 1 / 500, 1 / 500, 1 / 500], np.float32),
        np.array([0, -1.6, -1.6, -2], np.float32),
        arrays["record_train"].astype(np.int64),
        _names(arrays["classes"]),
    )


def _nmnist_small(name: str, binning: Binning | None = None) -> DataSet:
    """Event-camera digits: frames (steps, 34, 34, 2) of bits or counts, off and on; 10 classes.

    315 ms in 30 steps of 10.5 ms, bits, without another binning.
    """
    from spikelet.train.event_data import NMNIST_BINNING, nmnist_recordings

    binning = binning or NMNIST_BINNING
    train, test = nmnist_recordings("train"), nmnist_recordings("test")
    (x_train, late), (x_test, test_late) = train.frames(binning), test.frames(binning)
    return DataSet(
        name,
        x_train,
        train.labels,
        x_test,
        test.labels,
        10,
        x_train.shape[1:],
        f"the first 100 test recordings of N-MNIST; {binning.steps} steps of {binning.bin_us} us, "
        f"{late + test_late} of {len(train.t) + len(test.t)} events come after them",
        np.ones(1, np.float32),
    )


def _names(classes: Array) -> tuple[str, ...]:
    return tuple(words(str(name)) for name in classes)


DATA_SETS: dict[str, Callable[[str], DataSet]] = {
    "digits": _digits,
    "mnist": _idx_images,
    "fashion_mnist": _idx_images,
    "speech_commands_v2_test": _speech_commands,
    "uci_har_subset": _uci_har,
    "mitbih_beats": _mitbih_beats,
    "nmnist_small": _nmnist_small,
}

EVENT_SETS: dict[str, Callable[[str, Binning], DataSet]] = {"nmnist_small": _nmnist_small}

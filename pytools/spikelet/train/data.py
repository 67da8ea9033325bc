"""Data sets by name: u8 codes, flat, with a test part that nobody trains on.

`digits` comes with scikit-learn; the others are read from the folder that SPIKELET_DATA names and
are never downloaded. This module needs neither PyTorch nor snnTorch.
"""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spikelet.errors import UsageError
from spikelet.graph import Array

VARIABLE = "SPIKELET_DATA"


class DataError(UsageError):
    """A data set that is unknown, absent or damaged."""


@dataclass(frozen=True)
class DataSet:
    """Samples and labels.

    Attributes:
        name: a key of `DATA_SETS`.
        x_train: (N, n) u8.
        y_train: (N,) int64, 0 to classes - 1.
        x_test: (M, n) u8.
        y_test: (M,) int64.
        classes: how many.
        shape: of one sample as an image, for reports.
        test_part: in words, which samples the test part holds.
    """

    name: str
    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array
    classes: int
    shape: tuple[int, ...]
    test_part: str

    def held_out(self) -> DataSet:
        """For tuning: a stratified fifth of the training part in place of the test part."""
        from sklearn.model_selection import train_test_split

        keep, hold = train_test_split(
            np.arange(len(self.y_train)), test_size=0.2, stratify=self.y_train, random_state=1
        )
        keep, hold = np.sort(keep), np.sort(hold)
        return DataSet(
            self.name,
            self.x_train[keep],
            self.y_train[keep],
            self.x_train[hold],
            self.y_train[hold],
            self.classes,
            self.shape,
            f"validation: {len(hold)} of {len(self.y_train)} training samples, stratified, "
            "random_state 1",
        )


def load(name: str) -> DataSet:
    """The data set of that name; raises DataError."""
    if name not in DATA_SETS:
        raise DataError(
            f"data set {name!r} is not known",
            "a misspelt name in the recipe's [data]",
            f"choose one of {', '.join(sorted(DATA_SETS))}",
        )
    return DATA_SETS[name](name)


def _digits(name: str) -> DataSet:
    """scikit-learn's digits: 8x8 pixels of 0 to 16, as codes of 0 to 255."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, y = load_digits(return_X_y=True)
    x = np.floor(pixels / 16 * 255 + 0.5).astype(np.uint8)
    x_train, x_test, y_train, y_test = train_test_split(
        x, y.astype(np.int64), test_size=360, stratify=y, random_state=0
    )
    return DataSet(
        name,
        x_train,
        y_train,
        x_test,
        y_test,
        10,
        (8, 8),
        "360 of 1797 samples, train_test_split(test_size=360, stratify=y, random_state=0)",
    )


def _idx_images(name: str) -> DataSet:
    """MNIST and its like: four idx.gz files in SPIKELET_DATA/NAME."""
    folder = _folder(name)
    parts: list[Array] = []
    for stem in ("train", "t10k"):
        images = _idx(folder / f"{stem}-images-idx3-ubyte.gz", 3)
        labels = _idx(folder / f"{stem}-labels-idx1-ubyte.gz", 1)
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
        x_train.reshape(len(x_train), -1),
        y_train,
        x_test.reshape(len(x_test), -1),
        y_test,
        int(y_train.max()) + 1,
        x_train.shape[1:],
        "t10k, the data set's own test part",
    )


def _folder(name: str) -> Path:
    root = os.environ.get(VARIABLE)
    if not root:
        raise DataError(
            f"data set {name} is not at hand: {VARIABLE} is not set",
            "only `digits` comes with the program",
            f"export {VARIABLE}=FOLDER, where FOLDER/{name} holds its files",
        )
    folder = Path(root) / name
    if not folder.is_dir():
        raise DataError(
            f"data set {name}: no folder {folder}",
            f"{VARIABLE} names the wrong folder, or the data set was not fetched",
            f"put its files into {folder}",
        )
    return folder


def _idx(path: Path, dimensions: int) -> Array:
    """An idx file of unsigned bytes (Y. LeCun's format), gzip-packed."""
    if not path.is_file():
        raise DataError(f"data set: no file {path}", next="fetch it into that folder")
    try:
        raw = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as e:
        raise DataError(f"data set: {path} is not a gzip file ({e})", "a truncated copy") from e
    header = 4 + 4 * dimensions
    if len(raw) < header or raw[:4] != bytes((0, 0, 8, dimensions)):
        raise DataError(
            f"data set: {path} is not an idx file of unsigned bytes in {dimensions} dimensions",
            "another file under its name",
            "fetch it again",
        )
    shape = struct.unpack(f">{dimensions}I", raw[4:header])
    if len(raw) - header != int(np.prod(shape, dtype=np.int64)):
        raise DataError(
            f"data set: {path} holds {len(raw) - header} bytes, its header says {shape}",
            "a truncated copy",
            "fetch it again",
        )
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)


DATA_SETS: dict[str, Callable[[str], DataSet]] = {
    "digits": _digits,
    "mnist": _idx_images,
    "fashion_mnist": _idx_images,
}

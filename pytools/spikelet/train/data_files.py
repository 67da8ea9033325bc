"""Files of data sets, held to their declared types and shapes."""

from __future__ import annotations

import gzip
import os
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np

from spikelet.errors import UsageError
from spikelet.graph import Array

VARIABLE = "SPIKELET_DATA"


class DataError(UsageError):
    """A data set that is unknown, absent or damaged."""


def checked_labels(path: Path, y: Array, classes: Array) -> Array:
    """Labels as int64; raises DataError where one has no class."""
    if (y >= len(classes)).any():
        raise DataError(
            f"data set: {path} has a label {y.max()}, but {len(classes)} classes",
            "a damaged file",
            "fetch it again",
        )
    return y.astype(np.int64)


def data_folder(name: str) -> Path:
    """SPIKELET_DATA/NAME; raises DataError where that is not a folder."""
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


def read_idx(path: Path, dimensions: int) -> Array:
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


def read_npz(path: Path, **expected: tuple[str, tuple[int | str, ...]]) -> dict[str, Array]:
    """The arrays of an npz file, by name: a dtype and a shape whose named axes agree in length."""
    if not path.is_file():
        raise DataError(f"data set: no file {path}", next="fetch it into that folder")
    arrays: dict[str, Array] = {}
    try:
        with np.load(path, allow_pickle=False) as file:
            for key in expected:
                arrays[key] = file[key]
    except KeyError as e:
        raise DataError(
            f"data set: {path}: {e.args[0]}", "another file under its name", "fetch it again"
        ) from e
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as e:
        raise DataError(
            f"data set: {path} is not an npz file ({e})", "a truncated copy", "fetch it again"
        ) from e
    lengths: dict[str, int] = {}
    for key, (dtype, shape) in expected.items():
        array = arrays[key]
        fits = array.dtype.kind == "U" if dtype == "U" else array.dtype == np.dtype(dtype)
        wanted = [
            n if isinstance(n, int) else lengths.setdefault(n, got)
            for n, got in zip(shape, array.shape, strict=False)
        ]
        if not fits or wanted != list(array.shape) or len(shape) != array.ndim:
            named = ", ".join(str(lengths.get(str(n), n)) for n in shape)
            raise DataError(
                f"data set: {path}: {key} is {array.dtype} of shape {array.shape}, "
                f"not {dtype} of ({named})",
                "a damaged file, or one of another version",
                "fetch it again",
            )
    return arrays

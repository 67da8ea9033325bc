"""Data sets of address events: recordings, binned into frames over time for training.

`nmnist_small` is read from the folder that SPIKELET_DATA names, as all data sets are.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from spikelet.events import Binning
from spikelet.graph import Array
from spikelet.recordings import ATIS, Recordings
from spikelet.train.data_files import DataError, data_folder, read_npz

# 315 ms hold all events of 99 % of the recordings.
NMNIST_BINNING = Binning(steps=30, bin_us=10_500)


def nmnist_recordings(part: str) -> Recordings:
    """The recordings of nmnist_small: 1000 of part `train`, 100 of `test`.

    Raises:
        DataError: the file is not there or damaged.
    """
    path = data_folder("nmnist_small") / "nmnist_small.npz"
    lengths = {f"{key}_{part}": ("u1", ("events",)) for key in "xyp"}
    arrays = read_npz(
        path,
        **lengths,
        **{
            f"dt_us_{part}": ("u2", ("events",)),
            f"offsets_{part}": ("i8", ("ends",)),
            f"labels_{part}": ("u1", ("N",)),
        },
    )
    offsets, labels = arrays[f"offsets_{part}"], arrays[f"labels_{part}"]
    t = _times(path, arrays[f"dt_us_{part}"], offsets, len(labels))
    if (labels > 9).any():
        raise DataError(
            f"data set: {path} has a label {labels.max()}, but 10 classes",
            "a damaged file",
            "fetch it again",
        )
    return Recordings(
        t,
        arrays[f"y_{part}"],
        arrays[f"x_{part}"],
        arrays[f"p_{part}"],
        offsets,
        labels.astype(np.int64),
        ATIS,
        f"nmnist_small, {part}",
    )


def _times(path: Path, dt: Array, offsets: Array, recordings: int) -> Array:
    """Microseconds since each recording began, of the steps between its events."""
    whole = len(offsets) == recordings + 1 and offsets[0] == 0 and offsets[-1] == len(dt)
    if not whole or (np.diff(offsets) < 0).any():
        raise DataError(
            f"data set: {path}: offsets do not cut {len(dt)} events into {recordings} recordings",
            "a damaged file",
            "fetch it again",
        )
    total = np.concatenate([[0], np.cumsum(dt, dtype=np.int64)])
    times: Array = total[1:] - np.repeat(total[offsets[:-1]], np.diff(offsets))
    return times

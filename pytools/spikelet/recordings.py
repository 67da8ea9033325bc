"""Recordings of events, many at a time, and the files that hold them.

| file | what it is |
| --- | --- |
| `.bin` | one recording of N-MNIST or N-Caltech101 (ATIS), 34 x 34 pixels by default |
| a folder of `.bin`, or of folders named after classes | the same, as N-MNIST comes |
| `.aedat` | DVS-Gesture (AEDAT 3.1, 128 x 128); cut by NAME_labels.csv beside it |
| `.h5`, `.hdf5` | SHD and SSC (700 channels) |
| `.npz` | `t` (microseconds), `x`, `y`, `channel`, `shape` (3,); several: `offsets` and `labels` |
"""

from __future__ import annotations

import csv
import struct
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spikelet.events import Binning, EventError, Events, EventStream
from spikelet.files import Array, Unreadable, read_arrays

ATIS = (34, 34, 2)  # N-MNIST
DVS128 = (128, 128, 2)
COCHLEA = (1, 700, 1)
UNLABELLED = -1
SUFFIXES = (".bin", ".aedat", ".h5", ".hdf5")  # of files that can only be events


@dataclass(frozen=True)
class Recordings:
    """Recordings of one sensor, one behind the other.

    Attributes:
        t: (events,) int64, microseconds since the recording began.
        y, x, channel: (events,) integers.
        offsets: (N + 1,) int64: recording i holds events offsets[i] to offsets[i + 1].
        labels: (N,) int64, -1 where none is known.
        sensor: (height, width, channels).
        source: in errors.
    """

    t: Array
    y: Array
    x: Array
    channel: Array
    offsets: Array
    labels: Array
    sensor: tuple[int, int, int]
    source: str

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Events:
        """A recording; raises EventError where its events are out of order or out of range."""
        part = slice(self.offsets[index], self.offsets[index + 1])
        arrays = (self.t[part], self.y[part], self.x[part], self.channel[part])
        source = self.source if len(self) == 1 else f"{self.source}, recording {index}"
        return Events.of(*arrays, self.sensor, source)

    def __iter__(self) -> Iterator[Events]:
        return (self[i] for i in range(len(self)))

    def frames(self, binning: Binning) -> tuple[Array, int]:
        """All as frames (N, steps, height, width, channels) u8, and the events after the last."""
        shape = binning.frame_shape(self.sensor)
        frames = np.empty((len(self), binning.steps, *shape), np.uint8)
        late = 0
        for i in range(len(self)):
            binned = binning.frames(self[i])
            frames[i] = binned.frames
            late += binned.late
        return frames, late

    def streams(self, binning: Binning) -> list[EventStream]:
        """Each as a device takes it."""
        return [binning.stream(events) for events in self]

    @classmethod
    def of(
        cls, events: Sequence[Events], labels: Sequence[int], sensor: tuple[int, int, int],
        source: str,
    ) -> Recordings:  # fmt: skip
        """Recordings in a row; raises EventError where there is none."""
        if not events:
            raise EventError(f"{source}: no recording", "an empty folder or file")
        t, y, x, channel = (
            np.concatenate([getattr(one, name) for one in events])
            for name in ("t", "y", "x", "channel")
        )
        offsets = np.cumsum([0, *(len(one) for one in events)])
        return cls(t, y, x, channel, offsets, np.array(labels, np.int64), sensor, source)


def is_event_file(path: Path) -> bool:
    """Whether it holds events: by its suffix, or its arrays."""
    if path.is_dir() or path.suffix.lower() in SUFFIXES:
        return True
    if path.suffix.lower() != ".npz" or not path.is_file():
        return False
    try:
        with zipfile.ZipFile(path) as file:
            return {"t.npy", "channel.npy"} <= set(file.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def read_recordings(path: Path, sensor: tuple[int, int, int] | None = None) -> Recordings:
    """The recordings of a file or a folder; see the module's text for which.

    Args:
        path: of it.
        sensor: (height, width, channels), where the format does not say and it is not the usual.

    Raises:
        EventError: it is not there, cut off, of another format, or holds events that are out of
            order or out of range.
    """
    if path.is_dir():
        return _folder(path, sensor or ATIS)
    if not path.is_file():
        raise EventError(f"{path}: no such file", "a wrong path")
    readers = {".bin": _atis, ".aedat": _aedat, ".h5": _cochlea, ".hdf5": _cochlea, ".npz": _npz}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise EventError(
            f"{path}: events in a file {path.suffix or 'without a suffix'}",
            next=f"known are {', '.join(readers)}",
        )
    return reader(path, sensor)


def _cut(path: Path, whole: int, left: int, what: str) -> EventError:
    return EventError(
        f"{path}: the stream is cut: {what} is cut off {left} bytes after {whole} whole events",
        "a truncated copy, or a recording that was interrupted",
        "fetch it again, or cut the file behind the last whole event",
    )


def _folder(path: Path, sensor: tuple[int, int, int]) -> Recordings:
    """All .bin of a folder, or of folders whose names are classes, in order."""
    groups = sorted(each for each in path.iterdir() if each.is_dir())
    inside: Iterable[tuple[Path, int]] = ((path, UNLABELLED),)
    if groups:
        numbers = [each.name.isdecimal() for each in groups]
        inside = ((e, int(e.name) if all(numbers) else i) for i, e in enumerate(groups))
    events, labels = [], []
    for folder, label in inside:
        for file in sorted(folder.glob("*.bin")):
            events.append(_atis_events(file, sensor))
            labels.append(label)
    return Recordings.of(events, labels, sensor, str(path))


def _atis(path: Path, sensor: tuple[int, int, int] | None) -> Recordings:
    sensor = sensor or ATIS
    return Recordings.of([_atis_events(path, sensor)], [UNLABELLED], sensor, str(path))


def _atis_events(path: Path, sensor: tuple[int, int, int]) -> Events:
    """40 bits an event: x, y, polarity, 23 bits of microseconds; y 240 stands for 2^13 us more.

    Source: the format's description at garrickorchard.com/datasets/n-mnist.
    """
    raw = np.frombuffer(path.read_bytes(), np.uint8)
    if len(raw) % 5:
        raise _cut(path, len(raw) // 5, len(raw) % 5, "an event")
    x, y, high, middle, low = raw.reshape(-1, 5).T.astype(np.int64)
    wraps = y == 240
    t = ((high & 127) << 16 | middle << 8 | low) + (np.cumsum(wraps) << 13)
    kept = ~wraps
    return Events.of(t[kept], y[kept], x[kept], (high >> 7)[kept], sensor, str(path))


def _aedat(path: Path, sensor: tuple[int, int, int] | None) -> Recordings:
    """AEDAT 3.1: packets of polarity events, 8 bytes each, behind a header of lines.

    Source: inivation's description of the AEDAT 3.1 file format.
    """
    sensor = sensor or DVS128
    raw = path.read_bytes()
    end = raw.find(b"#!END-HEADER\r\n")
    if not raw.startswith(b"#!AER-DAT3.") or end < 0:
        raise EventError(
            f"{path}: not an AEDAT 3 file: it begins with {raw[:12]!r}",
            "AEDAT of another version",
            "convert it to AEDAT 3.1, or to .npz",
        )
    parts: list[Array] = []
    at, whole = end + 14, 0
    while at < len(raw):
        if len(raw) - at < 28:
            raise _cut(path, whole, len(raw) - at, "a packet's header")
        kind, _, size, _, overflow, _, count, _ = struct.unpack_from("<HHIIIIII", raw, at)
        at += 28
        if len(raw) - at < size * count:
            raise _cut(path, whole, len(raw) - at, "a packet")
        if kind == 1 and size == 8:
            words = np.frombuffer(raw, "<u4", 2 * count, at).reshape(-1, 2).astype(np.int64)
            words[:, 1] += overflow << 31
            parts.append(words[words[:, 0] & 1 == 1])
            whole += len(parts[-1])
        at += size * count
    words = np.concatenate(parts) if parts else np.zeros((0, 2), np.int64)
    data, t = words.T
    columns = ((data >> 2) & 0x7FFF, (data >> 17) & 0x7FFF, (data >> 1) & 1)
    return _cut_by_labels(path, t, columns, sensor)


def _cut_by_labels(
    path: Path, t: Array, columns: tuple[Array, Array, Array], sensor: tuple[int, int, int]
) -> Recordings:
    """The gestures of a recording, by the times of NAME_labels.csv."""
    labels_file = path.with_name(f"{path.stem}_labels.csv")
    spans = [(UNLABELLED, int(t[0]) if len(t) else 0, int(t[-1]) + 1 if len(t) else 0)]
    if labels_file.is_file():
        with labels_file.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))[1:]
        try:
            spans = [(int(row[0]) - 1, int(row[1]), int(row[2])) for row in rows]
        except (ValueError, IndexError) as e:
            raise EventError(
                f"{labels_file}: no rows of class, startTime_usec, endTime_usec ({e})"
            ) from e
    if (np.diff(t) < 0).any():
        Events.of(t, *columns, sensor, str(path))  # raises, and names the event
    events = []
    for _, first, last in spans:
        low, high = np.searchsorted(t, [first, last])
        y, x, channel = (column[low:high] for column in columns)
        events.append(Events.of(t[low:high] - first, y, x, channel, sensor, str(path)))
    return Recordings.of(events, [label for label, _, _ in spans], sensor, str(path))


def _cochlea(path: Path, sensor: tuple[int, int, int] | None) -> Recordings:
    """SHD and SSC: `spikes/times` in seconds, `spikes/units`, `labels`.

    Source: B. Cramer et al., "The Heidelberg Spiking Data Sets", IEEE TNNLS 33(7), 2022.
    """
    try:
        import h5py
    except ImportError as e:
        raise EventError(
            f"{path}: h5py is not installed", next="pip install 'spikelet[nir]', or h5py alone"
        ) from e
    sensor = sensor or COCHLEA
    try:
        with h5py.File(path, "r") as file:
            times, units = file["spikes/times"][()], file["spikes/units"][()]
            labels = np.asarray(file["labels"][()]).astype(np.int64)
    except (OSError, KeyError, ValueError, TypeError) as e:
        raise EventError(
            f"{path}: not a file of SHD or SSC ({e})",
            "a truncated copy, or another file",
            "expected are spikes/times, spikes/units and labels",
        ) from e
    if not len(times) == len(units) == len(labels):
        raise EventError(
            f"{path}: {len(times)} times, {len(units)} units and {len(labels)} labels",
            "a damaged file",
        )
    events = []
    for i, (seconds, unit) in enumerate(zip(times, units, strict=True)):
        t = np.round(np.asarray(seconds, np.float64) * 1e6).astype(np.int64)
        zeros = np.zeros(len(t), np.int64)
        column = np.asarray(unit).astype(np.int64)
        events.append(Events.of(t, zeros, column, zeros, sensor, f"{path}, recording {i}"))
    return Recordings.of(events, labels.tolist(), sensor, str(path))


def _npz(path: Path, sensor: tuple[int, int, int] | None) -> Recordings:
    try:
        arrays = read_arrays(path)
    except Unreadable as e:
        raise EventError(f"{path}: not a readable .npz file ({e})") from e
    missing = [key for key in ("t", "x", "y", "channel") if key not in arrays]
    if missing or (sensor is None and "shape" not in arrays):
        raise EventError(
            f"{path}: no array {(missing or ['shape'])[0]!r} among {', '.join(sorted(arrays))}",
            "it was saved with other names",
            "np.savez(path, t=t_us, x=x, y=y, channel=polarity, shape=(34, 34, 2))",
        )
    shape = _shape(path, arrays["shape"]) if sensor is None else sensor
    offsets = arrays.get("offsets", np.array([0, len(arrays["t"])])).astype(np.int64)
    labels = arrays.get("labels", np.full(len(offsets) - 1, UNLABELLED)).astype(np.int64)
    whole = len(offsets) == len(labels) + 1 and offsets[0] == 0
    if not whole or offsets[-1] != len(arrays["t"]) or (np.diff(offsets) < 0).any():
        raise EventError(
            f"{path}: offsets do not cut {len(arrays['t'])} events into {len(labels)} recordings"
        )
    t, y, x, channel = (arrays[key] for key in ("t", "y", "x", "channel"))
    return Recordings(t, y, x, channel, offsets, labels, shape, str(path))


def _shape(path: Path, values: Any) -> tuple[int, int, int]:
    flat = np.asarray(values).reshape(-1)
    if len(flat) != 3 or (flat < 1).any():
        raise EventError(f"{path}: shape is {flat}, expected height, width and channels")
    return int(flat[0]), int(flat[1]), int(flat[2])

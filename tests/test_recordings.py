"""Files of events: written here byte by byte as their formats say, read back, and damaged."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from spikelet.events import Binning, EventError
from spikelet.recordings import Recordings, is_event_file, read_recordings

EVENTS = [(10, 3, 4, 1), (10, 0, 33, 0), (900, 33, 0, 1), (8000, 7, 7, 0)]  # t, y, x, channel


def atis(path: Path, events: list[tuple[int, int, int, int]] = EVENTS) -> Path:
    """N-MNIST: x, y, polarity and 23 bits of time, big endian."""
    rows = [struct.pack(">BBI", x, y, p << 23 | t)[0:2] + struct.pack(">I", p << 23 | t)[1:]
            for t, y, x, p in events]  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(rows))
    return path


def aedat(path: Path, events: list[tuple[int, int, int, int]] = EVENTS, each: int = 3) -> Path:
    """AEDAT 3.1: packets of polarity events, and one of another kind."""
    packets = []
    for at in range(0, len(events), each):
        part = events[at : at + each]
        head = struct.pack("<HHIIIIII", 1, 0, 8, 4, 0, len(part), len(part), len(part))
        rows = [struct.pack("<II", x << 17 | y << 2 | p << 1 | 1, t) for t, y, x, p in part]
        packets.append(head + b"".join(rows))
    other = struct.pack("<HHIIIIII", 0, 0, 8, 4, 0, 1, 1, 1) + bytes(8)
    invalid = struct.pack("<HHIIIIII", 1, 0, 8, 4, 0, 1, 1, 0) + bytes(8)
    path.write_bytes(b"#!AER-DAT3.1\r\n#Format: RAW\r\n#!END-HEADER\r\n" + packets[0] + other
                     + invalid + b"".join(packets[1:]))  # fmt: skip
    return path


def cochlea(path: Path, recordings: list[list[tuple[float, int]]]) -> Path:
    """SHD: lists of seconds and of units, and classes."""
    h5py = pytest.importorskip("h5py")
    times, units = h5py.vlen_dtype(np.float16), h5py.vlen_dtype(np.uint16)
    with h5py.File(path, "w") as file:
        spikes = file.create_group("spikes")
        for name, kind, column in (("times", times, 0), ("units", units, 1)):
            held = spikes.create_dataset(name, (len(recordings),), kind)
            for i, rows in enumerate(recordings):
                held[i] = np.array([row[column] for row in rows])
        file["labels"] = np.arange(len(recordings), dtype=np.uint8) + 3
    return path


def rows_of(recordings: Recordings, index: int = 0) -> list[tuple[int, ...]]:
    events = recordings[index]
    return [tuple(map(int, row)) for row in zip(events.t, events.y, events.x, events.channel,
                                                strict=True)]  # fmt: skip


def test_n_mnist_is_read(tmp_path: Path) -> None:
    found = read_recordings(atis(tmp_path / "00001.bin"))
    assert rows_of(found) == EVENTS
    assert (found.sensor, found.labels.tolist()) == ((34, 34, 2), [-1])
    # y 240: no event, but 2^13 us more for what follows.
    wrapped = [EVENTS[0], (0, 240, 0, 0), (5, 1, 2, 1), (0, 240, 0, 0), (7, 1, 2, 1)]
    found = read_recordings(atis(tmp_path / "00002.bin", wrapped))
    assert rows_of(found) == [EVENTS[0], (8197, 1, 2, 1), (16391, 1, 2, 1)]


def test_a_folder_of_classes_has_labels(tmp_path: Path) -> None:
    for label, count in ((7, 2), (10, 1)):
        for i in range(count):
            atis(tmp_path / str(label) / f"{i:05}.bin", EVENTS[i:])
    found = read_recordings(tmp_path)
    assert found.labels.tolist() == [10, 7, 7]
    assert [len(found[i]) for i in range(3)] == [4, 4, 3]
    with pytest.raises(EventError, match="no recording"):
        (tmp_path / "empty").mkdir()
        read_recordings(tmp_path / "empty")


def test_dvs_gesture_is_read_and_cut_by_its_labels(tmp_path: Path) -> None:
    path = aedat(tmp_path / "user01_fluorescent.aedat")
    found = read_recordings(path)
    assert found.sensor == (128, 128, 2)
    assert rows_of(found) == [(t - 10, y, x, p) for t, y, x, p in EVENTS]
    labels = tmp_path / "user01_fluorescent_labels.csv"
    labels.write_text("class,startTime_usec,endTime_usec\n4,5,901\n11,902,9000\n", "utf-8")
    found = read_recordings(path)
    assert found.labels.tolist() == [3, 10]
    assert rows_of(found, 0) == [(t - 5, y, x, p) for t, y, x, p in EVENTS[:3]]
    assert rows_of(found, 1) == [(8000 - 902, 7, 7, 0)]
    labels.write_text("class,startTime_usec,endTime_usec\nwave,5,901\n", "utf-8")
    with pytest.raises(EventError, match="no rows of class"):
        read_recordings(path)


def test_spiking_heidelberg_digits_are_read(tmp_path: Path) -> None:
    found = read_recordings(cochlea(tmp_path / "shd.h5", [[(0.25, 5), (0.5, 699)], [(0.125, 0)]]))
    assert found.sensor == (1, 700, 1)
    assert found.labels.tolist() == [3, 4]
    assert rows_of(found, 0) == [(250_000, 0, 5, 0), (500_000, 0, 699, 0)]
    assert rows_of(found, 1) == [(125_000, 0, 0, 0)]


def test_plain_arrays_are_read(tmp_path: Path) -> None:
    t, y, x, channel = np.array(EVENTS).T
    path = tmp_path / "mine.npz"
    np.savez(path, t=t, y=y, x=x, channel=channel, shape=(34, 34, 2))
    assert is_event_file(path)
    assert rows_of(read_recordings(path)) == EVENTS
    both = np.concatenate([t, t])
    more = {"offsets": [0, 4, 8], "labels": [1, 2]}
    twice = {name: np.tile(values, 2) for name, values in (("y", y), ("x", x))}
    np.savez(path, t=both, channel=np.tile(channel, 2), shape=(34, 34, 2), **twice, **more)
    found = read_recordings(path)
    assert (found.labels.tolist(), rows_of(found, 1)) == ([1, 2], EVENTS)
    frames, late = found.frames(Binning(2, 1000))
    assert (frames.shape, late, int(frames.sum())) == ((2, 2, 34, 34, 2), 2, 6)
    assert [len(stream.t) for stream in found.streams(Binning(2, 1000))] == [4, 4]
    np.savez(tmp_path / "x.npz", x=np.zeros(3))
    assert not is_event_file(tmp_path / "x.npz")


def test_a_stream_that_is_cut_is_named(tmp_path: Path) -> None:
    path = atis(tmp_path / "cut.bin")
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(EventError, match=r"the stream is cut: an event .* 3 bytes after 3 whole"):
        read_recordings(path)
    path = aedat(tmp_path / "cut.aedat")
    whole = path.read_bytes()
    for left, text in ((-4, "a packet is cut off 4 bytes after 3"), (-20, "header is cut off 16")):
        path.write_bytes(whole[:left])
        with pytest.raises(EventError, match=text):
            read_recordings(path)


def test_events_out_of_order_or_range_are_named(tmp_path: Path) -> None:
    for events, text in (
        ([*EVENTS, (7, 1, 1, 1)], "event 4 at 7 us comes after event 3 at 8000 us"),
        ([*EVENTS, (9000, 1, 34, 1)], "out of range: event 4 has x = 34, the sensor has 0 to 33"),
    ):
        with pytest.raises(EventError, match=text):
            read_recordings(atis(tmp_path / "a.bin", events))
    backwards = aedat(tmp_path / "b.aedat", [EVENTS[3], EVENTS[0]])
    with pytest.raises(EventError, match="out of order: event 1"):
        read_recordings(backwards)


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("a.aedat", b"#!AER-DAT2.0\r\n", "not an AEDAT 3 file"),
        ("a.h5", b"\x89HDF\r\n\x1a\n" + bytes(30), "not a file of SHD or SSC"),
        ("a.npz", b"PK", "not a readable .npz file"),
        ("a.dat", b"", "known are .bin, .aedat"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, data: bytes, text: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(EventError, match=text):
        read_recordings(tmp_path / name)
    with pytest.raises(EventError, match="no such file"):
        read_recordings(tmp_path / "missing.bin")

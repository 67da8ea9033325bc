"""Recordings as a session streams them, and what a user sees of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spikelet.board import find_board
from spikelet.errors import UsageError
from spikelet.events import EventError
from spikelet.package import Package
from spikelet.run.compared_events import ComparedEvents
from spikelet.run.session import compare
from spikelet.run.session_folder import Recording, SessionFolder
from spikelet.run.workflow import SessionTarget, choose_stream, connect, make
from spiking_graphs import event_frames, event_network, recurrent_spikes


@pytest.fixture
def package() -> Package:
    x = event_frames("bit", samples=4)
    manifest = {"name": "seen", "events": {"bin_us": 1000, "pool": 2}}
    return Package(event_network(), {"x": x}, manifest).with_golden()


def recording(folder: Path, sensor: tuple[int, int, int] = (12, 10, 2), **changes: object) -> Path:
    rng = np.random.default_rng(5)
    arrays = {
        "t": np.sort(rng.integers(0, 9000, 90)),
        "y": rng.integers(0, sensor[0], 90),
        "x": rng.integers(0, sensor[1], 90),
        "channel": rng.integers(0, 2, 90),
        "shape": sensor,
        **changes,
    }
    np.savez(folder / "seen.npz", **arrays)
    return folder / "seen.npz"


def test_a_recording_is_pooled_and_binned(package: Package, tmp_path: Path) -> None:
    path = recording(tmp_path)
    stream = choose_stream(package, path, None)
    frames = stream.inputs["x"]
    assert frames.shape == (1, 8, 6, 5, 2) and stream.events is not None
    with np.load(path) as file:
        expected = np.zeros((9, 6, 5, 2), np.uint8)
        for t, y, x, c in zip(*(file[k] for k in ("t", "y", "x", "channel")), strict=True):
            expected[t // 1000, y // 2, x // 2, c] = 1
        late = int((file["t"] >= 8000).sum())
    np.testing.assert_array_equal(frames[0], expected[:8])
    fate = ComparedEvents(package.graph, stream).fate(0)
    assert (fate.events, fate.late) == (90, late) and late > 0
    assert fate.clipped == 90 - late - expected[:8].sum()
    longer = choose_stream(package, path, None, bin_us=2000)
    assert ComparedEvents(package.graph, longer).fate(0).late == 0


@pytest.mark.parametrize("name", ["mps2-an386"])
def test_a_device_makes_of_a_recording_what_golden_does(
    package: Package, tmp_path: Path, name: str
) -> None:
    """Its own times over the link, late events and crowded pixels among them."""
    stream = choose_stream(package, recording(tmp_path), None)
    board = find_board(name)
    target = SessionTarget(board, make(package, board, tmp_path / "image"))
    with connect(target, package) as (device, machine):
        outcome = compare(
            package, device, stream, Recording(SessionFolder(tmp_path / "s"), {}, resume=False),
            speed=target.speed(machine),
        )  # fmt: skip
    assert outcome.mismatches == 0 and outcome.events is not None
    fate = ComparedEvents(package.graph, stream).fate(0)
    assert {key: outcome.events[key] for key in ("events", "late", "clipped")} == vars(fate)
    assert min(vars(fate).values()) > 0
    assert outcome.ticks is not None and outcome.ticks / 8 < outcome.events["most_a_step"]
    assert outcome.events["most_a_step"] < outcome.ticks


def test_a_rate_beyond_the_link_is_named(package: Package, tmp_path: Path) -> None:
    stream = choose_stream(package, recording(tmp_path), None, realtime=True)
    seen = ComparedEvents(package.graph, stream)
    seen.timed(0, 0.004)  # of 8 ms
    with pytest.raises(EventError, match=r"beyond the link: 90 events in 0.008 s took 0.02 s"):
        seen.timed(0, 0.02)
    patient = ComparedEvents(package.graph, choose_stream(package, recording(tmp_path), None))
    patient.timed(0, 0.02)
    totals = patient.totals(1.0)
    assert totals is not None and totals["of_real_time"] == pytest.approx(2.5)


def test_recordings_that_do_not_fit_are_refused(package: Package, tmp_path: Path) -> None:
    path = recording(tmp_path, sensor=(13, 25, 2))
    with pytest.raises(EventError, match=r"sensor 13 x 25 x 2, the model takes \(6, 5, 2\)"):
        choose_stream(package, path, None)
    path = recording(tmp_path, t=np.arange(90)[::-1])
    with pytest.raises(EventError, match="events out of order: event 1 at 88 us"):
        choose_stream(package, path, None)
    unknown = Package(package.graph, package.inputs, {"name": "seen"})
    with pytest.raises(UsageError, match="does not say how long a step is"):
        choose_stream(unknown, recording(tmp_path), None)
    with pytest.raises(UsageError, match="package recurrent_spikes takes none"):
        choose_stream(Package(recurrent_spikes()), recording(tmp_path), None)
    for given, text in (({"bin_us": 5}, "--bin-us 5"), ({"realtime": True}, "--realtime")):
        with pytest.raises(UsageError, match=f"{text} without events"):
            choose_stream(package, None, None, **given)

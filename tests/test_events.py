"""Events: binned as a plain loop does it; what is out of order or range is named."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikelet.events import Binning, EventError, Events

SENSOR = (5, 7, 2)


def recording(seed: int, n: int = 60, longest_us: int = 90) -> Events:
    rng = np.random.default_rng(seed)
    y, x, channel = (rng.integers(0, size, n) for size in SENSOR)
    return Events.of(np.sort(rng.integers(0, longest_us, n)), y, x, channel, SENSOR)


@given(st.integers(0, 999), st.integers(1, 9), st.integers(1, 30), st.booleans(), st.integers(1, 4))
def test_frames_hold_each_event_in_its_step(
    seed: int, steps: int, bin_us: int, counts: bool, pool: int
) -> None:
    events, binning = recording(seed), Binning(steps, bin_us, counts, pool)
    height, width, channels = binning.frame_shape(SENSOR)
    expected = np.zeros((steps, height, width, channels), int)
    late = 0
    for t, y, x, c in zip(events.t, events.y, events.x, events.channel, strict=True):
        if t >= steps * bin_us:
            late += 1
        else:
            expected[t // bin_us, y // pool, x // pool, c] += 1
    kept = expected if counts else np.minimum(expected, 1)
    binned = binning.frames(events)
    assert binned.frames.dtype == np.uint8
    np.testing.assert_array_equal(binned.frames, kept)
    assert (binned.late, binned.clipped) == (late, expected.sum() - kept.sum())
    step = events.t // bin_us
    places = binning.flat(events)[step < steps]
    rows = binned.frames.reshape(steps, -1)[step[step < steps], places]
    assert rows.all()  # each address leads to its element


def test_a_count_stops_at_255_and_the_rest_is_counted() -> None:
    zeros = np.zeros(300, int)
    binned = Binning(1, 1, counts=True).frames(Events.of(zeros, zeros, zeros, zeros, SENSOR))
    assert (int(binned.frames.max()), binned.clipped, binned.late) == (255, 45, 0)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("t", -1, "out of order: event 3 at -1 us comes after event 2 at 0 us; 1 of 5 go back"),
        ("y", 5, r"out of range: event 3 has y = 5, the sensor has 0 to 4; 1 of 5 are outside"),
        ("x", -1, r"out of range: event 3 has x = -1, the sensor has 0 to 6"),
        ("channel", 2, r"event 3 has channel = 2, the sensor has 0 to 1"),
    ],
)
def test_what_cannot_be_an_event_is_named(name: str, value: int, text: str) -> None:
    arrays = {key: np.zeros(5, int) for key in ("t", "y", "x", "channel")}
    arrays[name][3] = value
    with pytest.raises(EventError, match=f"file.bin: events? ?.*{text}"):
        Events.of(**arrays, shape=SENSOR, source="file.bin")


def test_arrays_of_different_lengths_and_empty_bins_are_refused() -> None:
    zeros = np.zeros(5, int)
    with pytest.raises(EventError, match=r"have shapes \(5,\), \(5,\), \(5,\), \(4,\)"):
        Events.of(zeros, zeros, zeros, zeros[:4], SENSOR)
    for wrong in ({"steps": 0}, {"bin_us": 0}, {"pool": 0}):
        with pytest.raises(EventError, match=f"binning: {next(iter(wrong))} = 0"):
            Binning(**{"steps": 1, "bin_us": 1, **wrong})

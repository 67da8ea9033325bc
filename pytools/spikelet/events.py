"""Address events: recordings of a sensor of spikes, checked, and binned into frames over time.

An event is a time in microseconds and an address: row, column and channel (a camera's polarity; a
cochlea has one row and one channel). `Binning.flat` gives the address as one number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spikelet.errors import UsageError
from spikelet.files import Array

MOST_COUNT = 255  # of events of one address in one step: frames are u8


class EventError(UsageError):
    """Events that cannot be used: out of order, out of range, or cut off."""


@dataclass(frozen=True)
class Events:
    """One recording.

    Attributes:
        t: (N,) int64, microseconds since the recording began; never decreasing.
        y: (N,) int32, row.
        x: (N,) int32, column.
        channel: (N,) int32, polarity of a camera: 0 off, 1 on.
        shape: (height, width, channels) of the sensor.
    """

    t: Array
    y: Array
    x: Array
    channel: Array
    shape: tuple[int, int, int]

    def __len__(self) -> int:
        return len(self.t)

    @classmethod
    def of(
        cls,
        t: Array,
        y: Array,
        x: Array,
        channel: Array,
        shape: tuple[int, int, int],
        source: str = "events",
    ) -> Events:
        """The events, checked.

        Raises:
            EventError: arrays of different lengths, a time before the one in front of it or below
                0, or an address outside of the sensor; the first such event is named.
        """
        arrays: list[Array] = [np.asarray(a).astype(np.int64) for a in (t, y, x, channel)]
        if any(array.shape != (len(t),) for array in arrays):
            shapes = ", ".join(str(array.shape) for array in arrays)
            raise EventError(
                f"{source}: t, y, x and channel have shapes {shapes}",
                "a damaged file, or arrays of two recordings",
                "give one value an event in each",
            )
        _check_order(arrays[0], source)
        for name, values, size in zip(("y", "x", "channel"), arrays[1:], shape, strict=True):
            _check_range(name, values, size, source)
        rows, columns, channels = (array.astype(np.int32) for array in arrays[1:])
        return cls(arrays[0], rows, columns, channels, shape)


def _check_order(t: Array, source: str) -> None:
    """Raises EventError, naming the first event that comes too early."""
    steps = np.diff(t, prepend=0)
    back = np.flatnonzero(steps < 0)
    if len(back):
        first = int(back[0])
        before = f"event {first - 1} at {t[first - 1]} us" if first else "the beginning"
        raise EventError(
            f"{source}: events out of order: event {first} at {t[first]} us comes after {before}; "
            f"{len(back)} of {len(t)} go back in time",
            "a clock that wrapped around, files of two recordings in one, or a damaged file",
            "sort the events by time if their order does not matter, or cut where the clock wraps",
        )


def _check_range(name: str, values: Array, size: int, source: str) -> None:
    """Raises EventError, naming the first event that is outside of the sensor."""
    outside = np.flatnonzero((values < 0) | (values >= size))
    if len(outside):
        first = int(outside[0])
        raise EventError(
            f"{source}: events out of range: event {first} has {name} = {values[first]}, the "
            f"sensor has 0 to {size - 1}; {len(outside)} of {len(values)} are outside",
            "another sensor, or a damaged file",
            "give the sensor's shape, or crop the recording",
        )


@dataclass(frozen=True)
class EventStream:
    """Events of one sample for a device: what its model's input is fed with.

    Attributes:
        t: (N,) int64, since the sample began, in any unit; never decreasing.
        addresses: (N,) int64, index of the input's element.
        bin: length of a step, in the unit of `t`.
    """

    t: Array
    addresses: Array
    bin: int

    @classmethod
    def of_frames(cls, frames: Array) -> EventStream:
        """Frames (T, elements) of counts, one a step: as many events; their time is the step."""
        steps, addresses = np.nonzero(frames)
        times = frames[steps, addresses].astype(np.int64)
        return cls(
            np.repeat(steps.astype(np.int64), times),
            np.repeat(addresses.astype(np.int64), times),
            1,
        )

    def part(self, first: int, end: int) -> EventStream:
        """The events of steps `first` to `end`, `end` not included."""
        low, high = np.searchsorted(self.t, [first * self.bin, end * self.bin])
        return EventStream(self.t[low:high], self.addresses[low:high], self.bin)


@dataclass(frozen=True)
class Binned:
    """A recording as frames over time, and what of it they do not hold.

    Attributes:
        frames: (steps, height, width, channels) u8.
        late: events after the last step, which are in no frame.
        clipped: events of a count beyond 255, or of a bit that another event had set.
    """

    frames: Array
    late: int
    clipped: int


@dataclass(frozen=True)
class Binning:
    """How events become one frame a step.

    Step k has the events of k * bin_us <= t < (k + 1) * bin_us.

    Attributes:
        steps: frames of a recording; events after them are left out and counted.
        bin_us: length of a step in microseconds.
        counts: an element is the number of events, at most 255; else 1 where there was one.
        pool: squares of so many pixels are one address; a margin that fills no square is part of
            a last, smaller one.
    """

    steps: int
    bin_us: int
    counts: bool = False
    pool: int = 1

    def __post_init__(self) -> None:
        for name in ("steps", "bin_us", "pool"):
            if getattr(self, name) < 1:
                raise EventError(
                    f"binning: {name} = {getattr(self, name)}",
                    "a wrong unit: bin_us is in microseconds",
                    f"give {name} of 1 or more",
                )

    def frame_shape(self, sensor: tuple[int, int, int]) -> tuple[int, int, int]:
        """(height, width, channels) of a frame of such a sensor."""
        height, width, channels = sensor
        return -(-height // self.pool), -(-width // self.pool), channels

    def flat(self, events: Events) -> Array:
        """(N,) int64: each event's index in a frame's elements, row by row, channels last."""
        _, width, channels = self.frame_shape(events.shape)
        rows, columns = events.y.astype(np.int64) // self.pool, events.x // self.pool
        flat: Array = (rows * width + columns) * channels + events.channel
        return flat

    def stream(self, events: Events) -> EventStream:
        """The recording as a device takes it."""
        return EventStream(events.t, self.flat(events), self.bin_us)

    def frames(self, events: Events) -> Binned:
        """The recording as one frame a step."""
        shape = self.frame_shape(events.shape)
        size = int(np.prod(shape))
        step = events.t // self.bin_us
        within = step < self.steps
        places = (step * size + self.flat(events))[within]
        counted = np.bincount(places, minlength=self.steps * size)
        frames = np.minimum(counted, MOST_COUNT if self.counts else 1).astype(np.uint8)
        return Binned(
            frames.reshape(self.steps, *shape),
            late=int((~within).sum()),
            clipped=int(counted.sum() - frames.sum(dtype=np.int64)),
        )

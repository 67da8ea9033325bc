"""Address events as EVENTS carries them, and the runs that they feed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from spikelet.errors import UsageError
from spikelet.events import EventError, EventStream
from spikelet.link.connection import Connection
from spikelet.link.exchange import Reply, Request
from spikelet.link.facts import DeviceTensor, Dtype, EventResult, Kind
from spikelet.link.messages import (
    CLOSE_ANSWER,
    CLOSE_OUTPUTS,
    CLOSE_STATES,
    DONE_FINISHED,
    DONE_STOPPED,
    RUN_EVENTS,
    RUN_KEEP,
    RUN_RESTART,
    RUN_STOP,
    RUN_TICKS,
    EventsCloseRequest,
    EventsRequest,
    RunRequest,
    Status,
    Type,
)
from spikelet.link.replies import EventsCloseReply, RunReply

# Bytes of EVENTS_CLOSE's reply in front of the outputs.
_CLOSE_BYTES = 1 + len(EventsCloseReply(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, b"").pack())
_HEAD = 4  # bytes of EVENTS in front of the events
_MOST = (1 << 32) - 1  # of a time step, and of an address


def encoded(stream: EventStream, begin: int, room: int) -> Iterator[tuple[bytes, int]]:
    """Frames of events, each with how many it holds.

    Args:
        stream: the events.
        begin: the time that the first one counts from.
        room: bytes of a frame.
    """
    frame, count = bytearray(), 0
    steps = np.diff(stream.t, prepend=begin)
    for dt, address in zip(steps.tolist(), stream.addresses.tolist(), strict=True):
        pair = _varint(dt) + _varint(address)
        if len(frame) + len(pair) > room:
            yield bytes(frame), count
            frame, count = bytearray(), 0
        frame += pair
        count += 1
    if count:
        yield bytes(frame), count


def _varint(number: int) -> bytes:
    if number < 0x80:
        return bytes((number,))
    made = bytearray()
    while number >= 0x80:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    made.append(number)
    return bytes(made)


def stream_of_frames(tensor: DeviceTensor, data: bytes, steps: int) -> EventStream:
    """Frames in their wire layout, one a step, as events: their time is the step."""
    frames = np.frombuffer(data, np.uint8).reshape(steps, tensor.bytes)
    if tensor.dtype is Dtype.BIT:
        size = int(np.prod(tensor.shape))
        frames = np.unpackbits(frames, axis=1, bitorder="little")[:, :size]
    return EventStream.of_frames(frames)


class EventRuns(Connection):
    """Runs of a model whose input comes as events.

    `begin_events`, then `send_events` and `close_events` as often as wanted; the last
    `close_events` closes all steps.
    """

    _event_time = 0  # that the next event counts from
    _event_bin = 1
    _events_sent = 0
    _events_began = 0.0  # seconds

    @property
    def stream(self) -> DeviceTensor | None:
        """The input that events fill; None where the model takes none."""
        if not self.hello.takes_events:
            return None
        name = self._expected.stream if self._expected is not None else None
        inputs = [t for t in self.hello.tensors if t.kind is Kind.INPUT]
        return next((t for t in inputs if name in (None, t.name)), None)

    def begin_events(
        self,
        puts: Iterable[Request] = (),
        stop: tuple[int, int] | None = None,
        timed: bool = False,
        keep: bool = False,
        deadline_s: float = 10.0,
    ) -> None:
        """Starts a run that waits for events.

        Args:
            puts: other inputs.
            stop, timed: see `Device.run`.
            keep: the neurons' states stay as the run before left them.
            deadline_s: for all of it.

        Raises:
            UsageError: the model takes no events.
            DeviceRefused, LinkDead.
        """
        self._starting(puts, stop, timed, keep, deadline_s)()

    def _starting(
        self,
        puts: Iterable[Request],
        stop: tuple[int, int] | None,
        timed: bool,
        keep: bool,
        deadline_s: float,
    ) -> Callable[[], None]:
        """`begin_events` without waiting: what comes next may go meanwhile."""
        if not self.hello.takes_events:
            raise UsageError(
                f"the device's model {self.hello.model!r} takes no events",
                "its input is constant, or whole sequences of frames",
                'export the network with encoder="events"',
            )
        flags = RUN_RESTART | RUN_EVENTS | (RUN_STOP if stop else 0) | (RUN_KEEP if keep else 0)
        run = RunRequest(flags | (RUN_TICKS if timed else 0), 0, *(stop or (0, 0)))
        requests = [*puts, Request(Type.RUN, run.pack())]
        self._events_began = began = self._clock()
        self._event_time = self._events_sent = 0
        refusals = self._claims.run_refusals(True, 0, stop, timed or keep)
        batch = self._begin(requests, deadline_s, slow_last=True)

        def finish() -> None:
            replies = self._finish(batch, deadline_s)
            self._all_ok(requests, replies, refusals)
            reply = self._read(RunReply, replies[-1])
            self._same_boot(reply.boot_id)
            self._claims.check_begun(reply, self._clock() - began)

        return finish

    def send_events(self, stream: EventStream, deadline_s: float = 10.0) -> None:
        """Sends events; steps whose time is over run.

        Raises:
            EventError: one comes before those that were sent, or lies outside of the input.
            DeviceRefused, LinkDead.
        """
        self._check_events(stream)
        self._sending(stream, deadline_s)()

    def _sending(self, stream: EventStream, deadline_s: float) -> Callable[[], None]:
        """`send_events` of checked events, without waiting."""
        room = self.hello.payload - _HEAD
        requests, sent = [], 0
        for data, count in encoded(stream, self._event_time, room):
            request = EventsRequest(stream.bin, data)
            requests.append(Request(Type.EVENTS, request.pack()))
            sent += len(data)
            self._events_sent += count
        if not requests:
            return lambda: None
        allowed_s = deadline_s + self._wire_s(sent)
        batch = self._begin(requests, allowed_s, slow=True)
        self._event_time, self._event_bin = int(stream.t[-1]), stream.bin

        def finish() -> None:
            self._all_ok(requests, self._finish(batch, allowed_s))
            self.stats.bytes += sent

        return finish

    def close_events(
        self, steps: int = 0, answer: bool = False, deadline_s: float = 10.0
    ) -> EventResult:
        """Runs steps until so many are done; silence where no event was sent.

        Args:
            steps: 0 = all.
            answer: have the outputs of the steps so far, even where steps are left.
            deadline_s: for all of it.

        Raises:
            ProtocolError: the device has not counted the events that were sent.
            DeviceRefused, LinkDead.
        """
        return self._closing(steps, answer, deadline_s)()

    def _closing(self, steps: int, answer: bool, deadline_s: float) -> Callable[[], EventResult]:
        """`close_events` without waiting."""
        flags = CLOSE_OUTPUTS | CLOSE_STATES | (CLOSE_ANSWER if answer else 0)
        close = EventsCloseRequest(steps, flags)
        requests = [Request(Type.EVENTS_CLOSE, close.pack())]
        batch = self._begin(requests, deadline_s, slow_last=True)

        def finish() -> EventResult:
            replies = self._finish(batch, deadline_s)
            refusals = {Status.RANGE} if steps > self.hello.steps else set()
            self._all_ok(requests, replies, refusals)
            return self._closed(replies[0], steps)

        return finish

    def _closed(self, given: Reply, steps: int) -> EventResult:
        """What EVENTS_CLOSE was answered."""
        reply = self._read(EventsCloseReply, given)
        self._same_boot(reply.boot_id)
        elapsed_s = self._clock() - self._events_began
        self._claims.check_closed(reply, steps, self._events_sent, elapsed_s)
        self._event_time = max(self._event_time, reply.step * self._event_bin)
        return EventResult(
            finished=reply.done == DONE_FINISHED,
            stopped=reply.done == DONE_STOPPED,
            step=reply.step,
            ticks=reply.ticks,
            stack=reply.stack,
            saturations=reply.saturations,
            outputs_crc=reply.outputs_crc,
            states_crc=reply.states_crc,
            outputs=self._outputs_in(reply.outputs, True, _CLOSE_BYTES),
            most_ticks=reply.most,
            events=reply.events,
            late=reply.late,
            clipped=reply.clipped,
        )

    def _check_events(self, stream: EventStream) -> None:
        """Refuse here, by name, what the device would refuse by number."""
        tensor = self.stream
        if not len(stream.t) or tensor is None:
            return
        size = int(np.prod(tensor.shape))
        steps = np.diff(stream.t, prepend=self._event_time)
        wrong = np.flatnonzero((steps < 0) | (steps > _MOST))
        if len(wrong):
            at = int(wrong[0])
            before = stream.t[at - 1] if at else self._event_time
            raise EventError(
                f"events out of order: event {self._events_sent + at} at {stream.t[at]} comes "
                f"after one at {before}",
                "events that were sent before their turn, or a clock that wrapped around",
                "send events in the order of their times, at most 2^32 - 1 apart",
            )
        outside = np.flatnonzero((stream.addresses < 0) | (stream.addresses >= size))
        if len(outside):
            at = int(outside[0])
            raise EventError(
                f"events out of range: event {self._events_sent + at} has the address "
                f"{stream.addresses[at]}, input {tensor.name} has {size} elements {tensor.shape}",
                "events of another sensor, or not pooled as in training",
                "pool them to the input's shape",
            )

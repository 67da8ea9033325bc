"""Go-back-N on the host's side: requests in, their replies out, or a named error in time.

The device executes requests in the order of their numbers, each once. It remembers the outcome of
its last eight and serves reads again; so a batch holds reads only, or writes only (EVENTS are such)
with at most one RUN, LEARN, LEARN_STATE or EVENTS_CLOSE, at its end.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from spikelet.link.errors import DeviceReset, LinkTimeout, ProtocolError, impossible
from spikelet.link.framing import PIECE_MAX, Deframer, Frame, encode
from spikelet.link.messages import TYPE_MORE, TYPE_REPLY, Status, Type
from spikelet.link.text import printable
from spikelet.link.transport import Transport

# May take long, and tell nothing of the wire.
WORK = (
    Type.RUN, Type.LEARN, Type.LEARN_STATE, Type.CONSTANTS, Type.EVENTS, Type.EVENTS_CLOSE,
)  # fmt: skip
WINDOW = 8  # requests whose outcome the device remembers
UNIT = 64  # bytes of receive ring that one credit stands for
TRIES = 5
TIMEOUT_MIN_S = 0.05
BACKOFF_MAX = 16
BITS_A_BYTE = 10  # of a serial line, start and stop included
LAST_WAIT_S = 1.0  # before a link is called dead: a busy host must not look like a dead device
READ_BYTES = 65536
LOG_BYTES = 65536  # of text, at the most, before the next reply

_LOG = Type.LOG | TYPE_REPLY
_ACK = Type.ACK | TYPE_REPLY


class Request(NamedTuple):
    """One request."""

    type: int
    payload: bytes


class Reply(NamedTuple):
    """One reply: its status, `detail` where that is not OK, else what follows the status."""

    status: int
    detail: int
    more: bool
    data: bytes


@dataclass
class LinkStats:
    """What went over the link since it was opened.

    Attributes:
        frames: good frames received.
        bad_frames: pieces received that were no good frame.
        sent: frames sent, with the repeated ones.
        retries: frames sent again.
        bytes: tensor bytes moved, each counted once.
        seconds: time spent in exchanges.
    """

    frames: int = 0
    bad_frames: int = 0
    sent: int = 0
    retries: int = 0
    bytes: int = 0
    seconds: float = 0.0

    @property
    def goodput(self) -> float:
        """Tensor bytes a second."""
        return self.bytes / self.seconds if self.seconds else 0.0


@dataclass
class RetransmissionTimer:
    """How long to wait for a reply before asking again: RFC 6298 with Karn's rule.

    A reply to a request that was sent twice says nothing of the round trip, because nobody knows
    which of the two it answers. So a timeout that has grown stays until a request is answered
    that was sent once: else a line slower than the first guess would be asked twice for ever.

    Attributes:
        round_trip_s: smoothed; 0 before the first sample.
        variation_s: smoothed distance of samples from it.
        backoff: factor of the timeout since the last sample.
        floor_s: the least timeout before the first sample: what a handshake took in all.
    """

    round_trip_s: float = 0.0
    variation_s: float = 0.0
    backoff: int = 1
    floor_s: float = 0.0

    @property
    def timeout_s(self) -> float:
        """Seconds."""
        estimate = self.round_trip_s + 4 * self.variation_s
        return self.backoff * max(TIMEOUT_MIN_S, self.floor_s, estimate)

    def sample(self, seconds: float) -> None:
        """A request that was sent once has been answered."""
        if self.round_trip_s:
            self.variation_s += (abs(seconds - self.round_trip_s) - self.variation_s) / 4
            self.round_trip_s += (seconds - self.round_trip_s) / 8
        else:
            self.round_trip_s, self.variation_s = seconds, seconds / 2
        self.backoff, self.floor_s = 1, 0.0

    def on_timeout(self) -> None:
        """Nothing came in time."""
        self.backoff = min(2 * self.backoff, BACKOFF_MAX)


@dataclass
class _Open:
    """A request under way."""

    request: Request
    seq: int
    wire: bytes
    units: int
    sent_at: float = 0.0
    sends: int = 0
    hurried: bool = False  # sent again because a later one was answered first
    reply: Reply | None = None


class Exchange:
    """The client's half of the protocol on one transport.

    Attributes:
        boot_id: of the open session; None before the first HELLO.
        on_log: called with each piece of text that the device sends.
    """

    def __init__(self, transport: Transport, on_log: Callable[[str], None] | None = None) -> None:
        self.transport = transport
        self.on_log = on_log
        self.stats = LinkStats()
        self.boot_id: int | None = None
        self._timer = RetransmissionTimer()
        self._deframer = Deframer()
        self._seq = os.urandom(1)[0]  # a late frame of an earlier session seldom fits this one
        self._credit = 4
        self._back_to = -1
        self._logged = 0  # bytes since the last reply

    def wire_s(self, size: int) -> float:
        """Seconds that so many bytes take on a serial line; 0 where the transport has no baud."""
        return BITS_A_BYTE * size / self.transport.baud if self.transport.baud else 0.0

    def run(
        self,
        requests: Sequence[Request],
        deadline_s: float,
        slow_last: bool = False,
        slow: bool = False,
    ) -> list[Reply]:
        """Has every request executed once, in order.

        Args:
            requests: a batch as the module's text allows.
            deadline_s: for all of it.
            slow_last: the last one may take until the deadline (RUN).
            slow: each may (EVENTS).

        Raises:
            LinkTimeout, TransportClosed, DeviceReset, ProtocolError.
        """
        started = time.monotonic()
        batch = [self._prepare(request) for request in requests]
        try:
            self._drive(batch, started + deadline_s, slow_last, slow)
        finally:
            self.stats.seconds += time.monotonic() - started
        return [item.reply for item in batch if item.reply is not None]

    def hello(self, payload: bytes, nonce: bytes, deadline_s: float) -> Reply:
        """Asks until a device answers: it may still be booting, or at work on something long.

        Raises:
            LinkTimeout: nobody did; the text names the likely cause.
        """
        self.boot_id = None
        self._logged = 0
        item = self._prepare(Request(Type.HELLO, payload))
        now = asked = time.monotonic()
        deadline = now + deadline_s
        wait = 2 * TIMEOUT_MIN_S
        while True:
            self._send([item], now)
            reply = self._hello_reply(item, nonce, min(now + wait, deadline))
            now = time.monotonic()
            if reply is not None:
                break
            if now >= deadline:
                raise self._timeout([item], deadline_s)
            wait = min(2 * wait, 1.0)
        self._timer.backoff = 1
        if item.sends == 1:
            self._timer.sample(now - item.sent_at)
        else:
            self._timer.floor_s = min(now - asked, LAST_WAIT_S)
        return reply

    def _hello_reply(self, item: _Open, nonce: bytes, until: float) -> Reply | None:
        while (now := time.monotonic()) < until:
            for frame in self._receive(until - now):
                reply = _reply_to(self.transport.name, frame, item)
                if reply and (reply.status != Status.OK or reply.data[:4] == nonce):
                    self._credit = max(1, frame.credit)
                    return reply
        return None

    def _prepare(self, request: Request) -> _Open:
        seq = self._seq
        self._seq = (seq + 1) & 0xFF
        wire = encode(Frame(request.type, seq, 0, 0, request.payload))
        return _Open(request, seq, wire, -(-len(wire) // UNIT))

    def _drive(self, batch: list[_Open], deadline: float, slow_last: bool, slow_all: bool) -> None:
        base = 0  # the first without a reply
        upto = 0  # the first not sent yet
        tries = 1
        self._back_to = -1
        last = progress = time.monotonic()
        while base < len(batch):
            fresh = self._admit(batch, base, upto)
            if fresh:
                self._send(fresh, last)
                upto += len(fresh)
                progress = last
            slow = slow_all or (slow_last and upto == len(batch))
            waiting = [item for item in batch[base:upto] if item.reply is None]
            patience = self._patience(tries, slow, deadline - progress, waiting)
            expiry = min(progress + patience, deadline)
            frames = self._receive(expiry - last)
            last = time.monotonic()
            if self._settle(batch[base:upto], frames, last):
                progress, tries = last, 1
                while base < upto and batch[base].reply:
                    base += 1
                    self._back_to = -1
            elif last >= expiry:
                if last >= deadline or tries == TRIES:
                    raise self._timeout(waiting, last - waiting[0].sent_at)
                tries += 1
                if not slow:  # work tells nothing of the wire
                    self._timer.on_timeout()
                progress = last
                self._back_to = -1
                self._send(waiting, last)

    def _admit(self, batch: list[_Open], base: int, upto: int) -> list[_Open]:
        """What may be sent now: `WINDOW` from `base` on, and no more than the ring holds."""
        end = min(len(batch), base + WINDOW)
        if upto >= end:
            return []
        used = sum(item.units for item in batch[base:upto] if item.reply is None)
        fresh: list[_Open] = []
        for item in batch[upto:end]:
            used += item.units
            if used > self._credit and used > item.units:
                break
            fresh.append(item)
        return fresh

    def _patience(self, tries: int, slow: bool, left_s: float, waiting: list[_Open]) -> float:
        """Seconds to wait for a reply to what was sent `tries` times."""
        on_wire = sum(len(item.wire) for item in waiting) + PIECE_MAX  # and a reply
        timeout = self._timer.timeout_s + self.wire_s(on_wire)
        if slow:  # spread the tries over the whole deadline
            ratio = max(2.0, (left_s / timeout) ** (1 / (TRIES - 1))) if left_s > 0 else 2.0
            return left_s if tries == TRIES else float(timeout * ratio ** (tries - 1))
        return max(timeout, LAST_WAIT_S) if tries == TRIES else timeout

    def _send(self, items: list[_Open], now: float) -> None:
        for item in items:
            item.sent_at = now
            item.sends += 1
            self.stats.retries += item.sends > 1
        self.stats.sent += len(items)
        self.transport.write(b"".join([item.wire for item in items]))

    def _receive(self, timeout_s: float) -> list[Frame]:
        """Frames that arrived; LOG is handled here, and what a reset shows by."""
        data = self.transport.read(READ_BYTES, timeout_s)
        if not data:
            return []
        frames = self._deframer.feed(data)
        self.stats.frames = self._deframer.good
        self.stats.bad_frames = self._deframer.bad
        replies = []
        for frame in frames:
            if not frame.payload or not frame.type & TYPE_REPLY:
                continue
            if frame.type == _LOG and frame.payload[0] == Status.OK:
                self._log(frame)
            else:
                replies.append(frame)
        return replies

    def _log(self, frame: Frame) -> None:
        if len(frame.payload) < 5:
            raise impossible(self.transport.name, f"text in a frame of {len(frame.payload)} bytes")
        boot_id = int.from_bytes(frame.payload[1:5], "little")
        self._logged += len(frame.payload)
        if self._logged > LOG_BYTES and self.boot_id is not None:
            raise ProtocolError(
                f"{self.transport.name}: {self._logged} bytes of text and no reply among them",
                "the firmware logs without end",
                "take the log out of its loop; reset the device",
            )
        if self.on_log is not None:
            self.on_log(printable(frame.payload[5:]))
        if self.boot_id is not None and boot_id != self.boot_id:
            raise self.reset_error(boot_id)

    def _settle(self, window: list[_Open], frames: list[Frame], now: float) -> bool:
        """Gives frames to the requests they answer; True when one of those was waiting for it."""
        progress = False
        highest = -1
        first = window[0].seq
        for frame in frames:
            if frame.type == _ACK and frame.payload[0] == Status.OK:
                self._go_back(window, frame, now)
                continue
            index = (frame.seq - first) & 0xFF
            if index >= len(window):
                continue
            item = window[index]
            reply = _reply_to(self.transport.name, frame, item)
            if reply is None or item.reply is not None:
                continue
            if frame.credit == 0 and reply.status == Status.BAD_STATE and self.boot_id is not None:
                raise self.reset_error(reply.detail)
            item.reply = reply
            progress = True
            self._logged = 0
            highest = max(highest, index)
            self._credit = max(1, frame.credit)
            if item.sends == 1 and item.request.type not in WORK:
                self._timer.sample(now - item.sent_at)
        late = [i for i in window[: max(0, highest)] if i.reply is None and not i.hurried]
        if late:  # the wire keeps its order: their replies are lost
            for item in late:
                item.hurried = True
            self._send(late, now)
        return progress

    def _go_back(self, window: list[_Open], frame: Frame, now: float) -> None:
        """The device misses the request that `frame.ack` names; each gap is filled once."""
        index = (frame.ack - window[0].seq) & 0xFF
        if index >= len(window) or frame.ack == self._back_to or frame.credit == 0:
            return
        self._back_to = frame.ack
        self._send([item for item in window if item.reply is None], now)

    def describe(self) -> str:
        """State of the link in one line, for error reports."""
        last = self.transport.last_bytes
        text = "".join(chr(b) if 32 <= b < 127 else "." for b in last)
        boot = "unknown" if self.boot_id is None else f"0x{self.boot_id:08x}"
        baud = "" if self.transport.baud is None else f", {self.transport.baud} baud"
        shown = f"last bytes {last.hex(' ')} |{text}|" if last else "no byte received"
        return (
            f"port {self.transport.name}{baud}; frames good {self.stats.frames}, "
            f"bad {self.stats.bad_frames}; boot id {boot}; {shown}"
        )

    def reset_error(self, boot_id: int) -> DeviceReset:
        """The device is not the one, or not in the life, that the session was opened with."""
        was = "unknown" if self.boot_id is None else f"0x{self.boot_id:08x}"
        return DeviceReset(
            f"{self.transport.name}: the device was reset in the middle of the session "
            f"(boot id {was} before, 0x{boot_id:08x} now); {self.describe()}",
            "a fault in the firmware, a watchdog, a dip of the supply, or its reset button",
            "read its last fault after reconnecting, then run again from the last finished sample",
        )

    def _timeout(self, waiting: list[_Open], after_s: float) -> LinkTimeout:
        names = ", ".join(f"{_type_name(i.request.type)} (seq {i.seq})" for i in waiting[:3])
        sends = max(item.sends for item in waiting)
        what = f"no reply to {names} in {after_s:.2f} s, sent {sends} times; {self.describe()}"
        if self.transport.bytes_in == 0:
            return LinkTimeout(
                what,
                "port opened, no byte: firmware not running?",
                "reset or flash the device; check that this is its port",
            )
        if self.stats.frames == 0:
            return LinkTimeout(
                what,
                "bytes arrive but no valid frame: wrong baud?",
                "compare the baud with the board's file; check that Spikelet's firmware is flashed",
            )
        if self.boot_id is None:
            return LinkTimeout(
                what,
                "the device sends but does not answer: its receive line is open, or it hangs",
                "check the wire from the host's TX to the device's RX; reset the device",
            )
        return LinkTimeout(
            what,
            "the device hangs or was unplugged, the wire is bad, or the deadline is too short",
            "check the cable and the count of bad frames; allow a longer deadline for a long run",
        )


def _type_name(code: int) -> str:
    try:
        return Type(code).name
    except ValueError:
        return f"type {code}"


def _reply_to(port: str, frame: Frame, item: _Open) -> Reply | None:
    """The frame as the reply to a request; None when it is not that."""
    plain = frame.type & ~TYPE_MORE
    if plain != (item.request.type | TYPE_REPLY) & ~TYPE_MORE or frame.seq != item.seq:
        return None
    status = frame.payload[0]
    if status != Status.OK:
        if len(frame.payload) != 5:
            size = len(frame.payload) - 1
            raise impossible(port, f"status {status} with {size} bytes of detail, not 4")
        return Reply(status, int.from_bytes(frame.payload[1:], "little"), False, b"")
    return Reply(status, 0, bool(frame.type & TYPE_MORE), frame.payload[1:])

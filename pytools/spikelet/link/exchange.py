"""Go-back-N on the host's side: requests in, their replies out, or a named error in time.

The device executes requests in the order of their numbers, each once. Whoever lost a reply asks
again. The device remembers the status of its last `window` requests, keeps the last `kept` replies
that are more than a status, and serves reads again. So reads are under way with reads only, and of
requests that are done once (RUN, LEARN, ...) no more are under way than replies are kept; writes
come before, between and behind them.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from spikelet.link.errors import DeviceReset, LinkTimeout, ProtocolError, impossible
from spikelet.link.framing import PIECE_MAX, Deframer, Frame, encode
from spikelet.link.messages import PROTOCOL, TYPE_MORE, TYPE_REPLY, Status, Type
from spikelet.link.text import printable
from spikelet.link.timer import TIMEOUT_MIN_S, RetransmissionTimer
from spikelet.link.transport import Transport

# May take long, and tell nothing of the wire.
WORK = (
    Type.RUN, Type.LEARN, Type.LEARN_STATE, Type.CONSTANTS, Type.EVENTS, Type.EVENTS_CLOSE,
)  # fmt: skip
# Done once, and answered with more than a status.
ONCE = (Type.RUN, Type.LEARN, Type.LEARN_STATE, Type.EVENTS_CLOSE, Type.RESET)
WINDOW = 8  # requests whose outcome any device remembers
UNIT = 64  # bytes of receive ring that one credit stands for
TRIES = 5
BITS_A_BYTE = 10  # of a serial line, start and stop included
LAST_WAIT_S = 1.0  # before a link is called dead: a busy host must not look like a dead device
READ_BYTES = 65536
LOG_BYTES = 65536  # of text, at the most, before the next reply
HELLO_REPLY_BYTES = 254  # on the wire, of most boards
QUIET_S = 5.0  # without a word from a device that writes flash, before it is asked again
AWAY_S = 1e-3  # a host that was elsewhere for so long has not seen when a reply came

_LOG = Type.LOG | TYPE_REPLY
_ACK = Type.ACK | TYPE_REPLY
_WORKING = Type.WORKING | TYPE_REPLY


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
        retries: frames sent again; not a HELLO, which is repeated until the device has booted.
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
class _Open:
    """A request under way."""

    request: Request
    seq: int
    wire: bytes
    units: int
    slow: bool  # may take long
    sent_at: float = 0.0
    sends: int = 0
    allowed_s: float = 0.0
    timed: bool = True  # its reply tells the round trip
    hurried: bool = False  # sent again because a later one was answered first
    writes_flash: bool = False  # the device has said that it begins to
    reply: Reply | None = None
    done: bool = False  # it has a reply, and so have all before it


Open = list[_Open]


class Exchange:
    """The client's half of the protocol on one transport.

    Attributes:
        boot_id: of the open session; None before the first HELLO.
        on_log: called with each piece of text that the device sends.
        window: requests whose outcome the device remembers.
        kept: replies that it keeps.
    """

    def __init__(
        self,
        transport: Transport,
        on_log: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.transport = transport
        self.on_log = on_log
        self.clock = clock
        self.window, self.kept = WINDOW, 1
        self.stats = LinkStats()
        self.boot_id: int | None = None
        self._timer = RetransmissionTimer()
        self._deframer = Deframer()
        self._seq = os.urandom(1)[0]  # a late frame of an earlier session seldom fits this one
        self._credit = 4
        self._back_to = -1
        self._sent: list[_Open] = []  # from the first without a reply on
        self._queue: deque[_Open] = deque()  # not sent yet
        self._tries = 1
        self._progress = self._busy_since = self._left_at = 0.0
        self._logged = 0  # bytes since the last reply

    def wire_s(self, size: int) -> float:
        """Seconds that so many bytes take on a serial line; 0 where the transport has no baud."""
        return BITS_A_BYTE * size / self.transport.baud if self.transport.baud else 0.0

    @property
    def busy(self) -> bool:
        """Whether requests wait for replies."""
        return bool(self._sent or self._queue)

    def begin(
        self,
        requests: Sequence[Request],
        slow_last: bool = False,
        slow: bool = False,
        allowed_s: float = 0.0,
    ) -> Open:
        """Put requests in line. What may be sent is sent; `finish` waits for their replies.

        Args:
            requests: reads only, with nothing else under way; or writes, and what is done once.
            slow_last: the last one may take until the deadline (RUN).
            slow: each may (EVENTS).
            allowed_s: for all of it, where nobody says so to `finish`.

        Raises:
            TransportClosed, LinkTimeout.
        """
        now = self.clock()
        if not self.busy:
            self._busy_since = now
            self._tries, self._back_to = 1, -1
        batch = [self._prepare(request, slow) for request in requests]
        if batch:
            batch[-1].slow |= slow_last
            batch[-1].allowed_s = allowed_s
        self._queue.extend(batch)
        self._admit(now)
        self._left_at = self.clock()
        return batch

    def finish(self, batch: Open, deadline_s: float) -> list[Reply]:
        """Have the requests of a `begin` executed, and those before them.

        Args:
            batch: what `begin` gave.
            deadline_s: for all that is left of it.

        Raises:
            LinkTimeout, TransportClosed, DeviceReset, ProtocolError.
        """
        now = self.clock()
        if now - self._left_at > AWAY_S:
            for item in self._sent:
                item.timed = False
        self._progress = now
        deadline = now + deadline_s
        while batch and not batch[-1].done:
            self._turn(deadline)
        self._left_at = self.clock()
        self.stats.seconds += self._left_at - self._busy_since
        self._busy_since = self._left_at
        return [item.reply for item in batch if item.reply is not None]

    def run(self, requests: Sequence[Request], deadline_s: float) -> list[Reply]:
        """`begin` and `finish`."""
        return self.finish(self.begin(requests), deadline_s)

    def drain(self) -> None:
        """Wait until nothing is under way; for errors see `finish`."""
        if self.busy:
            line = [*self._sent, *self._queue]
            self.finish(line, sum(item.allowed_s for item in line))

    @property
    def answer_s(self) -> float | None:
        """Seconds within which a device that is not at work answers; None where none ever has."""
        known = self._timer.round_trip_s or self._timer.floor_s
        return 2 * self._timer.first_s + self.wire_s(2 * UNIT) if known else None

    @property
    def bad_pieces(self) -> list[bytes]:
        """The last that was received and was no frame."""
        return list(self._deframer.pieces)

    def abandon(self) -> None:
        """Forget what is under way: nobody waits for it any more."""
        self._sent.clear()
        self._queue.clear()

    def hello(self, payload: bytes, nonce: bytes, deadline_s: float) -> Reply:
        """Asks until a device answers: it may still be booting, or at work on something long.

        Raises:
            LinkTimeout: nobody did; the text names the likely cause.
        """
        self.boot_id = None
        self._logged = 0
        item = self._prepare(Request(Type.HELLO, payload))
        now = asked = self.clock()
        deadline = now + deadline_s
        on_wire_s = self.wire_s(len(item.wire) + HELLO_REPLY_BYTES)
        wait = max(2 * TIMEOUT_MIN_S, self._timer.first_s) + on_wire_s
        while True:
            self._send([item], now)
            reply = self._hello_reply(item, nonce, min(now + wait, deadline))
            now = self.clock()
            if reply is not None:
                break
            if now >= deadline:
                raise self._timeout([item], deadline_s)
            wait = min(2 * wait, max(1.0, wait))
        self._timer.backoff = 1
        if item.sends == 1:
            self._timer.sample(now - item.sent_at)
        else:
            self._timer.floor_s = min(now - asked, LAST_WAIT_S)
        return reply

    def _hello_reply(self, item: _Open, nonce: bytes, until: float) -> Reply | None:
        while (now := self.clock()) < until:
            for frame in self._receive(until - now):
                reply = _reply_to(self.transport.name, frame, item)
                if reply and (reply.status, reply.detail) == (Status.VERSION, PROTOCOL):
                    continue  # to a request of `diagnosis` for protocols that do not exist
                if reply and (reply.status != Status.OK or reply.data[:4] == nonce):
                    self._credit = max(1, frame.credit)
                    return reply
        return None

    def _prepare(self, request: Request, slow: bool = False) -> _Open:
        seq = self._seq
        self._seq = (seq + 1) & 0xFF
        wire = encode(Frame(request.type, seq, 0, 0, request.payload))
        return _Open(request, seq, wire, -(-len(wire) // UNIT), slow)

    def _turn(self, deadline: float) -> None:
        """Waits for frames once, and does what follows from them, or from silence."""
        now = self.clock()
        self._admit(now)
        waiting = [item for item in self._sent if item.reply is None]
        slow = waiting[0].slow
        patience = self._patience(self._tries, slow, deadline - self._progress, waiting)
        if waiting[0].writes_flash:  # and would miss what is sent meanwhile
            patience = max(patience, QUIET_S)
        expiry = min(self._progress + patience, deadline)
        frames = self._receive(expiry - now)
        now = self.clock()
        if self._settle(frames, now):
            self._progress, self._tries = now, 1
            while self._sent and self._sent[0].reply:
                self._sent.pop(0).done = True
                self._back_to = -1
        elif now >= expiry:
            if now >= deadline or self._tries == TRIES:
                raise self._timeout(waiting, now - waiting[0].sent_at)
            self._tries += 1
            if not slow:  # work tells nothing of the wire
                self._timer.on_timeout()
            self._progress = now
            self._back_to = -1
            self._send(waiting[:1] if slow else waiting, now)

    def _admit(self, now: float) -> None:
        """Sends what may be sent now: no more than the device remembers, and its ring holds."""
        used = sum(item.units for item in self._sent if item.reply is None)
        once = sum(item.request.type in ONCE for item in self._sent)
        works = any(item.reply is None and item.request.type in WORK for item in self._sent)
        fresh: list[_Open] = []
        while self._queue and len(self._sent) < self.window:
            item = self._queue[0]
            used += item.units
            once += item.request.type in ONCE
            if (used > self._credit and used > item.units) or once > self.kept:
                break
            works |= item.request.type in WORK
            item.timed = not works  # else it waits for the work of another
            self._sent.append(item)
            fresh.append(self._queue.popleft())
        if fresh:
            self._send(fresh, now)
            self._progress = now

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
            self.stats.retries += item.sends > 1 and item.request.type != Type.HELLO
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

    def _settle(self, frames: list[Frame], now: float) -> bool:
        """Gives frames to the requests they answer; True when one of those was waiting for it."""
        window = self._sent
        progress = False
        highest = -1
        first = window[0].seq
        for frame in frames:
            if frame.type == _ACK and frame.payload[0] == Status.OK:
                self._go_back(window, frame, now)
                continue
            if frame.type == _WORKING and frame.payload[0] == Status.OK:
                window[0].writes_flash |= frame.seq == first
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
            if item.sends == 1 and item.timed:
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

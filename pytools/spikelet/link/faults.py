"""A bad wire, seeded: the same seed and the same bytes give the same faults.

Faults fall on frames (what ends with a 00), because those are what the protocol has to survive
losing; bit flips and lost bytes fall anywhere; a wrong setting of the line meets every byte.
"""

from __future__ import annotations

import math
import random
import sys
from collections import Counter, deque
from dataclasses import dataclass, replace

from spikelet.link.framing import Frame, decode, encode
from spikelet.link.messages import TYPE_REPLY, Type

PIECE_MAX = 2048  # bytes without a delimiter that are passed on as they are
BITS_A_BYTE = 10  # of a serial line, start and stop included
IDLE_S = 0.002  # an unfinished frame is passed on after this much silence
NEWLINES = {
    "cr-to-lf": (b"\r", b"\n"),
    "lf-to-crlf": (b"\n", b"\r\n"),
    "lf-to-cr": (b"\n", b"\r"),
    "no-cr": (b"\r", b""),
}  # what terminal drivers make of line ends: ICRNL, ONLCR, INLCR, IGNCR


@dataclass(frozen=True)
class Faults:
    """What goes wrong; probabilities per frame, except where a unit is given.

    Attributes:
        ber: bit error rate, per bit.
        lose: a byte vanishes, per byte.
        drop: the frame vanishes.
        duplicate: it arrives twice.
        swap: it arrives after the next one.
        truncate: its end is cut off, with the delimiter.
        garbage: 1 to 300 random bytes come before it, or after its first delimiter and so into it.
        stall: the wire stands still before it.
        stall_s: for up to so many seconds.
        reset: a request is followed by one that resets the device.
        unplug: the line is cut behind it, for good.
        seven_bit: bit 7 of every byte is lost where this is 1.
        xon_xoff: bytes 0x11 and 0x13 are taken for flow control where this is 1.
        newline: what becomes of line ends, of `NEWLINES`; "" = nothing.
        rate: the receiver's bits a second by the sender's; 1 = they agree.
        delay_s: seconds that every byte is under way.
        baud: bits a second, ten to a byte; 0 = as fast as the host moves them.
    """

    ber: float = 0.0
    lose: float = 0.0
    drop: float = 0.0
    duplicate: float = 0.0
    swap: float = 0.0
    truncate: float = 0.0
    garbage: float = 0.0
    stall: float = 0.0
    stall_s: float = 0.05
    reset: float = 0.0
    unplug: float = 0.0
    seven_bit: float = 0.0
    xon_xoff: float = 0.0
    newline: str = ""
    rate: float = 1.0
    delay_s: float = 0.0
    baud: float = 0.0

    def __str__(self) -> str:
        changed = [
            f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in vars(self).items()
            if value != getattr(CLEAN, name)
        ]
        return ", ".join(changed) or "none"


CLEAN = Faults()
KINDS = (
    "drop", "flip", "lose", "duplicate", "swap", "truncate", "garbage", "stall", "reset", "unplug",
    "other-baud", "xon-xoff", "seven-bit", "newline", "all",
)  # fmt: skip
BAUD_FACTORS = (1 / 12, 1 / 8, 1 / 2, 2, 4, 8)


def drawn(seed: int) -> tuple[str, Faults, Faults]:
    """A scenario: its kind, of `KINDS`; the faults of the line to the device, and to the host.

    Rates lie from a few in a thousand frames, which cost time, to a third, which ends a session.
    """
    rng = random.Random(seed)
    kind = KINDS[seed % len(KINDS)]
    often = 10 ** rng.uniform(-2.5, -0.5)
    both = {
        "flip": Faults(ber=often / 1000),
        "lose": Faults(lose=often / 100),
        "stall": Faults(stall=often, stall_s=rng.uniform(0.02, 0.5)),
        "reset": Faults(reset=often / 5),
        "unplug": Faults(unplug=often / 5),
        "other-baud": Faults(rate=rng.choice(BAUD_FACTORS)),
        "xon-xoff": Faults(xon_xoff=1.0),
        "seven-bit": Faults(seven_bit=1.0),
        "newline": Faults(newline=rng.choice(list(NEWLINES))),
        "all": Faults(
            ber=often / 5000, lose=often / 1000, drop=often / 5, duplicate=often, swap=often / 5,
            truncate=often / 5, garbage=often / 5, stall=often / 5,
        ),
    }.get(kind) or Faults(**{kind: often})  # type: ignore[arg-type]  # fmt: skip
    if kind == "other-baud":
        return kind, both, replace(both, rate=1 / both.rate)
    one = rng.randrange(3)  # either direction, or both
    return kind, CLEAN if one == 1 else both, CLEAN if one == 2 else both


def at_other_rate(data: bytes, rate: float) -> bytes:
    """What a receiver reads that samples bits at `rate` times the sender's rate."""
    levels: list[int] = []
    for byte in data:
        levels += [0, *(byte >> bit & 1 for bit in range(8)), 1]
    out, at = bytearray(), 0.0
    while at < len(levels):
        if levels[int(at)]:
            at = int(at) + 1.0
            continue
        bits = [int(at + (bit + 1.5) / rate) for bit in range(8)]
        out.append(sum(1 << i for i, t in enumerate(bits) if t >= len(levels) or levels[t]))
        at += 9.5 / rate
    return bytes(out)


class Wire:
    """One direction.

    Attributes:
        counts: faults done, by name, and `frames`, `bytes`.
        cut: nothing passes any more.
    """

    def __init__(self, faults: Faults, seed: int) -> None:
        self.faults = faults
        self.counts: Counter[str] = Counter()
        self.cut = False
        self._random = random.Random(seed)
        self._part = b""
        self._lead = b""  # the delimiter before a frame: what befalls one befalls both
        self._held = b""  # a frame that waits for the one it is to follow
        self._flip_in = self._gap(faults.ber)  # bits until the next error
        self._lose_in = self._gap(faults.lose)  # bytes

    def _gap(self, rate: float) -> int:
        """Distance to the next error at a rate for each unit: geometric."""
        if rate <= 0:
            return sys.maxsize
        if rate >= 1:
            return 0
        return int(math.log(1.0 - self._random.random()) / math.log1p(-rate))

    def _hit(self, rate: float, name: str) -> bool:
        hit = rate > 0 and self._random.random() < rate
        self.counts[name] += hit
        return hit

    def feed(self, data: bytes) -> list[tuple[float, bytes]]:
        """What comes out for `data`: (seconds to stand still first, bytes)."""
        *whole, self._part = (self._part + data).split(b"\0")
        out = [self._frame(piece + b"\0") for piece in whole if not self.cut]
        if len(self._part) > PIECE_MAX:
            out.append((0.0, self.flush()))
        return out

    def flush(self) -> bytes:
        """Passes on what waits for more."""
        rest = self._held + self._noise(self._lead + self._part)
        self._part = self._lead = self._held = b""
        return b"" if self.cut else rest

    def _frame(self, frame: bytes) -> tuple[float, bytes]:
        if len(frame) == 1:
            lead, self._lead = self._lead, frame
            return 0.0, self._noise(lead)
        faults = self.faults
        self.counts["frames"] += 1
        wait = 0.0
        if self._hit(faults.stall, "stall"):
            wait = self._random.random() * faults.stall_s
        after = self._reset_behind(frame) if self._hit(faults.reset, "reset") else b""
        self.cut = self._hit(faults.unplug, "unplug")
        if self._hit(faults.truncate, "truncate"):
            frame = frame[: self._random.randrange(len(frame))]
        lead, self._lead = self._lead, b""
        if self._hit(faults.garbage, "garbage"):
            noise = self._random.randbytes(self._random.randint(1, 300))
            lead = noise + lead if self._random.random() < 0.5 else lead + noise
        frame = b"" if self._hit(faults.drop, "drop") else self._noise(lead + frame)
        if self._hit(faults.duplicate, "duplicate"):
            frame += frame
        held, self._held = self._held, b""
        if frame and not held and self._hit(faults.swap, "swap"):
            self._held, frame = frame, b""
        return wait, frame + held + after

    def _reset_behind(self, piece: bytes) -> bytes:
        """A RESET in the turn of the request that comes next; nothing behind a reply."""
        frame = decode(piece[:-1])
        if frame is None or frame.type & TYPE_REPLY:
            return b""
        return encode(Frame(Type.RESET, (frame.seq + 1) & 0xFF, 0, 0, b""))

    def _noise(self, data: bytes) -> bytes:
        self.counts["bytes"] += len(data)
        if self._flip_in >= 8 * len(data) and self._lose_in >= len(data):
            self._flip_in -= 8 * len(data)
            self._lose_in -= len(data)
            return self._as_set(data)
        noisy = bytearray()
        for byte in data:
            while self._flip_in < 8:
                byte ^= 1 << self._flip_in
                self._flip_in += 1 + self._gap(self.faults.ber)
                self.counts["flip"] += 1
            self._flip_in -= 8
            if self._lose_in == 0:
                self._lose_in = 1 + self._gap(self.faults.lose)
                self.counts["lose"] += 1
            else:
                noisy.append(byte)
            self._lose_in -= 1
        return self._as_set(bytes(noisy))

    def _as_set(self, data: bytes) -> bytes:
        """What a line that is set wrong makes of bytes."""
        faults, before = self.faults, data
        if faults.seven_bit:
            data = bytes(byte & 0x7F for byte in data)
        if faults.xon_xoff:
            data = data.translate(None, b"\x11\x13")
        if faults.newline:
            data = data.replace(*NEWLINES[faults.newline])
        if faults.rate != 1:
            data = at_other_rate(data, faults.rate)
        self.counts["set"] += data != before
        return data


class Lane:
    """One direction with what stands still on it, or takes its time."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._queue: deque[tuple[float, bytes]] = deque()
        self._free_at = 0.0
        self._last = 0.0
        self._dirty = False  # the wire may hold a part of a frame

    def push(self, data: bytes, now: float) -> None:
        """Takes bytes from one end."""
        for wait, piece in self.wire.feed(data):
            if piece:
                self._put(piece, now, wait)
        self._last = now
        self._dirty = True

    def _put(self, piece: bytes, now: float, wait: float = 0.0) -> None:
        faults = self.wire.faults
        taken = BITS_A_BYTE * len(piece) / faults.baud if faults.baud else 0.0
        self._free_at = max(self._free_at, now) + wait + taken
        self._queue.append((self._free_at + faults.delay_s, piece))

    def due(self, now: float) -> bytes:
        """What has come to the other end by now."""
        if self._dirty and now >= self._last + IDLE_S:
            rest = self.wire.flush()
            if rest:
                self._put(rest, now)
            self._dirty = False
        out = []
        while self._queue and self._queue[0][0] <= now:
            out.append(self._queue.popleft()[1])
        return b"".join(out)

    def next_at(self) -> float:
        """When there is more to do; infinite where nothing is under way."""
        at = self._queue[0][0] if self._queue else math.inf
        return min(at, self._last + IDLE_S) if self._dirty else at

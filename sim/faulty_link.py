"""A bad wire: a seeded proxy between a host and a machine that speaks on stdin and stdout.

    python sim/faulty_link.py --seed 7 --drop 0.02 --ber 1e-5 -- ./device

drops, flips, duplicates, reorders, stalls, truncates and inserts garbage in both directions; the
same seed and the same bytes give the same faults. Faults fall on frames (what ends with a 00),
because those are what the protocol has to survive losing; bit flips and lost bytes fall anywhere.
"""

# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import math
import os
import random
import select
import subprocess
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass, fields
from pathlib import Path

PIECE_MAX = 2048  # bytes without a delimiter that are passed on as they are
BITS_A_BYTE = 10  # of a serial line, start and stop included
IDLE_S = 0.002  # an unfinished frame is passed on after this much silence


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
    delay_s: float = 0.0
    baud: float = 0.0


class Wire:
    """One direction.

    Attributes:
        counts: faults done, by name, and `frames`, `bytes`.
    """

    def __init__(self, faults: Faults, seed: int) -> None:
        self.faults = faults
        self.counts: Counter[str] = Counter()
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
        out = [self._frame(piece + b"\0") for piece in whole]
        if len(self._part) > PIECE_MAX:
            out.append((0.0, self.flush()))
        return out

    def flush(self) -> bytes:
        """Passes on what waits for more."""
        rest = self._held + self._noise(self._lead + self._part)
        self._part = self._lead = self._held = b""
        return rest

    def _frame(self, frame: bytes) -> tuple[float, bytes]:
        if len(frame) == 1:
            lead, self._lead = self._lead, frame
            return 0.0, lead
        faults = self.faults
        self.counts["frames"] += 1
        wait = 0.0
        if self._hit(faults.stall, "stall"):
            wait = self._random.random() * faults.stall_s
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
        return wait, frame + held

    def _noise(self, data: bytes) -> bytes:
        self.counts["bytes"] += len(data)
        if self._flip_in >= 8 * len(data) and self._lose_in >= len(data):
            self._flip_in -= 8 * len(data)
            self._lose_in -= len(data)
            return data
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
        return bytes(noisy)


class _Lane:
    """One direction between two descriptors, with what stands still on it."""

    def __init__(self, wire: Wire, source: int, sink: int) -> None:
        self.wire = wire
        self.source = source
        self.sink = sink
        self.queue: deque[tuple[float, bytes]] = deque()
        self.free_at = 0.0
        self.last = 0.0
        self.dirty = False  # the wire may hold a part of a frame

    def push(self, data: bytes, now: float) -> None:
        """Takes bytes from the source."""
        for wait, piece in self.wire.feed(data):
            self._put(piece, now, wait)
        self.last = now
        self.dirty = True

    def _put(self, piece: bytes, now: float, wait: float = 0.0) -> None:
        faults = self.wire.faults
        taken = BITS_A_BYTE * len(piece) / faults.baud if faults.baud else 0.0
        self.free_at = max(self.free_at, now) + wait + taken
        self.queue.append((self.free_at + faults.delay_s, piece))

    def turn(self, now: float) -> float:
        """Sends what is due; answers the seconds until there is more to do."""
        if self.dirty and now - self.last >= IDLE_S:
            self._put(self.wire.flush(), now)
            self.dirty = False
        due = []
        while self.queue and self.queue[0][0] <= now:
            due.append(self.queue.popleft()[1])
        data = b"".join(due)
        while data:
            data = data[os.write(self.sink, data) :]
        next_at = self.queue[0][0] if self.queue else now + 3600
        return min(next_at - now, IDLE_S if self.dirty else 3600)


def relay(lanes: list[_Lane]) -> None:
    """Moves bytes until one end closes."""
    poll = select.poll()
    by_source = {lane.source: lane for lane in lanes}
    for source in by_source:
        poll.register(source, select.POLLIN)
    wait = IDLE_S
    while True:
        ready = poll.poll(math.ceil(max(0.0, wait) * 1000))
        now = time.monotonic()
        for source, _ in ready:
            data = os.read(source, 65536)
            if not data:
                return
            by_source[source].push(data, now)
        wait = min(lane.turn(now) for lane in lanes)


def main() -> int:
    """The command line; answers the machine's exit code."""
    parser = argparse.ArgumentParser(description="a bad wire before a machine on stdin and stdout")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--report", type=Path, help="write the counts of faults here, as JSON")
    parser.add_argument("--only", choices=("to-device", "to-host"), help="one direction alone")
    for field in fields(Faults):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=float, default=field.default)
    parser.add_argument("command", nargs="+", help="the machine, after --")
    args = parser.parse_args()
    faults = Faults(**{field.name: getattr(args, field.name) for field in fields(Faults)})
    clean = Faults()
    to_device = Wire(clean if args.only == "to-host" else faults, args.seed)
    to_host = Wire(clean if args.only == "to-device" else faults, args.seed + 1)
    machine = subprocess.Popen(args.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    if machine.stdin is None or machine.stdout is None:
        raise RuntimeError("no pipes to the machine")
    lanes = [
        _Lane(to_device, 0, machine.stdin.fileno()),
        _Lane(to_host, machine.stdout.fileno(), 1),
    ]
    try:
        relay(lanes)
    except (BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        pass
    finally:
        if args.report is not None:
            both = {"to_device": to_device.counts, "to_host": to_host.counts}
            args.report.write_text(json.dumps(both), encoding="utf-8")
        machine.kill()
        machine.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())

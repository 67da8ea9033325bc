"""A device in this process, behind a line whose time is simulated: thousands of sessions a minute.

The device is the real agent, compiled as a library. It is busy while it computes and while it
sends, and bytes that its ring has no room for meanwhile are lost.
"""

from __future__ import annotations

import ctypes
import math
from dataclasses import replace
from pathlib import Path

from link_agent import C_TESTS, agent_sources, compile_c
from spikelet.link.faults import BITS_A_BYTE, Faults, Lane, Wire
from spikelet.link.framing import Deframer
from spikelet.link.messages import TYPE_REPLY, Type
from spikelet.link.transport import LAST_BYTES

OUT = 1 << 16


def build_library(out: Path, flags: tuple[str, ...] = (), model: Path | None = None) -> Path:
    """The agent with a model, by default model_echo.c, as a library for this process."""
    sources = [*agent_sources(), model or C_TESTS / "model_echo.c", C_TESTS / "board_memory.c"]
    return compile_c(out, sources, ["-O1", "-shared", "-fPIC", "-Wno-clobbered", *flags], "gcc")


class VirtualDevice:
    """A transport to a device in this process; `clock` is its time, and only `read` lets it pass.

    Args:
        library: what `build_library` made; one device of it at a time.
        baud: bits a second; 0 = as many as come. `set_baud` sets the host's rate, BAUD that of the
            device; where they differ bytes are garbled.
        limit: bits a second that the line carries at the most.
        latency_s: seconds under way, in each direction.
        run_s: seconds that a RUN takes.

    Attributes:
        lost: bytes for which the ring had no room.
        bytes_out: bytes written.
    """

    def __init__(
        self,
        library: Path,
        baud: int = 0,
        latency_s: float = 0.0,
        run_s: float = 0.0,
        limit: int = 0,
    ) -> None:
        self.name, self.baud = "virtual", baud or None
        self.last_bytes, self.bytes_in, self.bytes_out = b"", 0, 0
        self.now, self.lost, self.run_s = 0.0, 0, run_s
        self._boot_baud, self._limit, self._rate = baud, limit, baud
        line = Faults(baud=baud, delay_s=latency_s)
        self._down, self._up = Lane(Wire(line, 0)), Lane(Wire(line, 0))
        self._c = ctypes.CDLL(str(library))
        self._buffer = ctypes.create_string_buffer(OUT)
        self._free_at = 0.0  # the device is at work until then
        self._replies = Deframer()
        self._c.memory_boot()
        self._send(0.0)

    def clock(self) -> float:
        """Seconds."""
        return self.now

    def write(self, data: bytes) -> None:
        """See `Transport.write`."""
        self.bytes_out += len(data)
        self._down.push(data, self.now)

    def read(self, max_bytes: int, timeout_s: float) -> bytes:
        """See `Transport.read`."""
        deadline = self.now + max(0.0, timeout_s)
        while True:
            self._work()
            data = self._up.due(self.now)
            if data or self.now >= deadline:
                self.bytes_in += len(data)
                self.last_bytes = (self.last_bytes + data)[-LAST_BYTES:]
                return data
            busy_until = self._free_at if self._c.memory_used() else math.inf
            later = min(deadline, self._down.next_at(), self._up.next_at(), busy_until)
            self.now = max(self.now + 1e-7, later)

    def set_baud(self, baud: int) -> None:
        """See `Paced.set_baud`."""
        if not self.baud:
            raise OSError("no rate to set")
        self.baud = baud
        self._pace()

    def rate(self) -> int:
        """Bits a second of the device."""
        return self._c.memory_rate() or self._boot_baud

    def _pace(self) -> None:
        """Each side sends at its own rate, and reads at it what the other sent."""
        self._rate = self.rate()
        for lane, sender, receiver in (
            (self._down, self.baud, self._rate), (self._up, self._rate, self.baud),
        ):  # fmt: skip
            if sender and receiver:
                fits = not self._limit or sender <= self._limit
                lane.wire.faults = replace(
                    lane.wire.faults, baud=sender, rate=receiver / sender, seven_bit=float(not fits)
                )

    def close(self) -> None:
        """See `Transport.close`."""

    def _work(self) -> None:
        self._c.memory_time(int(self.now * 1e6) & 0xFFFFFFFF)
        if self.now >= self._free_at and not self._c.memory_used():
            self._c.memory_poll()  # it may go back to an earlier rate
        if self.rate() != self._rate:
            self._pace()
        arrived = self._down.due(self.now)
        if arrived:
            self.lost = self._c.memory_feed(arrived, len(arrived))
        while self.now >= self._free_at and self._c.memory_used():
            self._c.memory_poll()
            self._send(self.run_s)

    def _send(self, run_s: float) -> None:
        """What the device has said goes, and keeps it busy: first the run, then the sending."""
        size = self._c.memory_take(self._buffer)
        said = self._buffer.raw[:size]
        frames = self._replies.feed(said)
        ran = any(frame.type & ~TYPE_REPLY == Type.RUN for frame in frames)
        begins = self.now + (run_s if ran else 0.0)
        taken = BITS_A_BYTE * len(said) / self._rate if self._rate else 0.0
        self._free_at = begins + taken
        if said:
            self._up.push(said, begins)

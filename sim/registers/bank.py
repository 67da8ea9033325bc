"""What all register models share: banks of registers, and the serial line with its time."""

from __future__ import annotations

import os
import select
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

Registers = dict[int, tuple[str, int]]  # by offset: name and value after a reset
LOOK_EVERY = 1 << 18  # cycles between two looks at what the host has sent
LONGEST_WAIT = 1.0  # seconds of a core that sleeps, between two looks


class ModelError(Exception):
    """The firmware did what the part's manual does not allow, or cannot be run."""


class Bank:
    """The registers of one peripheral. What is not listed is not there.

    Attributes:
        name: of the peripheral.
        base: its address.
        values: of each register, by its name.
    """

    registers: ClassVar[Registers] = {}

    def __init__(self, name: str, base: int, powered: Callable[[], bool] | None = None) -> None:
        self.name, self.base, self._powered = name, base, powered
        self.values = dict(self.registers.values())

    def __getitem__(self, name: str) -> int:
        return self.values[name]

    def __setitem__(self, name: str, value: int) -> None:
        self.values[name] = value & 0xFFFF_FFFF

    def _named(self, offset: int) -> str:
        if offset not in self.registers:
            raise ModelError(f"{self.name} has no register at {self.base + offset:#x}")
        if self._powered and not self._powered():
            raise ModelError(f"{self.name} is used before its clock is on")
        return self.registers[offset][0]

    def load(self, offset: int) -> int:
        """A read by the firmware."""
        return self.read(self._named(offset))

    def store(self, offset: int, value: int) -> None:
        """A write by the firmware."""
        self.write(self._named(offset), value)

    def read(self, name: str) -> int:
        """What a read of a register answers; models override it."""
        return self.values[name]

    def write(self, name: str, value: int) -> None:
        """What a write of a register does; models override it."""
        self[name] = value


@dataclass
class Line:
    """The serial line to the host: a byte arrives every ten bits' time, whether or not it is read.

    Attributes:
        link_in: file descriptor of what the host sends.
        link_out: of what it is sent.
        baud: bits a second, at which the host opened it.
    """

    link_in: int
    link_out: int
    baud: int
    coming: deque[int] = field(default_factory=deque)
    going: bytearray = field(default_factory=bytearray)
    ended: bool = False

    def wait(self, seconds: float) -> float:
        """Until the host sends something, `seconds` at the most; answers how long it took."""
        self.flush()
        begin = time.monotonic()
        select.select([self.link_in], [], [], max(seconds, 0.0))
        return min(time.monotonic() - begin, max(seconds, 0.0))

    def look(self, wait: float | None = 0.0) -> None:
        """Take what the host has sent; `wait` seconds for it, None as long as it takes."""
        self.flush()
        if self.ended or not select.select([self.link_in], [], [], wait)[0]:
            return
        data = os.read(self.link_in, 1 << 16)
        self.ended = not data
        self.coming.extend(data)

    def flush(self) -> None:
        """What was sent goes to the host."""
        while self.going:
            del self.going[: os.write(self.link_out, self.going)]


class Uart(Bank):
    """A UART's FIFOs and its line; a model adds the registers.

    Attributes:
        line: to the host.
        fifo: what was received and not yet read.
        lost: bytes that met a full FIFO, since power-on.
    """

    rx_bytes = tx_bytes = 1

    def __init__(
        self, name: str, base: int, line: Line, powered: Callable[[], bool] | None = None
    ) -> None:
        super().__init__(name, base, powered)
        self.line, self.lost = line, 0
        self.fifo: deque[int] = deque()
        self.sending: deque[int] = deque()  # when each byte of the transmit FIFO has left
        self.next_byte = 0  # when the next byte has arrived, in cycles of the core

    def rate(self) -> float:
        """Bits a second that the registers make of the part's clock; 0 while it is off."""
        raise NotImplementedError

    def asks(self, now: int) -> bool:
        """Whether it asks for its interrupt."""
        raise NotImplementedError

    def overrun(self) -> None:
        """A byte was lost."""
        raise NotImplementedError

    def garbled(self) -> None:
        """A byte without a stop bit came."""
        raise NotImplementedError

    def _matches(self) -> bool:
        rate = self.rate()
        return rate > 0 and abs(rate / self.line.baud - 1) < 0.03

    def idle(self, now: int, core_hz: int) -> None:
        """The line is looked at: what comes next takes its time from here on."""
        if not self.line.coming:
            self.next_byte = max(self.next_byte, now + 10 * core_hz // self.line.baud)

    def advance(self, now: int, core_hz: int) -> None:
        """Bytes whose time has come are received or lost."""
        byte_time = 10 * core_hz // self.line.baud
        while self.line.coming and self.next_byte <= now:
            byte = self.line.coming.popleft()
            self.next_byte += byte_time
            if self.rate() == 0:
                continue
            if not self._matches():
                self.garbled()
                byte ^= 0xA5
            if len(self.fifo) < self.rx_bytes:
                self.fifo.append(byte)
            else:
                self.lost += 1
                self.overrun()
        while self.sending and self.sending[0] <= now:
            self.sending.popleft()

    def send(self, byte: int, now: int, core_hz: int) -> None:
        """A byte goes into the transmit FIFO."""
        if len(self.sending) >= self.tx_bytes:
            raise ModelError(f"{self.name}: a byte is sent while the transmit FIFO is full")
        if self.rate() == 0:
            raise ModelError(f"{self.name}: a byte is sent while the transmitter is off")
        begin = max(self.sending[-1] if self.sending else 0, now)
        self.sending.append(begin + int(10 * core_hz / self.rate()))
        self.line.going.append(byte if self._matches() else byte ^ 0xA5)

"""Watchdogs: what the core has not fed in time is reset."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from .bank import Bank, ModelError, Registers

NEVER = 1 << 62  # cycles
Clock = Callable[[], tuple[int, int]]  # cycles of the core since power-on, and how many a second


class Iwdg(Bank):
    """STM32's independent watchdog (RM0432, chapter IWDG): 12 bits, counted down by LSI.

    Attributes:
        due: when it has counted to the end, in cycles of the core.
    """

    registers: ClassVar[Registers] = {
        0x00: ("KR", 0), 0x04: ("PR", 0), 0x08: ("RLR", 0xFFF), 0x0C: ("SR", 0),
        0x10: ("WINR", 0xFFF),
    }  # fmt: skip
    FEED, OPEN, START = 0xAAAA, 0x5555, 0xCCCC
    UPDATE = 5  # cycles of LSI that a register takes to be taken over
    LSI = 32_000
    FLAGS: ClassVar[dict[str, int]] = {"PR": 1 << 0, "RLR": 1 << 1}  # PVU, RVU

    def __init__(self, name: str, base: int, clock: Clock) -> None:
        super().__init__(name, base)
        self._clock = clock
        self._counts: dict[str, int] = {"PR": 0, "RLR": 0xFFF}  # what it counts with
        self._updates: dict[str, int] = {}  # when a register is taken over
        self._left, self._seen = 0.0, 0  # cycles of LSI / prescaler; as of this cycle of the core
        self._open = self._started = False
        self.due = NEVER

    def _rate(self) -> float:
        """Counts in a cycle of the core."""
        return self.LSI / (4 << min(self._counts["PR"], 6)) / self._clock()[1]

    def _pass(self, until: int) -> None:
        self._left -= (until - self._seen) * self._rate()
        self._seen = until

    def look(self) -> bool:
        """Registers whose time has come are taken over; whether it has counted to the end."""
        now = self._clock()[0]
        for name, at in sorted(self._updates.items(), key=lambda update: update[1]):
            if at <= now:
                self._pass(at)
                self._counts[name] = self[name]
                del self._updates[name]
        self._pass(now)
        end = now + max(int(self._left / self._rate()), 0) + 1 if self._started else NEVER
        self.due = min([end, *self._updates.values()])
        return self._started and self._left <= 0

    def read(self, name: str) -> int:
        """SR says which register is being taken over."""
        self.look()
        if name == "SR":
            return sum(self.FLAGS[each] for each in self._updates)
        return super().read(name)

    def write(self, name: str, value: int) -> None:
        """KR has three keys; PR and RLR want the second, and that they are not under way."""
        self.look()
        if name == "KR":
            self._open = value == self.OPEN
            if value in (self.FEED, self.START):
                self._left = self._counts["RLR"] + 1
                self._started |= value == self.START
        elif name in self.FLAGS:
            if not self._open or name in self._updates:
                raise ModelError(f"{self.name}_{name} is written while it is locked or under way")
            super().write(name, value)
            now, hz = self._clock()
            self._updates[name] = now + self.UPDATE * hz // self.LSI
        else:
            raise ModelError(f"{self.name}_{name} is read only, or not known to the model")
        self.look()

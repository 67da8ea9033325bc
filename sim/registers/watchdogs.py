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


class Mwdt(Bank):
    """The ESP32-C3's watchdog of a timer group (its manual 1.1, chapter Watchdog Timers).

    A prescaler and four stages, each with its time and what it does. What is written counts once
    WDT_CONF_UPDATE_EN is, from the last time that it was fed.

    Attributes:
        of_rom: it runs as the boot ROM has left it.
        bitten: a stage has reset the system.
        due: when its stage ends, in cycles of the core.
    """

    registers: ClassVar[Registers] = {
        0x48: ("WDTCONFIG0", 0x8004_C000), 0x4C: ("WDTCONFIG1", 1 << 16),
        0x50: ("WDTCONFIG2", 26_000_000), 0x54: ("WDTCONFIG3", 0x7FF_FFFF), 0x60: ("WDTFEED", 0),
        0x64: ("WDTWPROTECT", 0), 0x70: ("INT_ENA", 0), 0x74: ("INT_RAW", 0), 0x78: ("INT_ST", 0),
        0x7C: ("INT_CLR", 0),
    }  # fmt: skip
    KEY, UPDATE, WDT = 0x50D8_3AA1, 1 << 22, 1 << 1
    EN, FLASHBOOT, USE_XTAL = 1 << 31, 1 << 14, 1 << 21
    NOTHING, INTERRUPT, RESET_SYSTEM = 0, 1, 3
    STAGES = ("WDTCONFIG2", "WDTCONFIG3")  # those that the model knows
    XTAL, APB = 40_000_000, 80_000_000

    def __init__(self, name: str, base: int, clock: Clock) -> None:
        super().__init__(name, base)
        self._clock = clock
        self._used = dict(self.values)  # of registers, what counts
        self._stage, self._since, self._raw = 0, 0, 0
        self.of_rom, self.bitten, self.due = True, False, NEVER

    @property
    def runs(self) -> bool:
        """Whether it counts."""
        return bool(self._used["WDTCONFIG0"] & (self.EN | self.FLASHBOOT))

    def _set_due(self) -> None:
        self.due = NEVER
        if self.runs and not self.of_rom:
            control, prescaler = self._used["WDTCONFIG0"], self._used["WDTCONFIG1"] >> 16
            counts = self._used[self.STAGES[self._stage]] * max(prescaler, 1)
            hz = self.XTAL if control & self.USE_XTAL else self.APB
            self.due = self._since + counts * self._clock()[1] // hz

    def look(self) -> bool:
        """Stages that have ended do what they are to; whether one has reset the system."""
        now = self._clock()[0]
        while self.due <= now and not self.bitten:
            action = self._used["WDTCONFIG0"] >> 29 - 2 * self._stage & 3
            if action == self.INTERRUPT:
                self._raw |= self.WDT
            elif action == self.RESET_SYSTEM:
                self.bitten = True
            else:
                raise ModelError(f"{self.name}: the model knows no action {action}")
            self._since, self._stage = self.due, min(self._stage + 1, len(self.STAGES) - 1)
            self._set_due()
        return self.bitten

    def asks(self) -> bool:
        """For its interrupt."""
        self.look()
        return bool(self._raw & self["INT_ENA"] & self.WDT)

    def read(self, name: str) -> int:
        """INT_RAW and INT_ST tell whether it asks."""
        self.look()
        if name in ("INT_RAW", "INT_ST"):
            return self._raw & (self["INT_ENA"] if name == "INT_ST" else self.WDT)
        return super().read(name)

    def write(self, name: str, value: int) -> None:
        """Without its key, or the bit that has it count, nothing happens: here it is told."""
        self.look()
        if name.startswith(("WDTCONFIG", "WDTFEED")) and self["WDTWPROTECT"] != self.KEY:
            raise ModelError(f"{self.name}_{name} is written without its key")
        if name == "WDTFEED":
            self._stage, self._since = 0, self._clock()[0]
        elif name == "INT_CLR":
            self._raw &= ~value
        elif name in ("INT_RAW", "INT_ST"):
            raise ModelError(f"{self.name}_{name} is read only")
        elif name == "WDTCONFIG0":
            if not value & self.UPDATE:
                raise ModelError(f"{self.name}_{name} is written without WDT_CONF_UPDATE_EN")
            super().write(name, value & ~self.UPDATE)
            self._used, self.of_rom = dict(self.values), False
        else:
            super().write(name, value)
        self._set_due()

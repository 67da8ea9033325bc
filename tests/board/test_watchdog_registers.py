"""Each watchdog's functions, called in the board's image, against a model of its registers.

Boards whose whole image runs against register models are in test_watchdog.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
from elftools.elf.elffile import ELFFile
from registers.watchdogs import Iwdg
from unicorn import riscv_const as rv

from board_core import Core
from once import Once
from probes import PROBE, built, tool_of
from spikelet.board import Board, boards, build
from spikelet.board.spec import derived_board
from support import need

PAGE = 4096
POWER, WATCHDOG = 0, 3  # spk_board_reset_cause()
LEAST_S = 17.0  # what a request may take, by the fastest clock that any part may have


class Dog:
    """Words of registers, and what the tests ask of every watchdog.

    Attributes:
        feeds, starts: how often it was fed and started.
        stored: addresses that were written.
    """

    pages: ClassVar[tuple[int, ...]] = ()  # beside that of SPK_WATCHDOG_BASE

    def __init__(self, board: Board) -> None:
        self.defines, self.base = board.defines, board.defines["SPK_WATCHDOG_BASE"]
        self.words: dict[int, int] = {}
        self.feeds = self.starts = 0
        self.stored: set[int] = set()

    def all_pages(self) -> set[int]:
        return {page & -PAGE for page in (self.base, *self.pages)}

    def load(self, address: int, size: int) -> int:
        assert size == 4
        return self.words.get(address, 0)

    def store(self, address: int, size: int, value: int) -> None:
        assert size == 4
        self.stored.add(address)
        self.words[address] = value

    def word(self, offset: int) -> int:
        return self.words.get(self.base + offset, 0)

    def bite(self) -> None:
        """The part's register says that this was why it was reset."""
        raise NotImplementedError

    def period_s(self) -> float:
        """By a clock of SPK_WATCHDOG_HZ."""
        raise NotImplementedError

    def stands_still(self) -> bool:
        """While a debugger holds the core."""
        raise NotImplementedError


class IwdgDog(Dog):
    """STM32's, by the model that its boards run against."""

    HZ = 1_000_000  # of a core

    def __init__(self, board: Board) -> None:
        super().__init__(board)
        self.now = 0
        self.model = Iwdg("IWDG", self.base, lambda: (self.now, self.HZ))

    def all_pages(self) -> set[int]:
        named = ("SPK_WATCHDOG_FLAGS", "SPK_WATCHDOG_HALT")
        more = {self.defines[name] & -PAGE for name in named if name in self.defines}
        return super().all_pages() | more

    def load(self, address: int, size: int) -> int:
        if 0 <= address - self.base < 0x400:
            return self.model.load(address - self.base)
        return super().load(address, size)

    def store(self, address: int, size: int, value: int) -> None:
        super().store(address, size, value)
        if 0 <= address - self.base < 0x400:
            self.model.store(address - self.base, value)
            self.feeds += (address, value) == (self.base, Iwdg.FEED)
            self.starts += (address, value) == (self.base, Iwdg.START)
            self.now += self.HZ // 100  # longer than a register takes to be taken over

    def bite(self) -> None:
        self.words[self.defines["SPK_WATCHDOG_FLAGS"]] = self.defines["SPK_WATCHDOG_FLAG"]

    def period_s(self) -> float:
        self.model.look()
        left_s = (self.model.due - self.now) / self.HZ + 0.01  # since it was fed
        return left_s * Iwdg.LSI / self.defines["SPK_WATCHDOG_HZ"]

    def stands_still(self) -> bool:
        if "SPK_WATCHDOG_HALT" not in self.defines:
            return True  # CH32V203: a register of the core, which spk_board_init() sets
        bit = self.defines["SPK_WATCHDOG_HALT_BIT"]
        return self.words.get(self.defines["SPK_WATCHDOG_HALT"], 0) == bit


class NrfDog(Dog):
    """nRF52840 product specification 1.7, 6.36: settings count as it starts, and stay."""

    START, RUNSTATUS, CRV, RREN, CONFIG, RR0 = 0x000, 0x400, 0x504, 0x508, 0x50C, 0x600
    RESETREAS = 0x4000_0400
    pages = (RESETREAS,)

    def load(self, address: int, size: int) -> int:
        if address == self.base + self.RUNSTATUS:
            return int(self.starts > 0)
        return super().load(address, size)

    def store(self, address: int, size: int, value: int) -> None:
        offset = address - self.base
        assert not (self.starts and offset in (self.START, self.CRV, self.RREN, self.CONFIG))
        if address == self.RESETREAS:
            value = self.words.get(address, 0) & ~value
        super().store(address, size, value)
        self.starts += offset == self.START
        if offset == self.RR0:
            assert value == 0x6E52_4635 and self.word(self.RREN) == 1
            self.feeds += 1

    def bite(self) -> None:
        self.words[self.RESETREAS] = 1 << 1

    def period_s(self) -> float:
        return (self.word(self.CRV) + 1) / self.defines["SPK_WATCHDOG_HZ"]

    def stands_still(self) -> bool:
        return not self.word(self.CONFIG) >> 3 & 1


class Rp2350Dog(Dog):
    """RP2350's datasheet, 12.9 and 8.5: LOAD counts ticks of the watchdog's own generator."""

    CTRL, LOAD, REASON = 0x0, 0x4, 0x8
    TICKS_CTRL, TICKS_CYCLES, WDSEL = 0x4010_8030, 0x4010_8034, 0x4001_8008
    pages = (TICKS_CTRL, WDSEL)

    def store(self, address: int, size: int, value: int) -> None:
        offset = address - self.base
        if offset == self.LOAD:
            assert value <= 0xFF_FFFF
            self.feeds += 1
        if offset == self.CTRL and value >> 30 & 1:  # it counts from here on
            assert self.word(self.LOAD) and self.words[self.TICKS_CTRL] == 1
            assert self.words[self.WDSEL] == 0x1FF_FFFE  # all but what debuggers hold
            self.starts += 1
        super().store(address, size, value)

    def bite(self) -> None:
        self.words[self.base + self.REASON] = 1

    def period_s(self) -> float:
        ticks_hz = self.defines["SPK_WATCHDOG_HZ"] / (self.words[self.TICKS_CYCLES] & 0x1FF)
        return self.word(self.LOAD) / ticks_hz

    def stands_still(self) -> bool:
        return self.word(self.CTRL) >> 24 & 7 == 7


class SifiveDog(Dog):
    """FE310-G002 manual, "Watchdog Timer": a key opens one write."""

    CFG, FEED, KEY, CMP, PMUCAUSE = 0x00, 0x18, 0x1C, 0x20, 0x144
    RSTEN, ENALWAYS = 1 << 8, 1 << 12

    def store(self, address: int, size: int, value: int) -> None:
        offset = address - self.base
        if offset != self.KEY:
            assert self.word(self.KEY) == 0x51_F15E
            self.words[self.base + self.KEY] = 0
        super().store(address, size, value)
        if offset == self.FEED:
            assert value == 0xD09_F00D
            self.feeds += 1
        if offset == self.CFG and value:
            assert value & ~15 == self.RSTEN | self.ENALWAYS and 0 < self.word(self.CMP) <= 0xFFFF
            self.starts += 1

    def bite(self) -> None:
        self.words[self.base + self.PMUCAUSE] = 2 << 8

    def period_s(self) -> float:
        return (self.word(self.CMP) << (self.word(self.CFG) & 15)) / self.defines["SPK_WATCHDOG_HZ"]

    def stands_still(self) -> bool:
        return False


MODELS: dict[str, type[Dog]] = {
    "common/watchdog_iwdg.c": IwdgDog, "common/watchdog_nrf.c": NrfDog,
    "common/watchdog_rp2350.c": Rp2350Dog, "common/watchdog_sifive.c": SifiveDog,
}  # fmt: skip


def model_of(board: Board) -> type[Dog] | None:
    known = [MODELS[source] for source in board.sources if source in MODELS]
    return known[0] if known else None


HARDWARE = {name: board for name, board in boards().items() if board.silicon}
MODELLED = [name for name, board in HARDWARE.items() if model_of(board)]
TIMED = [name for name in MODELLED if "SPK_MTIME" in HARDWARE[name].defines]


def test_every_board_of_hardware_has_a_watchdog_or_says_why_not() -> None:
    for name, board in HARDWARE.items():
        spec = board.watchdog
        assert spec is not None, name
        if spec.none:
            assert not board.defines.get("SPK_WATCHDOG_BASE") and not model_of(board)
            continue
        hz, ms = board.defines["SPK_WATCHDOG_HZ"], board.defines["SPK_WATCHDOG_MS"]
        assert spec.hz[0] <= hz <= spec.hz[1]
        assert ms / 1000 * hz / spec.hz[1] >= LEAST_S
        assert model_of(board) or "registers" in board.machines, name
    linked = {name for name, board in HARDWARE.items() if not board.library}
    assert {n for n in linked if (w := HARDWARE[n].watchdog) and w.none} == set()
    assert all(board.watchdog is None for board in boards().values() if not board.silicon)


@pytest.mark.parametrize("name", MODELLED)
def test_it_is_started_once_with_the_period_of_the_board_and_then_fed(
    name: str, once: Once
) -> None:
    board = boards()[name]
    model = model_of(board)
    assert model is not None and board.watchdog is not None
    core, dog = Core(board, built(once, name, "zig")[0]), model(board)
    for page in dog.all_pages():
        core.device(page, PAGE, dog.load, dog.store)
    for bitten in (False, True):
        if bitten:
            dog.bite()
        core.call("spk_kept_begin")
        core.call("spk_watchdog_begin")
        assert core.call("spk_board_reset_cause") == (WATCHDOG if bitten else POWER)
    assert (dog.starts, dog.feeds) == (0, 0)
    for _ in range(4):
        core.call("spk_board_alive")
    assert (dog.starts, dog.feeds) == (1, 4)
    assert dog.period_s() == pytest.approx(board.defines["SPK_WATCHDOG_MS"] / 1000, rel=0.01)
    assert dog.stands_still() == board.watchdog.debugger.startswith("stands still")


@pytest.mark.parametrize(
    "name", [name for name in MODELLED if "SPK_MTIME" in HARDWARE[name].defines]
)
@pytest.mark.parametrize("before", [0x1_0000_0000, 0x1_FFFF_FFF0])
def test_an_idle_core_without_systick_is_woken_by_mtime(name: str, before: int, once: Once) -> None:
    """An interrupt that is held off ends its sleep: nothing else has to take it."""
    board = boards()[name]
    core, defines = Core(board, built(once, name, "zig")[0]), board.defines
    mtime, compare = defines["SPK_MTIME"], defines["SPK_MTIMECMP"]
    words = {mtime: before & 0xFFFF_FFFF, mtime + 4: before >> 32}
    written: list[int] = []

    def store(address: int, size: int, value: int) -> None:
        words[address] = value
        if address & -8 == compare:
            written.append(words.get(compare + 4, 0) << 32 | words[compare])

    for page in {mtime & -PAGE, compare & -PAGE}:
        core.device(page, PAGE, lambda address, size: words.get(address, 0), store)
    nothing_came = 0xFFFF_FFFF  # of a UART, whichever flag says it
    core.device(defines["SPK_UART_BASE"] & -PAGE, PAGE, lambda *_: nothing_came, lambda *_: None)
    core.call("spk_board_idle")  # ends as the core sleeps
    due = before + defines["SPK_MTIME_WAKE_MS"] * (defines["SPK_MTIME_HZ"] // 1000)
    assert written[-1] == due and defines["SPK_MTIME_WAKE_MS"] < defines["SPK_WATCHDOG_MS"]
    assert core.uc.reg_read(rv.UC_RISCV_REG_MIE) >> 7 & 1  # MTIE


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.long] * (name != "ch32v203"))
        for name, board in HARDWARE.items()
        if not board.library
    ],
)
def test_a_board_without_its_watchdog_builds_and_starts_none(name: str, tmp_path: Path) -> None:
    need(tool_of(name, "zig"))
    board = derived_board({"extends": name, "name": name, "defines": {"SPK_WATCHDOG_BASE": 0}})
    made = build(PROBE, board, tmp_path, "zig")
    with made.elf.open("rb") as file:
        symbols = ELFFile(file).get_section_by_name(".symtab")
        assert symbols is not None
        (alive,) = symbols.get_symbol_by_name("spk_board_alive")
        assert symbols.get_symbol_by_name("spk_watchdog_begin") is None
    assert alive["st_size"] <= 4  # returns


def test_a_board_whose_core_nothing_wakes_does_not_sleep() -> None:
    for name in MODELLED:
        board = HARDWARE[name]
        if board.target.riscv:
            assert {"SPK_MTIME", "SPK_NO_SLEEP"} & set(board.defines), name

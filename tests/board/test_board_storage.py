"""A board's own storage functions, called in its image, against models of what writes the flash."""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest
from unicorn import unicorn_const as uc_const

from board_core import Core
from once import Once
from probes import built
from spikelet.board import boards

PAGE = 4096


class Nor:
    """Flash that erases to a pattern and is written once."""

    def __init__(self, core: Core, erased: bytes = b"\xff\xff") -> None:
        self.base, size = core.storage.base, core.storage.bytes
        self.erased = erased
        self.data = bytearray(random.Random(1).randbytes(size))
        self.core = core

    def erase(self, offset: int, size: int) -> None:
        assert offset % size == 0 and 0 <= offset <= len(self.data) - size
        self.data[offset : offset + size] = self.erased * (size // len(self.erased))

    def write(self, offset: int, data: bytes, once: bool = False) -> None:
        assert 0 <= offset <= len(self.data) - len(data)
        for i, byte in enumerate(data):
            if once:
                assert self.data[offset + i] == self.erased[(offset + i) % len(self.erased)]
                self.data[offset + i] = byte
            self.data[offset + i] &= byte

    def load(self, address: int, size: int) -> int:
        at = address - self.base
        return int.from_bytes(self.data[at : at + size], "little")


class Stm32F1Flash:
    """FLASH_KEYR, SR, CR and AR of STM32F1 and its kin, and the clock of CH32V203."""

    def __init__(self, core: Core, erased: bytes, page: int, slow: bool) -> None:
        self.nor, self.page, self.slow = Nor(core, erased), page, slow
        self.control, self.address, self.keys, self.cfgr0 = 1 << 7, 0, [0], 0x400
        core.device(0x4002_1000, 2 * PAGE, self.load, self.store)
        core.device(0x4001_3000, PAGE, lambda at, size: 0xC0, lambda at, size, value: None)
        core.device(core.storage.base, core.storage.bytes, self.nor.load, self.program)

    def load(self, address: int, size: int) -> int:
        return {0x4002_1004: self.cfgr0, 0x4002_2010: self.control}.get(address, 0)

    def store(self, address: int, size: int, value: int) -> None:
        if address == 0x4002_1004:
            self.cfgr0 = value
        elif address == 0x4002_2004:
            self.keys.append(value)
            if self.keys[-2:] == [0x4567_0123, 0xCDEF_89AB]:
                self.control = 0
        elif address == 0x4002_2014:
            self.address = value
        elif address == 0x4002_2010:
            assert not self.control & 1 << 7, "locked"
            self.control = value
            if value & 1 << 6:
                self.check()
                assert value & 2, "PER"
                self.nor.erase(self.address - self.nor.base, self.page)

    def check(self) -> None:
        assert self.nor.core.in_ram()
        assert bool(self.cfgr0 & 0x80) == self.slow, "HCLK is halved"

    def program(self, address: int, size: int, value: int) -> None:
        self.check()
        assert size == 2 and self.control == 1, "a half word, PG"
        self.nor.write(address - self.nor.base, struct.pack("<H", value & 0xFFFF), once=True)


class SpiFlash:
    """SiFive's QSPI0 with a flash behind it."""

    def __init__(self, core: Core) -> None:
        self.nor, self.core = Nor(core), core
        self.mapped, self.hold, self.enabled, self.busy = True, False, False, 0
        self.command = bytearray()
        self.answer = 1 << 31
        core.device(0x1001_4000, PAGE, self.load, self.store)
        core.device(core.storage.base, core.storage.bytes, self.read, self.forbidden)

    def read(self, address: int, size: int) -> int:
        assert self.mapped, "flash is read while the controller is not in its mapped mode"
        return self.nor.load(address, size)

    def forbidden(self, address: int, size: int, value: int) -> None:
        raise AssertionError("a store into flash")

    def load(self, address: int, size: int) -> int:
        if address == 0x1001_404C:
            answer, self.answer = self.answer, 1 << 31
            return answer
        return 0x80000 if address == 0x1001_4040 else 0

    def store(self, address: int, size: int, value: int) -> None:
        if address == 0x1001_4060:
            self.mapped = bool(value & 1)
        elif address == 0x1001_4018:
            if self.hold and value != 2:
                self.deselected()
            self.hold = value == 2
        elif address == 0x1001_4048:
            assert self.hold and not self.mapped and self.core.in_ram()
            self.command.append(value)
            self.answer = 0
            if self.command[0] == 0x05 and len(self.command) > 1:
                self.busy, self.answer = max(self.busy - 1, 0), int(self.busy > 0)

    def deselected(self) -> None:
        command, *rest = self.command
        self.command.clear()
        assert not self.busy or command == 0x05
        if command == 0x06:
            self.enabled = True
        elif command in (0x20, 0x02):
            assert self.enabled, "without WRITE ENABLE"
            at = int.from_bytes(rest[:3], "big") - (self.nor.base - 0x2000_0000)
            if command == 0x20:
                self.nor.erase(at, PAGE)
            else:
                assert at % 256 + len(rest) - 3 <= 256, "beyond the page"
                self.nor.write(at, bytes(rest[3:]))
            self.enabled, self.busy = False, 3


class Rp2350Rom:
    """The ROM's table and flash functions, and the registers of the fastest way to read."""

    NAMES = ("IF", "EX", "RE", "RP", "FC", "CX")
    FAST = (0x4000_2204, 0x0004_92A8, 0x00EB)

    def __init__(self, core: Core, version: int) -> None:
        self.core, self.nor, self.calls = core, Nor(core), []
        self.qmi = dict(zip((0x0C, 0x10, 0x14), self.FAST, strict=True))
        self.mapped = True
        uc = core.uc
        uc.mem_map(0, 0x8000)
        uc.mem_write(0, (b"\x70\x47" * 2 if core.arm else b"\x67\x80\x00\x00") * 0x2000)
        uc.mem_write(0x10, bytes((ord("M"), ord("u"), 1, version)))
        width = 2 if version == 2 else 4
        at = 0x14 + width if core.arm else 0x7DFC - width
        uc.mem_write(at, (0x100 | core.arm).to_bytes(width, "little"))
        uc.hook_add(uc_const.UC_HOOK_BLOCK, self.called, begin=0, end=0x7FFF)
        core.device(0x400D_0000, PAGE, lambda at, _: self.qmi[at & 0xFFF], self.store)
        core.device(core.storage.base, core.storage.bytes, self.read, self.store)

    def read(self, address: int, size: int) -> int:
        assert self.mapped
        return self.nor.load(address, size)

    def store(self, address: int, size: int, value: int) -> None:
        self.qmi[address & 0xFFF] = value

    def called(self, uc: Any, address: int, _size: int, _user: object) -> None:
        self.core._guarded(self.work, address)

    def work(self, address: int) -> None:
        a = [self.core.uc.reg_read(register) for register in self.core.arguments]
        if address == 0x100:
            assert a[1] == (4 if self.core.arm else 1)
            index = self.NAMES.index(struct.pack("<H", a[0]).decode())
            self.core.uc.reg_write(self.core.arguments[0], 0x200 + 16 * index | self.core.arm)
            return
        name = self.NAMES[(address - 0x200) // 16]
        self.calls.append(name)
        if name == "EX":
            self.mapped = False
        elif name == "CX":
            self.mapped, self.qmi = True, dict.fromkeys(self.qmi, 0)
        elif name in ("RE", "RP"):
            assert not self.mapped
            offset = a[0] - (self.nor.base - 0x1000_0000)
            if name == "RE":
                assert a[1:] == [PAGE, 1 << 16, 0xD8]
                self.nor.erase(offset, PAGE)
            else:
                assert offset % 256 == 0 and a[2] == 256
                self.nor.write(offset, bytes(self.core.uc.mem_read(a[1], 256)))


def kept_and_read(core: Core) -> None:
    """Pages erase to FF, what is written is read, and the rest stays."""
    rng, page = random.Random(2), core.storage.page_bytes
    for offset in (0, page):
        core.erase(offset)
        assert core.read(offset, 256) == b"\xff" * 256
    data = bytearray(rng.randbytes(512))
    data[64:72] = b"\xff\xff\x39\xe3\x39\xe3\xff\xff"
    for piece in range(0, 512, 64):  # as the agent writes
        core.write(64 + piece, bytes(data[piece : piece + 64]))
    assert core.read(64, 512) == data
    assert core.read(0, 64) == b"\xff" * 64 and core.read(page, 64) == b"\xff" * 64
    assert core.read(67, 5) == data[3:8]


def core_of(once: Once, name: str) -> Core:
    return Core(boards()[name], built(once, name, "zig")[0])


@pytest.mark.parametrize("name", ["ch32v203", "longan-nano"])
def test_flash_of_half_words_keeps(name: str, once: Once) -> None:
    core = core_of(once, name)
    wch = name == "ch32v203"
    model = Stm32F1Flash(core, b"\x39\xe3" if wch else b"\xff\xff", core.storage.page_bytes, wch)
    kept_and_read(core)
    assert model.control & 1 << 7 and not model.cfgr0 & 0x80


def test_spi_flash_keeps(once: Once) -> None:
    core = core_of(once, "hifive1-revb")
    model = SpiFlash(core)
    kept_and_read(core)
    assert model.mapped and not model.busy


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("name", ["pico2", "pico2-riscv"])
def test_flash_behind_a_rom_keeps_and_is_read_as_fast_as_before(
    name: str, version: int, once: Once
) -> None:
    core = core_of(once, name)
    model = Rp2350Rom(core, version)
    kept_and_read(core)
    assert model.calls[:5] == ["IF", "EX", "RE", "FC", "CX"]
    assert tuple(model.qmi.values()) == model.FAST

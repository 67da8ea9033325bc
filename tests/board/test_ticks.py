"""Ticks, with an interrupt made to come at each instruction that reads them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from probes import Probe
from spikelet.board import Firmware, Machine, start
from spikelet.board.elf import Elf
from support import need

SHORTEST = 2  # bytes of an instruction
# By the number of the program counter: a store of a register's low byte (RV32) or of all of it
# (Arm), the registers of address and value.
STORE = {
    32: (bytes.fromhex("2300b500"), 10, 11),  # sb a1, 0(a0)
    15: (bytes.fromhex("0160"), 0, 1),  # str r1, [r0]
}
# QEMU's `virt` has a 16550.
UART, FIFO, MODEM, AT_ONCE, LOOPBACK = 0x1000_0000, 0x1000_0002, 0x1000_0004, 1, 0x10
ICSR, PENDSTSET = 0xE000_ED04, 1 << 26
ROUND = 1 << 24  # of SysTick
LOOK = "spk_board_ticks"


class Debugger:
    """A machine in QEMU, run and held by GDB's remote protocol; held when this is made."""

    def __init__(self, firmware: Firmware, door: Path) -> None:
        board = firmware.board
        spec = board.machines["qemu"]
        need(spec.argv[0])
        argv = [*spec.argv, "-gdb", f"unix:{door},server=on,wait=off"]
        if board.isa.startswith("rv32"):  # the time that it is held is no instruction
            argv = [part.replace("shift=0", "shift=0,sleep=off") for part in argv]
        machines = {"qemu": spec.model_copy(update={"argv": argv})}
        own = board.model_copy(update={"machines": machines})
        self.machine: Machine = start(replace(firmware, board=own), "qemu")
        self.probe = Probe(self.machine)
        self.usual = self.probe.obey("loop", 1000).ticks
        self.pc = 32 if board.isa.startswith("rv32") else 15
        (look,) = (each for each in Elf.read(firmware.elf).symbols if each.name == LOOK)
        self.look = range(look.value & ~1, (look.value & ~1) + look.bytes)
        self.line = socket.socket(socket.AF_UNIX)
        self.line.connect(str(door))
        self.unread = b""
        self.line.settimeout(0.5)
        with suppress(TimeoutError):  # it says that it was stopped, when it likes
            while self.answer():
                pass
        self.line.settimeout(30)

    def stop(self) -> None:
        self.line.close()
        self.machine.stop()

    def send(self, text: str) -> None:
        self.line.sendall(f"${text}#{sum(text.encode()) & 255:02x}".encode())

    def answer(self) -> str:
        while b"#" not in self.unread[:-2]:
            self.unread += self.line.recv(4096)
        packet, _, rest = self.unread.partition(b"#")
        self.unread = rest[2:]
        self.line.sendall(b"+")
        return packet.partition(b"$")[2].decode()

    def ask(self, text: str) -> str:
        self.send(text)
        return self.answer()

    def registers(self) -> list[int]:
        """The core's, by GDB's numbers: its program counter is number `pc`."""
        words = bytes.fromhex(self.ask("g"))
        return [int.from_bytes(words[i : i + 4], "little") for i in range(0, 4 * self.pc + 4, 4)]

    def put(self, registers: list[int]) -> None:
        words = b"".join(each.to_bytes(4, "little") for each in registers)
        assert self.ask("G" + words.hex()) == "OK"

    def write(self, address: int, code: bytes) -> None:
        assert self.ask(f"M{address:x},{len(code):x}:{code.hex()}") == "OK"

    def step(self) -> None:
        assert self.ask("s").startswith("T05")

    def poke(self, address: int, value: int) -> None:
        """Has the core write a device's register, which a debugger's own access does not reach."""
        before = self.registers()
        here, (store, base, source) = before[self.pc], STORE[self.pc]
        code = bytes.fromhex(self.ask(f"m{here:x},{len(store):x}"))
        self.write(here, store)
        now = [*before]
        now[base], now[source] = address, value
        self.put(now)
        self.step()
        self.write(here, code)
        self.put(before)

    def ticks(self, look: int, steps: int, pokes: list[tuple[int, int]]) -> int | None:
        """Ticks of a loop, with registers written some instructions after one of its looks begins.

        None where it has ended by then.
        """
        first = f"1,{self.look[0]:x},{SHORTEST}"
        with ThreadPoolExecutor(1) as pool:
            assert self.ask("Z" + first) == "OK"
            run = pool.submit(self.probe.obey, "loop", 1000, 30.0)
            for _ in range(look + 1):
                assert self.ask("c").startswith("T05")
                assert self.registers()[self.pc] == self.look[0]
                assert self.ask("z" + first) == "OK"
                self.step()
                assert self.ask("Z" + first) == "OK"
            assert self.ask("z" + first) == "OK"
            for _ in range(steps):
                self.step()
            inside = self.registers()[self.pc] in self.look
            if inside:
                for each in pokes:
                    self.poke(*each)
            self.send("c")
            ticks = run.result().ticks
            self.line.sendall(b"\x03")
            assert self.answer().startswith("T02")
        return ticks if inside else None


@pytest.fixture
def debugger(
    firmware: Callable[..., Firmware], tmp_path: Path
) -> Iterator[Callable[..., Debugger]]:
    started: list[Debugger] = []

    def begin(board: str, toolchain: str) -> Debugger:
        started.append(Debugger(firmware(board, toolchain), tmp_path / "door"))
        return started[-1]

    yield begin
    for each in started:
        each.stop()


def looks(debugger: Debugger, which: int, pokes: list[tuple[int, int]]) -> list[int]:
    """Ticks, for each instruction of a look in front of which a device's registers are written."""
    ticks: list[int] = []
    while (each := debugger.ticks(which, len(ticks), pokes)) is not None:
        ticks.append(each)
    assert len(ticks) >= 3
    return ticks


# The look that begins an inference, the model's own, the one that ends it.
every_look = pytest.mark.parametrize("which", [0, 1, 2])


@every_look
@pytest.mark.parametrize("toolchain", ["gcc", "zig"])
def test_ticks_hold_nothing_of_an_interrupt(
    debugger: Callable[..., Debugger], toolchain: str, which: int
) -> None:
    held = debugger("virt-rv32", toolchain)
    calm = looks(held, which, [(FIFO, AT_ONCE), (MODEM, 0), (MODEM, 0), (MODEM, 0)])
    received = [(FIFO, AT_ONCE), (MODEM, LOOPBACK), (UART, ord("U")), (MODEM, 0)]
    assert looks(held, which, received) == calm


@every_look
def test_a_round_that_ends_as_interrupts_are_held_off_is_counted_once(
    debugger: Callable[..., Debugger], which: int
) -> None:
    held = debugger("mps2-an386", "gcc")
    more = [each - held.usual for each in looks(held, which, [(ICSR, PENDSTSET)])]
    # Exact to what passes while it is held. A round that begins before the first look is not seen.
    assert {round(each / ROUND, 1) for each in more} == {which > 0}

"""Cores simulated from their Verilog: each boots, counts cycles, faults, resets and computes."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from probes import PROBE, Probe
from rtl import MACHINE, need_packages, need_simulator, rtl_boards, rtl_of
from spikelet.board import Board, boards, build, find_board, load_board, machines, rtl, start
from spikelet.board.toolchain import ToolMissing
from spikelet.errors import LinkDead
from spikelet.package import Package
from spikelet.run import SessionFolder, SessionTarget, make, package_stream, run
from support import need

DIGITS = Path(__file__).parents[1] / "fixtures" / "v0_1_0" / "digits_snn.spk"
# Cycles of `addi; bnez` taken, as each core's manual has them.
ROUND = {"ibex-rtl": 4, "ibex-wb-rtl": 3, "cv32e40p-rtl": 4}
IBEX = {
    ("illegal", 0): (2, False),
    ("load", 0x1800_0000): (5, True),
    ("store", -1): (7, True),
    ("breakpoint", 0): (3, False),
    ("overflow", 0): (7, False),
}
LATE = 0x8000_0010  # an interrupt says that an access failed
FAULTS = {
    "ibex-rtl": IBEX,
    "ibex-wb-rtl": IBEX,
    "cv32e40p-rtl": {
        ("illegal", 0): (2, False),
        ("load", 0x1800_0000): (LATE, True),
        ("store", -1): (LATE, True),
        ("breakpoint", 0): (3, False),
        ("overflow", 0): (LATE, False),
    },
}
RESET_FAULT = 2
every = pytest.mark.parametrize("name", ROUND)


def derived(folder: Path, base: str, lines: str) -> Board:
    """A board that extends another, with more lines."""
    (folder / "board.toml").write_text(
        f'name = "mine"\ndescription = "another {base}"\nextends = "{base}"\n{lines}'
    )
    return load_board(folder)


@pytest.fixture
def started(probe: Callable[..., Probe]) -> Callable[[str], Probe]:
    def run_it(name: str) -> Probe:
        need_simulator(name)
        return probe(name, "zig", MACHINE)

    return run_it


def test_no_board_with_a_core_in_verilog_is_left_out() -> None:
    assert rtl_boards() == sorted(ROUND) == sorted(FAULTS)
    assert {boards()[name].tick for name in ROUND} == {"cycle"}


def test_a_simulator_is_named_by_what_it_is_made_from(tmp_path: Path) -> None:
    base = find_board("ibex-rtl")
    need_packages(base)

    def name(lines: str) -> str:
        board = derived(tmp_path, "ibex-rtl", lines)
        return rtl.place(board, rtl_of(board)).name

    same = rtl.place(base, rtl_of(base)).name
    assert name("[machines.verilator.rtl]\nflash_wait = 3\nram_wait = 1\n") == same
    assert name('[machines.verilator.rtl.defines]\nSPK_WRITEBACK_STAGE = "1\'b1"\n') != same
    (tmp_path / "core.sv").write_text("module spk_core; endmodule\n")
    assert name("") != same


def test_a_core_whose_package_is_missing_cannot_start(tmp_path: Path) -> None:
    need_packages(find_board("ibex-rtl"))
    board = derived(tmp_path, "ibex-rtl", '[machines.verilator.rtl]\npackage = "no_such_core"\n')
    assert machines(board) == []
    need("zig")
    image = build(PROBE, board, tmp_path / "build", "zig")
    with pytest.raises(ToolMissing, match="needs no_such_core") as caught:
        start(image, MACHINE)
    assert caught.value.next.endswith("-m pip install no-such-core")


@pytest.mark.long
@every
def test_it_boots_answers_counts_cycles_and_resets(
    started: Callable[[str], Probe], name: str
) -> None:
    device = started(name)
    hello = device.device.hello
    assert (hello.isa, hello.boot_id, hello.reset_cause) == (find_board(name).isa, 1, 0)
    assert hello.tick_unit == 2
    quotient = (1000 << 32) // 7
    assert device.result("divide", 1000)[:2] == (quotient & 0xFFFF_FFFF, quotient >> 32)
    short, long = device.result("loop", 100)[0], device.result("loop", 10_100)[0]
    assert (long - short) / 10_000 == ROUND[name]
    assert len({device.obey("loop", 77).ticks for _ in range(3)}) == 1
    device.device.put("initialised", struct.pack("<2I", 99, 7))
    info = device.device.reset()
    assert (info.boot_id, info.reset_cause) == (2, 1)
    assert device.device.get("initialised") == struct.pack("<2I", 0x1234, 7)


@pytest.mark.long
@every
def test_every_fault_is_recorded_and_resets(started: Callable[[str], Probe], name: str) -> None:
    device = started(name)
    memory = find_board(name).memory
    assert memory is not None
    for boot, ((command, argument), (cause, told)) in enumerate(FAULTS[name].items(), 2):
        address = memory.flash.base + 0x100 if command == "store" else argument
        with pytest.raises(LinkDead):
            device.obey(command, address)
        info = device.device.reconnect()
        assert (info.boot_id, info.reset_cause) == (boot, RESET_FAULT), command
        assert info.fault_cause == cause, f"{command}: {info.fault_cause:#x}"
        if told:
            assert info.fault_address == address
        if command == "overflow":
            assert memory.ram.base - 4096 <= info.fault_address < memory.ram.base


@pytest.mark.long
def test_wait_states_cost_cycles(tmp_path: Path) -> None:
    cycles = []
    for flash_wait, ram_wait in ((0, 0), (3, 0), (0, 3)):
        lines = f"[machines.verilator.rtl]\nflash_wait = {flash_wait}\nram_wait = {ram_wait}\n"
        board = derived(tmp_path, "ibex-rtl", lines)
        need_simulator(board)
        with start(build(PROBE, board, tmp_path / "build", "zig"), MACHINE) as machine:
            device = Probe(machine)
            loop = device.result("loop", 1100)[0] - device.result("loop", 100)[0]
            cycles.append((loop, device.obey("waste", 2).ticks))
    plain, flash, ram = cycles
    assert plain[0] == ram[0] == 4000
    assert flash[0] >= 4000 + 3 * 1000  # each round fetches anew
    assert ram[1] - plain[1] == pytest.approx(3 * 2 * 2 * 256, rel=0.04)  # a load and a store


@pytest.mark.long
@every
def test_digits_equal_golden_and_instructions_those_of_the_emulator(
    name: str, tmp_path: Path
) -> None:
    need_simulator(name)
    lines = 'tick = "instruction"\n[defines]\nSPK_COUNT_INSTRUCTIONS = 1\n'
    counting = derived(tmp_path, name, lines)
    package, figures = Package.load(DIGITS), []
    for place, board in enumerate((find_board(name), counting, find_board("virt-rv32"))):
        built = make(package, board, tmp_path / f"build-{place}", toolchain="zig")
        target, folder = SessionTarget(board, built), SessionFolder(tmp_path / f"session-{place}")
        summary, _ = run(package, target, package_stream(package).head(3), folder)
        assert summary["mismatches"] == 0
        figures.append(summary)
    cycles = figures[0]["cycles_per_inference"]
    own, emulated = (f["instructions_per_inference"] for f in figures[1:])
    assert 1.0 < cycles / own < 1.6
    if name != "ibex-wb-rtl":  # Zbb takes fewer instructions
        assert own == pytest.approx(emulated, rel=0.002)

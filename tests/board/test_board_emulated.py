"""Boards that only QEMU runs here: each boots, answers, counts, resets, faults and computes."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import graphs
from probes import INTERRUPT, Probe, processor_seconds, tool_of
from spikelet.board import boards, find_board
from spikelet.errors import LinkDead
from spikelet.package import Package
from spikelet.run import SessionFolder, SessionTarget, make, package_stream, run
from support import need

ARM_V7, ARM_V8, ARM_V6, RV32 = "armv7", "armv8", "armv6", "rv32"
ARM_V7_DEAF = "armv7, in a machine that answers an access to an address where nothing is"
BOARDS = {
    "mps2-an386": ARM_V7,
    "mps2-an500": ARM_V7,
    "mps3-an547": ARM_V8,
    "microbit": ARM_V6,
    "lm3s6965evb": ARM_V7_DEAF,
    "mps2-an505": ARM_V8,
    "netduinoplus2": ARM_V7_DEAF,
    "stm32vldiscovery": ARM_V7_DEAF,
    "sifive-e": RV32,
    "hifive1-revb": RV32,
    "virt-rv32b": RV32,
    "virt-rv32e": RV32,
    "virt-rv32f": RV32,
}
FPU = {"mps2-an386", "mps2-an500", "mps2-an505", "netduinoplus2", "mps3-an547", "virt-rv32f"}
# zig has its run time to compile for each core: for every change on one Arm and one RISC-V.
SOME_ZIG = ("mps2-an386", "sifive-e")
every = pytest.mark.parametrize(
    ("board", "toolchain"),
    [
        pytest.param(board, "zig", marks=[pytest.mark.long] * (board not in SOME_ZIG))
        for board in BOARDS
    ]
    + [(board, "gcc") for board in BOARDS],
)
ELSEWHERE = {"virt-rv32"}  # test_board_machines.py has all of this, on two simulators
TICK_UNITS = {"instruction": 1, "cycle": 2}
RESET_REQUEST, RESET_FAULT = 1, 2
FLASH = -1  # an address in the board's flash
# (command, argument): cause, as the core gives it, and whether it tells the address.
# Arm from v7-M on: CFSR, or HFSR; v6-M: the exception's number.
FAULTS: dict[str, dict[tuple[str, int], tuple[int, bool]]] = {
    ARM_V7: {
        ("illegal", 0): (0x10000, False),
        ("load", 0x1800_0000): (0x82, True),
        ("load", 0x9000_0000): (0x8200, True),
        ("store", FLASH): (0x82, True),
        ("breakpoint", 0): (0x4000_0000, False),
        ("overflow", 0): (0x92, False),
    },
    ARM_V8: {
        ("illegal", 0): (0x10000, False),
        ("load", 0x1800_0000): (0x8200, True),
        ("store", FLASH): (0x82, True),
        ("breakpoint", 0): (0x4000_0000, False),
        ("overflow", 0): (0x9200, False),
    },
    ARM_V6: {
        ("illegal", 0): (3, False),
        ("load", 0x1800_0000): (3, False),
        ("breakpoint", 0): (3, False),
        ("overflow", 0): (3, False),
    },
    RV32: {
        ("illegal", 0): (2, False),
        ("load", 0x1800_0000): (5, True),
        ("store", FLASH): (7, True),
        ("breakpoint", 0): (3, False),
        ("overflow", 0): (7, False),
    },
}
FAULTS[ARM_V7_DEAF] = {
    fault: told for fault, told in FAULTS[ARM_V7].items() if fault != ("load", 0x9000_0000)
}


def test_no_board_in_qemu_is_left_out() -> None:
    emulated = {name for name, board in boards().items() if "qemu" in board.machines}
    assert emulated == set(BOARDS) | ELSEWHERE


@every
def test_it_boots_answers_counts_and_resets(
    probe: Callable[..., Probe], board: str, toolchain: str
) -> None:
    device = probe(board, toolchain, "qemu")
    spec = device.machine.firmware.board
    hello = device.device.hello
    assert (hello.isa, hello.boot_id, hello.reset_cause) == (spec.isa, 1, 0)
    assert hello.tick_unit == TICK_UNITS[spec.tick]
    message = bytes(range(200))
    assert device.device.echo_many([message] * 8) == [message] * 8
    quotient = (1000 << 32) // 7
    assert device.result("divide", 1000)[:2] == (quotient & 0xFFFF_FFFF, quotient >> 32)
    assert device.device.get("initialised") == struct.pack("<2I", 0x1234, 7)

    assert device.device.stats.bad_frames == 0

    # Two instructions a round; the difference cancels what surrounds the loop.
    scale = spec.machines["qemu"].instructions_per_tick or 1.0
    short = device.result("loop", 1000)[0]
    long = device.result("loop", 10_001_000)[0]
    # A request that a busy host repeats interrupts the loop, and where a tick is longer than an
    # instruction, what the interrupt took is known to a tick only.
    assert abs((long - short) * scale - 20_000_000) <= (1000 if scale > 1 else 0)

    # The same code takes the same ticks, whatever part of a tick had passed before.
    counts = set()
    for round_ in range(12):
        time.sleep(0.0013 * (round_ % 3))
        counts.add(device.obey("loop", 777).ticks)
    assert len(counts) == 1

    idle = device.obey("nothing").stack
    assert 64 <= idle <= 1024
    device.device.put("initialised", struct.pack("<2I", 99, 7))
    for boot in (2, 3):
        info = device.device.reset()
        assert (info.boot_id, info.reset_cause) == (boot, RESET_REQUEST)
    assert device.device.get("initialised") == struct.pack("<2I", 0x1234, 7)
    assert 64 <= device.obey("nothing").stack <= idle + INTERRUPT


def float_twin(rounds: int) -> tuple[int, int]:
    """What probe_model's float arithmetic gives: IEEE 754, every operation rounded by itself."""
    total = np.float32(0.1)
    for i in range(1, rounds + 1):
        word = i * 2654435761 % 2**32
        x = np.float32(word - 2**32 if word >= 2**31 else word) * np.float32(2.0**-31)
        total = total * np.float32(0.75) + x
        if abs(total) > 1.0:
            total = np.float32(1.0) / total
    return int(total.view(np.uint32)), int(total * np.float32(1e6)) % 2**32


def fused_twin(rounds: int) -> int:
    """The same for its fused multiply-adds, whose products are exact."""
    total = np.float32(0.1)
    for i in range(1, rounds + 1):
        word = i * 2654435761 % 2**32
        total = total * np.float32(0.5) + np.float32(word - 2**32 if word >= 2**31 else word)
    return int(total.view(np.uint32))


@every
def test_floats_are_the_same_bits_on_every_board(
    probe: Callable[..., Probe], board: str, toolchain: str
) -> None:
    device = probe(board, toolchain, "qemu")
    assert device.result("float", 1000)[:2] == float_twin(1000)
    spec = device.machine.firmware.board.machines["qemu"]
    instructions = device.obey("float", 1000).ticks * (spec.instructions_per_tick or 1.0) / 1000
    # An operation is one instruction or a call of the compiler's library.
    assert instructions < 25 if board in FPU else instructions > 150

    assert device.result("fused", 1000)[0] == fused_twin(1000)
    if board in FPU:  # an explicit multiply-add is one, too
        rounds = device.obey("fused", 1000).ticks * (spec.instructions_per_tick or 1.0) / 1000
        assert rounds < 12


@every
def test_every_fault_is_recorded_and_resets(
    probe: Callable[..., Probe], board: str, toolchain: str
) -> None:
    device = probe(board, toolchain, "qemu")
    image = device.machine.firmware
    memory = image.board.memory
    assert memory is not None
    boot = 1
    for (command, argument), (cause, told) in FAULTS[BOARDS[board]].items():
        address = memory.flash.base + 0x100 if argument == FLASH else argument
        with pytest.raises(LinkDead):
            device.obey(command, address)
        info = device.device.reconnect()
        boot += 1
        assert (info.boot_id, info.reset_cause) == (boot, RESET_FAULT), command
        assert info.fault_cause == cause, f"{command}: {info.fault_cause:#x}"
        if told:
            assert info.fault_address == address
        if command == "overflow" and BOARDS[board] != ARM_V6:
            assert memory.ram.base - 4096 <= info.fault_address < memory.ram.base
        if command == "overflow" and BOARDS[board] != RV32:
            assert info.fault_pc == 0  # a Cortex-M has nowhere to save it
        else:
            where = [s.name for s in image.map if 0 <= info.fault_pc - (s.address & ~1) < s.bytes]
            assert where, f"{command}: pc {info.fault_pc:#x} is in no function"
    info = device.device.reset()
    assert (info.reset_cause, info.fault_cause) == (RESET_REQUEST, cause)


@pytest.mark.parametrize("board", BOARDS)
def test_it_sleeps_while_idle(probe: Callable[..., Probe], board: str) -> None:
    device = probe(board, "gcc", "qemu")
    begin = device.result("loop", 1)[1]
    time.sleep(0.1)
    before = processor_seconds(device.machine.process.pid)
    time.sleep(0.8)
    assert processor_seconds(device.machine.process.pid) - before < 0.08
    if board.startswith("mps"):
        # SysTick has 24 bits, at most 0.67 s: the rest is counted too.
        hz = device.device.hello.tick_hz
        passed = (device.result("loop", 1)[1] - begin) % 2**32
        assert 0.7 * hz < passed < 3 * hz


@every
def test_a_classifier_equals_golden_in_every_layer_and_step(
    board: str, toolchain: str, tmp_path: Path
) -> None:
    for tool in (tool_of(board, toolchain), find_board(board).machines["qemu"].argv[0]):
        need(tool)
    graph = graphs.digits_like()
    inputs = graphs.random_inputs(graph, 6, np.random.default_rng(42))
    package, found = Package(graph, inputs, {}).with_golden(), find_board(board)
    figures = []
    for trace in (True, False):
        built = make(package, found, tmp_path / f"{trace}", toolchain=toolchain, trace=trace)
        summary, outcome = run(
            package,
            SessionTarget(found, built, "qemu"),
            package_stream(package),
            SessionFolder(tmp_path / f"session-{trace}"),
            layers=trace,
        )
        assert [str(d) for d in outcome.differences] == []
        assert summary["mismatches"] == 0
        assert summary["samples"] == 6
        figures.append(summary)
    cost, step = figures[1]["instructions_per_inference"], figures[1]["instructions_per_tick"]
    assert step == (found.machines["qemu"].instructions_per_tick or 1.0)
    assert figures[1]["cycles_per_inference"] is None
    assert 10_000 < cost < (60_000 if found.target.multiplies else 120_000)
    assert 6 * cost / step == pytest.approx(round(6 * cost / step), abs=1e-6)  # whole ticks

"""Machines: one image everywhere, exact instruction counts, faults, resets, and their end."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cli_support import small_package
from probes import INTERRUPT, RV32, Probe, family, processor_seconds
from spikelet.board import Firmware, MachineDied, ToolMissing, find_board, machines, start
from spikelet.errors import LinkDead, UsageError
from spikelet.link.transport import open_transport
from spikelet.paths import sim_dir
from spikelet.run import SessionFolder, SessionTarget, make, package_stream, run
from support import need

EVERY = [("native", "gcc", "native"), ("native", "gcc", "pty"), ("native", "zig", "native"),
         *(("virt-rv32", *pair) for pair in RV32)]  # fmt: skip
rv32 = pytest.mark.parametrize(("toolchain", "machine"), RV32)
RESET_REQUEST, RESET_FAULT = 1, 2


@pytest.mark.parametrize(("board", "toolchain", "machine"), EVERY)
def test_the_device_answers_and_calculates(
    probe: Callable[..., Probe], board: str, toolchain: str, machine: str
) -> None:
    device = probe(board, toolchain, machine)
    assert device.device.hello.model == "probe"
    assert device.device.hello.package_sha256.hex().startswith("b0a2d5")
    assert device.device.echo(bytes(range(200))) == bytes(range(200))
    quotient = (1000 << 32) // 7
    assert device.result("divide", 1000)[:2] == (quotient & 0xFFFF_FFFF, quotient >> 32)
    assert device.device.get("initialised") == struct.pack("<2I", 0x1234, 7)


@rv32
def test_ticks_are_retired_instructions(
    probe: Callable[..., Probe], toolchain: str, machine: str
) -> None:
    device = probe("virt-rv32", toolchain, machine)
    assert device.device.hello.tick_unit == 1
    # Two instructions a round; the difference cancels what surrounds the loop.
    short = device.result("loop", 1000)[0]
    long = device.result("loop", 1_001_000)[0]
    assert long - short == 2_000_000
    assert 2000 <= short <= 2020


@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
@pytest.mark.parametrize(
    ("board", "command", "at_least"), [("virt-rv32", "waste", 5 * 256), ("virt-rv32f", "float", 9)]
)
def test_unicorn_and_qemu_count_the_same(
    probe: Callable[..., Probe], board: str, command: str, at_least: int, toolchain: str
) -> None:
    runs, stacks = [], []
    for machine in ("unicorn", "qemu"):
        device = probe(board, toolchain, machine)
        run = device.obey(command, 200)
        runs.append((run.ticks, run.outputs_crc, device.device.get("result")))
        stacks.append(run.stack)
    assert runs[0] == runs[1]
    assert stacks[0] <= stacks[1] <= stacks[0] + INTERRUPT  # which unicorn has not
    assert runs[0][0] > 200 * at_least


@rv32
def test_constants_that_look_like_code_stay_as_they_are(
    probe: Callable[..., Probe], toolchain: str, machine: str
) -> None:
    device = probe("virt-rv32", toolchain, machine)
    values = [device.result("nothing", index)[2] for index in range(12)]
    assert bytes(values) == bytes.fromhex("01020304 732520B0 7310053A")


def test_native_counts_nothing_and_says_so(probe: Callable[..., Probe]) -> None:
    device = probe("native", "gcc", "native")
    assert device.device.hello.tick_unit == 0
    assert device.obey("waste", 10).ticks == 0


@rv32
def test_stack_high_water(probe: Callable[..., Probe], toolchain: str, machine: str) -> None:
    device = probe("virt-rv32", toolchain, machine)
    idle = device.obey("nothing").stack
    assert 64 <= idle <= 1024
    assert 2048 <= device.obey("stack", 2048).stack <= 2048 + 1024
    assert device.obey("nothing").stack >= 2048  # since boot, not since the last run
    device.device.reset()
    assert abs(device.obey("nothing").stack - idle) <= INTERRUPT


@pytest.mark.parametrize(("board", "toolchain", "machine"), EVERY)
def test_a_reset_keeps_the_link_and_changes_the_boot_id(
    probe: Callable[..., Probe], board: str, toolchain: str, machine: str
) -> None:
    device = probe(board, toolchain, machine)
    seen = [device.device.hello]
    device.device.put("initialised", struct.pack("<2I", 99, 7))
    for _ in range(3):
        seen.append(device.device.reset())
    assert len({info.boot_id for info in seen}) == 4
    assert [info.reset_cause for info in seen] == [0, *[RESET_REQUEST] * 3]
    assert len({info.unique_id for info in seen}) == 1
    assert device.device.get("initialised") == struct.pack("<2I", 0x1234, 7)
    assert device.machine.alive


FAULTS = [
    ("illegal", 0, 2, None),
    ("load", 0x1800_0000, 5, 0x1800_0000),
    ("store", 0x1800_0000, 7, 0x1800_0000),
    ("store", 0x8000_0100, 7, 0x8000_0100),  # flash
    ("breakpoint", 0, 3, None),
    ("overflow", 0, 7, None),  # into the guard under the stack
]


@rv32
@pytest.mark.parametrize(("command", "argument", "cause", "address"), FAULTS)
def test_a_fault_is_recorded_and_resets(
    probe: Callable[..., Probe],
    toolchain: str,
    machine: str,
    command: str,
    argument: int,
    cause: int,
    address: int | None,
) -> None:
    device = probe("virt-rv32", toolchain, machine)
    with pytest.raises(LinkDead):
        device.obey(command, argument)
    info = device.device.reconnect()
    assert (info.boot_id, info.reset_cause, info.fault_cause) == (2, RESET_FAULT, cause)
    if address is not None:
        assert info.fault_address == address
    if command == "overflow":
        memory = device.machine.firmware.board.memory
        assert memory is not None
        assert memory.ram.base - 4096 <= info.fault_address < memory.ram.base
    where = [
        s for s in device.machine.firmware.map if s.address <= info.fault_pc < s.address + s.bytes
    ]
    assert where, f"pc {info.fault_pc:#x} is in no function"
    assert where[0].section == ".text"
    # The fault stays on record over a further reset, the cause of the reset does not.
    info = device.device.reset()
    assert (info.reset_cause, info.fault_cause) == (RESET_REQUEST, cause)


@pytest.mark.parametrize(
    ("command", "number"),
    [("illegal", signal.SIGILL), ("store", signal.SIGSEGV), ("overflow", signal.SIGSEGV)],
)
def test_native_records_a_fault_too(
    probe: Callable[..., Probe], command: str, number: signal.Signals
) -> None:
    device = probe("native", "gcc", "native")
    before = device.device.hello.boot_id
    for _ in range(2):
        with pytest.raises(LinkDead):
            device.obey(command)
        info = device.device.reconnect()
        assert (info.reset_cause, info.fault_cause) == (RESET_FAULT, number)
        assert info.boot_id != before
        before = info.boot_id


def test_the_fault_addresses_agree_between_machines(probe: Callable[..., Probe]) -> None:
    places = set()
    for machine in ("unicorn", "qemu"):
        for command, argument in (("illegal", 0), ("load", 0x1800_0000)):
            device = probe("virt-rv32", "zig", machine)
            with pytest.raises(LinkDead):
                device.obey(command, argument)
            places.add((command, device.device.reconnect().fault_pc))
    assert len(places) == 2


@pytest.mark.parametrize(("board", "toolchain", "machine"), EVERY)
def test_an_idle_device_sleeps(
    probe: Callable[..., Probe], board: str, toolchain: str, machine: str
) -> None:
    device = probe(board, toolchain, machine)
    device.obey("nothing")
    time.sleep(0.1)
    before = processor_seconds(device.machine.process.pid)
    time.sleep(0.5)
    assert processor_seconds(device.machine.process.pid) - before < 0.05


@pytest.mark.parametrize(("board", "toolchain", "machine"), EVERY)
def test_stopping_leaves_no_process(
    probe: Callable[..., Probe], board: str, toolchain: str, machine: str
) -> None:
    running = probe(board, toolchain, machine).machine
    members = family(running.process.pid) if Path("/proc/self").exists() else []
    begin = time.monotonic()
    running.stop()
    assert time.monotonic() - begin < 1.0
    running.stop()
    assert running.process.returncode is not None
    deadline = time.monotonic() + 2
    while any(Path(f"/proc/{pid}").exists() for pid in members):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(("toolchain", "machine"), [("zig", "unicorn"), ("zig", "qemu")])
def test_a_machine_does_not_outlive_its_owner(
    firmware: Callable[..., Firmware], toolchain: str, machine: str
) -> None:
    image = firmware("virt-rv32", toolchain)
    need("qemu-system-riscv32" if machine == "qemu" else "unicorn")
    script = (
        "import dataclasses, os, sys, time\n"
        "from pathlib import Path\n"
        "from spikelet.board import find_board, start\n"
        "from spikelet.board.build import Firmware\n"
        "from spikelet.board.image import read_image\n"
        "board = find_board('virt-rv32'); elf = Path(sys.argv[1])\n"
        "m = start(Firmware(elf, board, 'zig', False, read_image(elf, board)), sys.argv[2])\n"
        "print(m.process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script, str(image.elf), machine]
    owner = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    members = family(pid)
    assert len(members) == (2 if machine == "qemu" else 1)
    owner.kill()
    owner.wait()
    owner.stdout.close()
    deadline = time.monotonic() + 3
    while any(_alive(member) for member in members):
        assert time.monotonic() < deadline, f"{members} outlived their owner"
        time.sleep(0.02)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_dead_machine_says_why(firmware: Callable[..., Firmware], tmp_path: Path) -> None:
    image = firmware("virt-rv32", "zig")
    broken = tmp_path / "broken.elf"
    broken.write_bytes(b"\x7fELF" + bytes(60))
    lame = Firmware(broken, image.board, "zig", False, image.sizes)
    with pytest.raises(MachineDied) as caught:
        start(lame, "unicorn")
    assert "ended with exit code 3" in caught.value.what
    assert "broken.elf" in caught.value.what
    assert caught.value.exit_code == 3
    with start(firmware("native", "gcc")) as machine:
        machine.check()
        machine.process.kill()
        with pytest.raises(MachineDied, match="ended by SIGKILL"):
            machine.check()


def test_unknown_and_missing_machines(
    firmware: Callable[..., Firmware], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    image = firmware("virt-rv32", "zig")
    with pytest.raises(UsageError, match="has no machine 'renode'; it has: unicorn, qemu"):
        start(image, "renode")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machines(find_board("virt-rv32")) == ["unicorn"]
    with pytest.raises(ToolMissing, match="needs qemu-system-riscv32"):
        start(image, "qemu")


def test_a_pseudo_terminal_can_be_opened_again(probe: Callable[..., Probe]) -> None:
    first = probe("native", "gcc", "pty")
    assert first.machine.port.startswith("/dev/")
    boot = first.device.hello.boot_id
    first.device.close()
    again = Probe.__new__(Probe)
    first.machine.transport = open_transport(first.machine.port)
    again.__init__(first.machine)  # type: ignore[misc]
    assert again.device.hello.boot_id == boot


def test_the_emulator_serves_a_firmware_that_never_sleeps(
    firmware: Callable[..., Firmware], tmp_path: Path
) -> None:
    """The same image with its `wfi` replaced by a no-operation polls the receiver without end."""
    image = firmware("virt-rv32", "zig")
    data = image.elf.read_bytes()
    wfi, nop = 0x1050_0073.to_bytes(4, "little"), 0x0000_0013.to_bytes(4, "little")
    assert data.count(wfi) == 1
    polling = tmp_path / "polling.elf"
    polling.write_bytes(data.replace(wfi, nop))
    with start(Firmware(polling, image.board, "zig", False, image.sizes), "unicorn") as machine:
        device = Probe(machine)
        assert device.device.echo(b"still here") == b"still here"
        assert device.result("loop", 1_001_000)[0] - device.result("loop", 1000)[0] == 2_000_000


def test_the_emulator_speaks_of_bad_usage(tmp_path: Path) -> None:
    program = [sys.executable, str(sim_dir() / "rv32_unicorn.py")]
    missing = subprocess.run(
        [*program, str(tmp_path / "none.elf")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert missing.returncode == 3
    assert "cannot read" in missing.stderr
    assert "Traceback" not in missing.stderr
    odd = subprocess.run([*program, "x", "--ram", "1:2"], capture_output=True, text=True)
    assert odd.returncode == 2


def test_bytes_survive_both_ways_at_speed(firmware: Callable[..., Firmware]) -> None:
    """A megabyte of frames' worth of echoes through the emulator in a few seconds."""
    with start(firmware("virt-rv32", "zig"), "unicorn") as machine:
        device = Probe(machine).device
        message = os.urandom(200)
        begin = time.monotonic()
        for _ in range(10):
            assert device.echo_many([message] * 500) == [message] * 500
        assert 1e6 / (time.monotonic() - begin) > 100_000
        assert device.stats.bad_frames == 0


def test_qemu_without_icount_counts_no_instructions(tmp_path: Path) -> None:
    """Its counter is then of this computer's time: a figure of it would be another each time."""
    need("zig")
    need("qemu-system-riscv32")
    board = find_board("virt-rv32")
    qemu = board.machines["qemu"]
    at = qemu.argv.index("-icount")
    bare = qemu.model_copy(update={"argv": qemu.argv[:at] + qemu.argv[at + 2 :]})
    package = small_package()
    built = make(package, board, tmp_path / "build", toolchain="zig")
    for spec, counted in ((qemu, True), (bare, False)):
        on = board.model_copy(update={"machines": {"qemu": spec}})
        firmware = replace(built.firmware, board=on)
        target = SessionTarget(on, replace(built, firmware=firmware), "qemu")
        folder = SessionFolder(tmp_path / f"session-{counted}")
        result, _ = run(package, target, package_stream(package).head(3), folder)
        assert result["mismatches"] == 0
        assert (result["instructions_per_inference"] is not None) is counted

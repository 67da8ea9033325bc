"""A kernel that does not end: the board's watchdog resets the device, and the host names it.

In the machine an instruction takes 16 ns, so that the shortest period that the board may have,
which is longer than a round of SysTick, passes in a second. Register models of the parts that no
emulator has count their watchdogs' own clocks.
"""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from link_agent import C_TESTS
from once import Once
from probes import PROBE, Probe, tool_of
from spikelet.board import Firmware, boards, build, start
from spikelet.board.spec import Board, derived_board, find_board
from spikelet.link import Device, DeviceReset
from support import need

PERIOD_MS = 700
ENDLESS = 0x7FFF_FFFF  # loops
POWER, REQUEST, WATCHDOG = 0, 1, 3
MODELS = "registers"
MODELLED = [name for name, board in boards().items() if MODELS in board.machines]
LONG = {"nucleo-h743zi"}  # the second of a family
NAMED = {"esp32-c3"}  # whose watchdog interrupts before it resets
SHORT_MS = 200  # longer than a round of SysTick at 120 MHz
ROUND_CYCLES = 402  # of LOOP, with PROBE_SLOW


def board() -> Board:
    name = "mps2-an386"
    argv = [part.replace("shift=0", "shift=4") for part in find_board(name).machines["qemu"].argv]
    return derived_board(
        {
            "extends": name, "name": name, "description": "with a short watchdog",
            "defines": {"SPK_WATCHDOG_MS": PERIOD_MS}, "machines": {"qemu": {"argv": argv}},
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def firmware(tmp_path_factory: pytest.TempPathFactory) -> Firmware:
    need("qemu-system-arm")
    need("arm-none-eabi-gcc")
    folder = tmp_path_factory.mktemp("echo")
    shutil.copy(C_TESTS / "model_echo.c", folder / "model.c")
    return build(folder, board(), folder / "build", toolchain="gcc")


def test_an_endless_kernel_is_reset_and_named(firmware: Firmware) -> None:
    with start(firmware, "qemu") as machine:
        device = Device(machine.transport, 30.0)
        device.put("bomb", bytes(4) + ENDLESS.to_bytes(4, "little"))
        with pytest.raises(DeviceReset) as caught:
            device.run(deadline_s=60.0)
        assert caught.value.cause.startswith("its watchdog: a request took longer")
        told = re.search(r"at pc 0x(\w{8})", caught.value.cause)
        assert told is not None
        assert "spk_model_step" in functions_at(firmware.elf, int(told[1], 16))
        info = device.reconnect()
        assert (info.reset_cause, info.boot_id, info.fault_pc) == (WATCHDOG, 2, int(told[1], 16))
        device.put("bomb", bytes(8))
        assert device.run().finished  # and it works on


def functions_at(elf: Path, address: int) -> list[str]:
    with elf.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        assert table is not None
        spans = [(s["st_value"] & ~1, s["st_size"], s.name) for s in table.iter_symbols()]
    return [name for begin, size, name in spans if begin <= address < begin + size]


def test_an_idle_device_is_not_reset(firmware: Firmware) -> None:
    with start(firmware, "qemu") as machine:
        device = Device(machine.transport, 30.0)
        time.sleep(2.5 * PERIOD_MS / 1000)
        assert device.echo(b"still there") == b"still there"
        assert device.reconnect().boot_id == 1


def short(name: str) -> Board:
    """With a short watchdog."""
    return derived_board({"extends": name, "name": name, "defines": {"SPK_WATCHDOG_MS": SHORT_MS}})


def modelled(once: Once, name: str) -> Firmware:
    """The probe with a short watchdog."""
    need("unicorn")
    need(tool_of(name, "zig"))
    board = short(name)
    made: Firmware = once(
        f"watchdog-{name}", lambda room: build(PROBE, board, room, "zig", defines=["PROBE_SLOW"])
    )
    return made


EACH = [pytest.param(name, marks=[pytest.mark.long] * (name in LONG)) for name in MODELLED]


@pytest.mark.parametrize("name", EACH)
def test_a_part_without_an_emulator_is_reset_by_its_watchdog(name: str, once: Once) -> None:
    """What takes nine tenths of the period is done; what takes longer is cut off."""
    made = modelled(once, name)
    assert made.board.mhz is not None
    period = int(made.board.mhz * 1000 * SHORT_MS) // ROUND_CYCLES  # rounds
    with start(made, MODELS) as machine:
        host = Probe(machine)
        assert host.device.hello.reset_cause == POWER
        for _ in range(2):
            host.obey("loop", period * 9 // 10)
        assert host.device.hello.boot_id == 1
        with pytest.raises(DeviceReset):
            host.obey("loop", ENDLESS)
        info = host.device.reconnect()
        assert (info.reset_cause, info.boot_id) == (WATCHDOG, 2)
        if name in NAMED:
            assert {"obey", "spk_model_start"} & set(functions_at(made.elf, info.fault_pc))
        assert host.obey("loop", 1).finished
        assert host.device.reset().reset_cause == REQUEST


@pytest.mark.long
def test_a_part_whose_interrupt_is_not_served_is_reset_all_the_same(tmp_path: Path) -> None:
    """The second stage of the ESP32-C3's watchdog: the part's own cause of the reset."""
    need("unicorn")
    need(tool_of("esp32-c3", "zig"))
    folder = Path(shutil.copytree(find_board("esp32-c3").folder, tmp_path / "board"))
    source = folder / "watchdog_esp32c3.c"
    text = source.read_text(encoding="utf-8")
    line = "reg_write(TIMG_INT_ENA_TIMERS, INT_WDT);"
    assert text.count(line) == 1
    source.write_text(text.replace(line, ""), encoding="utf-8")
    board = short("esp32-c3").model_copy(update={"folder": folder})
    made = build(PROBE, board, tmp_path / "image", "zig", defines=["PROBE_SLOW"])
    with start(made, MODELS) as machine:
        host = Probe(machine)
        with pytest.raises(DeviceReset):
            host.obey("loop", ENDLESS)
        info = host.device.reconnect()
        assert (info.reset_cause, info.boot_id, info.fault_pc) == (WATCHDOG, 2, 0)


@pytest.mark.parametrize("name", EACH)
def test_an_idle_part_is_not_reset(name: str, once: Once) -> None:
    with start(modelled(once, name), MODELS) as machine:
        device = Probe(machine).device
        time.sleep(2.5 * SHORT_MS / 1000)
        assert device.echo(b"still there") == b"still there"
        assert device.reconnect().boot_id == 1

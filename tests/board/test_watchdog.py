"""A kernel that does not end: the board's watchdog resets the device, and the host names it.

In the machine an instruction takes 16 ns, so that the shortest period that the board may have,
which is longer than a round of SysTick, passes in a second.
"""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from link_agent import C_TESTS
from spikelet.board import Firmware, build, start
from spikelet.board.spec import Board, derived_board, find_board
from spikelet.link import Device, DeviceReset
from support import need

PERIOD_MS = 700
ENDLESS = 0x7FFF_FFFF  # loops
WATCHDOG = 3


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

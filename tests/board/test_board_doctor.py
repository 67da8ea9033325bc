"""The doctor: what it finds here, and what it says when something is missing."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from spikelet.board import Check, doctor
from spikelet.board.toolchain import zig_path
from support import need


def by_name() -> dict[str, Check]:
    return {check.name: check for check in doctor()}


def test_what_runs_these_tests_is_found() -> None:
    found = by_name()
    assert found["python"].ok
    assert found["python"].found == ".".join(map(str, sys.version_info[:3]))
    assert found["zig"].ok == (zig_path() is not None)
    assert found["unicorn"].ok == (importlib.util.find_spec("unicorn") is not None)
    for name in ("onnx", "tflite"):
        there = importlib.util.find_spec(name) is not None
        assert found[name].ok == there and found[name].use == "import"
        assert there or "spikelet[import]" in found[name].fix
    for check in found.values():
        assert bool(check.fix) != check.ok
        assert check.needed_for


def test_the_system_tools_are_found() -> None:
    need("qemu-system-riscv32")
    need("clang")
    found = by_name()
    assert found["qemu-system-riscv32"].found.startswith("QEMU emulator version")
    assert found["clang sanitizers"].found.endswith("address, undefined, fuzzer")


def test_what_is_missing_comes_with_a_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "apt-get").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("spikelet.board.flashing.MOUNTS", ())
    found = by_name()
    assert found["pyocd"].fix == f"{sys.executable} -m pip install pyocd"
    assert found["openocd"].fix.endswith("apt-get install -y openocd")
    board = found["board microbit"]
    assert (board.ok, board.fix, board.needed) == (False, found["pyocd"].fix, True)
    assert not found["openocd"].needed and found["openocd"].use == board.use == "flash"
    for name, package in (
        ("qemu-system-riscv32", "qemu-system-misc"),
        ("qemu-system-arm", "qemu-system-arm"),
        ("arm-none-eabi-gcc", "gcc-arm-none-eabi"),
        ("riscv64-unknown-elf-gcc", "gcc-riscv64-unknown-elf"),
        ("clang sanitizers", "clang"),
        ("host cc", "gcc"),
    ):
        assert not found[name].ok
        assert found[name].use == "more"
        assert found[name].fix.endswith(f"apt-get install -y {package}")
    assert found["zig"].ok  # it comes from PyPI, not from the PATH


def test_one_tool_is_enough_to_flash_a_board(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "openocd").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("spikelet.board.flashing.MOUNTS", ())
    found = by_name()
    assert found["board microbit"].ok and found["board microbit"].found == "by openocd"
    assert found["openocd"].found == str(tmp_path / "openocd") and not found["pyocd"].ok
    assert found["serial ports"].use == "flash"

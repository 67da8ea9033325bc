"""Board `native` compiles and links for macOS by zig. No Mac has run it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from spikelet.board import build, load_board
from spikelet.codegen import generate
from spikelet.package import Package
from support import need

PACKAGE = Path(__file__).parents[1] / "fixtures" / "v0_1_0" / "digits_snn.spk"
BOARD = """
extends = "native"
name = "macos"
description = "board native for macOS"
[toolchains.zig]
command = ["zig", "cc"]
flags = ["-target", "{target}"]
"""
MACH_O_64, CPU = b"\xcf\xfa\xed\xfe", {"aarch64-macos": 0x0100000C, "x86_64-macos": 0x01000007}


@pytest.mark.long
@pytest.mark.parametrize("target", CPU)
def test_the_native_board_links_for_macos(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("zig")
    folder = tmp_path / "macos"
    folder.mkdir()
    (folder / "board.toml").write_text(BOARD.format(target=target), encoding="utf-8")
    board, package = load_board(folder), Package.load(PACKAGE)
    generate(package.graph, package.sha256, tmp_path / "made", target=board.target)
    monkeypatch.setattr(sys, "platform", "darwin")
    firmware = build(tmp_path / "made", board, tmp_path / "made", "zig")
    head = firmware.elf.read_bytes()[:8]
    assert head[:4] == MACH_O_64 and int.from_bytes(head[4:], "little") == CPU[target]
    assert firmware.flash_bytes == firmware.ram_bytes == 0  # sizes are read from ELF alone

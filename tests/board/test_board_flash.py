"""Flashing: the command line of each tool, the files that it reads, what failures are told as."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from adafruit_uf2 import uf2conv

from once import Once
from probes import PROBE
from spikelet.board import build, find_board, flash, plan_flash
from spikelet.board.flash_spec import TOOLS
from spikelet.board.image_files import flash_content, uf2
from spikelet.board.spec import Board, load_board
from spikelet.errors import SpikeletError, UsageError
from support import need

CHIPS = {
    "pyocd": "nrf51822", "openocd": "board/nordic_nrf51_dk.cfg", "probe-rs": "nRF51822_xxAA",
    "picotool": "", "esptool": "esp32c3", "wlink": "CH32V30X", "dfu-util": "0483:df11",
}  # fmt: skip
# What each tool is called with; {elf} and the like are the files.
CALLS = {
    "pyocd": ["load --no-wait --target nrf51822 {hex}"],
    "openocd": ["-f board/nordic_nrf51_dk.cfg -c |program {{{hex}}} verify reset exit"],
    "probe-rs": ["download --chip nRF51822_xxAA {elf}", "reset --chip nRF51822_xxAA"],
    "picotool": ["load -v -x {elf}"],
    "esptool": ["--chip esp32c3 --port /dev/ttyUSB7 write-flash 0x0 {bin}"],
    "wlink": ["flash --chip CH32V30X --address 0x0 {bin}"],
    "dfu-util": ["--device 0483:df11 --alt 0 --dfuse-address 0x0:leave --download {bin}"],
}
FAMILY = 0xADA52840  # nRF52840, in Microsoft's list


@pytest.fixture(scope="session")
def image(once: Once) -> Path:
    need("zig")
    return once("flash-microbit", lambda folder: build(PROBE, "microbit", folder).elf)


@pytest.fixture
def elf(image: Path, tmp_path: Path) -> Path:
    """A copy, with room for files beside it and a space in its path."""
    path = tmp_path / "a folder" / "firmware.elf"
    path.parent.mkdir()
    path.write_bytes(image.read_bytes())
    return path


def board_with(folder: Path, flashing: str) -> Board:
    """An Arm board whose flash begins at 0, like the micro:bit's, with one tool."""
    folder.mkdir(exist_ok=True)
    text = f'name = "{folder.name}"\ndescription = "one"\nextends = "mps2-an386"\n{flashing}'
    (folder / "board.toml").write_text(text)
    return load_board(folder)


def stand_in(folder: Path, name: str, script: str) -> None:
    """A program of that name, the first on the PATH of the test that calls it."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize("tool", CALLS)
def test_each_tool_is_called_as_its_manual_says(
    elf: Path, tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in records every word that it is called with."""
    log = tmp_path / "calls"
    stand_in(tmp_path / "bin", tool, f"""printf '%s|' "$@" >> '{log}'; echo >> '{log}'""")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    chip = f'chip = "{CHIPS[tool]}"\n' if CHIPS[tool] else ""
    board = board_with(tmp_path / "mine", f"[flash.{tool}]\n{chip}")
    planned = plan_flash(elf, board, tool, "/dev/ttyUSB7", ["--more"])
    flash(planned)
    files = {kind: str(elf.with_suffix(f".{kind}")) for kind in ("elf", "hex", "bin")}
    wanted = []
    for call in CALLS[tool]:
        head, _, whole = call.partition("|")
        words = [*head.split(), *([whole] if whole else [])]
        wanted.append([*(word.format(**files) for word in words), "--more"])
    assert [line.split("|")[:-1] for line in log.read_text().splitlines()] == wanted
    assert [list(command[1:]) for command in planned.commands] == wanted


def test_every_known_tool_is_recorded() -> None:
    assert set(TOOLS) - {"copy"} == set(CALLS) == set(CHIPS)


def test_a_tool_that_fails_is_told_with_its_words(
    elf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path / "bin", "pyocd", "echo looking; echo 'no probe' >&2; exit 7")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    lines: list[str] = []
    with pytest.raises(SpikeletError) as caught:
        flash(plan_flash(elf, find_board("microbit"), "pyocd"), lines.append)
    assert caught.value.exit_code == 3
    assert "exit code 7" in caught.value.what and "no probe" in caught.value.what
    assert lines == ["looking", "no probe"]


def test_the_second_call_waits_for_the_first(
    elf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "calls"
    stand_in(tmp_path / "bin", "probe-rs", f"echo $1 >> '{log}'; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(SpikeletError):
        flash(plan_flash(elf, find_board("microbit"), "probe-rs"))
    assert log.read_text().split() == ["download"]


def test_a_missing_tool_comes_with_the_command_that_installs_it(
    elf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "apt-get").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("spikelet.board.flashing.MOUNTS", ())
    for tool, command in (
        ("pyocd", f"{sys.executable} -m pip install pyocd"),
        ("openocd", "apt-get install -y openocd"),
        ("probe-rs", "cargo install probe-rs-tools --locked"),
    ):
        planned = plan_flash(elf, find_board("microbit"), tool)
        with pytest.raises(UsageError) as caught:
            flash(planned)
        assert caught.value.exit_code == 2
        assert caught.value.next.removeprefix("sudo ") == command == planned.missing


def test_a_drive_is_found_by_its_label_and_copied_to(
    elf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spikelet.board.flashing.MOUNTS", (str(tmp_path / "media"),))
    microbit = find_board("microbit")
    assert "MICROBIT" in plan_flash(elf, microbit, "copy").missing
    place = tmp_path / "media" / "somebody" / "MICROBIT"
    place.mkdir(parents=True)
    monkeypatch.setenv("PATH", str(tmp_path))  # without pyocd
    planned = plan_flash(elf, microbit)
    assert planned.tool == "copy" and not planned.missing
    flash(planned)
    assert (place / "firmware.hex").read_bytes() == elf.with_suffix(".hex").read_bytes()
    elsewhere = tmp_path / "drive"
    elsewhere.mkdir()
    flash(plan_flash(elf, microbit, "copy", str(elsewhere)))
    with pytest.raises(UsageError, match="--port /absent is no folder"):
        plan_flash(elf, microbit, "copy", "/absent")
    assert (elsewhere / "firmware.hex").is_file()


def test_files_are_what_other_peoples_readers_read(elf: Path, tmp_path: Path) -> None:
    """objcopy makes the same .bin, and .hex with the same content; Microsoft's converter reads."""
    need("arm-none-eabi-objcopy")
    microbit = find_board("microbit")
    board = board_with(
        tmp_path / "mine",
        '[flash.all]\narguments = ["{hex}", "{bin}", "{uf2}"]\nfamily = 0xADA52840\n',
    )
    files = plan_flash(elf, board, "all").files
    other, again = tmp_path / "other.bin", tmp_path / "again.bin"
    objcopy = ["arm-none-eabi-objcopy"]
    subprocess.run([*objcopy, "--gap-fill", "0xff", "-O", "binary", elf, other], check=True)
    subprocess.run(
        [*objcopy, "--gap-fill", "0xff", "-I", "ihex", "-O", "binary", files["hex"], again],
        check=True,
    )
    wanted = other.read_bytes()
    assert files["bin"].read_bytes() == wanted == again.read_bytes()
    data = files["uf2"].read_bytes()
    assert uf2conv.is_uf2(data)
    assert uf2conv.convert_from_uf2(data)[: len(wanted)] == wanted
    assert (uf2conv.appstartaddr, int.from_bytes(data[28:32], "little")) == (0, FAMILY)
    content = flash_content(elf, microbit)
    content.puts(0x2_0080, b"far")  # half a block, 100 KB further
    blocks = uf2(content, FAMILY)
    numbers = [
        int.from_bytes(blocks[at + 20 : at + 24], "little") for at in range(0, len(blocks), 512)
    ]
    assert numbers == list(range(len(blocks) // 512))
    assert uf2conv.convert_from_uf2(blocks)[0x2_0080:0x2_0084] == b"far\xff"


@pytest.mark.parametrize(
    ("flashing", "words"),
    [
        ('[flash.pyocd]\ntarget = "x"', "flash.pyocd.target: there is no such field"),
        ("[flash.pyocd]\n", "pyocd: needs `chip`: a target that `pyocd list --targets` names"),
        ("[flash.esptol]\n", "esptol: is no tool that is known here, so it needs `arguments`; "
                             "did you mean 'esptool'?"),
        ('[flash.mine]\narguments = ["{heks}"]', "{heks} is no placeholder; there are {elf}"),
        ('[flash.mine]\narguments = ["{hex"]', "expected '}' before end of string"),
        ('[flash.mine]\narguments = ["{uf2}"]', "{uf2} needs `family`"),
        ('[flash.mine]\narguments = ["{uf2}"]\nfamily = -1', "flash.mine.family"),
        ('[flash.copy]\nchip = "M"\narguments = ["-x", "{hex}"]', "copy: `arguments` is one file"),
        ('[flash.copy]\nchip = ""', "copy: needs `chip`: the label of the board's USB drive"),
    ],
)  # fmt: skip
def test_a_faulty_table_is_named_with_its_tool(flashing: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        board_with(tmp_path / "mine", flashing)
    assert words in caught.value.what


def test_what_cannot_be_flashed(elf: Path, tmp_path: Path) -> None:
    microbit, rv32 = find_board("microbit"), find_board("virt-rv32")
    board = board_with(tmp_path / "mine", '[flash.esptool]\nchip = "esp32c3"\n')
    (tmp_path / "text.elf").write_text("no image")
    moved = board_with(
        tmp_path / "moved",
        "[flash.picotool]\n[memory]\nflash = { base = 0x08000000, bytes = 0x10000 }\n",
    )
    for call, words in (
        (lambda: plan_flash(elf, rv32), "virt-rv32 is run on this computer"),
        (lambda: plan_flash(elf, microbit, "esptool"), "it has: pyocd, copy, openocd, probe-rs"),
        (lambda: plan_flash(elf, board, "esptool"), "esptool of board mine needs --port"),
        (lambda: plan_flash(tmp_path / "text.elf", microbit), "is no image"),
        (lambda: plan_flash(tmp_path / "gone.elf", microbit), "is no image"),
        (lambda: plan_flash(elf, moved), "flash of board moved is 0x8000000 to 0x8010000"),
        (lambda: flash_content(elf, rv32), "bytes for 0x0; flash of board virt-rv32"),
    ):
        with pytest.raises(UsageError) as caught:
            call()
        assert words in caught.value.what

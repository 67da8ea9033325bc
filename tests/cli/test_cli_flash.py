"""`spikelet flash` and `spikelet run --flash`, with a micro:bit in QEMU behind a stand-in tool."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import pages
from cli_support import SAMPLES, Spikelet, small_package
from once import Once
from spikelet.board import find_board
from spikelet.package import Package
from spikelet.run import make
from support import need, on_path

DOCS = Path(__file__).resolve().parents[2] / "docs"
# Flashes nothing: starts the emulated board with the very .hex file, its UART behind a TCP port.
# -daemonize: the call ends when QEMU listens.
STAND_IN = """#!/bin/sh
[ "$1" = load ] || exit 9
[ -f {room}/pid ] && kill -9 $(cat {room}/pid) && rm {room}/pid
for word; do last=$word; done
cp "$last" {room}/flashed.hex
exec qemu-system-arm -M microbit -display none -monitor none -net none -icount shift=0 -daemonize \\
  -pidfile {room}/pid -chardev socket,id=link,host=127.0.0.1,port={port},server=on,wait=off \\
  -serial chardev:link -device loader,file={room}/flashed.hex
"""


@pytest.fixture(scope="session")
def elf(once: Once) -> Path:
    need("zig")
    return once(
        "small-microbit", lambda f: make(small_package(), find_board("microbit"), f).firmware.elf
    )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def board_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A stand-in `pyocd` on the PATH; the URL at which the board answers once it was called."""
    need("qemu-system-arm")
    need("zig")
    port, room = free_port(), tmp_path / "tool"
    room.mkdir()
    (room / "pyocd").write_text(STAND_IN.format(room=room, port=port))
    (room / "pyocd").chmod(0o755)
    monkeypatch.setenv("PATH", f"{room}{os.pathsep}{os.environ['PATH']}")
    yield f"socket://127.0.0.1:{port}"
    if (room / "pid").exists():
        os.kill(int((room / "pid").read_text()), signal.SIGKILL)


def test_run_flash_writes_the_board_and_compares_every_sample(
    spikelet: Spikelet, package: Path, board_port: str, tmp_path: Path
) -> None:
    run = ("run", package, "-b", "microbit", "--port", board_port, "--json")
    assert spikelet(*run).code == 3  # nothing there before
    result = spikelet(*run, "--flash")
    assert result.code == 0, result.err
    found = result.json
    assert (found["mismatches"], found["samples"], found["machine"]) == (0, SAMPLES, board_port)
    assert found["cycles_per_inference"] > 0 and found["build"]["board"] == "microbit"
    built = tmp_path / "spikelet-sessions" / "small-microbit" / "build" / "firmware.hex"
    assert (tmp_path / "tool" / "flashed.hex").read_bytes() == built.read_bytes()
    assert "pyocd load --no-wait --target nrf51822" in result.err
    again = spikelet(*run, "--limit", 3)  # flashed before
    assert again.code == 0 and again.json["mismatches"] == 0


def test_a_roster_flashes_what_has_no_command_of_its_own(
    spikelet: Spikelet, package: Path, board_port: str, tmp_path: Path
) -> None:
    roster = f"[devices.desk]\nboard = 'microbit'\nport = '{board_port}'\n"
    (tmp_path / "bench.toml").write_text(roster)
    result = spikelet("run", package, "--roster", "bench.toml", "--flash", "--limit", 2, "--json")
    assert result.code == 0, result.err
    (device,) = result.json["devices"]
    assert (device["name"], device["mismatches"], device["samples"]) == ("desk", 0, 2)
    flashed = (tmp_path / "tool" / "flashed.hex").read_bytes()
    own = f"flash = ['{tmp_path}/tool/pyocd', 'load', '--of', '{{name}}', '{{hex}}']\n"
    (tmp_path / "bench.toml").write_text(roster + own)
    (tmp_path / "tool" / "flashed.hex").unlink()
    again = spikelet("run", package, "--roster", "bench.toml", "--flash", "--limit", 2, "--json")
    assert again.code == 0, again.err
    assert (tmp_path / "tool" / "flashed.hex").read_bytes() == flashed
    (tmp_path / "tool" / "pyocd").write_text("#!/bin/sh\necho no probe is here; exit 1\n")
    failed = spikelet("run", package, "--roster", "bench.toml", "--flash", "--limit", 2, "--json")
    error = failed.json["devices"][0]["error"]
    assert failed.code == 3 and "desk: flash ended with exit code 1" in error["what"]
    assert "no probe is here" in error["what"] and "--of desk" in error["next"]


def test_bench_flash_measures_the_layers(
    spikelet: Spikelet, package: Path, board_port: str
) -> None:
    bench = ("bench", package, "-b", "microbit", "--limit", 2, "--json")
    result = spikelet(*bench, "--port", board_port, "--flash")
    assert result.code == 0, result.err
    layers = [row["ticks"] for row in result.json["layers"]]
    assert sum(layers) > 0.9 * result.json["cycles_per_inference"] > 0
    assert result.json["flash_bytes"] > 0 == result.json["mismatches"]


def test_a_dry_run_writes_the_files_and_calls_nothing(
    spikelet: Spikelet, package: Path, board_port: str, tmp_path: Path
) -> None:
    del board_port
    result = spikelet("flash", package, "-b", "microbit", "--dry-run", "--json")
    found = result.json
    assert result.code == 0 and not found["flashed"] and found["missing"] is None
    hex_file = Path(found["files"]["hex"])
    built = tmp_path / "spikelet-build" / "small-microbit"
    assert hex_file == built / "firmware.hex" and hex_file.is_file()
    assert found["commands"] == [
        [str(tmp_path / "tool" / "pyocd"), "load", "--no-wait", "--target", "nrf51822",
         str(hex_file)],
    ]  # fmt: skip
    assert not (tmp_path / "tool" / "pid").exists()
    shown = spikelet("flash", found["image"], "-b", "microbit", "--dry-run", "--", "--uid", "7")
    assert shown.code == 0 and "would call" in shown.out and "--uid 7" in shown.out


def test_a_tool_that_fails_ends_with_3(
    spikelet: Spikelet, elf: Path, board_port: str, tmp_path: Path
) -> None:
    del board_port
    (tmp_path / "tool" / "pyocd").write_text("#!/bin/sh\necho No connected debug probes; exit 1\n")
    result = spikelet("flash", elf, "-b", "microbit", "--json")
    assert result.code == 3 and result.json["error"]["kind"] == "FlashFailed"
    assert "No connected debug probes" in result.json["error"]["what"]


def test_what_flash_refuses(spikelet: Spikelet, package: Path, tmp_path: Path) -> None:
    (tmp_path / "x.elf").write_bytes(b"\x7fELF, and no more")
    for arguments, said in (
        (("flash", package), "give --board"),
        (("flash", package, "-b", "native"), "board native is run on this computer"),
        (("flash", "gone.spk", "-b", "microbit"), "gone.spk"),
        (("flash", "x.elf", "-b", "microbit"), "x.elf: is no image"),
        (("flash", "x.elf", "-b", "microbit", "--layers"), "nothing is built"),
        (("flash", package, "-b", "microbit", "--tool", "esptool"), "has: pyocd, copy, openocd"),
        (("run", package, "-b", "microbit", "--flash"), "--flash without --port"),
        (("run", package, "-b", "native", "--flash", "--port", "/dev/null"), "no flash to write"),
    ):
        result = spikelet(*arguments, "--json")
        assert result.code == 2 and said in result.json["error"]["what"], (arguments, result)


def test_the_script_of_the_docs_runs_to_the_letter(board_port: str, tmp_path: Path) -> None:
    """With the package and the port put in."""
    whole = small_package()
    few = {name: values[:3] for name, values in whole.vectors.items()}
    Package(whole.graph, few, whole.manifest).save(tmp_path / "few.spk")
    (script,) = (b.text for b in pages.blocks("flash.md") if b.text.startswith("#!"))
    (tmp_path / "check.sh").write_text(script)
    ended = subprocess.run(
        ["sh", "check.sh", "few.spk", "microbit", board_port],
        cwd=tmp_path, env=on_path(), capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "mismatches" in ended.stdout and find_board("microbit").flash

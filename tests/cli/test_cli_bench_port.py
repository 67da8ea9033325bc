"""`spikelet bench --port`: a device behind a pseudo-terminal has the figures of a machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli_support import Spikelet, serve, small_package
from spikelet.board import find_board
from spikelet.board.build import Firmware
from spikelet.board.machine import Machine, start
from spikelet.package import Package
from spikelet.run import make
from support import need

SAMPLES = 6


def on_pty(room: Path) -> Path:
    """virt-rv32, whose machine is behind a pseudo-terminal."""
    argv = json.dumps(find_board("virt-rv32").machines["unicorn"].argv)
    folder = room / "rv32pty"
    folder.mkdir()
    (folder / "board.toml").write_text(
        'extends = "virt-rv32"\nname = "virt-rv32"\ndescription = "behind a pty"\n'
        f'[machines.pty]\nargv = {argv}\npty = true\nmodule = "unicorn"\n'
    )
    return folder


@pytest.fixture(scope="module")
def images(package: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Firmware]:
    """By whether it is a trace build."""
    need("zig")
    room = tmp_path_factory.mktemp("images")
    board, loaded = find_board(str(on_pty(room))), Package.load(package)
    return {
        trace: make(loaded, board, room / str(trace), trace=trace).firmware
        for trace in (False, True)
    }


def plugged_in(firmware: Firmware) -> Machine:
    machine = start(firmware, "pty")
    machine.transport.close()
    return machine


def test_the_figures_are_those_of_the_machine(
    spikelet: Spikelet, package: Path, images: dict[bool, Firmware]
) -> None:
    bench = ("bench", package, "-b", "virt-rv32", "--limit", SAMPLES, "--session")
    own = spikelet(*bench, "own", "--json").json
    early = spikelet(*bench, "s", "--port", "gone", "--layers", "--json")
    assert early.code == 2 and early.json["error"]["next"]
    with plugged_in(images[False]) as device:
        result = spikelet(*bench, "s", "--port", device.port, "--json")
        whole = result.json
        assert result.code == 0, result.err
        shown = spikelet(*bench, "other", "--port", device.port)
        assert shown.code == 0 and "is measured as a whole: no figures by layer" in shown.out
        assert "then the same command with --layers" in shown.err
        refused = spikelet(*bench, "s", "--port", device.port, "--layers", "--json")
        assert (
            refused.code == 2 and "cannot stop between its layers" in refused.json["error"]["what"]
        )
    assert (whole["mismatches"], whole["samples"], whole["machine"]) == (0, SAMPLES, device.port)
    assert whole["ticks"] == own["ticks"] and whole["tick"] == "instruction"
    assert whole["instructions_per_inference"] == own["instructions_per_inference"]
    assert whole["stack_bytes"] == own["stack_bytes"] and whole["flash_bytes"] is None
    assert whole["layer_measurement"] is None
    assert [row["name"] for row in whole["layers"]] == [row["name"] for row in own["layers"]]
    with plugged_in(images[True]) as device:
        result = spikelet(*bench, "s", "--port", device.port, "--layers", "--json")
        assert result.code == 0, result.err
        early = spikelet(*bench, "other", "--port", device.port, "--json")
        assert early.code == 2 and "holds a trace build" in early.json["error"]["what"]
    layers = result.json
    assert layers["layer_measurement"] == own["layer_measurement"]
    assert [row["ticks"] for row in layers["layers"]] == [row["ticks"] for row in own["layers"]]
    assert layers["ticks"] == own["ticks"]
    compared = spikelet("compare", "own", "s", "--fail-if", "instructions>+0", "--json")
    assert compared.code == 0
    assert all(row["instructions"]["change"] == 0 for row in compared.json["layers"])


def test_another_device_is_not_the_one_that_was_run(
    spikelet: Spikelet, package: Path, images: dict[bool, Firmware]
) -> None:
    bench = ("bench", package, "-b", "virt-rv32", "--limit", 2, "--session", "s")
    with plugged_in(images[False]) as device:
        assert spikelet(*bench, "--port", device.port, "--json").code == 0
    path = Path("s/session.json")
    head = json.loads(path.read_text())
    path.write_text(json.dumps({**head, "unique_id": "00ff"}))
    with plugged_in(images[True]) as device:
        other = spikelet(*bench, "--port", device.port, "--layers", "--json")
    assert other.code == 2 and "the session is of 00ff" in other.json["error"]["what"]
    small = small_package()
    small.manifest["seed"] = 1
    small.save(Path("other.spk"))
    words = ("bench", "other.spk", "-b", "virt-rv32", "--session", "s", "--port", "x", "--layers")
    refused = spikelet(*words, "--json")
    assert refused.code == 2 and "has package_sha256" in refused.json["error"]["what"]


def test_a_board_without_a_tick(spikelet: Spikelet, package: Path, tmp_path: Path) -> None:
    elf = make(Package.load(package), find_board("native"), tmp_path / "image").firmware.elf
    with serve(elf) as (url, _):
        result = spikelet("bench", package, "-b", "native", "--port", url, "--limit", 2, "--json")
    assert result.code == 0 and result.json["ticks"]["mean"] is None
    for words in (("--layers",), ("--layers", "--flash", "--port", "x")):
        refused = spikelet("bench", package, "-b", "native", *words, "--json")
        assert refused.code == 2
    hardware = spikelet("bench", package, "-b", "native", "--baud", 9600, "--json")
    assert hardware.code == 2 and "--baud 9600 without --port" in hardware.json["error"]["what"]

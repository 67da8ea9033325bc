"""`spikelet run --roster`: a bench of real processes, of which some die, lie or lose frames."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cli_support import INPUTS, Spikelet, serve, small_package, wrapped_board, wrong_image
from spikelet.board import find_board
from spikelet.board.build import Firmware
from spikelet.board.machine import Machine, start
from spikelet.package import Package
from spikelet.run import SessionFolder, make
from support import need

MANY = 2_000


@pytest.fixture(scope="module")
def firmware(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Firmware:
    folder = tmp_path_factory.mktemp("image")
    return make(Package.load(package), find_board("native"), folder).firmware


def pty(firmware: Firmware) -> Machine:
    """A device behind a pseudo-terminal, which whoever comes may open."""
    machine = start(firmware, "pty")
    machine.transport.close()
    return machine


def write(text: str) -> Path:
    path = Path("bench.toml")
    path.write_text(text)
    return path


def test_one_that_dies_is_named_and_the_others_go_on(
    package: Path, firmware: Firmware, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("gcc")
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(1).integers(0, 256, (MANY, INPUTS)).astype(np.uint8)
    np.savez("many.npz", x=x)
    wrapped_board(tmp_path / "liar", "liar", "lying_device.py", "run-status")
    noise = ("--seed", "7", "--drop", "0.002", "--ber", "1e-6")
    wrapped_board(tmp_path / "noisy", "noisy", "faulty_link.py", *noise)
    with pty(firmware) as first, pty(firmware) as killed:
        roster = write(f"""
            [devices.first]
            board = "native"
            port = "{first.port}"
            [devices.killed]
            board = "native"
            port = "{killed.port}"
            [devices.own]
            board = "native"
            machine = "pty"
            [devices.liar]
            board = "./liar"
            machine = "native"
            [devices.noisy]
            board = "./noisy"
            machine = "native"
        """)
        words = ["run", package, "--roster", roster, "--data", "many.npz", "--session", "s"]
        command = [sys.executable, "-m", "spikelet", *map(str, words), "--json"]
        running = subprocess.Popen(
            [*command, "--toolchain", "gcc"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        samples = Path("s/killed/samples.jsonl")
        deadline = time.monotonic() + 90
        while not samples.is_file() or samples.read_bytes().count(b"\n") < 20:
            assert running.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        killed.process.kill()
        out, err = running.communicate(timeout=120)
    result = json.loads(out)
    assert running.returncode == result["exit_code"] == 3, err
    ends = {device["name"]: device for device in result["devices"]}
    assert {name: device["status"] for name, device in ends.items()} == {
        "first": "good", "killed": "dead", "own": "good", "liar": "dead", "noisy": "good",
    }  # fmt: skip
    for name in ("first", "own", "noisy"):
        assert (ends[name]["samples"], ends[name]["mismatches"]) == (MANY, 0)
    assert ends["noisy"]["link"]["retries"] > 0 == ends["first"]["link"]["retries"]
    assert 20 <= ends["killed"]["samples"] < MANY and ends["killed"]["mismatches"] is None
    assert "closed by the other end" in ends["killed"]["error"]["what"]
    assert ends["liar"]["error"]["cause"] and ends["liar"]["samples"] == 0
    assert "killed: " in err and "liar: " in err and "Traceback" not in err
    assert SessionFolder(Path("s/own")).head()["complete"]


def test_a_device_that_disagrees(spikelet: Spikelet, package: Path, tmp_path: Path) -> None:
    loaded = Package.load(package)
    wrong = wrong_image(
        loaded.graph, loaded.sha256, tmp_path / "wrong", "    spk_lif(&lif1_config,",
        "    struct spk_lif wrong = lif1_config;\n    wrong.leak = 29000;\n    spk_lif(&wrong,",
    )  # fmt: skip
    with serve(wrong) as (url, _):
        roster = write(f"""
            [devices.good]
            board = "native"
            machine = "pty"
            [devices.wrong]
            board = "native"
            port = "{url}"
            [devices.gone]
            board = "native"
            port = "/dev/ttyNOPE"
        """)
        result = spikelet("run", package, "--roster", roster, "--layers", "--json")
    ends = {device["name"]: device for device in result.json["devices"]}
    assert {name: end["status"] for name, end in ends.items()} == {
        "good": "good", "wrong": "mismatches", "gone": "dead",
    }  # fmt: skip
    assert ends["wrong"]["differences"][0]["layer"] == "lif1"
    assert result.code == result.json["exit_code"] == 1
    assert result.json["mismatches"] == ends["wrong"]["mismatches"] > 0


def test_a_device_is_power_cycled_once_when_it_does_not_answer(
    spikelet: Spikelet, package: Path, firmware: Firmware
) -> None:
    other = small_package()
    other.manifest["seed"] = 99
    need("true")
    with pty(firmware) as machine:
        roster = write(f"""
            [devices.a]
            board = "native"
            port = "gone"
            power_cycle = ["ln", "-s", "{machine.port}", "gone"]
        """)
        run = ("run", package, "--roster", roster, "--limit", 3)
        result = spikelet(*run)
        assert result.code == 0 and "3 of 3" in result.out, result.err
        again = spikelet(*run, "--json")  # it answers: there is no need to
        assert again.code == 0
        other.save(Path("other.spk"))
        refused = spikelet("run", "other.spk", "--roster", roster, "--json")
    (device,) = refused.json["devices"]
    assert (refused.code, device["status"]) == (2, "refused")
    assert device["error"]["kind"] == "ModelMismatch"
    failed = spikelet(*run, "--json")
    (device,) = failed.json["devices"]
    assert failed.code == 3 and "power_cycle ended with exit code 1" in device["error"]["what"]


def test_ctrl_c_keeps_what_was_obtained(package: Path, tmp_path: Path) -> None:
    need("gcc")
    x = np.random.default_rng(1).integers(0, 256, (MANY, INPUTS)).astype(np.uint8)
    np.savez(tmp_path / "many.npz", x=x)
    devices = "".join(f"[devices.{n}]\nboard = 'native'\nmachine = 'pty'\n" for n in "ab")
    (tmp_path / "bench.toml").write_text(devices)
    words = [sys.executable, "-m", "spikelet", "run", str(package), "--roster", "bench.toml"]
    words += ["--data", "many.npz", "--session", "s", "--toolchain", "gcc"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = subprocess.Popen(words, cwd=tmp_path, **pipes)  # type: ignore[call-overload]
    samples = [tmp_path / "s" / name / "samples.jsonl" for name in "ab"]
    deadline = time.monotonic() + 90
    while not all(file.is_file() and file.read_bytes().count(b"\n") > 20 for file in samples):
        assert running.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (130, "") and "interrupted: what the devices sent" in err
    counts = [file.read_bytes().count(b"\n") for file in samples]
    assert all(20 < count < MANY for count in counts)
    (again,) = re.findall("`(spikelet .*)` goes on after it", err)
    resumed = subprocess.run(
        [sys.executable, "-m", *shlex.split(again), "--json"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert resumed.returncode == 0, resumed.stderr
    for device in json.loads(resumed.stdout)["devices"]:
        assert (device["samples"], device["mismatches"]) == (MANY, 0)
        first, second = device["link"]["parts"]
        assert first["first"] == 0 < second["first"] == first["samples"]
    assert not list((tmp_path / "s").glob("*.1"))


def test_options_of_one_device_are_refused(spikelet: Spikelet, package: Path) -> None:
    roster = write("[devices.a]\nboard = 'native'\nmachine = 'pty'\n")
    for option in (("--port", "x"), ("--baud", 9600), ("--machine", "pty"), ("--arena", 500)):
        result = spikelet("run", package, "--roster", roster, *option, "--json")
        assert result.code == 2 and option[0] in result.json["error"]["what"]

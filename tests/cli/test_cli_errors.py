"""Bad input and bad links: one clear error, its exit code, nothing lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli_support import INPUTS, SAMPLES, Spikelet, serve, small_package
from spikelet.board import build, find_board
from spikelet.cli import main
from spikelet.codegen import generate
from spikelet.package import Package

MANY = 6_000


def test_unknown_board_names_the_nearest(spikelet: Spikelet, package: Path) -> None:
    result = spikelet("run", package, "--board", "virt-rv3", "--json")
    assert result.code == 2
    error = result.json["error"]
    assert error["exit_code"] == 2 and "'virt-rv3'" in error["what"]
    assert error["cause"] == "did you mean 'virt-rv32'?" and "spikelet boards" in error["next"]
    assert "likely cause: did you mean" in result.err


def test_usage_errors_exit_2(spikelet: Spikelet, package: Path) -> None:
    for arguments, said in (
        ((), "no command"),
        (("run", package, "--port", "socket://127.0.0.1:1"), "without --board"),
        (("run", package, "-b", "native", "--nonsense"), "--nonsense"),
        (("run", package, "-b", "native", "--limit", "many"), "--limit"),
        (("run", package, "-b", "native", "--limit", "0"), "--limit 0"),
        (("fly",), "fly"),
        (("train", "digits_sn"), "'digits_snn'"),
        (("build", package, "-b", "native", "--toolchain", "tcc"), "tcc"),
        (("run", package, "-b", "native", "--machine", "moon"), "moon"),
        (("report", "nowhere"), "nowhere"),
    ):
        result = spikelet(*arguments)
        assert result.code == 2, (arguments, result)
        assert said in result.err and ("next:" in result.err or "it has:" in result.err)
        as_json = spikelet(*arguments, "--json") if arguments else None
        if as_json is not None:
            assert as_json.json["error"]["exit_code"] == 2


def test_help_and_version(spikelet: Spikelet) -> None:
    assert spikelet("--help").code == 0
    assert spikelet("--version").out.startswith("spikelet ")
    for command in ("demo", "train", "import", "inspect", "build", "run", "bench", "boards",
                    "export", "models", "doctor", "report"):  # fmt: skip
        result = spikelet(command, "--help")
        assert result.code == 0 and "--json" in result.out


def _flip(path: Path, member: str, out: Path) -> None:
    """A copy with one bit of a member changed, packed anew."""
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(out, "w") as after:
        for name in before.namelist():
            data = bytearray(before.read(name))
            if name == member:
                data[len(data) // 2] ^= 1
            after.writestr(name, bytes(data))


@pytest.mark.parametrize("command", ["inspect", "build", "run", "bench", "demo"])
def test_missing_package(spikelet: Spikelet, command: str) -> None:
    board = [] if command == "inspect" else ["--board", "native"]
    package = ["--package", "gone.spk"] if command == "demo" else ["gone.spk"]
    result = spikelet(command, *package, *board, "--json")
    assert result.code == 2 and "gone.spk: no such file" in result.json["error"]["what"]


def test_damaged_packages(spikelet: Spikelet, package: Path) -> None:
    data = package.read_bytes()
    Path("short.spk").write_bytes(data[: len(data) // 2])
    Path("empty.spk").write_bytes(b"")
    _flip(package, "tensors.npz", Path("altered.spk"))
    _flip(package, "manifest.json", Path("manifest.spk"))
    for name, said in (
        ("short.spk", "truncated or damaged"),
        ("empty.spk", "truncated or damaged"),
        ("altered.spk", "tensors.npz does not match the hash"),
    ):
        result = spikelet("run", name, "-b", "native")
        assert result.code == 2 and said in result.err and "next:" in result.err
    assert spikelet("inspect", "manifest.spk").code in (0, 2)  # a note in it, or its hashes


def test_any_flipped_byte_of_a_package_is_no_stack_trace(spikelet: Spikelet, package: Path) -> None:
    data = package.read_bytes()
    for position in range(0, len(data), max(1, len(data) // 150)):
        broken = bytearray(data)
        broken[position] ^= 0x55
        Path("flipped.spk").write_bytes(bytes(broken))
        assert spikelet("inspect", "flipped.spk", "--json").code in (0, 2), position


def test_a_package_whose_golden_has_changed(spikelet: Spikelet) -> None:
    stale = small_package()
    stale.vectors["golden.counts"] = stale.vectors["golden.counts"].copy()
    stale.vectors["golden.counts"][17, 1] += 1
    stale.save(Path("stale.spk"))
    result = spikelet("run", "stale.spk", "-b", "native", "--json")
    assert result.code == 2
    assert "golden's counts of sample 17" in result.json["error"]["what"]


class _Pickled:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch pickled-code-ran",)


def test_bad_data(spikelet: Spikelet, package: Path) -> None:
    x = small_package().vectors["x"]
    real = (x / 255).astype(np.float32)
    nan = real.copy()
    nan[2, 5] = np.nan
    np.savez("shape.npz", x=x[:, : INPUTS - 1])
    np.savez("dtype.npz", x=x.astype(np.int64))
    np.savez("nan.npz", x=nan)
    np.savez("range.npz", x=real * 3)
    np.savez("name.npz", images=x)
    np.savez("labels.npz", x=x, y=np.full(len(x), 9))
    np.savez("pickle.npz", x=np.array([_Pickled()], dtype=object))
    Path("cut.npz").write_bytes(Path("nan.npz").read_bytes()[:-30])
    Path("text.npz").write_text("x")
    for name, said in (
        ("shape.npz", f"shape ({SAMPLES}, {INPUTS - 1})"),
        ("dtype.npz", "int64"),
        ("nan.npz", "x[2, 5] is nan"),
        ("range.npz", "spans"),
        ("name.npz", "images"),
        ("labels.npz", "y spans 9 to 9"),
        ("pickle.npz", "Python objects"),
        ("cut.npz", "not a readable .npz"),
        ("text.npz", "not a readable .npz"),
        ("gone.npz", "no such file"),
    ):
        result = spikelet("run", package, "-b", "native", "--data", name, "--json")
        error = result.json["error"]
        assert result.code == 2 and name in error["what"], name
        assert said in result.err, (name, result.err)
    assert not Path("pickled-code-ran").exists()
    assert not Path("spikelet-sessions/small-native/session.json").exists()


def test_missing_port_exits_3_and_keeps_the_last_session(spikelet: Spikelet, package: Path) -> None:
    assert spikelet("run", package, "-b", "native").code == 0
    samples = Path("spikelet-sessions/small-native/samples.jsonl")
    before = samples.read_text()
    result = spikelet("run", package, "-b", "native", "--port", "/dev/spikelet-none", "--json")
    error = result.json["error"]
    assert result.code == error["exit_code"] == 3
    assert "/dev/spikelet-none" in error["what"] and error["next"]
    assert samples.read_text() == before


def test_resume_of_another_run(spikelet: Spikelet, package: Path) -> None:
    nothing = spikelet("run", package, "-b", "native", "--resume")
    assert nothing.code == 2 and "spikelet-sessions/small-native" in nothing.err
    assert spikelet("run", package, "-b", "native", "--session", "s").code == 0
    other = small_package()
    other.manifest["seed"] = 6
    other.save(Path("other.spk"))
    for arguments, key in (
        (("other.spk", "-b", "native"), "package_sha256"),
        ((package, "-b", "native", "--layers"), "layers"),
        ((package, "-b", "native", "--limit", 3), "total"),
    ):
        result = spikelet("run", *arguments, "--session", "s", "--resume", "--json")
        assert result.code == 2 and f"has {key}" in result.json["error"]["what"]
    assert len(Path("s/samples.jsonl").read_text().splitlines()) == SAMPLES


def _long_data(path: Path) -> None:
    x = np.random.default_rng(1).integers(0, 256, (MANY, INPUTS)).astype(np.uint8)
    np.savez(path, x=x, y=np.arange(MANY) % 4)


def _comparable(result: dict[str, Any]) -> dict[str, Any]:
    """What may not depend on where a run broke off."""
    skip = {"link", "build", "device", "stack_bytes", "date", "duration_s", "path"}
    return {key: value for key, value in result.items() if key not in skip}


def _wait_for_lines(path: Path, count: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if path.is_file() and path.read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.01)
    pytest.fail(f"{path} did not grow to {count} lines: {process.communicate()}")


def test_ctrl_c_loses_nothing_and_resume_goes_on(spikelet: Spikelet, package: Path) -> None:
    _long_data(Path("many.npz"))
    arguments = ["run", str(package), "-b", "native", "--data", "many.npz", "--session", "s"]
    process = subprocess.Popen(
        [sys.executable, "-m", "spikelet", *arguments, "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    samples = Path("s/samples.jsonl")
    _wait_for_lines(samples, 100, process)
    elf = str(Path("s/build/firmware.elf").resolve())
    assert _running(elf)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    recorded = len(samples.read_text().splitlines())
    assert 100 <= recorded < MANY
    error = json.loads(out)["error"]
    assert f"{recorded} of {MANY} samples are recorded" in error["what"]
    resume = f"spikelet run {package} --board native --session s --resume --data many.npz"
    assert resume in error["next"]
    assert not _running(elf)
    broken_off = spikelet("report", "s", "--json").json
    assert broken_off["complete"] is False and broken_off["samples"] == recorded
    assert (
        f"broke off after {recorded:,}".replace(",", "\u202f") in Path("s/report.html").read_text()
    )

    resumed = spikelet(*resume.split()[1:], "--json")
    whole = spikelet(*arguments[:-1], "whole", "--json")
    assert resumed.code == whole.code == 0
    assert resumed.json["samples"] == MANY
    assert _comparable(resumed.json) == _comparable(whole.json)
    assert samples.read_text() == Path("whole/samples.jsonl").read_text()


def _running(elf: str) -> bool:
    for entry in Path("/proc").glob("[0-9]*/exe"):
        try:
            if str(entry.readlink()) == elf:
                return True
        except OSError:
            continue
    return False


def test_a_device_that_dies_in_the_middle(
    spikelet: Spikelet, package: Path, tmp_path: Path
) -> None:
    _long_data(Path("many.npz"))
    loaded = Package.load(package)
    board = find_board("native")
    generate(loaded.graph, loaded.sha256, tmp_path / "image", target=board.target)
    image = build(tmp_path / "image", board, tmp_path / "image")
    with serve(image.elf) as (url, device):
        process = subprocess.Popen(
            [sys.executable, "-m", "spikelet", "run", str(package), "-b", "native", "--port", url,
             "--data", "many.npz", "--session", "s", "--json"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        _wait_for_lines(Path("s/samples.jsonl"), 50, process)
        device[0].kill()
        out, err = process.communicate(timeout=60)
    assert process.returncode == 3, err
    recorded = len(Path("s/samples.jsonl").read_text().splitlines())
    assert recorded >= 50
    assert f"{recorded} of {MANY} samples are recorded" in json.loads(out)["error"]["notes"][0]
    assert "--resume" in err and "Traceback" not in err


def test_training_without_torch_says_what_to_install(
    spikelet: Spikelet, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(sys.modules):
        if name.startswith(("spikelet.train.", "spikelet.frontends.")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    result = spikelet("train", "digits_snn", "--json")
    assert result.code == 2
    assert result.json["error"]["next"] == "pip install 'spikelet[train]'"


def test_places_that_cannot_be_written(spikelet: Spikelet, package: Path) -> None:
    Path("file").write_text("")
    for arguments in (
        ("build", package, "-b", "native", "-o", "file/below"),
        ("run", package, "-b", "native", "--session", "file"),
        ("demo", "--package", package, "-b", "native", "-o", "file"),
    ):
        result = spikelet(*arguments, "--json")
        assert result.code == 2 and "file" in result.json["error"]["what"], result.err


def test_a_defect_is_one_line_and_debug_shows_the_trace(
    package: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(path: Path) -> Package:
        raise KeyError("inside")

    monkeypatch.setattr(Package, "load", broken)
    for debug in (False, True):
        if debug:
            monkeypatch.setenv("SPIKELET_DEBUG", "1")
        with pytest.raises(SystemExit) as ended:
            main(["inspect", str(package), "--json"])
        out, err = capsys.readouterr()
        assert ended.value.code == 70
        assert json.loads(out)["error"]["exit_code"] == 70
        assert "please report it" in err and ("Traceback" in err) is debug

"""Tables are as wide as the terminal, and what must be read is whole; a board has a default."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from cli_support import Spikelet
from spikelet.board import boards
from support import need

DIGITS = Path(__file__).parents[1] / "fixtures" / "v0_1_0" / "digits_snn.spk"


def lines(spikelet: Spikelet, *arguments: object) -> list[str]:
    result = spikelet(*arguments)
    assert result.code == 0, result.err
    shown = result.out.splitlines()
    assert [line for line in shown if line != line.rstrip()] == []
    return shown


@pytest.fixture(params=[60, 120])
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("COLUMNS", str(request.param))
    return int(request.param)


def test_lists_fit(spikelet: Spikelet, width: int) -> None:
    for name in ("boards", "models", "learners"):
        assert max(map(len, lines(spikelet, name))) <= width, name
    shown = lines(spikelet, "boards")
    assert all(column in shown[0] for column in ("board", "core", "MHz", "flash KiB", "RAM KiB"))
    assert ("ISA" in shown[0]) is (width == 120)
    for name, board in boards().items():
        (row,) = [line for line in shown if line.startswith(f"{name} ")]
        assert board.core in row
    assert "Cortex-M0" in next(line for line in shown if line.startswith("microbit"))


def test_the_commands_of_doctor_are_whole_and_the_rest_fits(
    spikelet: Spikelet, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spikelet.board.flashing.find_program", lambda program: None)
    monkeypatch.setattr("spikelet.board.flashing.MOUNTS", ())
    shown = spikelet("doctor", "flash").out.splitlines()
    assert shown[0].startswith("flash: missing board ch32v003")
    assert {line.strip() for line in shown if line.startswith("  probe-rs: ")} == {
        "probe-rs: cargo install probe-rs-tools --locked"
    }
    assert max(len(line) for line in shown if not line.startswith("  ")) <= width
    assert not any(line.startswith("ok  zig") for line in shown)  # another use's


def test_what_is_measured_fits(
    spikelet: Spikelet, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("zig")
    need("unicorn")
    monkeypatch.setenv("COLUMNS", "60")
    for arguments in (
        ("inspect", package),
        ("run", package, "--layers", "--limit", 2),
        ("bench", package, "--limit", 2),
    ):
        shown = lines(spikelet, *arguments)
        assert max(map(len, shown)) <= 60, arguments
        if arguments[0] != "run":  # every layer is one line
            for layer in ("fc1", "lif1", "fc2", "lif2", "counts", "label"):
                assert any(line.startswith(f"{layer} ") for line in shown), (arguments, layer)


@pytest.mark.long
def test_what_learns_fits(spikelet: Spikelet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    shown = lines(spikelet, "inspect", DIGITS, "--learn", "finetune")
    assert max(map(len, shown)) <= 60 and any(line.startswith("fc2_update ") for line in shown)
    stream = "class-incremental,samples=20,evaluate=20"
    shown = lines(spikelet, "learn", DIGITS, "--learner", "nearest_mean", "--stream", stream)
    assert max(map(len, shown)) <= 60
    assert any(line.startswith("task ") and line.endswith("  curve") for line in shown)


@pytest.mark.parametrize("columns", ["", "0", "wide", "120"])
def test_a_pipe_is_120_columns_wide_unless_columns_says_more(
    spikelet: Spikelet, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert 60 < max(map(len, lines(spikelet, "boards"))) <= 120


def test_what_is_to_be_copied_is_one_line(
    spikelet: Spikelet, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("zig")
    monkeypatch.setenv("COLUMNS", "60")
    arguments = ("flash", package, "-b", "microbit", "--tool", "pyocd", "--dry-run")
    place = tmp_path / f"a folder with a name of {'many ' * 12}words"
    found = spikelet(*arguments, "-o", place, "--json").json
    shown = lines(spikelet, *arguments, "-o", place)
    for command in found["commands"]:
        assert any(line.endswith(shlex.join(command)) for line in shown)
    assert max(len(line) for line in shown if "pyocd" not in line) <= 60


def test_without_a_board_one_is_taken_and_said(spikelet: Spikelet, package: Path) -> None:
    ran = spikelet("run", package, "--limit", 1, "--json")
    assert (ran.code, ran.json["board"]) == (0, "native")
    assert ran.err.startswith("--board was not given: native is taken\n")
    assert "taken" not in spikelet("run", package, "-b", "native", "--limit", 1).err
    built = spikelet("build", package, "--json")
    assert (built.code, built.json["board"]) == (0, "native")
    for command in (("run", package), ("learn", package, "--learner", "nearest_mean"),
                    ("bench", package)):  # fmt: skip
        refused = spikelet(*command, "--port", "/dev/null", "--json")
        assert refused.code == 2 and "without --board" in refused.json["error"]["what"]

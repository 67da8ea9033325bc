"""The command line before a device that does not tell the truth."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli_support import Result, Spikelet, wrapped_board
from learning_package import clouds
from support import need

LIES = {
    "run": ["output-4gb", "run-steps-left"],
    "layers": ["name-escape"],
    "bench": ["constants-unseeded"],
    "learn": ["state-crc"],
}
MORE = {
    "run": ["payload-zero", "scale-nan", "name-twice", "log-endless", "run-silent"],
    "layers": ["steps-more", "run-saturations", "trace-other"],
    "bench": ["hello-endless", "run-status"],
    "learn": ["learn-short", "output-4gb-shape", "state-pending"],
}


def board(mode: str, folder: Path) -> Path:
    """The native board, whose machine is a liar around it."""
    return wrapped_board(folder, "liar", "lying_device.py", mode)


def call(spikelet: Spikelet, kind: str, package: Path, device: Path) -> Result:
    command = kind if kind in ("bench", "learn") else "run"
    arguments: list[object] = [command, package, "-b", device, "--toolchain", "gcc", "--json"]
    if kind == "layers":
        arguments.append("--layers")
    if kind == "learn":
        arguments += ["--learner", "nearest_mean", "--stream", "class-incremental,tasks=2"]
        arguments += ["--classes", 4, "--no-baselines"]
    else:
        arguments += ["--limit", 2]
    return spikelet(*arguments)


def pairs(lies: dict[str, list[str]]) -> list[tuple[str, str]]:
    return [(kind, mode) for kind, modes in lies.items() for mode in modes]


@pytest.fixture
def packages(package: Path, tmp_path: Path) -> dict[str, Path]:
    clouds().save(tmp_path / "clouds.spk")
    return {**dict.fromkeys(LIES, package), "learn": tmp_path / "clouds.spk"}


@pytest.mark.parametrize(
    ("kind", "mode"),
    [*pairs(LIES), *(pytest.param(*pair, marks=pytest.mark.long) for pair in pairs(MORE))],
)
def test_a_lie_is_a_named_error_with_exit_code_3(
    kind: str, mode: str, spikelet: Spikelet, packages: dict[str, Path], tmp_path: Path
) -> None:
    need("gcc")
    result = call(spikelet, kind, packages[kind], board(mode, tmp_path / "liar"))
    error = result.json["error"]
    assert result.code == 3, error
    assert error["what"] and error["cause"] and error["next"]
    assert not any(ord(c) < 32 and c != "\n" for c in result.err + error["what"])


@pytest.mark.parametrize(
    "kind",
    ["layers", "learn", *(pytest.param(k, marks=pytest.mark.long) for k in ("run", "bench"))],
)
def test_the_truth_passes(
    kind: str, spikelet: Spikelet, packages: dict[str, Path], tmp_path: Path
) -> None:
    need("gcc")
    result = call(spikelet, kind, packages[kind], board("honest", tmp_path / "liar"))
    assert (result.code, result.json["mismatches"]) == (0, 0)

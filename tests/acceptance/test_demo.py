"""The whole path as a newcomer has it: a wheel, an empty folder, one command; every executor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from spikelet.board import find_board
from spikelet.package import Package
from spikelet.run import SessionFolder, SessionTarget, make, package_stream, run
from support import need

ROOT = Path(__file__).resolve().parents[2]
EPOCHS = "epochs = 40"  # of the recipe; fewer reach the bar here, tests/train/test_bars.py has all


@dataclass(frozen=True)
class Demo:
    wheel: Path
    folder: Path
    result: dict[str, Any]
    messages: str

    @property
    def package(self) -> Package:
        return Package.load(self.folder / "spikelet-demo" / "digits_snn.spk")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    for module in ("torch", "snntorch", "sklearn", "zig", "unicorn"):
        need(module)
    work = tmp_path_factory.mktemp("newcomer")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", work / "dist", ROOT],
        check=True,
        capture_output=True,
    )
    (wheel,) = (work / "dist").glob("spikelet-*.whl")
    site = work / "site"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--no-deps",
            "--no-compile",
            "--target",
            site,
            wheel,
        ],
        check=True,
        capture_output=True,
    )
    recipe = site / "spikelet" / "_house" / "models" / "digits_snn" / "recipe.toml"
    text = recipe.read_text()
    assert text.count(EPOCHS) == 1
    recipe.write_text(text.replace(EPOCHS, "epochs = 12"))
    empty = work / "empty"
    empty.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(site)}
    where = subprocess.run(
        [sys.executable, "-c", "import spikelet; print(spikelet.__file__)"],
        cwd=empty,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    assert Path(where.stdout.strip()).is_relative_to(site)
    done = subprocess.run(
        [sys.executable, "-m", "spikelet", "demo", "--json"],
        cwd=empty,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    yield Demo(wheel, empty, json.loads(done.stdout), done.stderr)


def test_the_wheel_holds_the_whole_house(demo: Demo) -> None:
    names = zipfile.ZipFile(demo.wheel).namelist()
    for part in (
        "firmware/app/agent.c",
        "firmware/kernels/lif.h",
        "firmware/include/spk_model.h",
        "boards/native/board.toml",
        "boards/common/rv32.ld",
        "models/digits_snn/recipe.toml",
        "sim/rv32_unicorn.py",
    ):
        assert f"spikelet/_house/{part}" in names
    assert not [n for n in names if "__pycache__" in n or n.startswith(("tests", "tools"))]


def test_the_demo_meets_its_bars(demo: Demo) -> None:
    result = demo.result
    assert result["samples"] == 360
    assert result["mismatches"] == 0
    assert result["accuracy"] >= 0.96  # of one seed; three seeds' mean is held in models/
    assert abs(result["float_accuracy"] - result["integer_accuracy"]) <= 0.005
    assert result["accuracy"] == result["integer_accuracy"]
    assert result["instructions_per_inference"] > 0
    assert result["link"]["bad_frames"] == 0
    manifest = demo.package.manifest
    weights = sum(a.nbytes for k, a in demo.package.graph.constants().items() if "weight" in k)
    assert demo.package.graph.steps <= 16
    assert weights <= 12 * 1024
    assert manifest["integer_accuracy"] == result["integer_accuracy"]


def test_the_report_stands_alone(demo: Demo) -> None:
    text = Path(demo.folder / "spikelet-demo" / "report.html").read_text(encoding="utf-8")
    assert "<svg" in text
    assert demo.result["package_sha256"][:12] in text
    for outside in ('src="http', 'href="http', "@import", "url(http"):
        assert outside not in text


@pytest.mark.parametrize(
    ("board", "machine", "toolchain", "tools"),
    [
        ("native", "native", "gcc", ("gcc",)),
        ("native", "pty", "gcc", ("gcc",)),
        ("virt-rv32", "unicorn", "zig", ("zig", "unicorn")),
        (
            "virt-rv32",
            "qemu",
            "gcc",
            ("riscv64-unknown-elf-gcc", "qemu-system-riscv32"),
        ),
    ],
)
def test_every_layer_of_all_digits_on_every_executor(
    demo: Demo, tmp_path: Path, board: str, machine: str, toolchain: str, tools: tuple[str, ...]
) -> None:
    for tool in tools:
        need(tool)
    package, found = demo.package, find_board(board)
    built = make(package, found, tmp_path / "build", toolchain=toolchain, trace=True)
    summary, _ = run(
        package,
        SessionTarget(found, built, machine),
        package_stream(package),
        SessionFolder(tmp_path / "session"),
        layers=True,
    )
    assert summary["samples"] == 360
    assert summary["mismatches"] == 0
    assert summary["correct"] == demo.result["correct"]


def test_one_image_runs_on_both_simulators_in_the_same_instructions(
    demo: Demo, tmp_path: Path
) -> None:
    need("qemu-system-riscv32")
    package, found = demo.package, find_board("virt-rv32")
    built = make(package, found, tmp_path / "build")
    ticks = []
    for machine in ("unicorn", "qemu"):
        summary, outcome = run(
            package,
            SessionTarget(found, built, machine),
            package_stream(package).head(40),
            SessionFolder(tmp_path / machine),
        )
        assert summary["mismatches"] == 0
        ticks.append([s.ticks for s in outcome.samples])
    assert ticks[0] == ticks[1]

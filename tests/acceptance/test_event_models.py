"""The trained networks of events in models/: what their manifests claim, and that they run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from spikelet.board import find_board
from spikelet.package import Package
from spikelet.paths import models_dir
from spikelet.run import SessionFolder, SessionTarget, make, package_stream, run
from spikelet.train.recipe import load_recipe
from spikelet.train.recipe_figures import weight_bytes
from support import need


@dataclass(frozen=True)
class Bar:
    """What a package must keep to.

    Attributes:
        accuracy: of the integer graph on the test part, at least.
        samples: of the test part.
        weight_bytes: at most.
        steps: at most.
        drift: integer less float accuracy, at least.
    """

    accuracy: float
    samples: int
    weight_bytes: int
    steps: int
    drift: float


BARS = {
    "nmnist_conv": Bar(0.94, 220, 32 * 1024, 30, -0.015),
    "nmnist_recurrent": Bar(0.93, 220, 96 * 1024, 315, -0.015),
}
BOARDS = {
    "native": ("native", "gcc"),
    "virt-rv32": ("qemu", "qemu-system-riscv32"),
    "mps2-an386": ("qemu", "qemu-system-arm"),
}


def shipped(name: str) -> Package:
    return Package.load(models_dir() / name / f"{name}.spk")


@pytest.mark.parametrize("name", BARS)
def test_an_event_package_meets_its_bars(name: str) -> None:
    package, bar = shipped(name), BARS[name]
    manifest = package.manifest
    assert (manifest["part"], manifest["samples"]) == ("test", bar.samples)
    assert manifest["integer_accuracy"] >= bar.accuracy
    assert manifest["integer_accuracy"] - manifest["float_accuracy"] >= bar.drift
    assert weight_bytes(package.graph) <= bar.weight_bytes
    assert package.graph.steps <= bar.steps
    recipe = load_recipe(models_dir() / name).model_dump(mode="json", exclude_none=True)
    assert manifest["recipe"] == recipe, "train it again"


@pytest.mark.parametrize("name", BARS)
def test_golden_of_an_event_package_is_the_graphs(name: str) -> None:
    package = shipped(name)
    again = package.graph.run(package.inputs).outputs
    for output, values in again.items():
        np.testing.assert_array_equal(values, package.vectors[f"golden.{output}"])
    found = float(np.mean(package.graph.predicted(again[package.graph.outputs[0]])
                          == package.vectors["y"]))  # fmt: skip
    stated = package.manifest["integer_accuracy"]
    # The vectors are drawn from the samples of the figure: four standard deviations.
    assert abs(found - stated) <= 4 * np.sqrt(stated * (1 - stated) / len(package.inputs["x"]))


@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("name", BARS)
def test_an_event_package_runs(name: str, board: str, tmp_path: Path) -> None:
    machine, tool = BOARDS[board]
    need(tool)
    package, target = shipped(name), find_board(board)
    built = make(package, target, tmp_path / "build")
    summary, _ = run(
        package,
        SessionTarget(target, built, machine),
        package_stream(package).head(4),
        SessionFolder(tmp_path / "session"),
    )
    assert summary["mismatches"] == 0
    assert summary["samples"] == 4

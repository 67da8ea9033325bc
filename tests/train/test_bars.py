"""The bars of the models that come with it, on the 360 held-out digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spikelet.board import find_board
from spikelet.package import Package
from spikelet.paths import models_dir
from spikelet.run import SessionFolder, SessionTarget, make, package_stream, run
from spikelet.train import train
from spikelet.train.recipe_figures import Row, measure, row_of
from support import need

# Of one network and one seed `spikelet demo` holds them for every change
# (tests/acceptance/test_demo.py).
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def digits_snn() -> list[Row]:
    return measure(models_dir() / "digits_snn", [0, 1, 2])


def test_digits_snn_reaches_its_accuracy(digits_snn: list[Row]) -> None:
    assert np.mean([row.integer_accuracy for row in digits_snn]) >= 0.970
    assert all(row.manifest["samples"] == 360 for row in digits_snn)


def test_digits_snn_drifts_at_most_half_a_point(digits_snn: list[Row]) -> None:
    assert max(abs(row.drift) for row in digits_snn) <= 0.5


def test_digits_snn_is_small_and_short(digits_snn: list[Row]) -> None:
    assert all(row.weight_bytes <= 12 * 1024 for row in digits_snn)
    assert all(row.manifest["recipe"]["network"]["steps"] <= 16 for row in digits_snn)
    assert all(row.saturations == 0 for row in digits_snn)


def test_digits_direct_reaches_its_accuracy_in_four_steps() -> None:
    rows = measure(models_dir() / "digits_direct", [0, 1, 2])
    assert np.mean([row.integer_accuracy for row in rows]) >= 0.980
    assert all(row.manifest["recipe"]["spiking"]["steps"] <= 4 for row in rows)
    assert all(row.weight_bytes <= 12 * 1024 for row in rows)


@pytest.fixture(scope="module")
def digits_bernoulli() -> Package:
    return train(models_dir() / "digits_bernoulli", 0)


def test_digits_bernoulli_is_the_benchmark_network(digits_bernoulli: Package) -> None:
    row = row_of(digits_bernoulli)
    assert row.integer_accuracy >= 0.9667
    assert row.manifest["recipe"]["network"] == {
        "steps": 25,
        "encoder": "poisson",
        "readout": "spike_count",
    }
    assert row.weight_bytes == 64 * 128 + 128 * 10
    assert row.metrics.dense == 236_800
    assert 0.85 <= row.metrics.activation_sparsity <= 0.90
    assert 60_000 <= row.metrics.effective_acs <= 72_000


@pytest.mark.parametrize(
    ("toolchain", "machine", "instructions", "tools"),
    [
        ("gcc", "qemu", 140_000, ("riscv64-unknown-elf-gcc", "qemu-system-riscv32")),
        ("zig", "unicorn", 155_000, ("zig", "unicorn")),
    ],
)
def test_digits_bernoulli_is_quick_and_small(
    digits_bernoulli: Package,
    tmp_path: Path,
    toolchain: str,
    machine: str,
    instructions: int,
    tools: tuple[str, ...],
) -> None:
    """Retired instructions are exact: a bar on them is no timed test."""
    for tool in tools:
        need(tool)
    board = find_board("virt-rv32")
    built = make(digits_bernoulli, board, tmp_path / "build", toolchain=toolchain)
    summary, _ = run(
        digits_bernoulli,
        SessionTarget(board, built, machine),
        package_stream(digits_bernoulli),
        SessionFolder(tmp_path / "session"),
    )
    assert summary["mismatches"] == 0
    assert summary["instructions_per_inference"] <= instructions
    # With agent and link, which were 8 KB before rates of the line, counts of its errors, replies
    # with outputs and the watchdog.
    assert built.facts()["code_bytes"] <= 10.5 * 1024
    assert built.facts()["ram_bytes"] <= 2560
    assert summary["stack_bytes"] <= 1024

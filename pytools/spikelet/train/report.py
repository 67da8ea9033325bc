"""The measured figures of a recipe, as its README shows them.

    python -m spikelet.train.report models/digits_snn --seeds 0 1 2

trains the recipe once a seed and writes a table to standard output.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spikelet.errors import SpikeletError
from spikelet.metrics import NeuroBench, neurobench
from spikelet.package import Package
from spikelet.train import Part, Progress, train


@dataclass(frozen=True)
class Row:
    """One training.

    Attributes:
        seed: of the recipe.
        float_accuracy: of the network with its float weights, 0 to 1.
        integer_accuracy: of the integer graph on the same samples and spikes.
        weight_bytes: int8 weights.
        saturations: membranes that hit their limit, over all samples.
        seconds: for training and golden.
        metrics: of the integer graph on the same samples.
        sha256: of the package.
        manifest: of the package.
    """

    seed: int
    float_accuracy: float
    integer_accuracy: float
    weight_bytes: int
    saturations: int
    seconds: float
    metrics: NeuroBench
    sha256: str
    manifest: dict[str, Any]

    @property
    def drift(self) -> float:
        """Integer less float accuracy, in points."""
        return 100 * (self.integer_accuracy - self.float_accuracy)


def row_of(package: Package, seconds: float = 0.0) -> Row:
    """The figures of a package; its vectors are executed again, with a trace."""
    execution = package.graph.run(package.inputs, trace=True)
    weights = [n.arrays()["weight"].size for n in package.graph.nodes if n.KIND == "dense"]
    return Row(
        seed=int(package.manifest["seed"]),
        float_accuracy=float(package.manifest["float_accuracy"]),
        integer_accuracy=float(package.manifest["integer_accuracy"]),
        weight_bytes=sum(weights),
        saturations=int(execution.saturations.sum()),
        seconds=seconds,
        metrics=neurobench(package.graph, execution, package.inputs),
        sha256=package.sha256,
        manifest=package.manifest,
    )


def measure(
    model_dir: Path,
    seeds: Sequence[int],
    part: Part = "test",
    progress: Callable[[Progress], None] | None = None,
) -> list[Row]:
    """Train a recipe once a seed."""
    rows = []
    for seed in seeds:
        begin = time.perf_counter()
        package = train(model_dir, seed, progress, part)
        rows.append(row_of(package, time.perf_counter() - begin))
    return rows


def markdown(rows: Sequence[Row]) -> str:
    """The table of a README, with the means in its last line and what it was made with."""
    lines = [
        "| seed | float accuracy | integer accuracy | drift, points | weights, bytes "
        "| effective ACs | effective MACs | activation sparsity | training, s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        lines.append(_line(str(row.seed), [row], row.drift))
    if len(rows) > 1:
        lines.append(_line("mean", rows, float(np.mean([abs(r.drift) for r in rows]))))
    manifest = rows[0].manifest
    versions = ", ".join(f"{k} {v}" for k, v in sorted(manifest["versions"].items()))
    lines += [
        "",
        f"{manifest['samples']} samples of {manifest['data']} ({manifest['test_part']}); "
        f"{sum(r.saturations for r in rows)} membrane saturations. Made with {versions}.",
    ]
    return "\n".join(lines) + "\n"


def _line(name: str, rows: Sequence[Row], drift: float) -> str:
    def mean(value: Callable[[Row], float]) -> float:
        return float(np.mean([value(row) for row in rows]))

    cells = [
        name,
        f"{mean(lambda r: r.float_accuracy):.4f}",
        f"{mean(lambda r: r.integer_accuracy):.4f}",
        f"{drift:.2f}" if len(rows) > 1 else f"{drift:+.2f}",
        f"{mean(lambda r: r.weight_bytes):.0f}",
        f"{mean(lambda r: r.metrics.effective_acs):.0f}",
        f"{mean(lambda r: r.metrics.effective_macs):.0f}",
        f"{mean(lambda r: r.metrics.activation_sparsity):.3f}",
        f"{mean(lambda r: r.seconds):.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m spikelet.train.report", description=__doc__)
    parser.add_argument("model_dir", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--validation", action="store_true", help="on a held-out fifth of the training part"
    )
    options = parser.parse_args(arguments)

    def progress(p: Progress) -> None:
        sys.stderr.write(f"\r{p.phase} {p.epoch}/{p.epochs}: loss {p.loss:.3f}  ")
        sys.stderr.write("\n" if p.epoch == p.epochs else "")

    try:
        part: Part = "validation" if options.validation else "test"
        rows = measure(options.model_dir, options.seeds, part, progress)
    except SpikeletError as e:
        sys.stderr.write(f"{e}\n")
        return e.exit_code
    sys.stdout.write(markdown(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())

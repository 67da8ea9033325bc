"""The measured figures of a recipe, as its README shows them.

    python -m spikelet.train.recipe_figures models/digits_snn --seeds 0 1 2
    python -m spikelet.train.recipe_figures models/kws_dscnn --package kws_dscnn.spk

trains the recipe once a seed, or tests a package that was trained before, and writes a table to
standard output.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spikelet.errors import SpikeletError
from spikelet.graph import Graph
from spikelet.graph.widths import EFFORT
from spikelet.metrics import NeuroBench, neurobench
from spikelet.package import Package
from spikelet.train import EpochProgress, Part, train
from spikelet.train.evaluate import predict
from spikelet.train.recipe import DataSection, SpikingRecipe
from spikelet.train.spiking.package import predicted
from spikelet.train.spiking.samples import Coding


@dataclass(frozen=True)
class Row:
    """One training.

    Attributes:
        seed: of the recipe.
        float_accuracy: of the network with its float weights, 0 to 1.
        integer_accuracy: of the integer graph on the same samples and spikes.
        weight_bytes: of weights, as they lie packed.
        macs: multiply-accumulates of one inference of an int8 network, at its widest.
        saturations: membranes that hit their limit, over all samples.
        seconds: for training and golden; 0 where a package was given.
        metrics: of the integer graph on the same samples.
        sha256: of the package.
        manifest: of the package.
    """

    seed: int
    float_accuracy: float
    integer_accuracy: float
    weight_bytes: int
    macs: int
    saturations: int
    seconds: float
    metrics: NeuroBench
    sha256: str
    manifest: dict[str, Any]

    @property
    def drift(self) -> float:
        """Integer less float accuracy, in points."""
        return 100 * (self.integer_accuracy - self.float_accuracy)

    def macro_f1(self, kind: str) -> float:
        """Of an int8 network: of its "float" or "integer" predictions."""
        return float(self.manifest["macro_f1"][kind])


def weight_bytes(graph: Graph) -> int:
    """Of all weights, as they lie packed; an array that several widths read counts once, whole."""
    arrays: dict[bytes, int] = {}
    for node in graph.nodes:
        if (weight := node.arrays().get("weight")) is not None:
            packed = -(-weight.size * node.cost().weight_bits // 8)
            arrays[weight.tobytes()] = max(packed, arrays.get(weight.tobytes(), 0))
    return sum(arrays.values())


def row_of(package: Package, seconds: float = 0.0) -> Row:
    """The figures of a package; its vectors are executed again, with a trace."""
    graph = package.graph
    execution = graph.run(package.inputs, trace=True)
    widest = max((max(t.choices) for t in graph.inputs if t.name == EFFORT), default=8)
    narrower = [(EFFORT, width) for width in range(widest)]
    costs = [node.cost() for node in graph.nodes if node.when not in narrower]
    return Row(
        seed=int(package.manifest["seed"]),
        float_accuracy=float(package.manifest["float_accuracy"]),
        integer_accuracy=float(package.manifest["integer_accuracy"]),
        weight_bytes=weight_bytes(graph),
        macs=sum(cost.macs for cost in costs),
        saturations=int(execution.saturations.sum()),
        seconds=seconds,
        metrics=neurobench(graph, execution, package.inputs),
        sha256=package.sha256,
        manifest=package.manifest,
    )


def measure_package(package: Package) -> Row:
    """The figures of a package, its graph executed on the whole test part again."""
    row = row_of(package)
    if "spiking" in package.manifest["recipe"]:
        return dataclasses.replace(row, integer_accuracy=_spiking_accuracy(package))
    data = DataSection.model_validate(package.manifest["recipe"]["data"]).load()
    if package.manifest["part"] == "validation":
        data = data.held_out()

    def accuracy(more: Mapping[str, int]) -> float:
        return float(np.mean(predict(package.graph, data, data.x_test, more) == data.y_test))

    widths = [int(bits) for bits in row.manifest.get("accuracy_by_bits", ())]
    if not widths:
        return dataclasses.replace(row, integer_accuracy=accuracy({}))
    by_bits = {str(width): accuracy({EFFORT: width}) for width in widths}
    manifest = {**row.manifest, "accuracy_by_bits": by_bits}
    return dataclasses.replace(row, integer_accuracy=by_bits[str(max(widths))], manifest=manifest)


def _spiking_accuracy(package: Package) -> float:
    """Of the package of a recipe with `[spiking]`."""
    recipe = SpikingRecipe.model_validate(package.manifest["recipe"])
    data = recipe.data.load()
    if package.manifest["part"] == "validation":
        data = data.held_out()
    coding = Coding.of(data, recipe.spiking)
    labels = predicted(package.graph, coding, coding.codes(data, data.x_test), recipe.seed)
    return float(np.mean(labels == data.y_test))


def measure(
    model_dir: Path,
    seeds: Sequence[int],
    part: Part = "test",
    progress: Callable[[EpochProgress], None] | None = None,
) -> list[Row]:
    """Train a recipe once a seed."""
    rows = []
    for seed in seeds:
        begin = time.perf_counter()
        package = train(model_dir, seed, progress, part)
        rows.append(row_of(package, time.perf_counter() - begin))
    return rows


# Columns: the heading, how a row's value is found, how the mean over rows is written.
Column = tuple[str, Callable[[Row], float], str]
_FIRST: list[Column] = [
    ("float accuracy", lambda r: r.float_accuracy, ".4f"),
    ("integer accuracy", lambda r: r.integer_accuracy, ".4f"),
]
_LAST: Column = ("training, s", lambda r: r.seconds, ".0f")
_WEIGHTS: Column = ("weights, bytes", lambda r: r.weight_bytes, ".0f")
_SPIKING: list[Column] = [
    _WEIGHTS,
    ("effective ACs", lambda r: r.metrics.effective_acs, ".0f"),
    ("effective MACs", lambda r: r.metrics.effective_macs, ".0f"),
    ("activation sparsity", lambda r: r.metrics.activation_sparsity, ".3f"),
]
_INT8: list[Column] = [
    _WEIGHTS,
    ("MACs", lambda r: r.macs, ".0f"),
    ("macro-F1, float", lambda r: r.macro_f1("float"), ".4f"),
    ("macro-F1, integer", lambda r: r.macro_f1("integer"), ".4f"),
]


def markdown(rows: Sequence[Row]) -> str:
    """The table of a README, with the means in its last line and what it was made with."""
    manifest = rows[0].manifest
    spiking = "macro_f1" not in manifest
    columns = [*(_SPIKING if spiking else _INT8), *([_LAST] if rows[0].seconds else [])]
    headings = ["seed", *(c[0] for c in _FIRST), "drift, points", *(c[0] for c in columns)]
    lines = [f"| {' | '.join(headings)} |", f"|{' --- |' * len(headings)}"]
    for row in rows:
        lines.append(_line(str(row.seed), [row], f"{row.drift:+.2f}", columns))
    if len(rows) > 1:
        drift = float(np.mean([abs(r.drift) for r in rows]))
        lines.append(_line("mean", rows, f"{drift:.2f}", columns))
    versions = ", ".join(f"{k} {v}" for k, v in sorted(manifest["versions"].items()))
    saturated = f"; {sum(r.saturations for r in rows)} membrane saturations" if spiking else ""
    lines += [
        "",
        f"{manifest['samples']} samples of {manifest['data']} ({manifest['test_part']})"
        f"{saturated}. Made with {versions}.",
    ]
    if any("accuracy_by_bits" in row.manifest for row in rows):
        every = [row.manifest["accuracy_by_bits"] for row in rows]
        means = (f"{w} bit {np.mean([by[w] for by in every]):.4f}" for w in every[0])
        lines += ["", f"Integer accuracy by the bits of the weights: {', '.join(means)}."]
    if any("recall" in row.manifest for row in rows):
        recall = np.mean([row.manifest["recall"]["integer"] for row in rows], axis=0)
        lines += ["", f"Recall by class, integer: {', '.join(f'{r:.3f}' for r in recall)}."]
    return "\n".join(lines) + "\n"


def _line(name: str, rows: Sequence[Row], drift: str, columns: Sequence[Column]) -> str:
    def cells(chosen: Sequence[Column]) -> list[str]:
        return [format(float(np.mean([value(r) for r in rows])), how) for _, value, how in chosen]

    return f"| {' | '.join([name, *cells(_FIRST), drift, *cells(columns)])} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m spikelet.train.recipe_figures", description=__doc__
    )
    parser.add_argument("model_dir", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--validation", action="store_true", help="on a held-out fifth of the training part"
    )
    parser.add_argument("--package", type=Path, help="test it instead of training")
    options = parser.parse_args(arguments)

    def progress(p: EpochProgress) -> None:
        sys.stderr.write(f"\r{p.phase} {p.epoch}/{p.epochs}: loss {p.loss:.3f}  ")
        sys.stderr.write("\n" if p.epoch == p.epochs else "")

    try:
        part: Part = "validation" if options.validation else "test"
        if options.package is not None:
            rows = [measure_package(Package.load(options.package))]
        else:
            rows = measure(options.model_dir, options.seeds, part, progress)
    except SpikeletError as e:
        sys.stderr.write(f"{e}\n")
        return e.exit_code
    sys.stdout.write(markdown(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())

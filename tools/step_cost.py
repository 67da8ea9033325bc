"""What each time step of a network of events costs: instructions of the longest, and the mean.

`python tools/step_cost.py PKG [--board NAME] [--samples N]` executes the package's first samples on
an emulated board step by step: as inferences of one step whose neurons go on, so that a figure has
the costs of an inference in it as well. The samples' own events come step by step.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from pathlib import Path

import numpy as np

from spikelet.board import find_board
from spikelet.graph import Array
from spikelet.keep_state import keeping_state
from spikelet.package import Package
from spikelet.run import SessionFolder, SessionTarget, make, package_stream, run


def single_steps(package: Package, samples: int) -> Package:
    """A package of one step, whose samples are the steps of the first `samples` samples."""
    stream = package.graph.stream
    if stream is None:
        raise SystemExit(f"{package.graph.name} does not take events step by step")
    x = package.inputs[stream.name][:samples]
    steps = x.reshape(-1, 1, *x.shape[2:])
    graph = dataclasses.replace(package.graph, steps=1)
    vectors = {stream.name: steps, "y": np.zeros(len(steps), np.int64)}
    return keeping_state(Package(graph, vectors, dict(package.manifest)))


def cost(package: Package, board: str, samples: int) -> Array:
    """Instructions of each step of the first samples, (samples * T,)."""
    made, target = single_steps(package, samples), find_board(board)
    with tempfile.TemporaryDirectory() as folder:
        built = make(made, target, Path(folder) / "build")
        place = SessionTarget(target, built, "qemu")
        _, outcome = run(made, place, package_stream(made), SessionFolder(Path(folder) / "run"))
    if outcome.mismatches:
        raise SystemExit(f"{outcome.mismatches} elements differ from golden")
    return np.array([sample.ticks for sample in outcome.samples]) * outcome.per_tick


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("package", type=Path)
    parser.add_argument("--board", default="mps2-an386")
    parser.add_argument("--samples", type=int, default=3)
    options = parser.parse_args()
    package = Package.load(options.package)
    found = cost(package, options.board, options.samples)
    flash = sum(values.nbytes for values in package.graph.constants().values())
    print(
        f"{package.graph.name} on {options.board}: {len(found)} steps, at most {found.max():,.0f} "
        f"instructions, mean {found.mean():,.0f}; {flash:,} bytes of constants in flash"
    )


if __name__ == "__main__":
    main()

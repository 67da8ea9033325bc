"""A package as a C library, with an example that its golden twin computed."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from spikelet.board import Board
from spikelet.codegen.interface import TAG_BYTES
from spikelet.codegen.library import Example, Library, write_library
from spikelet.errors import UsageError
from spikelet.graph import Array, Graph
from spikelet.graph.graph import LABEL
from spikelet.graph.target import Target
from spikelet.learn import Twin
from spikelet.package import Package
from spikelet.run.session_folder import SessionFolder
from spikelet.run.workflow import SessionTarget, make, run
from spikelet.streams import package_stream

SAMPLES = 8  # at most, in the example
VECTOR_BYTES = 1 << 16  # at most, of the example's inputs; but for one sample


def export_c(
    package: Package,
    folder: Path,
    target: Target,
    *,
    name: str | None = None,
    keep_inputs: bool = False,
    measured: Sequence[tuple[str, str]] = (),
) -> Library:
    """Write a package as a C library; see `spikelet.codegen.library.write_library`."""
    example = example_of(package)
    return write_library(
        package.graph, package.sha256, target, folder, example,
        name=name, keep_inputs=keep_inputs, measured=measured,
    )  # fmt: skip


def measure(package: Package, board: Board) -> list[tuple[str, str]]:
    """What an inference takes on a board's own machine: rows for the library's README.

    Raises:
        ToolMissing, UsageError: no compiler, or no machine, of the board is on this computer.
    """
    with tempfile.TemporaryDirectory(prefix="spikelet-export-") as name:
        folder = Path(name)
        built = make(package, board, folder / "build")
        stream = package_stream(package).head(1)
        target = SessionTarget(board, built)
        found, _ = run(package, target, stream, SessionFolder(folder / "session"))
    on = f"{board.name}, {built.firmware.toolchain}"
    rows = [
        (
            f"code, flash, Spikelet's agent included ({on})",
            found["flash_bytes"] - found["weight_bytes"],
        )
    ]
    rows.append((f"stack, agent included ({on})", found["stack_bytes"]))
    rows.append((f"instructions an inference ({on})", found["instructions_per_inference"]))
    return [(what, str(figure)) for what, figure in rows if figure]


def example_of(package: Package) -> Example:
    """Some of the package's vectors, and what the graph or its twin makes of them."""
    graph = package.graph
    each = sum(tensor.nbytes for tensor in graph.inputs)
    count = max(1, min(SAMPLES, VECTOR_BYTES // each))
    inputs = {
        t.name: package.vectors[t.name][:count] for t in graph.inputs if t.name in package.vectors
    }
    if len(inputs) < len(graph.inputs):
        raise UsageError(
            f"package {graph.name} has no vectors",
            "the example of a library runs samples of the package",
            "import or export it with calibration or test samples",
        )
    count = len(next(iter(inputs.values())))
    if not graph.learns:
        return Example(inputs, graph.run(inputs).outputs)
    labels = _labels(package, count) if graph.classes else None
    targets = _targets(graph, count)
    twin = Twin(graph)
    outputs = twin.observe(inputs, labels, targets)
    twin.commit()
    learned = b"".join(k.tensor.to_bytes(twin.learned[k.tensor.name]) for k in graph.learned)
    state = bytes.fromhex(package.sha256)[:TAG_BYTES] + learned
    return Example(inputs, outputs, labels, targets, zlib.crc32(state))


def _labels(package: Package, count: int) -> Array:
    """The samples' labels, as far as the learner has such classes."""
    given = package.vectors.get("y.labels", package.vectors.get("y"))
    labels: Array = np.arange(count) if given is None else given[:count]
    return (labels % package.graph.classes).astype(np.int64)


def _targets(graph: Graph, count: int) -> dict[str, Array]:
    """Targets anywhere in their range."""
    rng, targets = np.random.default_rng(0), {}
    for tensor in graph.every_target:
        if tensor.name == LABEL:
            continue
        low, high = graph.admitted_range(tensor)
        shape = (count, *tensor.shape)
        drawn = rng.uniform(max(low, -1e3), min(high, 1e3), shape)
        targets[tensor.name] = drawn.astype(tensor.numpy_dtype)
    return targets

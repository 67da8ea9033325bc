"""A package as a C library, with an example that its golden twin computed."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from spikelet.board import Board
from spikelet.codegen.interface import TAG_BYTES
from spikelet.codegen.library import Example, Library, LibraryForm, write_library
from spikelet.graph import Array, Graph, Tensor
from spikelet.graph.graph import LABEL
from spikelet.graph.target import Target
from spikelet.learn import Twin
from spikelet.package import Package
from spikelet.run.session_folder import SessionFolder
from spikelet.run.workflow import SessionTarget, make, run
from spikelet.samples import labels_among
from spikelet.signing import public_bytes
from spikelet.streams import SampleStream

SAMPLES = 8  # at most, in the example
VECTOR_BYTES = 1 << 16  # at most, of the example's inputs; but for one sample


def export_c(
    package: Package,
    folder: Path,
    target: Target | Board,
    *,
    name: str | None = None,
    keep_inputs: bool = False,
    vectors: Mapping[str, Array] | None = None,
    device_key: Path | None = None,
) -> Library:
    """Write a package as a C library; see `spikelet.codegen.library.write_library`.

    Args:
        package: the package.
        folder: new, or a library that was written before.
        target: the core; or a board, on whose machine an inference is measured for the README.
        name: what all names begin with; by default the graph's.
        keep_inputs: an inference leaves its inputs as they were.
        vectors: samples of the example; by default the package's own, or random ones.
        device_key: of a public key, KEY.pub, that the library checks signed states with.

    Raises:
        UsageError: no such key, or nothing is learned; and see `write_library`.
    """
    key = b"" if device_key is None else public_bytes(device_key)
    vectors = package.vectors if vectors is None else vectors
    measured: list[tuple[str, str]] = []
    if isinstance(target, Board):
        if target.machines:  # a board of hardware alone is not measured here
            measured = measure(package, target, vectors)
        target = target.target
    example = example_of(package, vectors)
    form = LibraryForm(name, keep_inputs, key, measured)
    return write_library(package.graph, package.sha256, target, folder, example, form)


def measure(package: Package, board: Board, vectors: Mapping[str, Array]) -> list[tuple[str, str]]:
    """What an inference takes on a board's own machine: rows for the library's README.

    Raises:
        ToolMissing, UsageError: no compiler, or no machine, of the board is on this computer.
    """
    with tempfile.TemporaryDirectory(prefix="spikelet-export-") as name:
        folder = Path(name)
        built = make(package, board, folder / "build")
        inputs = _samples(package.graph, vectors, 1)
        stream = SampleStream("an example", inputs, None, {})
        target = SessionTarget(board, built)
        found, _ = run(package, target, stream, SessionFolder(folder / "session"))
    on = f"{board.name}, {built.firmware.toolchain}"
    code = built.firmware.flash_bytes - built.firmware.weight_bytes
    rows = [(f"code, flash, Spikelet's agent included ({on})", code)]
    rows.append((f"stack, agent included ({on})", found["stack_bytes"]))
    rows.append((f"instructions an inference ({on})", found["instructions_per_inference"]))
    return [(what, str(figure)) for what, figure in rows if figure]


def example_of(package: Package, given: Mapping[str, Array]) -> Example:
    """Some samples, and what the graph, or its twin, makes of them."""
    graph = package.graph
    each = sum(tensor.nbytes for tensor in graph.inputs)
    inputs = _samples(graph, given, max(1, min(SAMPLES, VECTOR_BYTES // each)))
    count = len(next(iter(inputs.values())))
    if graph.keeps_state:
        return Example(inputs, _in_turn(graph, inputs, count))
    if not graph.learns:
        return Example(inputs, graph.run(inputs).outputs)
    labels = _labels(graph, given, count) if graph.classes else None
    targets = _drawn(graph, [t for t in graph.every_target if t.name != LABEL], count)
    twin = Twin(graph)
    outputs = twin.observe(inputs, labels, targets)
    twin.commit()
    learned = b"".join(k.tensor.to_bytes(twin.learned[k.tensor.name]) for k in graph.learned)
    state = bytes.fromhex(package.sha256)[:TAG_BYTES] + learned
    return Example(inputs, outputs, labels, targets, zlib.crc32(state))


def _in_turn(graph: Graph, inputs: Mapping[str, Array], count: int) -> dict[str, Array]:
    """Outputs where each sample begins with the states that the one before it left."""
    states: dict[str, Array] = {}
    rows: list[dict[str, Array]] = []
    for i in range(count):
        run = graph.run({k: v[i : i + 1] for k, v in inputs.items()}, states=states)
        states = run.states
        rows.append(run.outputs)
    return {name: np.concatenate([row[name] for row in rows]) for name in graph.outputs}


def _samples(graph: Graph, given: Mapping[str, Array], most: int) -> dict[str, Array]:
    """The first of the given samples, or as many random ones."""
    names = [tensor.name for tensor in graph.inputs]
    if set(names) <= set(given):
        return {name: given[name][:most] for name in names}
    return _drawn(graph, graph.inputs, most)


def _labels(graph: Graph, given: Mapping[str, Array], count: int) -> Array:
    """The samples' labels, as far as the learner has such classes."""
    labels = labels_among(given, [tensor.name for tensor in graph.inputs])
    chosen: Array = np.arange(count) if labels is None else labels[:count]
    return (chosen % graph.classes).astype(np.int64)


def _drawn(graph: Graph, tensors: Sequence[Tensor], count: int) -> dict[str, Array]:
    """Values anywhere in the range of each tensor; of floats within 1,000."""
    rng, drawn = np.random.default_rng(0), {}
    for tensor in tensors:
        low, high = graph.admitted_range(tensor)
        values = rng.uniform(
            max(low, -1e3), min(high, 1e3), (count, *graph.sample_tensor(tensor).shape)
        )
        drawn[tensor.name] = values.astype(tensor.numpy_dtype)
    return drawn

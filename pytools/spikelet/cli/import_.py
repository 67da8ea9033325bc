"""`spikelet import`: a model file of another framework becomes a package."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from spikelet import __version__
from spikelet.cli.inspect import described
from spikelet.cli.options import JsonOption
from spikelet.cli.shown import arena_row, layer_table
from spikelet.cli.terminal import Terminal, facts, number, percent
from spikelet.codegen import generate
from spikelet.errors import UsageError
from spikelet.frontends import tflite
from spikelet.graph import Array
from spikelet.package import Package
from spikelet.run.inputs import data_stream

RANDOM_SAMPLES = 16
_FORMATS = {".tflite": tflite.load}


def command(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A .tflite model.", show_default=False)
    ],
    calibrate: Annotated[
        Path | None,
        typer.Option(
            metavar="X.npz",
            help="Arrays x and optionally y: the package's vectors. Default: random inputs.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Default: NAME.spk.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Import a model file and write the package NAME.spk."""
    terminal = Terminal.open(as_json)
    imported = _load(file)
    graph = imported.graph
    package = Package(
        graph,
        {},
        {
            "source": file.name,
            "source_sha256": imported.sha256,
            "source_names": imported.original,
            "versions": {"spikelet": __version__, "numpy": np.__version__},
        },
    )
    vectors, source = _vectors(package, calibrate)
    package = Package(graph, vectors, {**package.manifest, "vectors": source}).with_golden()
    accuracy = _accuracy(package)
    if accuracy is not None:
        package.manifest["integer_accuracy"] = accuracy
    out = out or Path(f"{graph.name}.spk")
    package.save(out)
    with tempfile.TemporaryDirectory(prefix="spikelet-import-") as folder:
        generated = generate(graph, package.sha256, Path(folder))
    found = described(package, out, generated)
    terminal.result(found, *_shown(found))


def _load(file: Path) -> tflite.Imported:
    if file.suffix.lower() not in _FORMATS:
        raise UsageError(
            f"model {file}: {file.suffix or 'no suffix'} is not a format that can be imported",
            "another format, or a wrong name",
            f"formats: {', '.join(_FORMATS)}",
        )
    return _FORMATS[file.suffix.lower()](file)


def _vectors(package: Package, calibrate: Path | None) -> tuple[dict[str, Array], str]:
    if calibrate is not None:
        stream = data_stream(package, calibrate)
        labels = {} if stream.labels is None else {"y": stream.labels}
        return {**stream.inputs, **labels}, f"{calibrate.name}, {len(stream)} samples"
    rng = np.random.default_rng(0)
    drawn = {
        t.name: rng.integers(*t.limits, (RANDOM_SAMPLES, *t.shape), endpoint=True).astype(
            t.numpy_dtype
        )
        for t in package.graph.inputs
    }
    return drawn, f"{RANDOM_SAMPLES} random inputs, seed 0: no data was given"


def _accuracy(package: Package) -> float | None:
    """Share of labels that the first output gives, where there are labels."""
    if "y" not in package.vectors:
        return None
    first = package.graph.outputs[0]
    predicted = package.graph.predicted(package.vectors[f"golden.{first}"])
    return float(np.mean(predicted == package.vectors["y"].reshape(-1)))


def _shown(found: dict[str, Any]) -> list[Any]:
    manifest = found["manifest"]
    accuracy = manifest.get("integer_accuracy")
    return [
        layer_table(found["layers"]),
        "",
        facts(
            found["package"],
            {
                "model": found["model"],
                "source": f"{manifest['source']}, SHA-256 {manifest['source_sha256']}",
                "accuracy, integer": percent(accuracy),
                "vectors": manifest["vectors"],
                "constants": number(found["weight_bytes"], "B"),
                "arena": arena_row(found),
                "sha256": found["package_sha256"],
            },
        ),
    ]

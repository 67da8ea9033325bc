"""`spikelet import`: a model file of another framework becomes a package."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from spikelet.cli.inspect import described
from spikelet.cli.options import JsonOption
from spikelet.cli.places import check_file, given_path
from spikelet.cli.shown import (
    accuracy_rows,
    arena_row,
    layer_table,
    origin_rows,
    simplified_table,
)
from spikelet.cli.terminal import Terminal, facts, number, table
from spikelet.codegen import generate
from spikelet.errors import UsageError
from spikelet.frontends import network_package, onnx, tflite
from spikelet.frontends.tflite import file as tflite_file
from spikelet.frontends.tflite import floats as tflite_float
from spikelet.graph import Array, Graph
from spikelet.package import Package
from spikelet.quantise import METHODS, Options
from spikelet.refusal import shorten
from spikelet.run.inputs import data_stream
from spikelet.samples import labels_key
from spikelet.text import words
from spikelet.version import __version__

RANDOM_SAMPLES = 16
LONGEST_NAME = 48  # of a tensor of the source; TensorFlow's converter joins all that it fuses


def command(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="A .tflite or .onnx model.", show_default=False, parser=given_path
        ),
    ],
    calibrate: Annotated[
        Path | None,
        typer.Option(
            metavar="X.npz",
            parser=given_path,
            help="Arrays x and optionally y: the package's vectors (default: random inputs); a "
            "float model is quantised with every second sample, the others are its vectors.",
        ),
    ] = None,
    ranges: Annotated[
        str | None,
        typer.Option(
            help=f"Of a float model's tensors: {', '.join(METHODS)}. Default: {Options().method}.",
            show_default=False,
        ),
    ] = None,
    equalise: Annotated[
        bool | None,
        typer.Option(
            "--equalise/--no-equalise",
            help="Equalise a float model's weights across layers. Default: where it helps.",
            show_default=False,
        ),
    ] = None,
    bias_correction: Annotated[
        bool | None,
        typer.Option(
            "--bias-correction/--no-bias-correction",
            help="Correct a float model's biases for what rounding does. Default: yes.",
            show_default=False,
        ),
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            show_default=False,
            help="Runs of a .tflite network with a state that make one inference: x becomes "
            "(samples, N, ...), the state starts anew with each sample. Default: 1.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="PATH", parser=given_path, help="Default: NAME.spk."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Import a model file and write the package NAME.spk."""
    terminal = Terminal.open(as_json)
    if out is not None:
        check_file(out)
        for read in (file, calibrate):
            if read is not None and out.resolve() == read.resolve():
                raise UsageError(
                    f"-o {out}: is a file that is read", next="give the package a name"
                )
    given = {"--ranges": ranges, "--equalise": equalise, "--bias-correction": bias_correction}
    asked = [name for name, value in given.items() if value is not None]
    options = Options(
        method=_one_of_methods(ranges or Options().method),
        equalise=equalise,
        correct=bias_correction is not False,
    )
    suffix = file.suffix.lower()
    if suffix not in _FORMATS:
        raise UsageError(
            f"model {file}: {file.suffix or 'no suffix'} is not a format that can be imported",
            "another format, or a wrong name",
            f"formats: {', '.join(_FORMATS)}",
        )
    with terminal.err.status("importing"):
        package = _FORMATS[suffix](file, calibrate, options, asked, frames)
    out = out or Path(f"{package.graph.name}.spk")
    check_file(out)
    package.save(out)
    with tempfile.TemporaryDirectory(prefix="spikelet-import-") as folder:
        generated = generate(package.graph, package.sha256, Path(folder))
    found = described(package, out, generated)
    terminal.result(found, *_shown(found))
    if frames is None and _has_state(package.graph) and package.graph.steps == 1:
        terminal.note("the network has a state: it starts anew with each inference, of one frame; "
                      "--frames N makes an inference of N frames", "yellow")  # fmt: skip


def _has_state(graph: Graph) -> bool:
    return any(t.kind == "state" for t in graph.tensors.values())


def _one_of_methods(name: str) -> str:
    if name not in METHODS:
        raise typer.BadParameter(f"--ranges {name}: expected {', '.join(METHODS)}")
    return name


def _only_float(file: Path, asked: list[str]) -> None:
    """Refuse options of quantisation for a model that is quantised already."""
    if asked:
        raise UsageError(
            f"{', '.join(asked)}: the model {file} has its codes already",
            "it was quantised before; these options are for float models",
            "leave them out",
        )


def _onnx(
    file: Path, data: Path | None, options: Options, asked: list[str], frames: int | None
) -> Package:
    if frames is not None:
        raise UsageError(
            f"--frames: {file} is an .onnx model, and states are carried over from .tflite alone",
            next="leave it out",
        )
    imported = onnx.load(file)
    if not imported.is_float:
        _only_float(file, asked)
    return _network(imported, file, data, options)


def _network(
    imported: network_package.Imported, file: Path, data: Path | None, options: Options
) -> Package:
    samples = None if data is None else network_package.read_samples(data, imported)
    return network_package.package(imported, file.name, samples, options)


def _tflite(
    file: Path, data: Path | None, options: Options, asked: list[str], frames: int | None
) -> Package:
    if tflite_float.is_float(tflite_file.read(file)):
        if frames is not None:
            raise UsageError(
                f"--frames: {file} is a float model, and states are carried over from integer ones",
                next="leave it out",
            )
        return _network(tflite_float.load(file), file, data, options)
    _only_float(file, asked)
    imported = tflite.load(file, frames=frames or 1)
    if frames is not None and frames > 1 and not _has_state(imported.graph):
        raise UsageError(
            f"--frames {frames}: the model {file} has no state, a frame is an inference of its own",
            "the option is for networks with SVDF or LSTM",
            "leave it out",
        )
    package = Package(
        imported.graph,
        {},
        {
            "source": words(file.name),
            "source_sha256": imported.sha256,
            "source_names": {k: words(name) for k, name in imported.original.items()},
            **imported.simplified.noted(),
            "versions": {"spikelet": __version__, "numpy": np.__version__},
        },
    )
    vectors, source = _vectors(package, data)
    manifest = {**package.manifest, "vectors": words(source)}
    package = Package(imported.graph, vectors, manifest).with_golden()
    accuracy = _accuracy(package)
    if accuracy is not None:
        package.manifest["integer_accuracy"] = accuracy
    return package


_FORMATS = {".onnx": _onnx, ".tflite": _tflite}


def _vectors(package: Package, calibrate: Path | None) -> tuple[dict[str, Array], str]:
    if calibrate is not None:
        stream = data_stream(package, calibrate, "--calibrate")
        key = labels_key(stream.inputs)
        labels = {} if stream.labels is None else {key: stream.labels}
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
    if package.labels is None:
        return None
    first = package.graph.outputs[0]
    predicted = package.graph.predicted(package.vectors[f"golden.{first}"])
    return float(np.mean(predicted == package.labels))


def _shown(found: dict[str, Any]) -> list[Any]:
    manifest = found["manifest"]
    shown: list[Any] = [layer_table(found["layers"]), ""]
    if "simplified" in manifest:
        shown += [simplified_table(manifest["simplified"]), ""]
    if "layer_drift" in manifest:
        shown += [_drift(manifest["layer_drift"], manifest.get("float", "")), ""]
    return [
        *shown,
        facts(
            found["package"],
            {
                "model": found["model"],
                "frames": found["steps"] if found["steps"] > 1 else None,
                **origin_rows(manifest),
                **accuracy_rows(manifest),
                "vectors": manifest["vectors"],
                "constants": number(found["weight_bytes"], "B"),
                "arena": arena_row(found),
                "sha256": found["package_sha256"],
            },
        ),
    ]


def _drift(rows: list[dict[str, Any]], by: str) -> Any:
    """How far the graph is from the network as it was given, and who executed that."""
    made = table(
        f"int8 less float ({by}), by tensor", "tensor", "in the source", ">SNR dB", ">cosine"
    )
    for row in rows:
        ratio = "equal" if row["snr_db"] is None else f"{row['snr_db']:.1f}"
        made.add_row(
            row["tensor"], shorten(row["layer"], LONGEST_NAME), ratio, f"{row['cosine']:.5f}"
        )
    return made

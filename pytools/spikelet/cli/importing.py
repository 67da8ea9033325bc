"""A model file of another framework becomes a package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spikelet.cli.places import check_file
from spikelet.cli.render import (
    accuracy_rows,
    arena_row,
    layer_table,
    origin_rows,
    simplified_table,
)
from spikelet.cli.terminal import facts, number, table
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


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """What `spikelet import` is asked for.

    Attributes:
        file: the model.
        calibrate: samples, an .npz file.
        ranges, equalise, bias_correction: how a float model is quantised; None for the default.
        frames: runs that make one inference of a network with a state.
        out: the package's file.

    Raises:
        UsageError: an unknown format or method, or a package that would overwrite what is read.
    """

    file: Path
    calibrate: Path | None = None
    ranges: str | None = None
    equalise: bool | None = None
    bias_correction: bool | None = None
    frames: int | None = None
    out: Path | None = None

    def __post_init__(self) -> None:
        if self.out is not None:
            check_file(self.out)
            for read in (self.file, self.calibrate):
                if read is not None and self.out.resolve() == read.resolve():
                    raise UsageError(
                        f"-o {self.out}: is a file that is read", next="give the package a name"
                    )
        if self.ranges is not None and self.ranges not in METHODS:
            raise UsageError(
                f"--ranges {self.ranges}: expected {', '.join(METHODS)}", next="choose one of them"
            )
        if self.file.suffix.lower() not in _FORMATS:
            raise UsageError(
                f"model {self.file}: {self.file.suffix or 'no suffix'} is not a format that can be "
                "imported",
                "another format, or a wrong name",
                f"formats: {', '.join(_FORMATS)}",
            )

    @property
    def quantisation(self) -> Options:
        """Of a float model."""
        return Options(
            method=self.ranges or Options().method,
            equalise=self.equalise,
            correct=self.bias_correction is not False,
        )

    def check_integer(self) -> None:
        """Refuse options of quantisation for a model that is quantised already."""
        given = {
            "--ranges": self.ranges,
            "--equalise": self.equalise,
            "--bias-correction": self.bias_correction,
        }
        asked = [name for name, value in given.items() if value is not None]
        if asked:
            raise UsageError(
                f"{', '.join(asked)}: the model {self.file} has its codes already",
                "it was quantised before; these options are for float models",
                "leave them out",
            )

    def package(self) -> Package:
        """The package that the model becomes; for errors see its front end."""
        return _FORMATS[self.file.suffix.lower()](self)


def has_state(graph: Graph) -> bool:
    """Whether something of an inference's run is there in the next one."""
    return any(t.kind == "state" for t in graph.tensors.values())


def _onnx(options: ImportOptions) -> Package:
    if options.frames is not None:
        raise UsageError(
            f"--frames: {options.file} is an .onnx model, and states are carried over from "
            ".tflite alone",
            next="leave it out",
        )
    imported = onnx.load(options.file)
    if not imported.is_float:
        options.check_integer()
    return _network(imported, options)


def _network(imported: network_package.Imported, options: ImportOptions) -> Package:
    data = options.calibrate
    samples = None if data is None else network_package.read_samples(data, imported)
    return network_package.package(imported, options.file.name, samples, options.quantisation)


def _tflite(options: ImportOptions) -> Package:
    file, frames = options.file, options.frames
    if tflite_float.is_float(tflite_file.read(file)):
        if frames is not None:
            raise UsageError(
                f"--frames: {file} is a float model, and states are carried over from integer ones",
                next="leave it out",
            )
        return _network(tflite_float.load(file), options)
    options.check_integer()
    imported = tflite.load(file, frames=frames or 1)
    if frames is not None and frames > 1 and not has_state(imported.graph):
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
            **imported.simplified.manifest_entry(),
            "versions": {"spikelet": __version__, "numpy": np.__version__},
        },
    )
    vectors, source = _vectors(package, options.calibrate)
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


def render_import(result: dict[str, Any]) -> list[Any]:
    """The layers, what was left out, the drift and the package."""
    manifest = result["manifest"]
    shown: list[Any] = [layer_table(result["layers"]), ""]
    if "simplified" in manifest:
        shown += [simplified_table(manifest["simplified"]), ""]
    if "layer_drift" in manifest:
        shown += [_drift(manifest["layer_drift"], manifest.get("float", "")), ""]
    return [
        *shown,
        facts(
            result["package"],
            {
                "model": result["model"],
                "frames": result["steps"] if result["steps"] > 1 else None,
                **origin_rows(manifest),
                **accuracy_rows(manifest),
                "vectors": manifest["vectors"],
                "constants": number(result["weight_bytes"], "B"),
                "arena": arena_row(result),
                "sha256": result["package_sha256"],
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

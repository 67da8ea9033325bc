"""A model file of another framework as a package, whatever its format."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from spikelet.errors import UsageError
from spikelet.frontends import network_package, onnx, tflite
from spikelet.frontends.nir.options import NirOptions
from spikelet.frontends.tflite import file as tflite_file
from spikelet.frontends.tflite import floats as tflite_float
from spikelet.graph import Array, Graph
from spikelet.metrics import regression_error
from spikelet.package import Package
from spikelet.quantise import Options
from spikelet.samples import GivenArrays, labels_key
from spikelet.streams import array_stream
from spikelet.text import words
from spikelet.version import __version__

FORMATS = (".nir", ".onnx", ".tflite")


def import_file(
    file: Path,
    data: GivenArrays | None = None,
    options: Options | NirOptions | None = None,
    frames: int | None = None,
) -> Package:
    """The package that a model file becomes.

    Args:
        file: the model.
        data: samples, and labels where they are known: the package's vectors; a float model is
            quantised with every second sample, the others are its vectors.
        options: how a float model is quantised; refused for one that is quantised already. Of a
            .nir file `NirOptions`.
        frames: runs that make one inference of a .tflite network with a state; None for 1.

    Raises:
        UsageError: an unknown format, a node that cannot be carried over, or what does not go with
            the model.
    """
    suffix = file.suffix.lower()
    if suffix not in FORMATS:
        raise UsageError(
            f"model {file}: {file.suffix or 'no suffix'} is not a format that can be imported",
            "another format, or a wrong name",
            f"formats: {', '.join(FORMATS)}",
        )
    if suffix == ".nir":
        return _spiking(file, data, options, frames)
    if isinstance(options, NirOptions):
        raise UsageError(
            f"steps of a spiking network: {file} is a {suffix} model", next="leave them out"
        )
    if suffix == ".tflite" and not tflite_float.is_float(tflite_file.read(file)):
        _refuse(options, file)
        return _integers(file, data, frames)
    if frames is not None:
        kind = "an .onnx model" if suffix == ".onnx" else "a float model"
        kept = ".tflite alone" if suffix == ".onnx" else "integer ones"
        raise UsageError(
            f"frames {frames}: {file} is {kind}, and states are carried over from {kept}",
            next="leave it out",
        )
    imported = onnx.load(file) if suffix == ".onnx" else tflite_float.load(file)
    if not imported.is_float:
        _refuse(options, file)
    samples = None if data is None else network_package.read_samples(data, imported)
    return network_package.package(imported, file.name, samples, options)


def _spiking(
    file: Path, data: GivenArrays | None, options: Options | NirOptions | None, frames: int | None
) -> Package:
    """A .nir file, in steps."""
    if isinstance(options, Options) or frames is not None:
        raise UsageError(
            f"options of quantisation or frames: {file} is a .nir file",
            "they are for networks of float or int8 activations",
            "leave them out",
        )
    for name in ("torch", "snntorch"):
        if importlib.util.find_spec(name) is None:
            raise UsageError(
                f"a package of a .nir file needs the package {name}",
                "Spikelet was installed without its extra `train`",
                "pip install 'spikelet[nir,train]'",
            )
    from spikelet.frontends.nir.package import package  # PyTorch, which takes seconds

    return package(file, data, options or NirOptions())


def has_state(graph: Graph) -> bool:
    """Whether something of an inference's run is there in the next one."""
    return any(t.kind == "state" for t in graph.tensors.values())


def _refuse(options: Options | None, file: Path) -> None:
    if options is not None:
        raise UsageError(
            f"options of quantisation: the model {file} has its codes already",
            "it was quantised before; these options are for float models",
            "leave them out",
        )


def _integers(file: Path, data: GivenArrays | None, frames: int | None) -> Package:
    """A .tflite model with its own codes."""
    imported = tflite.load(file, frames=frames or 1)
    graph = imported.graph
    if frames is not None and frames > 1 and not has_state(graph):
        raise UsageError(
            f"frames {frames}: the model {file} has no state, a frame is an inference of its own",
            "the option is for networks with SVDF or LSTM",
            "leave it out",
        )
    manifest = {
        "source": words(file.name),
        "source_sha256": imported.sha256,
        "source_names": {k: words(name) for k, name in imported.original.items()},
        **imported.simplified.manifest_entry(),
        "versions": {"spikelet": __version__, "numpy": np.__version__},
    }
    vectors, source = _vectors(Package(graph, {}, manifest), data)
    package = Package(graph, vectors, {**manifest, "vectors": words(source)}).with_golden()
    if package.labels is not None:
        predicted = graph.predicted(package.vectors[f"golden.{graph.outputs[0]}"])
        package.manifest["integer_accuracy"] = float(np.mean(predicted == package.labels))
    if package.targets is not None:
        first = graph.tensors[graph.outputs[0]]
        real = first.real(package.vectors[f"golden.{first.name}"])
        error = real.reshape(len(real), -1) - package.targets
        package.manifest["integer_error"] = regression_error(np.abs(error), error**2)
    return package


def _vectors(package: Package, data: GivenArrays | None) -> tuple[dict[str, Array], str]:
    if data is None:
        return network_package.random_inputs(package.graph)
    highest = package.graph.highest_prediction
    given = array_stream(package, data.arrays, data.given, data.source, highest)
    truth = given.targets if given.labels is None else given.labels
    known = {} if truth is None else {labels_key(given.inputs): truth}
    return {**given.inputs, **known}, f"{data.source}, {len(given)} samples"

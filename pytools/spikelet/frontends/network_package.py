"""From a network of a file and samples to a package: quantised, its figures in the manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from spikelet.errors import UsageError
from spikelet.frontends.manifest import figures, first_layout, layouts
from spikelet.graph import Array, Graph
from spikelet.graph.simplify import simplify
from spikelet.package import Package
from spikelet.quantise import (
    Network,
    Options,
    Original,
    Quantised,
    encode,
    quantise,
    unfolded_original,
)
from spikelet.refusal import ImportRefused
from spikelet.samples import (
    GivenArrays,
    check_lengths,
    check_names,
    checked_truth,
    labels_among,
    labels_key,
    real_samples,
)
from spikelet.text import words
from spikelet.version import __version__

FEWEST = 20  # samples that are parted into some for ranges and others for figures
RANDOM_SAMPLES = 16


@dataclass(frozen=True)
class Imported:
    """A network from a file.

    Attributes:
        network: with the codes that the file gives.
        dtypes: of the inputs as the file has them, by name.
        is_float: no activation is quantised in the file, but for inputs that are integers.
        sha256: of the file.
        original: who executes the file, if anybody.
    """

    network: Network
    dtypes: dict[str, str]
    is_float: bool
    sha256: str
    original: Original | None = None


@dataclass(frozen=True)
class Samples:
    """Real inputs of a network.

    Attributes:
        source: where they come from.
        feeds: by input, float32 (N, *rest of the shape).
        labels: (N,) as they were given, if there are any.
    """

    source: str
    feeds: dict[str, Array]
    labels: Array | None

    def __len__(self) -> int:
        return len(next(iter(self.feeds.values())))

    def every(self, step: int, start: int) -> Samples:
        """Each `step`-th sample from `start` on."""
        labels = None if self.labels is None else self.labels[start::step]
        return Samples(self.source, {k: v[start::step] for k, v in self.feeds.items()}, labels)


def read_samples(data: GivenArrays, imported: Imported) -> Samples:
    """Samples of arrays: x (N, *rest of the input's shape), or arrays by input; labels.

    Raises:
        UsageError: names the array, what it is and what is expected.
    """
    arrays, given, inputs = data.arrays, data.given, imported.network.inputs
    wanted = {name: name if len(inputs) > 1 else "x" for name in inputs}
    check_names(arrays, list(wanted.values()), given)
    feeds = {
        name: real_samples(arrays[key], given, key, inputs[name][1:], imported.dtypes[name])
        for name, key in wanted.items()
    }
    check_lengths(feeds, given)
    return Samples(data.source, feeds, labels_among(arrays, wanted.values()))


def package(
    imported: Imported, file: str, samples: Samples | None, options: Options | None = None
) -> Package:
    """Quantise a network and pack it.

    A float model is calibrated on every second sample, its figures are those of the others; with
    fewer than 20 samples all are used for both, and the manifest says so.

    Args:
        imported: the network.
        file: its name, for the manifest.
        samples: real inputs; may be None where the file gives all codes.
        options: of the quantisation of a float model.

    Raises:
        UsageError: what the graph cannot carry, by node; or samples are missing.
    """
    network = imported.network
    if imported.is_float and samples is None:
        raise _calibration_missing(file, network)
    tested, told, quantised = samples, "", None
    if samples is not None:
        feeds = _decode(network, samples.feeds)
        tested = samples = Samples(samples.source, feeds, samples.labels)
    if not imported.is_float:
        quantised = _with_its_codes(network, samples)
    if quantised is None and samples is not None:
        calibration, tested, told = _split(samples)
        quantised = quantise(network, calibration.feeds, options)
    if quantised is None:
        raise UsageError(f"model {file}: nothing to quantise")
    if samples is not None and tested is not None:
        _with_truth(samples, quantised)
        tested = _with_truth(tested, quantised)
    manifest: dict[str, Any] = {
        "name": quantised.graph.name,
        "source": words(file),
        "source_sha256": imported.sha256,
        "source_names": {held: words(name) for name, held in quantised.names.items()},
        "layouts": layouts(quantised, imported.dtypes),
        "versions": {"spikelet": __version__, "numpy": np.__version__},
    }
    if told:
        chosen = options or Options()
        manifest["calibration"] = words(told)
        manifest["quantisation"] = {
            "ranges": chosen.method,
            "equalised": quantised.equalised,
            "bias_correction": chosen.correct and not network.codes,
            **chosen.bits_entry(),
        }
    original = imported.original or unfolded_original(network)
    vectors, measured = _vectors(quantised, tested, original)
    less = simplify(quantised.graph)
    return Package(
        less.graph, vectors, {**manifest, **measured, **less.manifest_entry()}
    ).with_golden()


def _with_truth(samples: Samples, quantised: Quantised) -> Samples:
    """The samples, their labels checked: classes, or a regression's targets."""
    if samples.labels is None:
        return samples
    layout, count = first_layout(quantised), len(samples)
    truth = checked_truth(samples.labels, samples.source, count, quantised.graph, layout)
    return replace(samples, labels=truth)


def random_inputs(graph: Graph) -> tuple[dict[str, Array], str]:
    """Vectors where no data was given, and what the manifest says of them."""
    rng = np.random.default_rng(0)
    drawn = {
        t.name: rng.integers(*t.limits, (RANDOM_SAMPLES, *t.shape), endpoint=True).astype(
            t.numpy_dtype
        )
        for t in graph.inputs
    }
    return drawn, f"{RANDOM_SAMPLES} random inputs, seed 0: no data was given"


def _calibration_missing(file: str, network: Network) -> ImportRefused:
    shapes = ", ".join(f"{n} (N, {', '.join(map(str, s[1:]))})" for n, s in network.inputs.items())
    return ImportRefused(
        f"model {file}: a float model, and no data to find the ranges of its tensors",
        "it was not quantised when it was exported",
        f"--calibrate X.npz with a hundred samples or more: {shapes} as x, labels as y",
    )


def _with_its_codes(network: Network, samples: Samples | None) -> Quantised | None:
    """Quantised with the file's codes alone; None where some are missing and there are samples."""
    try:
        return quantise(network, None)
    except UsageError:
        if samples is None:
            raise
        return None


def _split(samples: Samples) -> tuple[Samples, Samples, str]:
    """Samples to find ranges on, samples for figures, and what is told of them."""
    if len(samples) < FEWEST:
        told = f"{samples.source}: all {len(samples)} samples, which the figures are of, too"
        return samples, samples, told
    calibration = samples.every(2, 0)
    told = f"{samples.source}: every second sample, {len(calibration)} of {len(samples)}"
    return calibration, samples.every(2, 1), told


def _decode(network: Network, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Real values, also of inputs that the file has as integers."""
    decoded = dict(feeds)
    for name, values in feeds.items():
        if values.dtype.kind in "iu":
            code, shift = network.codes[name], 128 if values.dtype == np.uint8 else 0
            codes = values.astype(np.float32) - shift - code.zero_point
            decoded[name] = codes * np.float32(code.scale)
    return decoded


def _vectors(
    quantised: Quantised, samples: Samples | None, original: Original
) -> tuple[dict[str, Array], dict[str, Any]]:
    """The package's vectors, and figures of them."""
    if samples is None:
        drawn, source = random_inputs(quantised.graph)
        return drawn, {"vectors": source}
    vectors = {quantised.names[k]: encode(quantised, v, k) for k, v in samples.feeds.items()}
    labels = None
    if samples.labels is not None:
        labels = vectors[labels_key(vectors)] = samples.labels
    told = {"vectors": words(f"{samples.source}, {len(samples)} samples")}
    return vectors, {**told, **figures(quantised, samples.feeds, labels, original)}

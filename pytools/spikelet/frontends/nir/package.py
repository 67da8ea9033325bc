"""A package of a NIR file: its integer graph, tested with samples."""

from __future__ import annotations

from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from spikelet.errors import UsageError
from spikelet.frontends.nir.choices import choices
from spikelet.frontends.nir.file import FileNode
from spikelet.frontends.nir.file import read as read_file
from spikelet.frontends.nir.options import NirOptions
from spikelet.frontends.nir.reader import network_of
from spikelet.frontends.snntorch.spiking import Spiking
from spikelet.frontends.spiking.encoders import DirectCurrent, Encoder, encode
from spikelet.frontends.spiking.lower import readout_of
from spikelet.frontends.spiking.network import Neurons, SpikingNetwork
from spikelet.frontends.spiking.package import Plan, make_package
from spikelet.graph import Array
from spikelet.package import Package
from spikelet.samples import GivenArrays, check_names, checked_labels, labels_among
from spikelet.text import words

RANDOM_SAMPLES = 16
CHOICE_SAMPLES = 16  # that other conventions are executed on


def package(file: Path, data: GivenArrays | None, options: NirOptions) -> Package:
    """The package that a .nir file becomes.

    Args:
        file: the file.
        data: real samples x (N, *shape), channels first, and labels where they are known: the
            package's vectors; None for random ones from 0 to 1.
        options: steps, encoder and what NIR leaves open.

    Raises:
        UsageError: what is not said, or does not fit.
        ImportRefused: names the node that is not carried over.
    """
    root, sha256 = read_file(file)
    network = network_of(root, options.convention, file.stem)
    if options.steps is None:
        raise UsageError(
            f"model {file}: how many steps an inference has is not said",
            "NIR has no end of time",
            "--steps T, or NirOptions(steps=T)",
        )
    if len(network.inputs) > 1:
        raise UsageError(f"model {file}: {len(network.inputs)} inputs, a package has one")
    network = _with_input_x(network)
    x, labels, source = _samples(network, data)
    encoder: Encoder = DirectCurrent()
    if data is not None or options.encoder != "direct":
        encoder = Spiking(steps=options.steps, encoder=options.encoder).encoding(x)  # type: ignore[arg-type]
    plan = Plan(network, options.steps, encoder, readout_of(network))
    if labels is not None:
        highest = plan.exact.graph.highest_prediction
        labels = checked_labels(labels, source, len(x), highest)
    versions = {"h5py": metadata.version("h5py")}
    made = make_package(plan, options.state, plan.codes(x), labels, 0, versions)
    made.manifest |= {
        "layouts": {"x": plan.layout()},
        "source": words(file.name),
        "source_sha256": sha256,
        "source_names": _source_names(network, made),
        "vectors": words(source),
        "convention": convention_entry(root, options, network, _shown(made, x.shape[1:], plan)),
    }
    return made


def _with_input_x(network: SpikingNetwork) -> SpikingNetwork:
    """The network, its input called as those of all packages of spiking networks are."""
    ((name, shape),) = network.inputs.items()
    layers = tuple(
        replace(layer, inputs=tuple("x" if source == name else source for source in layer.inputs))
        for layer in network.layers
    )
    return replace(network, inputs={"x": shape}, layers=layers)


def _samples(network: SpikingNetwork, data: GivenArrays | None) -> tuple[Array, Array | None, str]:
    """Real samples (N, *shape), labels, and where they are from."""
    ((_, shape),) = network.inputs.items()
    if data is None:
        drawn = np.random.default_rng(0).random((RANDOM_SAMPLES, *shape)).astype(np.float32)
        return drawn, None, f"{RANDOM_SAMPLES} random inputs, seed 0: no data was given"
    check_names(data.arrays, ["x"], data.given)
    x = data.arrays["x"]
    size = int(np.prod(shape))
    if x.ndim < 2 or x.dtype.kind not in "fiu" or not len(x) or x[0].size != size:
        raise UsageError(
            f"{data.given}: x is {x.dtype} of shape {x.shape}, expected "
            f"(N, {', '.join(map(str, shape))}) real values",
            "samples of another network",
            "one sample an inference, channels first",
        )
    real = x.astype(np.float32).reshape(len(x), *shape)
    if not np.isfinite(real).all():
        raise UsageError(f"{data.given}: x holds values that are not finite")
    return real, labels_among(data.arrays, ["x"]), f"{data.source}, {len(x)} samples"


def _source_names(network: SpikingNetwork, made: Package) -> dict[str, str]:
    """Of tensors of the graph, the names of the file's nodes."""
    tensors = made.graph.tensors
    return {
        layer.name: words(layer.source)
        for layer in network.layers
        if layer.source and layer.name in tensors
    }


def _shown(made: Package, shape: tuple[int, ...], plan: Plan) -> Array:
    """What the network reads of the first of a package's vectors, (T, N, *shape)."""
    codes = made.vectors["x"][:CHOICE_SAMPLES]
    encoder, steps, count = plan.encoder, plan.steps, len(codes)
    if isinstance(encoder, DirectCurrent):
        real = (codes.astype(np.float64) - encoder.zero_point) * encoder.scale
        spikes = np.broadcast_to(real, (steps, *real.shape))
    else:
        seeds = made.vectors["seed"][:count] if "seed" in made.vectors else None
        spikes = encode(codes.reshape(count, -1), encoder, steps, seeds).numpy()
    if len(shape) != 3:
        return spikes.reshape(steps, count, *shape)
    return np.moveaxis(spikes.reshape(steps, count, *shape[1:], shape[0]), -1, 2)


def convention_entry(
    root: FileNode, options: NirOptions, network: SpikingNetwork, x: Array
) -> dict[str, Any]:
    """What a manifest says of how the network is executed, and of what others would change."""
    said = options.convention.with_file(root).said()
    rules = [each.rule for each in network.layers if isinstance(each, Neurons)]
    firing = [rule for rule in rules if rule.threshold is not None]
    for name in ("reset", "timing", "compare"):
        values = sorted({str(getattr(rule, name)) for rule in firing})
        if values:
            said[name] = ", ".join(values)
    rows = [row.to_json() for row in choices(network, x)] if firing else []
    return {**said, "choices": rows}

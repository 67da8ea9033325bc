"""How far the integer graph is from the float network as it was given, layer by layer.

Folded and equalised networks are not compared with: what they do wrong would not show.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from spikelet.graph import Array
from spikelet.graph.ops.reshape import Reshape
from spikelet.quantise.meaning import run
from spikelet.quantise.network import Network
from spikelet.quantise.pipeline import Quantised, decode, encode

CHUNK = 64  # samples at a time


@dataclass(frozen=True)
class Drift:
    """Of one layer.

    Attributes:
        layer: name in the network.
        tensor: name in the graph.
        snr: signal-to-noise ratio, dB: energy of the float tensor over that of the difference;
            infinite where they are equal.
        cosine: of the angle between both, over all samples and elements.
    """

    layer: str
    tensor: str
    snr: float
    cosine: float


@dataclass(frozen=True)
class Accuracy:
    """Shares of samples whose label is the first output's largest element."""

    real: float
    integer: float


@dataclass(frozen=True)
class Original:
    """The network as it was given, executed by whoever knows it best.

    Attributes:
        by: who executes it, in words.
        run: from inputs by name (N, *rest of the shape) and names of tensors of the network to the
            values (N, *rest of the shape) of those among them that it can tell; all outputs are.
    """

    by: str
    run: Callable[[Mapping[str, Array], Sequence[str]], dict[str, Array]]


def unfolded_original(network: Network) -> Original:
    """The network's own meaning before any fold, where nobody else executes it."""
    return Original("the network before any fold", lambda feeds, names: run(network, feeds))


def drift(
    quantised: Quantised, feeds: Mapping[str, Array], original: Original | None = None
) -> list[Drift]:
    """Each int8 tensor of the graph against the given network's, in order of execution.

    Tensors that only the folded network has are left out.

    Args:
        quantised: the network.
        feeds: inputs by name, (N, *rest of the shape), float.
        original: who executes the given network; by default its own meaning before any fold.
    """
    original = original or unfolded_original(quantised.given)
    layers = _layers(quantised)
    sums: dict[str, Array] = {}
    for part in _chunks(feeds):
        real, codes = {**original.run(part, list(layers)), **part}, _encode(quantised, part)
        trace = quantised.graph.run(codes, trace=True).trace
        held = {**codes, **{name: rows[0] for name, rows in trace.items()}}
        for name in [name for name in layers if name in real]:
            a = real[name].reshape(-1).astype(np.float64)
            values = decode(quantised, held[layers[name]], name).astype(np.float64)
            b = (values / quantised.factors.get(name, np.ones(1))).reshape(-1)
            total = sums.setdefault(name, np.zeros(4))
            total += a @ a, b @ b, a @ b, (a - b) @ (a - b)
    return [Drift(name, layers[name], *_compare(*sums[name])) for name in layers if name in sums]


def _layers(quantised: Quantised) -> dict[str, str]:
    """The tensors that are compared; what only renames or reshapes another is no layer."""
    seen = {node.name for node in quantised.graph.nodes if isinstance(node, Reshape)}
    layers = {}
    for name, tensor in quantised.names.items():
        if quantised.graph.tensors[tensor].dtype == "i8" and tensor not in seen:
            seen.add(tensor)
            layers[name] = tensor
    return layers


def _chunks(feeds: Mapping[str, Array]) -> Iterator[dict[str, Array]]:
    samples = min(len(values) for values in feeds.values())
    for at in range(0, samples, CHUNK):
        yield {
            k: np.asarray(v[at : min(at + CHUNK, samples)], np.float32) for k, v in feeds.items()
        }


def _encode(quantised: Quantised, feeds: Mapping[str, Array]) -> dict[str, Array]:
    return {
        quantised.names[name]: encode(quantised, feeds[name], name)
        for name in quantised.network.inputs
    }


def _compare(signal: float, other: float, product: float, noise: float) -> tuple[float, float]:
    snr = math.inf if noise == 0 else 10 * math.log10(signal / noise) if signal else -math.inf
    cosine = product / math.sqrt(signal * other) if signal and other else float(noise == 0)
    return snr, float(cosine)


def accuracy(
    quantised: Quantised,
    feeds: Mapping[str, Array],
    labels: Array,
    original: Original | None = None,
) -> Accuracy:
    """Accuracy of the given network, executed as by `drift`, and of the graph; labels (N,)."""
    labels = np.asarray(labels).reshape(-1)
    predicted = (np.mean(_predict(v) == labels) for v in first_outputs(quantised, feeds, original))
    return Accuracy(*map(float, predicted))


def first_outputs(
    quantised: Quantised, feeds: Mapping[str, Array], original: Original | None = None
) -> tuple[Array, Array]:
    """The first output of the given network, executed as by `drift`, and of the graph.

    Both are real values (N, *rest of its shape in the network).
    """
    original = original or unfolded_original(quantised.given)
    name = quantised.network.outputs[0]
    real, integer = [], []
    for part in _chunks(feeds):
        held = quantised.graph.run(_encode(quantised, part)).outputs[quantised.names[name]]
        real.append(original.run(part, [name])[name])
        integer.append(decode(quantised, held, name))
    return np.concatenate(real), np.concatenate(integer)


def _predict(values: Array) -> Array:
    """(N,) from (N, *shape): its element, or where its largest lies."""
    flat = values.reshape(len(values), -1)
    classes: Array = flat[:, 0] if flat.shape[1] == 1 else np.argmax(flat, axis=1)
    return classes.astype(np.int64)

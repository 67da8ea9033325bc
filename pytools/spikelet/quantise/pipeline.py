"""From a float network and data to the integer graph."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from spikelet.errors import UsageError
from spikelet.graph import Array, Graph
from spikelet.quantise.apart import check_apart
from spikelet.quantise.calibrate import calibrate, integers, reals
from spikelet.quantise.correct import linear_nodes, simulate, weight_codes
from spikelet.quantise.equalise import equalise
from spikelet.quantise.fold import fold
from spikelet.quantise.fuse import groups
from spikelet.quantise.lower import lower
from spikelet.quantise.meaning import run, shapes
from spikelet.quantise.network import Code, Network
from spikelet.quantise.operator import operator_of

WIDTHS = (8, 4, 2, 1)  # of weights, in bits
MEMORY_BYTES = 1 << 29  # of all float tensors on the calibration data
LEAST_SAMPLES = 16


@dataclass(frozen=True)
class Options:
    """How to quantise.

    Attributes:
        method: of finding ranges: mse, percentile or minmax.
        percentile: of values that a range holds on either side.
        equalise: cross-layer equalisation; None where it lowers the error on the data.
        correct: biases are corrected for the mean error of each channel on the data.
        per_channel: weights have one scale an output channel, not one a tensor.
        bits: of weights: 8, 4, 2 or 1, of all layers or by their names; those that are not named
            have 8.
        odd: weights of less than 8 bits lie on the grid without a zero (mid-rise).

    A network that gives codes is neither equalised nor corrected.
    """

    method: str = "mse"
    percentile: float = 99.99
    equalise: bool | None = None
    correct: bool = True
    per_channel: bool = True
    bits: int | Mapping[str, int] = 8
    odd: bool = True

    def bits_entry(self) -> dict[str, Any]:
        """What a manifest says of the bits; nothing where all are 8."""
        if self.bits == 8:
            return {}
        return {"bits": self.bits if isinstance(self.bits, int) else dict(self.bits)}

    def bits_of(self, network: Network) -> dict[str, int]:
        """By node with weights; raises UsageError on a width or a layer that there is not.

        A layer has the name that it had before a batch normalisation or the like was folded into
        it; the name of what it writes now serves, too.
        """
        nodes = linear_nodes(network)
        names = {node.source or node.name: node.name for node in nodes}
        known = {**{node.name: node.name for node in nodes}, **names}
        given = dict.fromkeys(names, self.bits) if isinstance(self.bits, int) else self.bits
        if unknown := sorted(set(given) - set(known)):
            raise UsageError(
                f"bits of {', '.join(unknown)}: no such layer",
                next=f"layers with weights are {', '.join(sorted(names))}",
            )
        asked = {known[name]: bits for name, bits in given.items()}
        if wrong := sorted({b for b in asked.values() if b not in WIDTHS}):
            raise UsageError(
                f"weights of {wrong[0]} bits", next=f"widths are {', '.join(map(str, WIDTHS))}"
            )
        return asked


@dataclass(frozen=True)
class Quantised:
    """An integer graph and where it comes from.

    Attributes:
        graph: the int8 graph.
        given: the network as it was given, before any fold: what figures are compared with.
        network: what was lowered: folded, equalised, biases corrected, with all codes.
        reference: the same network before its biases were corrected; the same function as the one
            that was given.
        equalised: whether `reference` is equalised.
        factors: by tensor of `network` that equalisation has scaled, by what, for its axes.
        names: by tensor of `network`, the graph's tensor that holds it; fused ones are not there.
        layouts: by tensor of `network`, its axes (without the batch axis) in the order of the
            graph's tensor: (2, 3, 1) where (1, C, H, W) is held as (H, W, C).
    """

    graph: Graph
    given: Network
    network: Network
    reference: Network
    equalised: bool
    factors: dict[str, Array]
    names: dict[str, str]
    layouts: dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class _Attempt:
    reference: Network
    network: Network
    error: float = math.inf


def quantise(
    network: Network, feeds: Mapping[str, Array] | None, options: Options | None = None
) -> Quantised:
    """Quantise a float network.

    Args:
        network: as a frontend made it, not folded; codes that it gives are kept.
        feeds: calibration data by input name, (N, *rest of the shape), of which no more is used
            than memory holds well; None where the network gives all codes.
        options: how.

    Raises:
        UsageError: a node that the graph cannot carry, named with its attributes and what would be
            supported; or codes are missing and no data is given.
    """
    options = options or Options()
    check_apart(network)
    folded = fold(network)
    feeds = None if feeds is None else _few_enough(folded, feeds)
    for name, values in folded.constants.items():
        if not np.all(np.isfinite(values)):
            raise UsageError(
                f"network {network.name}: constant {name} holds infinities or what is no number",
                "training that diverged",
            )
    free = not folded.codes and feeds is not None
    plain, equalised = None, None
    factors: dict[str, Array] = {}
    if not free or options.equalise is not True:
        plain = _attempt(folded, feeds, options, free)
    if free and options.equalise is not False:
        equalised = _attempt(equalise(folded, factors), feeds, options, free)
    if plain is None or (equalised is not None and equalised.error < plain.error):
        chosen = equalised
    else:
        chosen = plain
    if chosen is None:
        raise UsageError(f"network {network.name}: nothing to quantise")
    graph, held = lower(chosen.network)
    return Quantised(
        graph,
        network,
        chosen.network,
        chosen.reference,
        chosen is equalised,
        factors if chosen is equalised else {},
        {name: value.tensor.name for name, value in held.items()},
        {name: value.layout for name, value in held.items()},
    )


def _few_enough(network: Network, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """As many samples, spread over the data, as `MEMORY_BYTES` hold all tensors of."""
    bytes_each = 4 * sum(math.prod(shape) for shape in shapes(network).values())
    samples = min((len(values) for values in feeds.values()), default=0)
    if samples == 0:
        raise UsageError(f"network {network.name}: no samples to calibrate with")
    kept = min(samples, max(LEAST_SAMPLES, MEMORY_BYTES // bytes_each))
    chosen = np.arange(kept) * samples // kept
    return {name: np.asarray(values)[chosen] for name, values in feeds.items()}


def _attempt(
    network: Network, feeds: Mapping[str, Array] | None, options: Options, free: bool
) -> _Attempt:
    """Find codes, correct biases; the error is that of the outputs on the data."""
    coded = network.copy()
    coded.codes.update(calibrate(network, feeds, options.method, options.percentile))
    outputs = {node.name: group.name for group in groups(network) for node in group.nodes}
    bits = options.bits_of(network)
    coded.codes.update(weight_codes(coded, outputs, options.per_channel, bits, options.odd))
    if not free or feeds is None or (not options.correct and options.equalise is not None):
        return _Attempt(coded, coded)
    real = run(network, feeds)
    simulated, corrected = simulate(coded, feeds, real if options.correct else None)
    return _Attempt(coded, corrected, _error(network, real, simulated))


def _error(network: Network, real: Mapping[str, Array], coded: Mapping[str, Array]) -> float:
    """Noise over signal of the outputs; of what goes into a softmax or arg max at the end."""
    total = 0.0
    for name in network.outputs:
        writer = network.writer(name)
        if writer is not None and operator_of(writer).ranks:
            name = writer.inputs[0]
        signal = float((real[name].astype(np.float64) ** 2).sum())
        noise = float(((real[name] - coded[name]).astype(np.float64) ** 2).sum())
        total += noise / signal if signal else noise
    return total


def _holder(quantised: Quantised, name: str) -> tuple[str, tuple[int, ...]]:
    if name not in quantised.names:
        raise UsageError(
            f"network {quantised.network.name}: the graph holds no tensor {name}",
            next=f"it holds {', '.join(quantised.names)}",
        )
    return quantised.names[name], quantised.layouts[name]


def encode(quantised: Quantised, x: Array, name: str | None = None) -> Array:
    """Real values as an input tensor's codes.

    Args:
        quantised: the network.
        x: (N, *rest of the network input's shape), float.
        name: of the network's input; by default the first.

    Returns:
        (N, *the graph tensor's shape) int8.
    """
    name = name or next(iter(quantised.network.inputs))
    held, layout = _holder(quantised, name)
    shape = quantised.network.inputs[name]
    if x.shape[1:] != tuple(shape[1:]):
        raise UsageError(
            f"network {quantised.network.name}: input {name} has shape {x.shape}, expected "
            f"(N, {', '.join(map(str, shape[1:]))})"
        )
    tensor = quantised.graph.tensors[held]
    codes = integers(x, quantised.network.codes[name])
    laid: Array = np.ascontiguousarray(codes.transpose(0, *layout))
    return laid.reshape(len(x), *tensor.shape)


def decode(quantised: Quantised, values: Array, name: str | None = None) -> Array:
    """The inverse for any tensor: codes (N, *graph shape) to float32 (N, *network shape).

    Args:
        quantised: the network.
        values: as the graph holds them.
        name: of the network's tensor; by default the first output.
    """
    name = name or quantised.network.outputs[0]
    held, layout = _holder(quantised, name)
    tensor = quantised.graph.tensors[held]
    values_ = reals(values, Code.of(tensor.scale, tensor.zero_point))
    # A signal has a row of 1 in front; what has no axis but the batch's has one element.
    sizes = tensor.shape[len(tensor.shape) - len(layout) :] if layout else ()
    back = [0] * len(layout)
    for place, axis in enumerate(layout):
        back[axis - 1] = place + 1
    return values_.reshape(len(values), *sizes).transpose(0, *back)

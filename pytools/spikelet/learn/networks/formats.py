"""Number formats of a network that learns: one policy, given by design or measured beforehand.

A format is the scale and the largest size of codes on integers; floats need none, and have `FLOAT`.
A value, an error or a weight that leaves its range saturates; saturated weights are counted.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from spikelet.errors import UsageError
from spikelet.graph import Array, Graph, GraphError, Tensor
from spikelet.graph.graph import LABEL
from spikelet.learn.networks.parameters import (
    BIAS_LIMIT,
    FLOAT,
    DenseParameters,
    Format,
    Pair,
    Parameters,
    RealLayer,
    format_of,
)
from spikelet.learn.numbers import scalar

VALUE_BITS = 11  # beside the sign, of measured activations and errors
LOSS_BITS = 11  # of the fraction of the loss's error, by design
RANGE_HEADROOM = 1.5  # factor by which a measured range may grow while the network learns
LOGIT_LIMIT = 16.0  # real; scores saturate beyond
UNSEEN_RANGE = 1.0  # real, of what stayed at 0 while it was measured: that of the loss's error
ZERO_INIT_RANGE = 4.0  # weights that start at 0 may grow to so many times what was measured
LEAST_BITS = 6  # of a weight in a given range: with fewer a network does not learn


@dataclass(frozen=True, kw_only=True)
class Formats(ABC):
    """The formats of a network's numbers.

    Attributes:
        precision: one of `scalar.PRECISIONS`.
        largest: code of what the network reads, without its zero point; given ranges need it.
    """

    precision: str
    largest: int = 0

    @property
    def real(self) -> bool:
        """Whether numbers are floats, which need no scale."""
        return scalar.is_float(self.precision)

    @property
    @abstractmethod
    def kept_limits(self) -> Pair:
        """The largest codes of values and errors that are kept for a batch, on integers."""

    @abstractmethod
    def weight(self, name: str, layer: RealLayer, x: Tensor, largest: int) -> Format:
        """Of weights.

        Args:
            name: of the learned tensor.
            layer: in real numbers.
            x: what the layer reads.
            largest: code of x, without its zero point.
        """

    @abstractmethod
    def output(self, name: str, outputs: int = 1, relu: bool = True) -> Format:
        """Of the activation `name` with so many elements or channels."""

    @abstractmethod
    def error(self, name: str, through: Parameters | None = None) -> Format:
        """Of the error `name`, which goes back through a layer next; None where it ends there."""

    @abstractmethod
    def loss_bits(self, layer: Parameters | None) -> int:
        """Bits of the fraction of the loss's error; `layer` wrote the scores, None for others."""

    def bias_limit(self, weight: Format, x: Tensor) -> int:
        """The largest code of a bias beside weights of a format."""
        return BIAS_LIMIT


@dataclass(frozen=True, kw_only=True)
class Given(Formats):
    """Ranges fixed by design, in real numbers; weights get the bits that sums leave them.

    A sum of N products takes ceil(log2(N)) bits beside those of its weights and values, and all of
    them together are 30 or less.

    Attributes:
        hidden: largest value behind a ReLU.
        logits: largest value of other layers.
        errors: largest error.
        weights: largest weight.
        wide_weights: the same in a layer of more than 256 inputs.
        biases: largest bias; None for as large as sums allow.
        error_bits: beside the sign of an error, where sums have room for them.
        unit: size of the features in real numbers: weights that read codes are divided by it.
        whole_bits: the number of inputs and the largest code count as the next power of two, and
            the loss's error gets fewer bits where the last layer has many outputs.
    """

    hidden: float = 8.0
    logits: float = 32.0
    errors: float = 1.0
    weights: float = 2.0
    wide_weights: float = 1.0
    biases: float | None = None
    error_bits: int = 12
    unit: float = 1.0
    whole_bits: bool = False

    @property
    def kept_limits(self) -> Pair:
        """See `Formats`."""
        return (scalar.limit_of(12),) * 2

    def weight(self, name: str, layer: RealLayer, x: Tensor, largest: int) -> Format:
        """See `Formats`."""
        if self.real:
            return FLOAT
        inputs, code = layer.inputs, largest
        if self.whole_bits:
            inputs, code = 1 << _log2(max(inputs, 2)), (1 << largest.bit_length()) - 1
        room = ((1 << 30) - 1) // (inputs * code)
        bits = min(15 if self.precision == "i16" else 7, (room + 1).bit_length() - 1)
        if bits < LEAST_BITS:
            raise UsageError(
                f"features {x.name}: {layer.inputs} values of up to {largest} leave {bits} bits "
                "to a weight",
                "more features than integer sums hold",
                "choose a tensor that is smaller, or has fewer bits",
            )
        unit = self.unit if x.dtype in ("u8", "i8") else 1.0
        reach = self.wide_weights if layer.inputs > 256 else self.weights
        return format_of(self.precision, reach / unit, bits)

    def output(self, name: str, outputs: int = 1, relu: bool = True) -> Format:
        """See `Formats`."""
        if relu:
            return format_of(
                self.precision, self.hidden, scalar.value_bits(self.precision, outputs)
            )
        return format_of(self.precision, self.logits, 15)

    def error(self, name: str, through: Parameters | None = None) -> Format:
        """See `Formats`."""
        bits = self.error_bits
        if isinstance(through, DenseParameters) and not self.real:
            room = ((1 << 31) - 1) // (through.y.size * through.format[1])
            bits = min(bits, (room + 1).bit_length() - 1)
        return format_of(self.precision, self.errors, bits)

    def loss_bits(self, layer: Parameters | None) -> int:
        """See `Formats`."""
        if layer is None or not self.whole_bits:
            return LOSS_BITS
        room = 30 - layer.format[1].bit_length() - _log2(max(layer.real.outputs, 2))
        return min(LOSS_BITS, max(4, room))

    def bias_limit(self, weight: Format, x: Tensor) -> int:
        """See `Formats`."""
        if self.biases is None:
            return BIAS_LIMIT
        return min(BIAS_LIMIT, int(self.biases / (weight[0] * x.scale)))


@dataclass(frozen=True, kw_only=True)
class Measured(Formats):
    """Ranges that a float network of the same layers had while it learned, with headroom.

    Attributes:
        ranges: on integers, the largest size of each activation, error and weight by name, real.
    """

    ranges: Mapping[str, float] = field(default_factory=dict)

    @property
    def kept_limits(self) -> Pair:
        """See `Formats`."""
        return (scalar.limit_of(VALUE_BITS),) * 2

    def weight(self, name: str, layer: RealLayer, x: Tensor, largest: int) -> Format:
        """As in `Formats`.

        Weights of a deployed layer use all codes that sums leave room for, not a power of two: the
        layer has to say what it said before.
        """
        if self.real:
            return FLOAT
        products, most = layer.products, 15 if self.precision == "i16" else 7
        bits = min(30 - VALUE_BITS - _log2(products), most)
        if bits < 4:
            raise GraphError(f"sums of {products} products leave {bits} bits for a weight")
        measured = self.ranges.get(name, 0.0)
        reach = float(np.abs(layer.weight).max(initial=0))
        if not reach:  # it starts at 0, and will go far beyond what was measured
            reach = max(ZERO_INIT_RANGE * measured, 2 / math.sqrt(products))
        reach = RANGE_HEADROOM * max(reach, measured)
        if layer.codes is not None:
            room = ((1 << 30) - 1) // (products * scalar.limit_of(VALUE_BITS))
            limit = min(room, scalar.limit_of(most))
            return reach / limit, limit
        return format_of(self.precision, reach, bits)

    def output(self, name: str, outputs: int = 1, relu: bool = True) -> Format:
        """See `Formats`."""
        return self.error(name)

    def error(self, name: str, through: Parameters | None = None) -> Format:
        """See `Formats`."""
        if self.real:
            return FLOAT
        if name not in self.ranges:
            raise GraphError(f"tensor {name}: its range is not known")
        return format_of(self.precision, RANGE_HEADROOM * self.ranges[name], VALUE_BITS)

    def loss_bits(self, layer: Parameters | None) -> int:
        """See `Formats`."""
        return VALUE_BITS - 1


def _log2(n: int) -> int:
    """ceil(log2(n)), 0 of 1 and less."""
    return max(0, n - 1).bit_length()


def build_calibrated(
    precision: str,
    build: Callable[[Formats], Graph],
    samples: Callable[[], tuple[Mapping[str, Array], Array | None]],
    scores: Collection[str] = (),
) -> Graph:
    """A network whose integers hold what the same network in floats needs while it learns.

    Args:
        precision: one of `scalar.PRECISIONS`.
        build: makes the graph with the formats that it is given.
        samples: inputs and targets (N, *shape) by name, and labels (N,), None without a classifier;
            asked for on integers only.
        scores: tensors that get a reach of `LOGIT_LIMIT` beside the outputs of a classifier: they
            grow until the network is sure.

    Raises:
        GraphError: learning diverged, or a format does not hold what it has to.
    """
    if scalar.is_float(precision):
        return build(Measured(precision=precision))
    inputs, labels = samples()
    real = build(Measured(precision="f32"))
    scores = {*scores, *(() if labels is None else real.outputs)}
    return build(Measured(precision=precision, ranges=ranges(real, inputs, labels, scores)))


def ranges(
    graph: Graph, inputs: Mapping[str, Array], labels: Array | None, scores: Collection[str]
) -> dict[str, float]:
    """The largest size of each float tensor while a graph learns N samples, by name.

    Args:
        graph: in floats.
        inputs: by name, (N, *shape), targets among them.
        labels: (N,), None where targets are learned.
        scores: see `build_calibrated`.
    """
    learned = graph.initial()
    largest: dict[str, float] = {}
    for i in range(len(next(iter(inputs.values())))):
        env = {name: values[i : i + 1] for name, values in inputs.items()} | learned
        if labels is not None:
            env[LABEL] = np.array([[labels[i]]], np.int32)
        _learn(graph, env, largest)
    for name, values in learned.items():
        largest[name] = float(np.abs(values).max())
    for name in scores:
        largest[name] = max(largest[name], LOGIT_LIMIT / RANGE_HEADROOM)
    # What stayed at 0, as behind a ReLU that no sample got through, may yet come to life.
    unseen = {name: 0.0 if name in learned else UNSEEN_RANGE for name in largest}
    return {
        name: max(size or unseen[name], 2.0**-20)
        for name, size in largest.items()
        if math.isfinite(size)
    }


def _learn(graph: Graph, env: dict[str, Array], largest: dict[str, float]) -> None:
    """One sample; `largest` grows to what its tensors reach."""
    nodes = graph.order
    for node in nodes:
        node.start(env, 1)
    for node in nodes:
        node.golden(env, 0)
        for tensor in node.outs:
            if tensor.dtype == "f32":
                size = float(np.abs(env[tensor.name]).max())
                largest[tensor.name] = max(largest.get(tensor.name, 0.0), size)
        if node.stops(env):
            raise GraphError(f"layer {node.name}: learning diverged; lower the learning rate")

"""The integer graph of a chain of snnTorch layers, with the neurons' state as it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from spikelet.frontends.snntorch.layers import ExportError, Readout, Stage, refuse
from spikelet.frontends.spiking import rounding
from spikelet.frontends.spiking.encoders import DirectCurrent, Encoder, Latency, Poisson
from spikelet.graph import Array, Graph, GraphError, Operator
from spikelet.graph import Tensor as GraphTensor
from spikelet.graph.ops.argmax import Argmax
from spikelet.graph.ops.dense import Dense
from spikelet.graph.ops.latency import Latency as LatencyOperator
from spikelet.graph.ops.leaky_readout import LeakyReadout
from spikelet.graph.ops.lif import Lif
from spikelet.graph.ops.poisson import Poisson as PoissonOperator
from spikelet.graph.ops.spike_count import SpikeCount

# Neurons with so many fraction bits, behind the operators that make what they read of the layer's
# sums; None where they do not fit.
_Neurons = tuple[*tuple[Operator, ...], Lif | LeakyReadout]
_Build = Callable[[int], _Neurons | None]

_MAX_SUM = (1 << 31) - 1
# A narrow membrane is int16 where its smallest threshold keeps this resolution, else int32 with
# fraction bits up to the second figure.
_COARSEST_THRESHOLD = 64
_WIDE_THRESHOLD = 4096
_MOST_FRACTION_BITS = 6
_EXACT_FRACTION_BITS = 15


@dataclass(frozen=True)
class ChainGraph:
    """A graph of a chain.

    Attributes:
        graph: the graph.
        unit: real value of one unit of its scores; 1 for spike counts.
        exact_weights: by stage, whether weights and biases quantised without error.
    """

    graph: Graph
    unit: float
    exact_weights: list[bool]


@dataclass(frozen=True)
class Plan:
    """A chain and how it is to become a graph; the arguments of `snntorch.export`."""

    chain: Sequence[Stage]
    name: str
    steps: int
    encoder: Encoder
    readout: Readout
    fraction_bits: int | None

    def build(self, exact: Sequence[bool]) -> ChainGraph:
        """The graph, with the state of each stage's neurons exact or narrow."""
        first = self.chain[0]
        assembly = _Assembly(self.name, self.steps, first.linear.in_features, self.encoder)
        unit = 1.0
        for stage, its in zip(self.chain, exact, strict=True):
            shared = stage is self.chain[-1] and self.readout != "spike_count"
            encoder = self.encoder if stage is first else Poisson()
            units = assembly.add_dense(stage, encoder, shared)
            if shared:
                bits = assembly.add_readout(stage, its, self.fraction_bits)
                unit = float(units[0]) / (1 << bits)
            else:
                assembly.add_neurons(stage, units, its, self.fraction_bits)
        graph = assembly.finish(count=self.readout == "spike_count")
        return ChainGraph(graph, unit, assembly.exact_weights)


class _Assembly:
    """The graph as it grows, layer by layer."""

    def __init__(self, name: str, steps: int, inputs: int, encoder: Encoder) -> None:
        self.name = name
        self.steps = steps
        scale = encoder.scale if isinstance(encoder, DirectCurrent) else 1 / 256
        self.inputs = [
            GraphTensor(
                "x", "u8", (inputs,), kind="input", scale=scale, zero_point=encoder.zero_point
            )
        ]
        self.nodes: list[Operator] = []
        self.source = "x"
        self.exact_weights: list[bool] = []
        if isinstance(encoder, Poisson):
            self.inputs.append(GraphTensor("seed", "u32", (1,), kind="input"))
            self.nodes.append(PoissonOperator(name="encode", inputs=("x", "seed")))
            self.source = "encode.spikes"
        elif isinstance(encoder, Latency):
            self.nodes.append(LatencyOperator(name="encode", inputs=("x",)))
            self.source = "encode"

    def add_dense(self, stage: Stage, encoder: Encoder, shared: bool) -> Tensor:
        """Add a linear layer; the real value of one unit of each channel's sum, (m,)."""
        threshold = None if shared or stage.neurons is None else stage.neurons.threshold
        weight = stage.linear.weight.detach().cpu()
        step = rounding.weight_step(weight, threshold, encoder.amplitude, shared)
        codes = rounding.weight_codes(weight, step)
        exact = rounding.is_exact(weight, codes, step[:, None])
        unit = step * encoder.scale
        bias = -encoder.zero_point * codes.sum(dim=1)
        if stage.linear.bias is not None:
            rounded = rounding.bias_codes(stage.linear.bias.cpu(), unit)
            exact = exact and rounding.is_exact(stage.linear.bias.cpu(), rounded, unit)
            bias = bias + rounded
        self.exact_weights.append(exact)
        if bool((bias.abs() > _MAX_SUM).any()):
            channel = int(bias.abs().argmax())
            raise refuse(
                stage.path,
                stage.linear,
                f"the bias of channel {channel} is {float(bias[channel]):g} weight steps, beyond "
                "32 bits",
                "give the channel larger weights or a smaller bias",
            )
        fields: dict[str, Any] = {"weight": _ints(codes, np.int8)}
        if stage.linear.bias is not None or encoder.zero_point:
            fields["bias"] = _ints(bias, np.int32)
        dense = Dense(name=stage.name, inputs=(self.source,), **fields)
        self._try(stage.path, [dense], stage.name)
        self.nodes.append(dense)
        self.source = stage.name
        return unit

    def add_neurons(self, stage: Stage, unit: Tensor, exact: bool, bits: int | None) -> None:
        """Add the neurons behind a linear layer."""
        neurons = stage.neurons
        if neurons is None:
            raise ExportError(f"layer {stage.path}: no neurons follow it")
        leak = _leak(neurons.beta, exact)

        def lif(bits: int) -> _Neurons | None:
            threshold = rounding.threshold_codes(
                neurons.threshold, unit, bits, neurons.compare == ">", neurons.reset == "subtract"
            )
            if bool((threshold > _MAX_SUM).any()):
                return None
            current, source, shift = _current(stage, exact, bits)
            node = Lif(
                name=stage.neurons_name,
                inputs=(source,),
                threshold=_ints(threshold, np.int32),
                compare=neurons.compare,
                reset=neurons.reset,
                timing=neurons.timing,
                input_shift=shift,
                **leak,
            )
            return (*current, node)

        membrane = f"{stage.neurons_name}.membrane"
        self.nodes += self._choose(stage.neurons_path, lif, membrane, exact, bits)
        self.source = f"{stage.neurons_name}.spikes"

    def add_readout(self, stage: Stage, exact: bool, bits: int | None) -> int:
        """Add leaky integrators that do not spike; their fraction bits."""
        beta = 1.0 if stage.neurons is None else stage.neurons.beta
        alpha = None if stage.neurons is None else stage.neurons.alpha
        if beta == 1 and alpha in (None, 1) and bits is None:
            exact, bits = False, 0  # a plain sum is exact
        leak = _leak(beta, exact)

        def integrator(bits: int) -> _Neurons:
            current, source, shift = _current(stage, exact, bits)
            name = stage.neurons_name
            node = LeakyReadout(name=name, inputs=(source,), input_shift=shift, **leak)
            return (*current, node)

        chosen = self._choose(stage.neurons_path, integrator, stage.neurons_name, exact, bits)
        self.nodes += chosen
        self.source = stage.neurons_name
        return fraction_bits(stage, {node.name: node for node in chosen})

    def finish(self, count: bool) -> Graph:
        """The graph, with its last operators."""
        nodes = list(self.nodes)
        scores = self.source
        if count:
            scores = "counts"
            nodes.append(SpikeCount(name="counts", inputs=(self.source,)))
        nodes.append(Argmax(name="label", inputs=(scores,)))
        try:
            return Graph(self.name, self.steps, self.inputs, nodes, ["label", scores])
        except GraphError as e:
            raise ExportError(str(e)) from e

    def _choose(
        self, path: str, build: _Build, membrane: str, exact: bool, bits: int | None
    ) -> _Neurons:
        """The neurons with the fraction bits asked for, or with those that serve best."""
        if bits is None:
            return (self._finest if exact else self._narrow)(path, build, membrane)
        nodes = build(bits)
        if nodes is None:
            raise ExportError(
                f"layer {path}: the threshold exceeds 32 bits with {bits} fraction bits",
                next="ask for fewer fraction bits",
            )
        self._try(path, nodes, membrane)
        return nodes

    def _finest(self, path: str, build: _Build, membrane: str) -> _Neurons:
        """As many fraction bits as an int32 membrane provably holds, input of a step included."""
        plain = build(0)
        if plain is None:
            raise _threshold_too_large(path)

        def peak(nodes: _Neurons) -> int:
            bounds, neurons = self._try(path, nodes, membrane).bounds, nodes[-1]
            held, gained = (
                max(-int(low.min()), int(high.max()))
                for low, high in (bounds[membrane], bounds[neurons.inputs[0]])
            )
            return held + (gained << neurons.input_shift)

        room = 32 - max(1, peak(plain)).bit_length()
        for candidate in range(min(_EXACT_FRACTION_BITS, room), 0, -1):
            nodes = build(candidate)
            try:
                if nodes is not None and peak(nodes) < _MAX_SUM:
                    return nodes
            except ExportError:
                continue
        return plain

    def _narrow(self, path: str, build: _Build, membrane: str) -> _Neurons:
        """In int16 where it is proved to fit and the threshold keeps its resolution."""
        wide: _Neurons | None = None
        failed: ExportError | None = None
        for candidate in range(_MOST_FRACTION_BITS, -1, -1):
            nodes = build(candidate)
            if nodes is None:
                continue
            try:
                dtype = self._try(path, nodes, membrane).tensors[membrane].dtype
            except ExportError as e:
                failed = e
                continue
            low = _smallest_threshold(nodes[-1])
            if dtype == "i16" and (low is None or low >= _COARSEST_THRESHOLD):
                return nodes
            if wide is None or (low is not None and low >= _WIDE_THRESHOLD):
                wide = nodes
        if wide is None:
            raise failed or _threshold_too_large(path)
        return wide

    def _try(self, path: str, nodes: Sequence[Operator], output: str) -> Graph:
        """The graph with these operators added; a GraphError names the layer."""
        try:
            return Graph(self.name, self.steps, self.inputs, [*self.nodes, *nodes], [output])
        except GraphError as e:
            raise ExportError(f"layer {path}: {e}") from e


def fraction_bits(stage: Stage, nodes: Mapping[str, Operator]) -> int:
    """Of the membranes of a stage's neurons, below the weight's step; `nodes` of a graph, by name.

    The operator that reads the layer's sums has them, a synaptic current where there is one.
    """
    first = nodes[stage.current_name or stage.neurons_name]
    return int(first.attributes()["input_shift"])


def _current(
    stage: Stage, exact: bool, bits: int
) -> tuple[tuple[LeakyReadout] | tuple[()], str, int]:
    """The operator of a synaptic current, if there is one, and what the neurons read, shifted."""
    neurons = stage.neurons
    if neurons is None or neurons.alpha is None:
        return (), stage.name, bits
    name, leak = stage.current_name, _leak(neurons.alpha, exact)
    node = LeakyReadout(name=name, inputs=(stage.name,), input_shift=bits, **leak)
    return (node,), name, 0


def _leak(beta: float, exact: bool) -> dict[str, Any]:
    """A decay as attributes of the neurons."""
    if not exact:
        return {"leak": rounding.leak_factor(beta)}
    bits = rounding.EXACT_LEAK_BITS
    return {"leak": rounding.exact_leak(beta), "leak_bits": bits, "leak_round": "nearest"}


def _threshold_too_large(path: str) -> ExportError:
    return ExportError(
        f"layer {path}: its threshold exceeds 32 bits of weight steps",
        "the weights of its nn.Linear are far too small for the threshold",
        "lower the threshold, or scale both",
    )


def _smallest_threshold(node: Lif | LeakyReadout) -> int | None:
    """The smallest positive threshold of an operator that has one."""
    threshold = getattr(node, "threshold", None)
    if threshold is None or not (threshold > 0).any():
        return None
    return int(threshold[threshold > 0].min())


def _ints(values: Tensor, dtype: type[np.signedinteger[Any]]) -> Array:
    array: Array = values.numpy().astype(np.int64).astype(dtype)
    return array

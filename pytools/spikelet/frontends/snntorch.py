"""snnTorch networks to the integer graph.

A network is a chain of `nn.Linear` and `snn.Leaky`; what each snnTorch layer computes, step by
step, was read in snntorch 1.0.0. A convention that the graph holds is carried from the layer, any
other is refused by the layer's name: nothing is approximated but the numbers themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from spikelet.frontends import quantise
from spikelet.frontends.snntorch_layers import (
    READOUTS,
    ExportError,
    Readout,
    Stage,
    refuse,
    stages,
)
from spikelet.graph import Array, Graph, GraphError, Operator
from spikelet.graph import Tensor as GraphTensor
from spikelet.graph.fixed import Q15_ONE
from spikelet.graph.ops.argmax import Argmax
from spikelet.graph.ops.dense import Dense
from spikelet.graph.ops.latency import Latency as LatencyOperator
from spikelet.graph.ops.leaky_readout import LeakyReadout
from spikelet.graph.ops.lif import Lif
from spikelet.graph.ops.poisson import Poisson as PoissonOperator
from spikelet.graph.ops.spike_count import SpikeCount

__all__ = [
    "READOUTS",
    "DirectCurrent",
    "Encoder",
    "ExportError",
    "Latency",
    "Poisson",
    "Readout",
    "export",
]

# An operator with so many fraction bits, None where they do not fit.
_Build = Callable[[int], Operator | None]

_MAX_SUM = (1 << 31) - 1
_MOST_STEPS = 32767
# An int16 membrane is chosen where its smallest threshold keeps this resolution; an int32 one gets
# fraction bits up to the second figure.
_COARSEST_THRESHOLD = 64
_WIDE_THRESHOLD = 4096
_MOST_FRACTION_BITS = 6


@dataclass(frozen=True)
class DirectCurrent:
    """u8 codes injected as a constant current: real = (code - zero_point) * scale."""

    scale: float = 1 / 255
    zero_point: int = 0

    @property
    def amplitude(self) -> float:
        """The largest real value, in size."""
        return max(self.zero_point, 255 - self.zero_point) * self.scale


@dataclass(frozen=True)
class Poisson:
    """In each step a spike with probability code / 256; the graph gets an input `seed`."""

    scale: float = 1.0
    zero_point: int = 0
    amplitude: float = 1.0


@dataclass(frozen=True)
class Latency:
    """One spike a value, in step floor((255 - code) * T / 256); a code of 0 is silent."""

    scale: float = 1.0
    zero_point: int = 0
    amplitude: float = 1.0


Encoder = DirectCurrent | Poisson | Latency


def export(
    network: nn.Module | Mapping[str, nn.Module],
    *,
    steps: int,
    encoder: Encoder | None = None,
    readout: Readout = "spike_count",
    name: str = "snn",
    fraction_bits: int | None = None,
) -> Graph:
    """The integer graph of a trained snnTorch network.

    Weights become int8 codes, symmetric per output channel (one step for all channels of a readout
    that does not spike); a channel's scale goes into its threshold, and its bias into units of the
    sum. The graph's input is `x` (n,) u8, with the encoder Poisson also `seed` (1,) u32; its
    outputs are `label` (1,) i32 and the readout's scores.

    Args:
        network: an nn.Sequential, or layers by name in order of execution.
        steps: time steps T of one inference; membranes start at 0.
        encoder: how `x` becomes spikes or current; DirectCurrent() by default.
        readout: `spike_count` counts the last neurons' spikes; `membrane` takes their membrane
            after the last step (reset_mechanism "none"); `sum` adds up a last nn.Linear over time.
        name: of the graph, a C identifier.
        fraction_bits: of every membrane, 0 to 15; by default as many as keep it provably in int16,
            or else enough for the threshold's resolution in int32.

    Raises:
        ExportError: names the layer, what is wrong with it and what is supported.
    """
    encoder = DirectCurrent() if encoder is None else encoder
    _check_arguments(steps, encoder, name, fraction_bits)
    steps = int(steps)
    fraction_bits = None if fraction_bits is None else int(fraction_bits)
    chain = stages(network, readout)
    assembly = _Assembly(name, steps, chain[0].linear.in_features, encoder)
    scale = encoder.scale
    for i, stage in enumerate(chain):
        last = i == len(chain) - 1
        first = i == 0
        zero_point = encoder.zero_point if first else 0
        unit = assembly.add_dense(
            stage,
            scale if first else 1.0,
            encoder.amplitude if first else 1.0,
            zero_point,
            shared=last and readout != "spike_count",
        )
        if last and readout != "spike_count":
            assembly.add_readout(stage, fraction_bits)
        else:
            assembly.add_neurons(stage, unit, fraction_bits)
    return assembly.finish(count=readout == "spike_count")


def _check_arguments(steps: Any, encoder: Any, name: Any, fraction_bits: Any) -> None:
    """Types and ranges that a caller without a type checker may miss; raises ExportError."""
    if not isinstance(encoder, Encoder):
        given = encoder.__name__ if isinstance(encoder, type) else repr(encoder)
        raise ExportError(
            f"encoder is {given}, expected DirectCurrent(...), Poisson(...) or Latency(...)",
            "the class in place of an object of it" if isinstance(encoder, type) else "",
            f"encoder={given}()" if isinstance(encoder, type) else "encoder=Poisson(), for example",
        )
    if not _is_int(steps) or not 1 <= steps <= _MOST_STEPS:
        raise ExportError(f"steps is {steps!r}, expected an integer of 1 to {_MOST_STEPS}")
    if not isinstance(name, str):
        raise ExportError(f"name is {name!r}, expected a C identifier")
    if fraction_bits is not None and not (_is_int(fraction_bits) and 0 <= fraction_bits <= 15):
        raise ExportError(
            f"fraction_bits is {fraction_bits!r}, expected an integer of 0 to 15",
            next="leave it out to have it chosen",
        )


def _is_int(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


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
        if isinstance(encoder, Poisson):
            self.inputs.append(GraphTensor("seed", "u32", (1,), kind="input"))
            self.nodes.append(PoissonOperator(name="encode", inputs=("x", "seed")))
            self.source = "encode.spikes"
        elif isinstance(encoder, Latency):
            self.nodes.append(LatencyOperator(name="encode", inputs=("x",)))
            self.source = "encode"

    def add_dense(
        self, stage: Stage, scale: float, amplitude: float, zero_point: int, shared: bool
    ) -> Tensor:
        """Add a linear layer; the real value of one unit of each channel's sum, (m,)."""
        threshold = None if shared or stage.neurons is None else stage.neurons.threshold
        weight = stage.linear.weight.detach().cpu()
        step = quantise.weight_step(weight, threshold, amplitude, shared)
        codes = quantise.weight_codes(weight, step)
        unit = step * scale
        bias = -zero_point * codes.sum(dim=1)
        if stage.linear.bias is not None:
            bias = bias + quantise.bias_codes(stage.linear.bias.cpu(), unit)
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
        if stage.linear.bias is not None or zero_point:
            fields["bias"] = _ints(bias, np.int32)
        dense = Dense(name=stage.name, inputs=(self.source,), **fields)
        self._try(stage.path, [dense], stage.name)
        self.nodes.append(dense)
        self.source = stage.name
        return unit

    def add_neurons(self, stage: Stage, unit: Tensor, fraction_bits: int | None) -> None:
        """Add the neurons behind a linear layer."""
        neurons = stage.neurons
        if neurons is None:
            raise ExportError(f"layer {stage.path}: no neurons follow it")
        kept = quantise.leak_factor(neurons.beta)

        def lif(bits: int) -> Operator | None:
            threshold = quantise.threshold_codes(
                neurons.threshold, unit, bits, neurons.compare == ">", neurons.reset == "subtract"
            )
            if bool((threshold > _MAX_SUM).any()):
                return None
            return Lif(
                name=stage.neurons_name,
                inputs=(stage.name,),
                threshold=_ints(threshold, np.int32),
                leak=kept,
                compare=neurons.compare,
                reset=neurons.reset,
                timing=neurons.timing,
                input_shift=bits,
            )

        self.nodes.append(
            self._choose(stage.neurons_path, lif, f"{stage.neurons_name}.membrane", fraction_bits)
        )
        self.source = f"{stage.neurons_name}.spikes"

    def add_readout(self, stage: Stage, fraction_bits: int | None) -> None:
        """Add leaky integrators that do not spike."""
        kept = quantise.leak_factor(1.0 if stage.neurons is None else stage.neurons.beta)
        if kept == Q15_ONE and fraction_bits is None:
            fraction_bits = 0  # a plain sum is exact

        def integrator(bits: int) -> Operator | None:
            return LeakyReadout(
                name=stage.neurons_name, inputs=(stage.name,), leak=kept, input_shift=bits
            )

        self.nodes.append(
            self._choose(stage.neurons_path, integrator, stage.neurons_name, fraction_bits)
        )
        self.source = stage.neurons_name

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

    def _choose(self, path: str, build: _Build, membrane: str, bits: int | None) -> Operator:
        """The operator with the fraction bits asked for, or with those that serve best."""
        if bits is not None:
            node = build(bits)
            if node is None:
                raise ExportError(
                    f"layer {path}: the threshold exceeds 32 bits with {bits} fraction bits",
                    next="ask for fewer fraction bits",
                )
            self._try(path, [node], membrane)
            return node
        wide: Operator | None = None
        failed: ExportError | None = None
        for candidate in range(_MOST_FRACTION_BITS, -1, -1):
            node = build(candidate)
            if node is None:
                continue
            try:
                dtype = self._try(path, [node], membrane)
            except ExportError as e:
                failed = e
                continue
            low = _smallest_threshold(node)
            if dtype == "i16" and (low is None or low >= _COARSEST_THRESHOLD):
                return node
            if wide is None or (low is not None and low >= _WIDE_THRESHOLD):
                wide = node
        if wide is None:
            raise failed or ExportError(
                f"layer {path}: its threshold exceeds 32 bits of weight steps",
                "the weights of its nn.Linear are far too small for the threshold",
                "lower the threshold, or scale both",
            )
        return wide

    def _try(self, path: str, nodes: list[Operator], tensor: str) -> str:
        """The dtype of a tensor with these operators added; a GraphError names the layer."""
        output = [t for t in (tensor,) if t]
        try:
            graph = Graph(self.name, self.steps, self.inputs, [*self.nodes, *nodes], output)
        except GraphError as e:
            raise ExportError(f"layer {path}: {e}") from e
        return graph.tensors[tensor].dtype


def _smallest_threshold(node: Operator) -> int | None:
    """The smallest positive threshold of an operator that has one."""
    threshold = getattr(node, "threshold", None)
    if threshold is None or not (threshold > 0).any():
        return None
    return int(threshold[threshold > 0].min())


def _ints(values: Tensor, dtype: type[np.signedinteger[Any]]) -> Array:
    array: Array = values.numpy().astype(np.int64).astype(dtype)
    return array

"""A spiking network to the integer graph.

Weights become int8 codes. All that flows into the same neurons has one unit a channel, which goes
into the neurons' thresholds: the coarsest that one of those layers needs; where one is far finer,
the others' sums are shifted into it. A layer whose weights lie
on a grid of up to 127 steps needs that grid's own.

Tensors of the graph are channels last; what was flattened channels first keeps its place in memory,
and the weights of the layer behind it are put in that order.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch

from spikelet.frontends.spiking import rounding
from spikelet.frontends.spiking.activations import activated, activation_operators, carried
from spikelet.frontends.spiking.coded import weight_codes
from spikelet.frontends.spiking.encoders import (
    DirectCurrent,
    Encoder,
    EventBits,
    EventCounts,
    Frames,
    Latency,
    Poisson,
)
from spikelet.frontends.spiking.held import Held, channels_last, in_memory, refuse_beside_image
from spikelet.frontends.spiking.late import check_delays, delayed
from spikelet.frontends.spiking.network import (
    Activation,
    Add,
    Conv2d,
    Delay,
    Flatten,
    Layer,
    Linear,
    Neurons,
    OneToOne,
    Pool2d,
    Previous,
    Rule,
    Seeded,
    SpikingNetwork,
)
from spikelet.frontends.spiking.neurons import NeuronLowering, fired, nearest, spikes_of
from spikelet.frontends.spiking.seeded import seeded_operator, seeded_step
from spikelet.graph import Array, Graph, GraphError, Operator
from spikelet.graph import Tensor as GraphTensor
from spikelet.graph.ops import delay, latency, one_to_one, poisson, previous
from spikelet.graph.ops import sum as sums
from spikelet.graph.ops.argmax import Argmax
from spikelet.graph.ops.conv2d_sums import Conv2dSums
from spikelet.graph.ops.dense import Dense
from spikelet.graph.ops.frame import Frame
from spikelet.graph.ops.leaky_readout import LeakyReadout
from spikelet.graph.ops.pool2d_sums import Pool2dSums
from spikelet.graph.ops.reshape import Reshape
from spikelet.graph.ops.spike_count import SpikeCount
from spikelet.graph.tune import packed_sums
from spikelet.refusal import ImportRefused

READOUTS = ("spike_count", "membrane", "sum")
Readout = Literal["spike_count", "membrane", "sum"]
COUNTS = "counts"
LEAST_SHIFT = 3  # below it a common unit costs sums less than three bits
MOST_SHIFT = 15
LABEL = "label"
TOTAL = "sum"  # the readout of a layer of weights


def readout_of(network: SpikingNetwork) -> Readout:
    """Of neurons their spikes, of integrators their membranes, of weights their sums."""
    layer = network.layer(network.output)
    if not isinstance(layer, Neurons):
        return "sum"
    return "membrane" if layer.rule.threshold is None else "spike_count"


@dataclass(frozen=True)
class Lowered:
    """A graph of a network.

    Attributes:
        graph: the graph.
        unit: real value of one unit of its scores; 1 for spike counts.
        held: each layer's tensor.
        exact_weights: by layer, whether weights and biases quantised without error.
        neurons: the layers of weights that flow into each layer of neurons, by its name; a readout
            of sums is one.
    """

    graph: Graph
    unit: float
    held: dict[str, Held]
    exact_weights: dict[str, bool]
    neurons: dict[str, list[str]]


def lower(
    network: SpikingNetwork,
    steps: int,
    encoder: Encoder,
    readout: Readout = "spike_count",
    *,
    narrow: bool | Collection[str] = False,
    fraction_bits: int | Mapping[str, int] | None = None,
    units: Mapping[str, Array] | None = None,
) -> Lowered:
    """The integer graph of a network with one input.

    Args:
        network: as a frontend read it.
        steps: of an inference.
        encoder: how the input becomes spikes or a constant current.
        readout: of the output: `spike_count` of neurons, `membrane` of integrators, `sum` over time
            of a layer of weights.
        narrow: neurons, all or the layers named, have int16 states where those fit; else int32, and
            as many fraction bits as they provably hold.
        fraction_bits: of every membrane, in place of either; or of some, by layer.
        units: by layer of weights, (C,) or (1,): real value of one unit of its sums, where it was
            chosen before; for all layers whose sums flow into the same neurons.

    Raises:
        ImportRefused: names the layer that the graph cannot hold.
    """
    build = _Lowering(network, steps, encoder, readout, narrow, fraction_bits)
    build.units.update(units or {})
    return build.lowered()


def common_unit(units: Sequence[Array]) -> tuple[Array, list[int]]:
    """A unit for sums that flow together, and by how many bits each is shifted into it.

    Sums of values of 8 bits may have a unit that is hundreds of times finer than that of sums of
    spikes. In the coarser one their weights would all be 0, so the coarser sums are shifted.

    Args:
        units: that each needs, (C,) each.
    """
    every = np.stack(np.broadcast_arrays(*units))
    ratios = np.median(every / every.min(axis=0), axis=1)
    shifts = np.floor(np.log2(ratios)).astype(int)
    shifts = np.where(shifts < LEAST_SHIFT, 0, np.minimum(shifts, MOST_SHIFT))
    unit = np.max(every / 2.0 ** shifts[:, None], axis=0)
    return unit, [int(shift) for shift in shifts]


def one_to_one_shift(layer: OneToOne, source: Held, unit: Array) -> int:
    """By how many bits its currents are shifted to the left, so that they fit into 16 bits before.

    Beside weights on values of 8 bits one spike may be a hundred thousand of their units.

    Args:
        layer: the weights.
        source: what it reads.
        unit: (C,) of the sum that it flows into.
    """
    each, spikes, shift = _each(layer, source, unit), round(source.most / source.unit[0]), 0
    while np.abs(nearest(each / 2.0**shift)).max() * spikes >= 1 << 15:
        shift += 1
    return shift


def _each(layer: OneToOne, source: Held, unit: Array) -> Array:
    """Its weights in units of what they are added to."""
    weight = in_memory(source, layer.weight)
    each: Array = weight * source.unit[0] / np.resize(unit, max(len(weight), len(unit)))
    return each


def unit_shifts(sources: Sequence[Held]) -> list[int]:
    """By how many bits each of several sums is shifted for their common unit, the finest."""
    every = np.stack([source.unit for source in sources])
    return [round(float(shift)) for shift in np.log2(every / every.min(axis=0)).max(axis=1)]


class _Lowering:
    """The graph as it grows."""

    def __init__(
        self,
        network: SpikingNetwork,
        steps: int,
        encoder: Encoder,
        readout: Readout,
        narrow: bool | Collection[str],
        bits: int | Mapping[str, int] | None,
    ) -> None:
        self.network, self.steps, self.encoder = network, steps, encoder
        self.readout, self.narrow, self.bits = readout, narrow, bits
        self.nodes: list[Operator] = []
        self.inputs: list[GraphTensor] = []
        self.held: dict[str, Held] = {}
        self.units: dict[str, Array] = {}  # of the sums that a layer of weights is to write
        self.exact_weights: dict[str, bool] = {}
        self.neurons: dict[str, list[str]] = {}
        self.add: dict[type[Layer], Callable[[Any], None]] = {
            Linear: self._add_linear,
            Seeded: self._add_seeded,
            Conv2d: self._add_conv2d,
            OneToOne: self._add_one_to_one,
            Pool2d: self._add_pool,
            Flatten: self._add_flatten,
            Add: self._add_sum,
            Previous: self._add_previous,
            Activation: self._add_activation,
            Delay: self._add_delay,
            Neurons: self._add_neurons,
        }

    def lowered(self) -> Lowered:
        self._add_input()
        # What is carried is there from the start: later layers choose their units by it.
        waiting = sorted(self.network.layers, key=lambda each: not isinstance(each, Previous))
        while waiting:
            layer = next(filter(self._is_ready, waiting), waiting[0])
            waiting.remove(layer)
            self.add[type(layer)](layer)
        scores, unit = self._scores()
        self.nodes.append(Argmax(name=LABEL, inputs=(scores,)))
        try:
            graph = Graph(self.network.name, self.steps, self.inputs, self.nodes, [LABEL, scores])
        except GraphError as e:
            raise ImportRefused(str(e)) from e
        return Lowered(packed_sums(graph), unit, self.held, self.exact_weights, self.neurons)

    # What goes in and comes out

    def _add_input(self) -> None:
        ((name, shape),) = self.network.inputs.items()
        last = channels_last(shape)
        encoder = self.encoder
        scale = encoder.scale if isinstance(encoder, DirectCurrent) else 1 / 256
        held = last if isinstance(encoder, DirectCurrent) else (int(np.prod(last)),)
        framed = isinstance(encoder, Frames)
        held = (self.steps, *held) if framed else held
        if isinstance(encoder, EventBits | EventCounts):
            dtype = "bit" if isinstance(encoder, EventBits) else "u8"
            x = GraphTensor("x", dtype, last, kind="input", scale=encoder.scale, per_step=True)
        else:
            zero = encoder.zero_point
            x = GraphTensor("x", "u8", held, kind="input", scale=scale, zero_point=zero)
        self.inputs.append(x)
        source = "x"
        if framed:
            source = "frame"
            self.nodes.append(Frame(name=source, inputs=("x",)))
        if isinstance(encoder, DirectCurrent):
            unit = np.array([encoder.scale])
            self.held[name] = Held(source, last, unit, encoder.zero_point, most=encoder.amplitude)
            return
        if isinstance(encoder, EventBits):
            self.held[name] = Held(source, last)
            return
        if isinstance(encoder, Poisson):
            self.inputs.append(GraphTensor("seed", "u32", (1,), kind="input"))
            self.nodes.append(poisson.Poisson(name="encode", inputs=("x", "seed")))
            spikes = "encode.spikes"
        else:
            assert isinstance(encoder, Latency)
            self.nodes.append(latency.Latency(name="encode", inputs=("x",)))
            spikes = "encode"
        if len(last) > 1:
            self.nodes.append(Reshape(name="spikes", inputs=(spikes,), shape=last))
            spikes = "spikes"
        self.held[name] = Held(spikes, last)

    def _scores(self) -> tuple[str, float]:
        """The tensor that is read out, and the real value of one of its units."""
        layer = self.network.layer(self.network.output)
        if self.readout == "spike_count":
            if not isinstance(layer, Neurons) or layer.rule.threshold is None:
                raise ImportRefused(
                    f"layer {layer.called}: it is read out by its spikes, and it does not spike",
                    next='use readout="membrane" for integrators, "sum" for a layer of weights',
                )
            self.nodes.append(SpikeCount(name=COUNTS, inputs=(self.held[layer.name].name,)))
            return COUNTS, layer.rule.height
        if self.readout == "sum" and not isinstance(layer, Neurons):
            rule = Rule(kept=np.ones(1), threshold=None)
            total = Neurons(name=TOTAL, inputs=(layer.name,), source="the sum", rule=rule)
            self._add_neurons(total)
            layer = total
        held = self.held[layer.name]
        if self.readout == "membrane" and not isinstance(layer, Neurons):
            raise ImportRefused(f"layer {layer.called}: it has no membrane to be read out")
        if isinstance(layer, Neurons) and np.ptp(layer.rule.gain):
            raise ImportRefused(f"layer {layer.called}: it is read out, and its gain differs")
        return held.name, float(held.unit[0])

    # Weights

    def _channels(self, layer: Layer) -> Array:
        """(C,) of a layer's output: real value that one unit of its sums is to have."""
        if layer.name not in self.units:
            self._choose_units(layer)
        return self.units[layer.name]

    def _is_ready(self, layer: Layer) -> bool:
        """Whether what it reads is there, and what the layers read that it shares a unit with."""
        if any(name not in self.held for name in layer.inputs):
            return False
        if not isinstance(layer, Linear | Conv2d | OneToOne) or layer.name in self.units:
            return True
        behind = self._reader(layer)
        parts = self._producers(layer.name if behind is None else behind.inputs[0], 1.0)
        return all(part.inputs[0] in self.held for part, _ in parts)

    def _choose_units(self, layer: Layer) -> None:
        """One unit a channel for all that flows into the neurons behind a layer."""
        behind = self._reader(layer)
        first = layer.name if behind is None else behind.inputs[0]
        shared, firing = behind is None, None
        if isinstance(behind, Neurons):
            rule = behind.rule
            shared = rule.threshold is None or rule.inhibition
            if rule.threshold is not None:
                firing = np.max(np.abs(rule.threshold / rule.gain))
        parts = list(self._producers(first, 1.0))
        self.neurons[TOTAL if behind is None else behind.name] = [part.name for part, _ in parts]
        weighted = [p for p in parts if not isinstance(p[0], OneToOne)] or parts
        seeded = any(isinstance(part, Seeded) for part, _ in parts)  # their weights have one step
        units = []
        for part, factor in weighted:
            source = self._source(part)
            if isinstance(part, Seeded):
                step = seeded_step(part, len(parts) == 1)
                units.append(step * source.unit[0] * factor)
                continue
            values = np.asarray(part.weight, np.float64)  # type: ignore[attr-defined]
            if values.ndim == 1:  # one to one: a row is an element
                values = in_memory(source, values)
            weight = torch.from_numpy(values)
            rows = weight.reshape(len(weight), -1)
            least = None if firing is None else torch.tensor([firing / factor])
            step = rounding.weight_step(rows, least, source.most, shared or seeded).numpy()
            units.append((step[:1] if seeded else step) * source.unit[0] * factor)
        most = max(len(unit) for unit in units)
        if few := [n for n, unit in enumerate(units) if 1 < len(unit) < most]:  # by channel
            others = [
                p.name for (p, _), unit in zip(weighted, units, strict=True) if len(unit) == most
            ]
            refuse_beside_image(self.network.layer(first), weighted[few[0]][0].name, others)
        unit, shifts = common_unit(units)
        shift = dict(zip((part.name for part, _ in weighted), shifts, strict=True))
        for part, factor in parts:
            own = unit * 2.0 ** shift.get(part.name, 0) / factor
            if isinstance(part, OneToOne):
                own = own * 2.0 ** one_to_one_shift(part, self._source(part), own)
            self.units[part.name] = own

    def _producers(self, name: str, factor: float) -> Iterator[tuple[Layer, float]]:
        """Layers of weights whose sums flow into a tensor, and what these are multiplied by."""
        layer = self.network.layer(name)
        if isinstance(layer, Add | Flatten):
            for source in layer.inputs:
                yield from self._producers(source, factor)
        elif isinstance(layer, Pool2d):
            area = layer.window[0] * layer.window[1]
            yield from self._producers(
                layer.inputs[0], factor / area if layer.mode == "mean" else factor
            )
        elif isinstance(layer, Linear | Conv2d | OneToOne):
            yield layer, factor
        else:
            raise ImportRefused(
                f"layer {layer.called}: its spikes are added to currents",
                next="put a layer of weights between the two",
            )

    def _reader(self, layer: Layer) -> Neurons | Activation | None:
        """What takes a layer's sums; None for a readout of sums."""
        readers = self.network.readers(layer.name)
        if not readers and layer.name == self.network.output:
            return None
        functions = bool(readers) and all(isinstance(reader, Activation) for reader in readers)
        if len(readers) != 1 and not functions:
            raise ImportRefused(
                f"layer {layer.called}: {len(readers)} layers read its sums, expected one",
                next="sums flow into one layer of neurons; repeat the layer for another one",
            )
        reader = readers[0]
        if isinstance(reader, Neurons | Activation):
            return reader
        if isinstance(reader, Add | Flatten | Pool2d):
            return self._reader(reader)
        raise ImportRefused(
            f"layer {reader.called}: it reads the sums of {layer.called}, no neurons between them",
            next="merge the two, or put neurons between them",
        )

    def _source(self, layer: Layer) -> Held:
        """What a layer of weights reads: spikes, counts or values."""
        held = self.held.get(layer.inputs[0])
        if held is None:
            raise ImportRefused(f"layer {layer.called}: it reads {layer.inputs[0]}, which is later")
        return held

    def _codes(self, layer: Linear | Conv2d, fields: dict[str, Any]) -> Array:
        """Weights (O, I / groups, ...) as codes; with a bias, in `fields`, in units of the sums."""
        codes = weight_codes(layer, self._source(layer), self._channels(layer))
        self.exact_weights[layer.name] = codes.exact
        if codes.bias is not None:
            fields["bias"] = codes.bias
        return codes.weight

    def _add_linear(self, layer: Linear) -> None:
        source, fields = self._source(layer), dict[str, Any]()
        codes = self._codes(layer, fields)
        if (order := source.order()) is not None:
            codes = codes[:, order]
        node: Operator = Dense(name=layer.name, inputs=(source.name,), weight=codes, **fields)
        if layer.delays is not None:
            node = delayed(self.network, source, layer, layer.delays, codes, fields)
        self._append(layer, node, Held(layer.name, (len(codes),), self._channels(layer)))

    def _add_seeded(self, layer: Seeded) -> None:
        unit = self._channels(layer)
        node, self.exact_weights[layer.name] = seeded_operator(layer, self._source(layer), unit)
        self._append(layer, node, Held(layer.name, (node.outputs,), unit))

    def _add_conv2d(self, layer: Conv2d) -> None:
        source, fields = self._source(layer), dict[str, Any]()
        codes = self._codes(layer, fields)
        if source.zero and any(layer.padding):
            raise ImportRefused(
                f"layer {layer.called}: its border sees 0, code {source.zero} of the input",
                next="use an input range that begins at 0, or padding 0",
            )
        node = Conv2dSums(
            name=layer.name,
            inputs=(source.name,),
            weight=np.ascontiguousarray(codes.transpose(0, 2, 3, 1)),
            stride=layer.stride,
            dilation=layer.dilation,
            padding=layer.padding,
            groups=layer.groups,
            **fields,
        )
        self._append(layer, node, None, self._channels(layer))

    def _add_one_to_one(self, layer: OneToOne) -> None:
        source, unit = self._source(layer), self._channels(layer)
        each = _each(layer, source, unit)
        codes = nearest(each)
        self.exact_weights[layer.name] = bool(np.allclose(codes, each, rtol=2.0**-22, atol=0))
        node = one_to_one.OneToOne(
            name=layer.name, inputs=(source.name,), weight=codes.astype(np.int16)
        )
        self._append(layer, node, Held(layer.name, source.shape, unit, image=source.image))

    # Between weights and neurons

    def _add_pool(self, layer: Pool2d) -> None:
        source = self.held[layer.inputs[0]]
        if source.zero:
            raise ImportRefused(f"layer {layer.called}: it pools an input with a zero point")
        node = Pool2dSums(
            name=layer.name,
            inputs=(source.name,),
            window=layer.window,
            stride=layer.stride,
            padding=layer.padding,
            mode="max" if layer.mode == "max" else "sum",
        )
        area = layer.window[0] * layer.window[1]
        unit = source.unit / area if layer.mode == "mean" else source.unit
        most = source.most * (area if layer.mode == "sum" else 1)
        self._append(layer, node, None, unit, most)

    def _add_flatten(self, layer: Flatten) -> None:
        source = self.held[layer.inputs[0]]
        image = source.image
        if len(source.shape) == 3:
            image = (source.shape[2], *source.shape[:2])
        self.held[layer.name] = Held(
            source.name, source.shape, source.unit, source.zero, image, source.most
        )

    def _add_sum(self, layer: Add) -> None:
        list(self._producers(layer.name, 1.0))  # refuses what is no sum
        sources = [self.held[name] for name in layer.inputs]
        if images := [source for source in sources if source.image is not None]:
            others = [source.name for source in sources if source.image != images[0].image]
            refuse_beside_image(layer, images[0].name, others)
        unit = np.min(np.stack([source.unit for source in sources]), axis=0)
        names = []
        for number, (source, shift) in enumerate(zip(sources, unit_shifts(sources), strict=True)):
            names.append(source.name)
            if shift:  # without a leak: nothing is kept, and the input is shifted to the left
                names[-1] = f"{layer.name}_{number}"
                self.nodes.append(
                    LeakyReadout(name=names[-1], inputs=(source.name,), leak=0, input_shift=shift)
                )
        node = sums.Sum(name=layer.name, inputs=tuple(names))
        self._append(layer, node, None, unit, image=sources[0].image)

    def _add_previous(self, layer: Previous) -> None:
        writer = self.network.layer(layer.of)
        if isinstance(writer, Activation):
            node, self.held[layer.name] = carried(layer, writer)
            self.nodes.append(node)
            return
        if not isinstance(writer, Neurons) or writer.rule.threshold is None:
            raise ImportRefused(
                f"layer {layer.called}: it carries {writer.called} to the next step, expected "
                "spikes of neurons"
            )
        shape, rule = channels_last(layer.shape), writer.rule
        kind: dict[str, Any] = (
            {} if rule.most == 1 else {"dtype": "u8", "low": 0, "high": rule.most}
        )
        node = previous.Previous(name=layer.name, of=spikes_of(writer), shape=shape, **kind)
        self.nodes.append(node)
        unit, most = np.array([rule.height]), rule.most * rule.height
        self.held[layer.name] = Held(layer.name, shape, unit, most=most)

    def _add_activation(self, layer: Activation) -> None:
        source = self.held[layer.inputs[0]]
        made = activation_operators(layer, source)
        self.attempt(layer, made, layer.name)
        self.nodes += made
        self.held[layer.name] = activated(layer, layer.name, source.shape, source.image)

    def _add_delay(self, layer: Delay) -> None:
        source = self.held[layer.inputs[0]]
        check_delays(self.network, source, layer, layer.steps)
        n = int(np.prod(source.shape))
        steps = np.resize(in_memory(source, layer.steps), n).astype(np.uint8)
        node = delay.Delay(name=layer.name, inputs=(source.name,), steps=steps)
        self._append(layer, node, None, source.unit, source.most, source.image)

    # Neurons

    def _add_neurons(self, layer: Neurons) -> None:
        source = self.held[layer.inputs[0]]
        if layer.inputs[0] in self.network.inputs:
            raise ImportRefused(
                f"layer {layer.called}: it reads the input, no weights in front",
                next="put a layer of weights in front",
            )
        narrow = self.narrow if isinstance(self.narrow, bool) else layer.name in self.narrow
        lowering = NeuronLowering(layer, source, narrow, partial(self.attempt, layer))
        bits = self.bits.get(layer.name) if isinstance(self.bits, Mapping) else self.bits
        chosen = lowering.chosen(bits)
        self.nodes += chosen
        if layer.rule.threshold is not None:
            more, self.held[layer.name] = fired(layer, source)
            self.nodes += more
            return
        shift = int(chosen[0].attributes()["input_shift"])
        unit = source.unit * in_memory(source, layer.rule.gain) / (1 << shift)
        self.held[layer.name] = Held(layer.name, source.shape, unit, image=source.image)

    # The graph

    def _append(
        self,
        layer: Layer,
        node: Operator,
        held: Held | None,
        unit: Array | None = None,
        most: float = 1.0,
        image: tuple[int, ...] | None = None,
    ) -> None:
        """Add an operator; a GraphError names the layer."""
        graph = self.attempt(layer, [node], node.name)
        self.nodes.append(node)
        shape = graph.tensors[node.name].shape
        unit = np.ones(1) if unit is None else unit
        self.held[layer.name] = held or Held(node.name, shape, unit, image=image, most=most)

    def attempt(self, layer: Layer, nodes: Sequence[Operator], output: str) -> Graph:
        """The graph with these operators added; of recurrences what comes later is any spikes."""
        every = [*self.nodes, *nodes]
        written = {node.name for node in every}
        free = [
            node
            for node in every
            if isinstance(node, previous.Previous) and node.of.split(".")[0] not in written
        ]
        inputs = [GraphTensor(n.name, n.dtype, n.shape, kind="input") for n in free]
        kept = [node for node in every if node not in free]
        try:
            return Graph(self.network.name, self.steps, [*self.inputs, *inputs], kept, [output])
        except GraphError as e:
            raise ImportRefused(f"layer {layer.called}: {e}") from e

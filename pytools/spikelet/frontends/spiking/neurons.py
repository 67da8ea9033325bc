"""Neurons of a spiking network as operators, with the fraction bits that serve them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from spikelet.frontends.spiking import rounding
from spikelet.frontends.spiking.held import Held, in_memory
from spikelet.frontends.spiking.network import Neurons, Rule
from spikelet.graph import Array, Graph, Operator
from spikelet.graph.ops.alpha import STATES, Alpha
from spikelet.graph.ops.delay import Delay
from spikelet.graph.ops.leaky_readout import LeakyReadout
from spikelet.graph.ops.lif import Lif
from spikelet.refusal import ImportRefused

MOST_SUM = (1 << 31) - 1
# A narrow membrane is int16 where its smallest threshold keeps this resolution, else int32 with
# fraction bits up to the second figure.
COARSEST_THRESHOLD = 64
WIDE_THRESHOLD = 4096
MOST_FRACTION_BITS = 6
EXACT_FRACTION_BITS = 15


def current_name(neurons: str) -> str:
    """Of the operator that holds the synaptic current of a layer of neurons."""
    return f"{neurons}_current"


@dataclass(frozen=True)
class NeuronLowering:
    """One layer of neurons on its way into a graph.

    Attributes:
        layer: the neurons.
        source: what they read.
        narrow: int16 states where those fit; else int32, exact.
        attempt: the graph so far with these operators added, and an output of it.
    """

    layer: Neurons
    source: Held
    narrow: bool
    attempt: Callable[[Sequence[Operator], str], Graph]

    @property
    def membrane(self) -> str:
        """The graph's tensor."""
        spikes = self.layer.rule.threshold is not None
        return f"{self.layer.name}.membrane" if spikes else self.layer.name

    def build(self, bits: int) -> tuple[Operator, ...] | None:
        """Its operators with so many fraction bits; None where a threshold is too large.

        They count in the unit of what they take in.
        """
        layer, source = self.layer, self.source
        rule, exact = layer.rule, not self.narrow
        if rule.kept_inhibitory is not None:
            return self._alpha(bits)
        made: list[Operator] = []
        read, shift = source.name, bits
        if rule.kept_current is not None:
            name = current_name(layer.name)
            kept = _leaks(in_memory(source, rule.kept_current), exact)
            made.append(LeakyReadout(name=name, inputs=(read,), input_shift=bits, **kept))
            read, shift = name, 0
        fields: dict[str, Any] = {"name": layer.name, "inputs": (read,), "input_shift": shift}
        fields |= _leaks(in_memory(source, rule.kept), exact)
        if rule.threshold is None:
            if np.any(rule.drift):
                raise ImportRefused(
                    f"layer {layer.called}: integrators that drift without input",
                    next="give the layer of weights in front a bias in its place",
                )
            return (*made, LeakyReadout(**fields))
        if rule.inhibition and np.ptp(rule.gain):
            raise ImportRefused(
                f"layer {layer.called}: its neurons inhibit each other, and their gain differs",
                "membranes of several units are not compared with each other",
                "use one gain, and put what differs into the weights and thresholds",
            )
        codes, switches = self._codes(bits)
        if max(np.abs(v).max() for v in codes.values()) > MOST_SUM:
            return None
        fields |= {
            name: _few(values).astype(np.int32)
            for name, values in codes.items()
            if name in ("threshold", "reset_value") or np.any(values)
        }
        node = Lif(
            compare=rule.compare,
            reset=rule.reset,
            timing=rule.timing,
            refractory=rule.refractory,
            most=rule.most,
            inhibition=rule.inhibition,
            **switches,
            **fields,
        )
        return (*made, node)

    def _alpha(self, bits: int) -> tuple[Operator, ...] | None:
        """Neurons with an alpha-shaped synapse; their membrane counts what the gain multiplies."""
        layer, source = self.layer, self.source
        rule, exact = layer.rule, not self.narrow
        if rule.threshold is None:
            raise ImportRefused(
                f"layer {layer.called}: the membrane of an alpha-shaped synapse is read out",
                next="answer with its spikes",
            )
        unit, gain, threshold = _alike(
            source.unit, in_memory(source, rule.gain), in_memory(source, rule.threshold)
        )
        step = unit / (1 << bits)
        codes = {"threshold": _threshold_codes(threshold, step * gain, rule)}
        if rule.reset == "subtract":
            codes["amount"] = nearest(threshold / step)
        if max(np.abs(v).max() for v in codes.values()) > MOST_SUM:
            return None
        fields: dict[str, Any] = {k: _few(v).astype(np.int32) for k, v in codes.items()}
        fields |= _leaks(in_memory(source, rule.kept_current), exact)
        for one, several, values in (
            ("inhibitory_leak", "inhibitory_leaks", in_memory(source, rule.kept_inhibitory)),
            ("part", "parts", 1 / gain),
        ):
            made = _leaks(values, exact)
            fields |= {one: made["leak"]} if "leak" in made else {several: made["leaks"]}
        node = Alpha(
            name=layer.name,
            inputs=(source.name,),
            compare=rule.compare,
            reset=rule.reset,
            input_shift=bits,
            **fields,
        )
        return (node,)

    def _codes(self, bits: int) -> tuple[dict[str, Array], dict[str, Any]]:
        """Numbers of neurons that spike in units of their membranes, and their adaptation."""
        source, rule = self.source, self.layer.rule
        assert rule.threshold is not None
        parts = (rule.gain, rule.threshold, rule.value, rule.drift, rule.jump, rule.coupling)
        unit, gain, threshold, value, drift, jump, coupling = _alike(
            source.unit, *(in_memory(source, part) for part in parts)
        )
        step = unit * gain / (1 << bits)
        codes = {
            "threshold": _threshold_codes(threshold, step, rule),
            "initials": nearest(rule.initial / step),
            "drift": nearest(drift / step),
        }
        if rule.reset == "value":
            codes["reset_value"] = nearest(value / step)
        if rule.adapts == "nothing":
            return codes, {}
        taken = gain if rule.adapts == "input" else np.ones(1)
        codes["jump"] = nearest(jump * taken / step)
        kept = _leaks(in_memory(source, rule.kept_adaptation), not self.narrow)
        switches: dict[str, Any] = {
            f"adaptation_{name}": kept[name] for name in ("leak", "leaks") if name in kept
        }
        if np.any(coupling):
            codes["coupling"], switches["coupling_bits"] = _fixed_point(coupling * taken)
        return codes, {"adapts": rule.adapts, **switches}

    def chosen(self, bits: int | None) -> tuple[Operator, ...]:
        """Its operators with the fraction bits asked for, or with those that serve best."""
        rule = self.layer.rule
        kept = (rule.kept, np.ones(1) if rule.kept_current is None else rule.kept_current)
        if bits is None and rule.threshold is None and all(np.all(part == 1) for part in kept):
            return replace(self, narrow=True).chosen(0)  # a plain sum is exact
        if bits is None:
            return self._narrow() if self.narrow else self._finest()
        nodes = self.build(bits)
        if nodes is None:
            raise self._too_large()
        self._graph(nodes)
        return nodes

    def _graph(self, nodes: Sequence[Operator]) -> Graph:
        return self.attempt(nodes, self.membrane)

    def _too_large(self) -> ImportRefused:
        return ImportRefused(
            f"layer {self.layer.called}: its threshold exceeds 32 bits of weight steps",
            "the weights in front are far too small for the threshold",
            "lower the threshold, or scale both",
        )

    def _peak(self, nodes: Sequence[Operator]) -> int:
        """The largest membrane before it is clipped, input of a step included."""
        graph, neurons = self._graph(nodes), nodes[-1]
        bounds = graph.bounds
        held, gained = (
            max(-int(low.min()), int(high.max()))
            for low, high in (bounds[self.membrane], bounds[neurons.inputs[0]])
        )
        gained <<= int(neurons.attributes()["input_shift"])
        if isinstance(neurons, Alpha):
            ends = (bounds[f"{self.layer.name}.{state}"] for state in STATES)
            return gained + max(max(-int(low.min()), int(high.max())) for low, high in ends)
        if not isinstance(neurons, Lif) or neurons.adapts == "nothing":
            return held + gained
        if neurons.coupling is not None:
            return _coupled_peak(neurons, gained, graph.steps)
        low, high = bounds[f"{self.layer.name}.adaptation"]
        return max(held + gained, -int(low.min()), int(high.max()))

    def _finest(self) -> tuple[Operator, ...]:
        """As many fraction bits as an int32 membrane provably holds."""
        plain = self.build(0)
        if plain is None:
            raise self._too_large()
        failed: ImportRefused | None = None
        try:
            room = 32 - max(1, self._peak(plain)).bit_length()
        except ImportRefused as e:  # a threshold of less than half a unit, such as of large weights
            room, failed = EXACT_FRACTION_BITS, e
        for candidate in range(min(EXACT_FRACTION_BITS, room), 0, -1):
            nodes = self.build(candidate)
            try:
                if nodes is not None and self._peak(nodes) < MOST_SUM:
                    return nodes
            except ImportRefused:
                continue
        if failed is not None:
            raise failed
        return plain

    def _narrow(self) -> tuple[Operator, ...]:
        """In int16 where it is proved to fit and the threshold keeps its resolution."""
        wide: tuple[Operator, ...] | None = None
        failed: ImportRefused | None = None
        for candidate in range(MOST_FRACTION_BITS, -1, -1):
            nodes = self.build(candidate)
            if nodes is None:
                continue
            try:
                dtype = self._graph(nodes).tensors[self.membrane].dtype
            except ImportRefused as e:
                failed = e
                continue
            low = _smallest_threshold(nodes[-1])
            if dtype == "i16" and (low is None or low >= COARSEST_THRESHOLD):
                return nodes
            if wide is None or (low is not None and low >= WIDE_THRESHOLD):
                wide = nodes
        if wide is None:
            raise failed or self._too_large()
        return wide


def _coupled_peak(neurons: Lif, gained: int, steps: int) -> int:
    """About the largest state of a membrane and an adaptation that act on each other.

    Their intervals have no end. This takes the one without the other, twice; what saturates
    nevertheless is counted.
    """

    def lasting(leak: int, leaks: Array | None) -> float:
        """How many steps an input stays."""
        kept = (leak if leaks is None else int(leaks.max())) / 2.0**neurons.leak_bits
        return min(steps, 1 / (1 - kept)) if kept < 1 else steps

    def most(values: Array | None) -> float:
        return 0.0 if values is None else float(np.abs(values.astype(np.int64)).max())

    v = gained * lasting(neurons.leak, neurons.leaks) + most(neurons.threshold)
    taken = v * most(neurons.coupling) / 2.0**neurons.coupling_bits + most(neurons.jump)
    w = taken * lasting(neurons.adaptation_leak, neurons.adaptation_leaks)
    return int(2 * (v + w))


def spikes_of(layer: Neurons) -> str:
    """The graph's tensor of what neurons write."""
    return f"{layer.name}_late" if layer.rule.late else f"{layer.name}.spikes"


def fired(layer: Neurons, source: Held) -> tuple[list[Operator], Held]:
    """What neurons write, and what makes it arrive a step later where their current is late."""
    rule, name, more = layer.rule, spikes_of(layer), list[Operator]()
    if rule.late:
        steps = np.ones(int(np.prod(source.shape)), np.uint8)
        more.append(Delay(name=name, inputs=(f"{layer.name}.spikes",), steps=steps))
    unit, most = np.array([rule.height]), rule.most * rule.height
    return more, Held(name, source.shape, unit, image=source.image, most=most)


def _leaks(kept: Array, exact: bool) -> dict[str, Any]:
    """Decays as attributes of neurons."""
    if exact:
        factors = [rounding.exact_leak(float(v)) for v in kept]
        more = {"leak_bits": rounding.EXACT_LEAK_BITS, "leak_round": "nearest"}
    else:
        factors, more = [rounding.leak_factor(float(v)) for v in kept], {}
    if len(set(factors)) == 1:
        return {"leak": factors[0], **more}
    return {"leaks": np.array(factors, np.uint32), **more}


def _alike(*values: Array) -> list[Array]:
    """Arrays of one value, one a channel or one a neuron, all as long as the longest."""
    most = max(len(v.reshape(-1)) for v in values)
    return [np.resize(v, most) for v in values]


def _few(values: Array) -> Array:
    """One value where all are the same."""
    return values[:1] if np.all(values == values[0]) else values


def _threshold_codes(threshold: Array, step: Array, rule: Rule) -> Array:
    """Thresholds in units of the membrane."""
    codes: Array = rounding.threshold_codes(
        torch.from_numpy(threshold), torch.from_numpy(step), 0,
        rule.compare == ">", rule.reset == "subtract",
    ).numpy()  # fmt: skip
    return codes


def _fixed_point(values: Array) -> tuple[Array, int]:
    """Values as integers of 32 bits, and how many fraction bits they have, up to 31."""
    bits = 31 - max(0, int(np.frexp(np.abs(values).max())[1]))
    codes = np.minimum(nearest(values * 2.0**bits), MOST_SUM)
    return codes, bits


def nearest(values: Array) -> Array:
    """To the nearest integer, halves away from zero."""
    nearest: Array = np.floor(np.abs(values) + 0.5) * np.sign(values)
    return nearest


def _smallest_threshold(node: Operator) -> int | None:
    """The smallest positive threshold of an operator that has one."""
    threshold = getattr(node, "threshold", None)
    if threshold is None or not (threshold > 0).any():
        return None
    return int(threshold[threshold > 0].min())

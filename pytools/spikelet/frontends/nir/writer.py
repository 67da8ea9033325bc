"""A spiking network as a NIR graph, with how it is executed in steps as metadata.

NIR holds neurons in continuous time. What it has no word for is refused by the layer's name; what
another reader has to know of the steps stands in the metadata of each node under `spikelet`, and
is what `read` goes by.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from spikelet.errors import UsageError
from spikelet.frontends.nir.convention import KEY, VERSION, Convention
from spikelet.frontends.nir.file import graph_of_tree
from spikelet.frontends.nir.wiring import Edge, wire
from spikelet.frontends.spiking.network import (
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
from spikelet.frontends.spiking.shapes import Shape, shapes
from spikelet.graph import Array
from spikelet.refusal import ImportRefused

DT = 1e-4  # seconds; what snnTorch and SpikingJelly write, too


def write(path: Path | str, network: SpikingNetwork, dt: float = DT) -> None:
    """A .nir file of a network.

    Args:
        path: of the file.
        network: any that NIR can hold.
        dt: seconds of a step, which its time constants are told in.

    Raises:
        ImportRefused: names the layer that NIR cannot hold, and why.
        UsageError: the package `nir` is not installed, or dt is no time.
    """
    graph = graph_of(network, dt)
    _nir().write(Path(path), graph)


def graph_of(network: SpikingNetwork, dt: float = DT) -> Any:
    """The `nir.NIRGraph` of a network; see `write`."""
    Convention(dt=dt)
    return _Writing(_nir(), network, dt).graph()


def _nir() -> Any:
    try:
        import nir
    except ImportError as error:
        raise UsageError(
            "the package `nir` is not installed",
            "Spikelet was installed without what NIR files need",
            "pip install 'spikelet[nir]'",
        ) from error
    return nir


def _refuse(layer: Layer, reason: str, supported: str = "") -> ImportRefused:
    kind = type(layer).__name__
    return ImportRefused(f"layer {layer.called} ({kind}): NIR has no {reason}", next=supported)


class _Writing:
    """The graph as it grows."""

    def __init__(self, nir: Any, network: SpikingNetwork, dt: float) -> None:
        self.nir, self.network, self.dt = nir, network, dt
        self.shapes = shapes(network)
        self.nodes: dict[str, Any] = {}
        self.edges: list[Edge] = []
        self.late: set[Edge] = set()
        self.make: dict[type[Layer], Callable[[Any], Any]] = {
            Linear: self._linear,
            Seeded: self._linear,
            Conv2d: self._conv,
            OneToOne: self._scale,
            Pool2d: self._pool,
            Flatten: self._flatten,
            Delay: self._delay,
            Neurons: self._neurons,
        }

    def graph(self) -> Any:
        network, nir = self.network, self.nir
        for name, shape in network.inputs.items():
            self.nodes[name] = nir.Input(input_type={"input": np.array(shape)})
        for layer in network.layers:
            if not isinstance(layer, Add | Previous):
                if type(layer) not in self.make:
                    written = ", ".join(kind.__name__ for kind in self.make)
                    raise ImportRefused(
                        f"layer {layer.called} ({type(layer).__name__}): it is not written to NIR",
                        next=f"written are {written}, sums and recurrences",
                    )
                self.nodes[layer.name] = self.make[type(layer)](layer)
                self._connect(layer, layer.inputs[0], layer.name)
        end = "output" if "output" not in self.nodes else "output_of_network"
        shape = self.shapes[network.output]
        self.nodes[end] = nir.Output(output_type={"output": np.array(shape)})
        self._connect(None, network.output, end)
        told = {KEY: {"version": VERSION, "name": network.name, "dt": self.dt, "input": "current"}}
        made = nir.NIRGraph(self.nodes, self.edges, metadata=told, type_check=False)
        wired = wire(graph_of_tree(made.to_dict()))
        if different := sorted(self.late ^ wired.late):
            name = different[0][0]
            raise _refuse(
                network.layer(name),
                "spikes that arrive a step later, but where they close a loop to neurons no "
                "farther from the input",
                "write the network without the delay",
            )
        return made

    def _connect(self, layer: Layer | None, source: str, reader: str) -> None:
        for name, late in self._ends(source):
            edge = (name, reader)
            if edge in self.edges:
                found = layer or self.network.layer(self.network.output)
                raise _refuse(found, f"two edges from {name} to the same node")
            self.edges.append(edge)
            if late:
                self.late.add(edge)

    def _ends(self, name: str) -> Iterator[tuple[str, bool]]:
        """Nodes that a tensor comes from, and whether in the step before."""
        if name in self.network.inputs:
            yield name, False
            return
        layer = self.network.layer(name)
        if isinstance(layer, Add):
            for source in layer.inputs:
                yield from self._ends(source)
        elif isinstance(layer, Previous):
            yield layer.of, True
        else:
            yield name, False

    # Layers

    def _delay(self, layer: Delay) -> Any:
        steps = np.resize(layer.steps, math.prod(self.shapes[layer.name]))
        return self.nir.Delay(delay=steps.reshape(self.shapes[layer.name]) * self.dt)

    def _linear(self, layer: Linear) -> Any:
        if layer.delays is not None:
            raise _refuse(layer, "delay a synapse", "one delay a neuron: a Delay in front")
        if layer.bias is None:
            return self.nir.Linear(weight=layer.weight)
        return self.nir.Affine(weight=layer.weight, bias=layer.bias)

    def _scale(self, layer: OneToOne) -> Any:
        shape = self.shapes[layer.name]
        weight = layer.weight.reshape(-1)
        if weight.size == shape[0] != math.prod(shape):  # by channel
            weight = weight.reshape(-1, *(1,) * (len(shape) - 1))
        elif weight.size == math.prod(shape):
            weight = weight.reshape(shape)
        return self.nir.Scale(scale=np.broadcast_to(weight, shape).copy())

    def _conv(self, layer: Conv2d) -> Any:
        top, left, bottom, right = layer.padding
        padding: Any = (top, left)
        if (top, left) != (bottom, right):
            pairs = zip(layer.dilation, layer.weight.shape[2:], strict=True)
            down, along = (d * (k - 1) for d, k in pairs)
            same = (down // 2, along // 2, down - down // 2, along - along // 2)
            if layer.padding != same or layer.stride != (1, 1):
                raise _refuse(layer, f"margins of {layer.padding}", "the same on both sides")
            padding = "same"
        bias = layer.bias
        return self.nir.Conv2d(
            input_shape=self._input(layer)[1:],
            weight=layer.weight,
            stride=layer.stride,
            padding=padding,
            dilation=layer.dilation,
            groups=layer.groups,
            bias=np.zeros(len(layer.weight)) if bias is None else bias,
        )

    def _pool(self, layer: Pool2d) -> Any:
        if layer.mode == "max":
            raise _refuse(layer, "maximum of a window", "a pool of sums or means")
        top, left, bottom, right = layer.padding
        if (top, left) != (bottom, right):
            raise _refuse(layer, f"margins of {layer.padding}", "the same on both sides")
        kind = self.nir.SumPool2d if layer.mode == "sum" else self.nir.AvgPool2d
        return kind(
            kernel_size=np.array(layer.window),
            stride=np.array(layer.stride),
            padding=np.array((top, left)),
        )

    def _flatten(self, layer: Flatten) -> Any:
        shape = np.array(self._input(layer))
        return self.nir.Flatten(input_type={"input": shape}, start_dim=0, end_dim=-1)

    def _input(self, layer: Layer) -> Shape:
        return self.shapes[layer.inputs[0]]

    def _neurons(self, layer: Neurons) -> Any:
        rule, shape = layer.rule, self.shapes[layer.name]
        for what in rule.switches():
            raise _refuse(layer, what)
        fields = _continuous(layer, self.dt)
        if rule.threshold is not None:
            fields["v_threshold"] = rule.threshold
            fields["v_reset"] = rule.value if rule.reset == "value" else np.zeros(1)
        kind = {
            (False, False): "I",
            (False, True): "LI",
            (True, False): "IF",
            (True, True): "LIF",
        }[rule.threshold is not None, "v_leak" in fields]
        kind = f"Cuba{kind}" if rule.kept_current is not None else kind
        filled = {name: _filled(values, shape) for name, values in fields.items()}
        return getattr(self.nir, kind)(**filled, metadata={KEY: _told(rule)})


def _filled(values: Array, shape: Shape) -> Array:
    """One value a neuron."""
    flat = np.asarray(values, np.float64).reshape(-1)
    return np.resize(flat, math.prod(shape)).reshape(shape)


def _continuous(layer: Neurons, dt: float) -> dict[str, Array]:
    """Time constants and resistances, with which a step of dt by Euler's rule is the layer's."""
    rule = layer.rule
    kept = np.asarray(rule.kept, np.float64).reshape(-1)
    if (kept > 1).any() or (kept < 0).any():
        raise _refuse(layer, f"membrane that keeps {kept.max():g} of itself in a step", "0 to 1")
    if (rule.gain <= 0).any():
        raise _refuse(layer, "resistance of 0 or below", "a gain above 0")
    if (kept == 1).all():
        if rule.kept_current is not None:
            raise _refuse(layer, "neurons with a synaptic current and without a leak", "a leak")
        if np.any(rule.drift):
            raise _refuse(layer, "drift of neurons without a leak", "a bias in front of them")
        return {"r": rule.gain / dt}
    if (kept == 1).any():
        index = int(np.flatnonzero(kept == 1)[0])
        raise _refuse(layer, f"layer of which neuron {index} has no leak and others have")
    share = 1 - kept
    whole = {"tau": dt / share, "r": rule.gain / share, "v_leak": rule.drift / share}
    if rule.kept_current is None:
        return whole
    current = np.asarray(rule.kept_current, np.float64).reshape(-1)
    if (current >= 1).any() or (current < 0).any():
        raise _refuse(layer, "synaptic current without a decay", "a decay below 1")
    whole["tau_mem"] = whole.pop("tau")
    whole["tau_syn"], whole["w_in"] = dt / (1 - current), 1 / (1 - current)
    return whole


def _told(rule: Rule) -> dict[str, Any]:
    """What NIR does not hold of a rule, and its factors without the rounding of time constants."""
    told: dict[str, Any] = {"kept": rule.kept, "gain": rule.gain, "drift": rule.drift}
    if rule.kept_current is not None:
        told["kept_current"] = rule.kept_current
    if not np.any(rule.drift):
        del told["drift"]
    told["initial_membrane"] = float(rule.initial)
    if rule.threshold is not None:
        told |= {"reset": rule.reset, "timing": rule.timing, "compare": rule.compare}
        told["refractory"] = rule.refractory
    return told

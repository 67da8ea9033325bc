"""What an snnTorch network itself computes on samples, and how far a graph of it is from that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from spikelet.frontends.snntorch.layers import NEURON_STATES, Readout, leaves
from spikelet.frontends.spiking.encoders import Encoder, encode
from spikelet.graph import Array, Graph
from spikelet.graph.operator import Role

CHUNK_ELEMENTS = 1 << 25  # elements of a trace that are held at once


def unroll(layer: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """One layer of neurons over all steps: spikes (T, N, n) and the last membrane (N, n)."""
    states = NEURON_STATES[type(layer)]
    for name in states:
        setattr(layer, name, torch.zeros_like(x[0]))
    spikes = []
    for current in x:
        fired = layer(current)
        spikes.append(fired[0] if isinstance(fired, tuple) else fired)
    membrane: Tensor = layer.get_buffer("mem")
    for name in states:
        setattr(layer, name, layer.get_buffer(name).detach()[:0])
    return torch.stack(spikes).to(x.dtype), membrane


@dataclass(frozen=True)
class Behaviour:
    """What a network does on N samples.

    Attributes:
        spikes: of each layer of neurons that spikes, in order, (T, N, n) of 0 and 1.
        scores: (N, classes): spike counts, membranes or sums.
        labels: (N,) that it predicts.
    """

    spikes: list[Array]
    scores: Array
    labels: Array


@dataclass(frozen=True)
class Samples:
    """Inputs of the graph, and how the module gets them."""

    encoder: Encoder
    inputs: Mapping[str, Array]

    def __len__(self) -> int:
        return len(self.inputs["x"])

    def at_once(self, graph: Graph) -> int:
        """How many samples' traces are held at once."""
        return max(1, CHUNK_ELEMENTS // sum(t.size * graph.steps for t in graph.tensors.values()))

    def chunks(self, graph: Graph) -> Iterator[Samples]:
        """Parts whose traces are held at once."""
        size = self.at_once(graph)
        for at in range(0, len(self), size):
            yield self.first(at + size, at)

    def first(self, end: int, begin: int = 0) -> Samples:
        """Samples [begin, end)."""
        return Samples(self.encoder, {k: v[begin:end] for k, v in self.inputs.items()})


def module_behaviour(
    network: nn.Module | Mapping[str, nn.Module], readout: Readout, steps: int, samples: Samples
) -> Behaviour:
    """The module executed as it stands, in its own precision; it is left as it was."""
    layers = [layer for _, layer in leaves(network)]
    kept = [
        (layer, name, layer.get_buffer(name))
        for layer in layers
        for name in NEURON_STATES.get(type(layer), ())
    ]
    weight = next(layer.weight for layer in layers if isinstance(layer, nn.Linear))
    x = encode(samples.inputs["x"], samples.encoder, steps, samples.inputs.get("seed"))
    x = x.to(weight.device, weight.dtype)
    if x.dim() == 2:
        x = x.expand(steps, *x.shape)
    spikes = []
    membrane = x
    try:
        with torch.no_grad():
            for layer in layers:
                if type(layer) in NEURON_STATES:
                    x, membrane = unroll(layer, x)
                    spikes.append(x.cpu().numpy().astype(np.uint8))
                else:
                    x = layer(x)
    finally:
        for layer, name, held in kept:
            setattr(layer, name, held)
    scores = membrane if readout == "membrane" else x.sum(dim=0)
    real: Array = scores.double().cpu().numpy()
    return Behaviour(spikes, real, np.argmax(real, axis=1))


def spiking_tensors(graph: Graph) -> list[str]:
    """What its neurons write, in order."""
    return [
        name
        for node in graph.nodes
        for name, role in node.tensor_roles().items()
        if role is Role.SPIKES
    ]


def graph_behaviour(graph: Graph, samples: Samples) -> Behaviour:
    """A graph of the same chain, executed by golden."""
    run = graph.run(samples.inputs, trace=True)
    spikes = [run.trace[name] for name in spiking_tensors(graph)]
    label, scores = (run.outputs[name] for name in graph.outputs)
    return Behaviour(spikes, scores.astype(np.float64), label[:, 0].astype(np.int64))


def errors(module: Behaviour, graph: Behaviour, stages: int, unit: float) -> Array:
    """By stage: spikes that differ; of a readout that does not spike, the sum of squared errors.

    `unit` is the real value of one unit of the graph's scores.
    """
    counts = [float(np.sum(a != b)) for a, b in zip(module.spikes, graph.spikes, strict=False)]
    if len(counts) < stages:
        counts.append(float(np.sum((graph.scores * unit - module.scores) ** 2)))
    return np.array(counts)

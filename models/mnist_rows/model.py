"""A row of 28 pixels a step; two layers of neurons, whose spikes arrive late."""

from __future__ import annotations

from typing import Literal

import torch

from spikelet.frontends.spiking.network import SpikingNetwork
from spikelet.graph import Array
from spikelet.train.spiking import Builder

HIDDEN, FEW = 64, 16  # neurons of a layer
LATEST = 16  # delays begin anywhere below it


def build(shape: tuple[int, ...], classes: int) -> SpikingNetwork:
    """The network for rows of that many pixels."""
    return network(shape, classes, HIDDEN, "neuron")


def without_delays(shape: tuple[int, ...], classes: int) -> SpikingNetwork:
    """The same; spikes arrive at once."""
    return network(shape, classes, HIDDEN, None)


def small(shape: tuple[int, ...], classes: int) -> SpikingNetwork:
    """With few neurons."""
    return network(shape, classes, FEW, "neuron")


def small_synapses(shape: tuple[int, ...], classes: int) -> SpikingNetwork:
    """With few neurons; each synapse of a spike has its own delay."""
    return network(shape, classes, FEW, "synapse")


def small_without_delays(shape: tuple[int, ...], classes: int) -> SpikingNetwork:
    """With few neurons; spikes arrive at once."""
    return network(shape, classes, FEW, None)


def network(
    shape: tuple[int, ...], classes: int, neurons: int, late: Literal["neuron", "synapse"] | None
) -> SpikingNetwork:
    """Two layers of so many neurons, and integrators; one delay a neuron, a synapse, or none."""
    net = Builder(shape)

    def weights(x: str, outputs: int) -> str:
        """A layer on spikes, which arrive late."""
        if late == "neuron":
            x = net.delay(x, drawn(neurons))
        return net.linear(x, outputs, delays=drawn(outputs, neurons) if late == "synapse" else None)

    x = net.lif(net.linear(net.input, neurons), kept=0.7)
    x = net.lif(weights(x, neurons), kept=0.7)
    return net.network(net.integrators(weights(x, classes), kept=0.95))


def drawn(*shape: int) -> Array:
    """Delays to begin with."""
    steps: Array = torch.randint(0, LATEST, shape).numpy()
    return steps

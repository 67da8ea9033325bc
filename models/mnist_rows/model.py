"""A row of 28 pixels a step; two layers of neurons, whose spikes arrive late."""

from __future__ import annotations

import torch

from spikelet.frontends.spiking.network import SpikingNetwork
from spikelet.train.spiking import Builder

HIDDEN, FEW = 64, 16  # neurons of a layer
LATEST = 16  # delays begin anywhere below it


def build(shape: tuple[int, ...], classes: int) -> SpikingNetwork:
    """The network for rows of that many pixels."""
    return network(shape, classes, HIDDEN, delayed=True)


def without_delays(shape: tuple[int, ...], classes: int) -> SpikingNetwork:
    """The same; spikes arrive at once."""
    return network(shape, classes, HIDDEN, delayed=False)


def small(shape: tuple[int, ...], classes: int) -> SpikingNetwork:
    """With few neurons."""
    return network(shape, classes, FEW, delayed=True)


def small_without_delays(shape: tuple[int, ...], classes: int) -> SpikingNetwork:
    """With few neurons; spikes arrive at once."""
    return network(shape, classes, FEW, delayed=False)


def network(shape: tuple[int, ...], classes: int, neurons: int, *, delayed: bool) -> SpikingNetwork:
    """Two layers of so many neurons, and integrators."""
    net = Builder(shape)
    x = net.input
    for _ in range(2):
        x = net.lif(net.linear(x, neurons), kept=0.7)
        if delayed:
            x = net.delay(x, torch.randint(0, LATEST, (neurons,)).numpy())
    return net.network(net.integrators(net.linear(x, classes), kept=0.95))

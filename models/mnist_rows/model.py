"""A row of 28 pixels a step; two layers of 64 neurons, whose spikes arrive late."""

from __future__ import annotations

import torch

from spikelet.frontends.spiking.network import SpikingNetwork
from spikelet.train.spiking import Builder

HIDDEN = 64
LATEST = 16  # delays begin anywhere below it


def build(shape: tuple[int, ...], classes: int) -> SpikingNetwork:
    """The network for rows of that many pixels."""
    net = Builder(shape)
    x = net.input
    for _ in range(2):
        x = net.lif(net.linear(x, HIDDEN), kept=0.7)
        x = net.delay(x, torch.randint(0, LATEST, (HIDDEN,)).numpy())
    return net.network(net.integrators(net.linear(x, classes), kept=0.95))

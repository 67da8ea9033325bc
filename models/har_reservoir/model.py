"""An echo state network: 100 states, weights of two seeds, a readout of the states' means."""

from __future__ import annotations

import math

from spikelet.frontends.spiking.network import SpikingNetwork
from spikelet.train.spiking import Builder

NEURONS = 100
GAIN = 0.3
RADIUS = 0.7
LIMITS = (1.0, 0.25)  # of what is averaged: large and small movements


def build(shape: tuple[int, ...], classes: int) -> SpikingNetwork:
    """The network of frames (channels,), which reads states and their positive parts."""
    net = Builder(shape)
    before = net.previous("state", (NEURONS,))
    again = net.seeded(before, NEURONS, RADIUS / math.sqrt(NEURONS))
    sums = net.add(net.seeded(net.input, NEURONS, GAIN), again)
    read = [net.activation(sums, "clip", name="state")]
    read += [net.activation(sums, "relu", limit=limit) for limit in LIMITS]
    read += [net.activation(sums, "clip", limit=limit) for limit in LIMITS[1:]]
    return net.network(net.add(*(net.linear(x, classes) for x in read)))

"""The network of mnist_rows without its delays."""

from __future__ import annotations

from spikelet.frontends.spiking.network import SpikingNetwork
from spikelet.train.spiking import Builder

HIDDEN = 64


def build(shape: tuple[int, ...], classes: int) -> SpikingNetwork:
    """The network for rows of that many pixels."""
    net = Builder(shape)
    x = net.input
    for _ in range(2):
        x = net.lif(net.linear(x, HIDDEN), kept=0.7)
    return net.network(net.integrators(net.linear(x, classes), kept=0.95))

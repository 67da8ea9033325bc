"""16x16 pixels as a constant current into four convolutions of neurons without a leak."""

from __future__ import annotations

from spikelet.frontends.spiking.network import SpikingNetwork
from spikelet.train.spiking import Builder

CHANNELS = (20, 28, 36, 48)


def build(shape: tuple[int, ...], classes: int) -> SpikingNetwork:
    """The network for images of that shape, channels first."""
    net = Builder(shape)
    first, *others = CHANNELS
    x = net.lif(net.conv2d(net.input, first, 4, stride=2, bias=False))  # 7x7 of 16x16
    for channels in others:
        x = net.lif(net.conv2d(x, channels, 3, bias=False))
    return net.network(net.linear(x, classes))

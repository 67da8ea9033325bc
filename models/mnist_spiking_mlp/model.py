"""400 pixels as a constant current, 78 neurons without a leak, weights that are summed."""

from __future__ import annotations

from spikelet.frontends.spiking.network import SpikingNetwork
from spikelet.train.spiking import Builder

HIDDEN = 78


def build(shape: tuple[int, ...], classes: int) -> SpikingNetwork:
    """The network for images of that shape, channels first."""
    net = Builder(shape)
    spikes = net.lif(net.linear(net.input, HIDDEN))
    return net.network(net.linear(spikes, classes))

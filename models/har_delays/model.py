"""Four samples a step; three layers of neurons, each reads the one before now and later."""

from __future__ import annotations

from spikelet.frontends.spiking.network import SpikingNetwork
from spikelet.train.spiking import Builder

WIDTHS = (48, 48, 32)  # neurons
LATE = (1, 2)  # steps of 80 ms, that a neuron's spikes arrive a second and a third time
KEPT = 0.5  # of a membrane, in a step; learned


def build(shape: tuple[int, ...], classes: int) -> SpikingNetwork:
    """The network of steps (samples * channels,), which also reads the means of the channels."""
    net = Builder(shape)
    x = net.lif(net.linear(net.input, WIDTHS[0]), kept=KEPT)
    scores = [net.linear(net.input, classes, bias=False), net.linear(x, classes)]
    for width in WIDTHS[1:]:
        late = [net.linear(net.delay(x, steps), width, bias=False) for steps in LATE]
        x = net.lif(net.add(net.linear(x, width), *late), kept=KEPT)
        scores.append(net.linear(x, classes, bias=False))
    return net.network(net.add(*scores))

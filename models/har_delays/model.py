"""Four samples a step; three layers of neurons, each reads the one before now and later."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from spikelet.frontends.spiking.network import Linear, SpikingNetwork
from spikelet.graph import Array
from spikelet.train.spiking import Builder

WIDTHS = (64, 36, 32)  # neurons
LATE = (1, 2)  # steps of 80 ms, that a neuron's spikes arrive a second and a third time
KEPT = 0.5  # of a membrane, in a step
SENSITIVE = 40  # of the first neurons, that begin by reading changes within a step
THRESHOLDS = (0.05, 0.5)  # of these, the least and the largest; all others are 1
CHANNELS, SENSORS = 9, 3  # a sensor has three axes
SHIFT = 16  # samples, at most
TILT = 0.15  # radians, standard deviation
GAIN = 0.1
NOISE = 0.005


def build(shape: tuple[int, ...], classes: int) -> SpikingNetwork:
    """The network of steps (samples * channels,), which also reads the means of the channels."""
    net = Builder(shape)
    x = net.lif(first(net), kept=KEPT, threshold=thresholds())
    scores = [net.linear(net.input, classes, bias=False), net.linear(x, classes)]
    for width in WIDTHS[1:]:
        late = [net.linear(net.delay(x, steps), width, bias=False) for steps in LATE]
        x = net.lif(net.add(net.linear(x, width), *late), kept=KEPT)
        scores.append(net.linear(x, classes, bias=False))
    return net.network(net.add(*scores))


def first(net: Builder) -> str:
    """Weights on the input; those of the sensitive neurons sum to 0 over the samples of a step."""
    name = net.linear(net.input, WIDTHS[0])
    (layer,) = net.layers
    if isinstance(layer, Linear):
        weight = layer.weight[:SENSITIVE].reshape(SENSITIVE, -1, CHANNELS)  # a view
        weight -= weight.mean(axis=1, keepdims=True)
    return name


def thresholds() -> Array:
    """Of the first neurons, to begin with."""
    made = np.ones(WIDTHS[0])
    made[:SENSITIVE] = np.geomspace(*THRESHOLDS, SENSITIVE)
    return made


def augment(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Windows shifted (around the end), the phone tilted, the amplitude varied, noise added."""
    n = len(x)
    x = torch.roll(x, int(torch.randint(-SHIFT, SHIFT + 1, (1,))), 2)
    axes = x.view(n, SENSORS, 3, -1)
    turn = TILT * torch.randn(n, 1, 3, 1)  # small: the cross product stands for the rotation
    x = (axes + torch.linalg.cross(turn.expand_as(axes), axes, dim=2)).view_as(x)
    return x * (1 + GAIN * torch.randn(n, 1, 1)) + NOISE * torch.randn_like(x), y

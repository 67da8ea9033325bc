"""Two convolutions of spikes; the second sees three saccades at once, the earlier ones delayed."""

from __future__ import annotations

import torch
from torch import Tensor

from spikelet.frontends.spiking.network import SpikingNetwork
from spikelet.train.deform import deform
from spikelet.train.recipe import DeformSection
from spikelet.train.spiking import Builder

CHANNELS = (16, 32)
LATE = (0, 2, 4)  # steps: a saccade takes two
KEPT = 0.6  # of a membrane by a step; learned for each channel
DEFORM = DeformSection(rotate=12, zoom=0.12, shear=0.1, shift=0.08, elastic=0.02)
LOST = 0.3  # of the events, at most


def build(shape: tuple[int, ...], classes: int) -> SpikingNetwork:
    """The network for counts of events of that shape, channels first."""
    net = Builder(shape)
    x = net.lif(net.conv2d(net.input, CHANNELS[0], 5, stride=3, padding=2), kept=KEPT)
    saccades = [net.delay(x, late) if late else x for late in LATE]
    currents = [net.conv2d(each, CHANNELS[1], 3, stride=2, padding=1) for each in saccades]
    x = net.lif(net.add(*currents), kept=KEPT)
    return net.network(net.linear(x, classes))


def augment(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Recordings (N, C, T, H, W) turned, stretched, sheared, bent, shifted, events lost."""
    flat = deform(x.flatten(1, 2), DEFORM).view(x.shape)
    kept = 1 - LOST * torch.rand(len(x), 1, 1, 1, 1)
    return torch.floor(flat * kept + torch.rand_like(x)), y

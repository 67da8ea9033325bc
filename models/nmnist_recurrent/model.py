"""One layer of neurons that read events and their own spikes of the step before, every ms."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from spikelet.frontends.spiking.network import SpikingNetwork
from spikelet.train.deform import deform
from spikelet.train.recipe import DeformSection
from spikelet.train.spiking import Builder

HIDDEN = 128
MEMORY = (10.0, 150.0)  # ms: time constants of the membranes, spread over the neurons
DEFORM = DeformSection(rotate=12, zoom=0.12, shear=0.1, shift=0.08, elastic=0.02)
LOST = 0.3  # of the events, at most


def build(shape: tuple[int, ...], classes: int) -> SpikingNetwork:
    """The network for bits of events of that shape, channels first."""
    net = Builder(shape)
    kept = np.exp(-1 / np.geomspace(*MEMORY, HIDDEN))
    own = net.linear(net.previous("hidden", (HIDDEN,)), HIDDEN, bias=False, gain=0.3)
    seen = net.linear(net.input, HIDDEN, bias=False)
    x = net.lif(net.add(seen, own), kept=kept, name="hidden")
    return net.network(net.linear(x, classes))


def augment(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Recordings (N, C, T, H, W) turned, stretched, sheared, bent, shifted, events lost."""
    flat = deform(x.flatten(1, 2), DEFORM).view(x.shape)
    kept = 1 - LOST * torch.rand(len(x), 1, 1, 1, 1)
    return torch.floor(flat * kept + torch.rand_like(x)), y

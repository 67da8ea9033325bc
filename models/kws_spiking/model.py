"""A log-mel image as a constant current into convolutions of neurons without a leak."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from spikelet.frontends.spiking.network import SpikingNetwork
from spikelet.train.spiking import Builder

CLASSES = 12
CHANNELS = (16, 32, 40, 48)
SHIFT = (6, 3)  # frames and bands, at most
HIDDEN = (10, 8)  # frames and bands, at most
GAIN = 0.3
NOISE = 0.1
MIX = 0.3  # of the beta distribution: two clips in one
LIMIT = 2.0  # of the inputs


def build(shape: tuple[int, ...], classes: int) -> SpikingNetwork:
    """The network of spectrograms (1, frames, bands)."""
    net = Builder(shape)
    x = net.lif(net.conv2d(net.input, CHANNELS[0], 5, stride=2, bias=False))  # 23x18
    x = net.lif(net.conv2d(x, CHANNELS[1], 3, stride=2, padding=1, bias=False))  # 12x9
    x = net.lif(net.conv2d(x, CHANNELS[2], 3, stride=2, padding=1, bias=False))  # 6x5
    x = net.lif(net.conv2d(x, CHANNELS[3], 3, stride=2, padding=1, bias=False))  # 3x3
    return net.network(net.linear(net.flatten(x), classes))


def augment(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Clips shifted in time and pitch, partly hidden, louder or softer, noisy, mixed in pairs."""
    n, _, frames, bands = x.shape
    time = torch.arange(frames) - torch.randint(-SHIFT[0], SHIFT[0] + 1, (n, 1))
    pitch = torch.arange(bands) - torch.randint(-SHIFT[1], SHIFT[1] + 1, (n, 1))
    time, pitch = time.clamp(0, frames - 1), pitch.clamp(0, bands - 1)
    clip = torch.arange(n)[:, None, None]
    x = x[clip, 0, time[:, :, None], pitch[:, None, :]]
    hidden = span(n, frames, HIDDEN[0])[:, :, None] | span(n, bands, HIDDEN[1])[:, None, :]
    x = torch.where(hidden, x.mean((1, 2), keepdim=True), x)
    x = x + GAIN * torch.randn(n, 1, 1) + NOISE * torch.randn_like(x)
    share = torch.distributions.Beta(MIX, MIX).sample((n,))
    share, other = torch.maximum(share, 1 - share), torch.randperm(n)
    targets = one_hot(y, CLASSES).float()
    x = torch.lerp(x[other], x, share[:, None, None]).clamp(-LIMIT, LIMIT)[:, None]
    return x, torch.lerp(targets[other], targets, share[:, None])


def span(n: int, length: int, most: int) -> Tensor:
    """(n, length) bool: True in one random span of each row, up to `most` wide."""
    begin, width = torch.rand(n, 1) * length, torch.rand(n, 1) * most
    place = torch.arange(length)
    return (place >= begin) & (place < begin + width)

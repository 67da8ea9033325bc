"""Two convolutions and a linear layer on counts of three saccades."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spikelet.train.deform import deform
from spikelet.train.recipe import DeformSection

CHANNELS = (20, 40)
DEFORM = DeformSection(rotate=12, zoom=0.12, shear=0.1, shift=0.08, elastic=0.02)
LOST = 0.3  # of the events, at most


def build(shape: tuple[int, ...], classes: int) -> nn.Module:
    """The network for images (height, width, channels)."""
    first, second = CHANNELS
    side = (shape[0] + 5) // 6  # of the second convolution
    return nn.Sequential(
        nn.Conv2d(shape[-1], first, 5, 3, 2, bias=False),
        nn.BatchNorm2d(first),
        nn.ReLU(),
        nn.Conv2d(first, second, 3, 2, 1, bias=False),
        nn.BatchNorm2d(second),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(second * side * side, classes),
    )


def augment(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Images of counts (N, C, H, W) turned, stretched, sheared, bent, shifted, events lost."""
    x = deform(x, DEFORM)
    kept = 1 - LOST * torch.rand(len(x), 1, 1, 1)
    return torch.floor(x * kept + torch.rand_like(x)), y

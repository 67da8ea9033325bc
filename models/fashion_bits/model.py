"""Five 3x3 convolutions over an image, two poolings, an average, a linear layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

SHIFT = 2  # pixels, at most


def convolution(inputs: int, outputs: int) -> nn.Sequential:
    """3x3, with batch normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


def build(shape: tuple[int, ...], classes: int) -> nn.Module:
    """The network of images (height, width, channels)."""
    return nn.Sequential(
        convolution(shape[-1], 16),
        nn.MaxPool2d(2),
        convolution(16, 32),
        convolution(32, 32),
        nn.MaxPool2d(2),
        convolution(32, 64),
        convolution(64, 64),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, classes),
    )


def augment(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Half of the images mirrored; the batch shifted by some pixels."""
    mirrored = torch.rand(len(x), 1, 1, 1) < 0.5
    x = torch.where(mirrored, x.flip(3), x)
    height, width = x.shape[2:]
    down, right = torch.randint(0, 2 * SHIFT + 1, (2,)).tolist()
    x = pad(x, (SHIFT, SHIFT, SHIFT, SHIFT))
    return x[:, :, down : down + height, right : right + width], y

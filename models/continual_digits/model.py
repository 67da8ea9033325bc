"""Two 3x3 convolutions over an 8x8 image, 64 features, a linear layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

FEATURES = 64


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
        nn.Flatten(),
        nn.Linear(32 * (shape[0] // 2) * (shape[1] // 2), FEATURES),
        nn.ReLU(),
        nn.Linear(FEATURES, classes),
    )


def augment(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The batch shifted by up to a pixel."""
    height, width = x.shape[2:]
    down, right = torch.randint(0, 3, (2,)).tolist()
    x = pad(x, (1, 1, 1, 1))
    return x[:, :, down : down + height, right : right + width], y

"""Clothing on signs: an int8 convolution, three of 1-bit weights on signs, an int8 linear layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spikelet.train.signs import Sign


def convolution(inputs: int, outputs: int, kernel: int, stride: int, then: nn.Module) -> nn.Module:
    """With its normalisation, which is folded into thresholds where `then` is a sign."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), then)


def build(shape: tuple[int, ...], classes: int) -> nn.Module:
    """The network of images (height, width, channels)."""
    return nn.Sequential(
        convolution(shape[-1], 64, 4, 2, Sign()),
        convolution(64, 64, 3, 2, Sign()),
        convolution(64, 64, 3, 1, Sign()),
        convolution(64, 64, 3, 1, nn.ReLU()),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, classes),
    )


def augment(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Half of the images mirrored."""
    mirrored = torch.rand(len(x), 1, 1, 1) < 0.5
    return torch.where(mirrored, x.flip(3), x), y

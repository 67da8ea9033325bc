"""Digits on plain int8 in 848 bytes: two convolutions and a pool."""

from __future__ import annotations

from torch import nn


def block(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """A convolution; the normalisation is folded into it when it is exported."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def build(shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """Layers for images (height, width, channels), which come channels first."""
    return nn.Sequential(
        block(shape[2], 6, 4, 2),
        block(6, 8, 3),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(4 * 8, classes),  # 2x2 pixels are left of 14x14
    )

"""Digits on 1-bit and 2-bit weights in 3 kilobytes: three convolutions."""

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
        block(shape[2], 12, 4, 2),
        block(12, 32, 3),
        block(32, 40, 3),
        nn.Flatten(),
        nn.Linear(4 * 40, classes),  # 2x2 pixels are left of 14x14
    )

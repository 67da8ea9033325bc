"""Digits on 1-bit weights in 10 kilobytes: four convolutions."""

from __future__ import annotations

from torch import nn


def block(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """A convolution; the normalisation is folded into it when it is exported."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def build(shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """Layers for images (height, width, channels), which come channels first."""
    return nn.Sequential(
        block(shape[2], 20, 4, 2),  # 7x7 pixels are left of 16x16
        block(20, 48),
        block(48, 56),
        block(56, 80),
        nn.Flatten(),
        nn.Linear(80, classes),
    )

"""Digits on signs: four convolutions, those behind the first on bits, XNOR and popcount."""

from __future__ import annotations

from torch import nn

from spikelet.train.signs import Sign


def block(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """A convolution; the normalisation is folded into its thresholds when it is exported."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), Sign())


def build(shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """Layers for images (height, width, channels), which come channels first."""
    return nn.Sequential(
        block(shape[2], 32, 3),
        block(32, 32, 3, 2),
        block(32, 64, 3),
        block(64, 48, 3),
        nn.Flatten(),
        nn.Linear(4 * 48, classes),
    )

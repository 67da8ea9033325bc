"""Digits on 9 thousand weights of 1 bit: three layers."""

from __future__ import annotations

from torch import nn


def dense(inputs: int, outputs: int) -> nn.Sequential:
    """A linear layer; the normalisation is folded into its scales when it is exported."""
    return nn.Sequential(nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU())


def build(shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """Layers for images (height, width, channels), which come channels first."""
    pixels = shape[0] * shape[1] * shape[2]
    return nn.Sequential(nn.Flatten(), dense(pixels, 72), dense(72, 16), nn.Linear(16, classes))

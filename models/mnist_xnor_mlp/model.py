"""Digits on signs: three layers of 1-bit weights, the last two XNOR and popcount."""

from __future__ import annotations

from torch import nn

from spikelet.train.signs import Sign


def dense(inputs: int, outputs: int) -> nn.Sequential:
    """A linear layer; the normalisation is folded into its thresholds when it is exported."""
    return nn.Sequential(nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), Sign())


def build(shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """Layers for images (height, width, channels), which come channels first."""
    pixels = shape[0] * shape[1] * shape[2]
    return nn.Sequential(nn.Flatten(), dense(pixels, 384), dense(384, 180), nn.Linear(180, classes))

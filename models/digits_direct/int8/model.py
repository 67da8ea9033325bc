"""The same layers as digits_direct, without time."""

from __future__ import annotations

from math import prod

from torch import nn

HIDDEN = 144


def build(shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """Layers for images (height, width, channels), which come channels first."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(prod(shape), HIDDEN, bias=False),
        nn.BatchNorm1d(HIDDEN),
        nn.ReLU(),
        nn.Linear(HIDDEN, classes),
    )

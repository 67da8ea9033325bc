"""A convolution over time, three depthwise-separable ones, an average, a linear layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SENSORS = 3  # of three axes each
SHIFT = 16  # samples, at most
TILT = 0.15  # radians, standard deviation
GAIN = 0.1
NOISE = 0.02


def convolution(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """With batch normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv1d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm1d(outputs),
        nn.ReLU(),
    )


def separable(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Depthwise over five samples, then pointwise."""
    return nn.Sequential(
        convolution(inputs, inputs, 5, stride, groups=inputs), convolution(inputs, outputs, 1)
    )


def build(shape: tuple[int, ...], classes: int) -> nn.Module:
    """The network of signals (length, channels)."""
    return nn.Sequential(
        convolution(shape[-1], 14, 7, 2),
        separable(14, 20, 2),
        separable(20, 20, 2),
        separable(20, 20, 1),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(20, classes),
    )


def augment(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Windows shifted (around the end), the phone tilted, the amplitude varied, noise added."""
    n = len(x)
    x = torch.roll(x, int(torch.randint(-SHIFT, SHIFT + 1, (1,))), 2)
    axes = x.view(n, SENSORS, 3, -1)
    turn = TILT * torch.randn(n, 1, 3, 1)  # small: the cross product stands for the rotation
    x = (axes + torch.linalg.cross(turn.expand_as(axes), axes, dim=2)).view_as(x)
    return x * (1 + GAIN * torch.randn(n, 1, 1)) + NOISE * torch.randn_like(x), y

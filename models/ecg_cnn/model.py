"""Four convolutions over a beat and the intervals before it, an average, a linear layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SHIFT = 3  # samples, at most
GAIN = 0.2
OFFSET = 0.2
NOISE = 0.02
RATE = 0.15  # of both intervals
RATIO = 0.03


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """With batch normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv1d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm1d(outputs),
        nn.ReLU(),
    )


def build(shape: tuple[int, ...], classes: int) -> nn.Module:
    """The network of signals (length, channels)."""
    return nn.Sequential(
        convolution(shape[-1], 16, 7, 2),
        convolution(16, 24, 5, 2),
        convolution(24, 32, 5, 2),
        convolution(32, 32, 3),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(32, classes),
    )


def augment(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Beats shifted, scaled, with another baseline and noise; hearts faster or slower."""
    n = len(x)
    beat, known = x[:, :1], x[:, 1:]
    beat = torch.roll(beat, int(torch.randint(-SHIFT, SHIFT + 1, (1,))), 2)
    beat = beat * (1 + GAIN * torch.randn(n, 1, 1)) + OFFSET * torch.randn(n, 1, 1)
    beat = beat + NOISE * torch.randn_like(beat)
    rate = (RATE * torch.randn(n, 1, 1)).expand(n, 2, 1)
    known = known + torch.cat([rate, RATIO * torch.randn(n, 1, 1)], 1)
    return torch.cat([beat, known], 1), y

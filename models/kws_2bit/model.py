"""Two convolutions, then depthwise-separable ones, the last three of them residual."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot, relu

CLASSES = 12
SHIFT = (6, 3)  # frames and bands, at most
HIDDEN = (10, 8)  # frames and bands, at most
GAIN = 0.3
NOISE = 0.1
MIX = 0.3  # of the beta distribution: two clips in one
LIMIT = 2.0  # of the inputs


def convolution(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """With batch normalisation."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    )


class Separable(nn.Module):
    """A 3x3 depthwise and a pointwise convolution, which may be added to what went in."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, residual: bool = False) -> None:
        super().__init__()
        self.depthwise = convolution(inputs, inputs, 3, stride, groups=inputs)
        self.pointwise = convolution(inputs, outputs, 1)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        y: Tensor = self.pointwise(relu(self.depthwise(x)))
        return relu(x + y if self.residual else y)


def build(shape: tuple[int, ...], classes: int) -> nn.Module:
    """The network of spectrograms (frames, bands, 1)."""
    return nn.Sequential(
        convolution(shape[-1], 16, 3, 2),
        nn.ReLU(),
        convolution(16, 32, 3, 2),
        nn.ReLU(),
        Separable(32, 64),
        Separable(64, 96, 2),
        Separable(96, 96, residual=True),
        Separable(96, 96, residual=True),
        Separable(96, 96, residual=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(96, classes),
    )


def augment(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Clips shifted in time and pitch, partly hidden, louder or softer, noisy, mixed in pairs.

    Hiding is SpecAugment (Park et al., 2019), mixing is mixup (Zhang et al., ICLR 2018).
    """
    n, _, frames, bands = x.shape
    time = torch.arange(frames) - torch.randint(-SHIFT[0], SHIFT[0] + 1, (n, 1))
    pitch = torch.arange(bands) - torch.randint(-SHIFT[1], SHIFT[1] + 1, (n, 1))
    time, pitch = time.clamp(0, frames - 1), pitch.clamp(0, bands - 1)
    clip = torch.arange(n)[:, None, None]
    x = x[clip, 0, time[:, :, None], pitch[:, None, :]]
    hidden = span(n, frames, HIDDEN[0])[:, :, None] | span(n, bands, HIDDEN[1])[:, None, :]
    x = torch.where(hidden, x.mean((1, 2), keepdim=True), x)
    x = x + GAIN * torch.randn(n, 1, 1) + NOISE * torch.randn_like(x)
    x = x.clamp(-LIMIT, LIMIT)[:, None]
    share = torch.distributions.Beta(MIX, MIX).sample((n,))
    share, other = torch.maximum(share, 1 - share), torch.randperm(n)
    targets = one_hot(y, CLASSES).float()
    x = torch.lerp(x[other], x, share[:, None, None, None])
    return x, torch.lerp(targets[other], targets, share[:, None])


def span(n: int, length: int, most: int) -> Tensor:
    """(n, length) bool: True in one random span of each row, up to `most` wide."""
    begin, width = torch.rand(n, 1) * length, torch.rand(n, 1) * most
    place = torch.arange(length)
    return (place >= begin) & (place < begin + width)

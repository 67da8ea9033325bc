"""PyTorch modules that tests carry over: usual blocks, functions, and what rearranges values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


class Call(nn.Module):
    """A function of layers as a module."""

    def __init__(self, function: Callable[..., Any], *layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Any:
        return self.function(x, *self.layers)


class InvertedResidual(nn.Module):
    """MobileNet's block."""

    def __init__(self, channels: int, grow: int) -> None:
        super().__init__()
        wide = channels * grow
        self.conv = nn.Sequential(
            nn.Conv2d(channels, wide, 1, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU6(inplace=True),
            nn.Conv2d(wide, wide, 3, 1, 1, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU6(inplace=True),
            nn.Conv2d(wide, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x)


class BasicBlock(nn.Module):
    """ResNet's block, with a strided shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 8, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(8, 8, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(8)
        self.downsample = nn.Sequential(nn.Conv2d(channels, 8, 1, 2), nn.BatchNorm2d(8))

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.downsample(x)
        return self.relu(out)


class SqueezeExcite(nn.Module):
    """MobileNetV3's gate on channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, 2, 1)
        self.fc2 = nn.Conv2d(2, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = F.adaptive_avg_pool2d(x, 1)
        gate = F.hardsigmoid(self.fc2(F.relu(self.fc1(gate))))
        return F.hardswish(gate * x)


def ds_cnn() -> nn.Module:
    """Keyword spotting: a convolution, a depthwise separable block, a mean, scores."""
    return nn.Sequential(
        nn.Conv2d(4, 8, (5, 3), (2, 1), (2, 1)),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, 1, 1, groups=8),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 12, 1),
        nn.ReLU(),
        nn.Dropout(0.4),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 5),
        nn.Softmax(dim=1),
    )


def signal_net() -> nn.Module:
    """Over time, with dilation and pools of both kinds."""
    return nn.Sequential(
        nn.Conv1d(4, 6, 5, padding="same", dilation=2),
        nn.BatchNorm1d(6),
        nn.ELU(),
        nn.MaxPool1d(3, 2, 1, ceil_mode=True),
        nn.AvgPool1d(2),
        nn.Flatten(),
        nn.Linear(30, 3),
    )


IMAGE, SIGNAL = (4, 9, 12), (4, 20)


def with_random_statistics(module: nn.Module) -> nn.Module:
    """With statistics that are not those of a new batch norm; in evaluation mode."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 2)
            nn.init.normal_(layer.bias)
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
    return module.eval()


def functions(x: Tensor) -> Tensor:
    """Functions of one value, averaged so that none hides another."""
    found = [
        f(x)
        for f in (
            *(torch.sigmoid, torch.tanh, torch.exp, torch.erf, torch.sin, torch.cos, torch.atan),
            *(torch.floor, torch.ceil, torch.round, torch.sign, torch.neg, torch.square, torch.abs),
            *(F.relu, F.relu6, F.silu, F.mish, F.gelu, F.elu, F.selu, F.celu, F.softplus),
            *(F.hardswish, F.hardsigmoid, F.hardtanh, F.leaky_relu, F.softsign, F.logsigmoid),
            F.tanhshrink,
        )
    ]
    root = torch.sqrt(x.abs() + 1) + torch.rsqrt(x.abs() + 1) + torch.log(x.abs() + 1)
    found += [root, F.gelu(x, approximate="tanh"), F.threshold(x, 0.2, 0.0), (x.abs() + 1) ** 1.5]
    found += [x.clamp(-0.5), x.clamp(max=0.3), x.clamp_min(0), 1 - x, 2 / (x.abs() + 1), x / 3 - 1]
    return torch.cat(found, dim=1)


def moves(x: Tensor) -> tuple[Tensor, ...]:
    """What rearranges and reduces (N, 4, 9, 12)."""
    a, b = x.chunk(2, dim=1)
    first, second, third = x.split([2, 3, 4], dim=2)
    return (
        torch.cat([b, a * b], dim=1),
        torch.maximum(first[:, :, :1], second[:, :, 1:2] - third[:, :, -1:]),
        x[:, 1:, ::2, 1:-1].flatten(1),
        x.movedim(1, 3).reshape(len(x), -1, 4),
        x.transpose(2, 3).unsqueeze(1).squeeze(1),
        x.permute(0, 2, 3, 1)[:, 4].reshape(len(x), 48),
        x.unbind(dim=1)[2] + x.select(1, -1),
        F.pad(x, (1, 2, 3, 0), value=0.25),
        F.pixel_shuffle(x, 2),
        x.mean((2, 3)),
        x.mean((2, 3), keepdim=True),
        x.sum(dim=1),
        x.amax((2, 3)),
        F.adaptive_max_pool2d(x, 1),
        F.adaptive_avg_pool2d(x, (3, 4)),
        F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
        F.interpolate(x, scale_factor=2.0),
        F.interpolate(x, size=(13, 7)),
        F.interpolate(x, scale_factor=1.7),
        torch.softmax(x, dim=1),
        x.flatten(1).argmax(1),
    )


class Sum(nn.Module):
    """Two inputs, one of which is called y."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc = nn.Linear(5, 4)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.fc(x + y))

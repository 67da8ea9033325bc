"""A recipe of a small int8 network on the digits, trained in seconds."""

from __future__ import annotations

from pathlib import Path

RECIPE = """
name = "digits_cnn"
description = "8x8 digits"

[data]
name = "digits"

[train]
epochs = 8
learning_rate = 1e-2
weight_decay = 1e-3
label_smoothing = 0.05

[quantise]
epochs = 2
learning_rate = 1e-3

[package]
vectors = 60
"""
MODEL = """
import torch
from torch import nn


def block(inputs, outputs, stride):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


def build(shape, classes):
    return nn.Sequential(
        block(shape[-1], 16, 1),
        block(16, 24, 2),
        block(24, 32, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, classes),
    )
"""
AUGMENT = """

def augment(x, y):
    shift = int(torch.randint(-1, 2, ()))
    return torch.roll(x, shift, dims=3), y
"""


def recipe(folder: Path, text: str = RECIPE, model: str = MODEL) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.toml").write_text(text)
    (folder / "model.py").write_text(model)
    return folder

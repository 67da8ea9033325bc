"""A package of two int8 layers, and clouds of points in four classes for it to learn."""

from __future__ import annotations

import numpy as np

from int8_graphs import scale_fields
from spikelet.graph import Array, Graph, Tensor
from spikelet.graph.ops.fully_connected import FullyConnected
from spikelet.learn.continual.streams import Pool
from spikelet.package import Package

INPUTS, FEATURES, CLASSES, KNOWN = 8, 12, 4, 2


def backbone() -> Graph:
    """Features `hidden`, and a head of the two classes that it was trained on."""
    rng = np.random.default_rng(4)

    def layer(name: str, source: str, outputs: int, taps: int) -> FullyConnected:
        weight = np.clip(rng.normal(0, 45, (outputs, taps)), -127, 127).astype(np.int8)
        return FullyConnected(
            name=name, inputs=(source,), weight=weight, **scale_fields(rng, outputs, taps, 0)
        )

    x = Tensor("x", "i8", (INPUTS,), kind="input", scale=0.5)
    layers = [layer("hidden", "x", FEATURES, INPUTS), layer("head", "hidden", KNOWN, FEATURES)]
    return Graph("clouds", 1, [x], list(layers), ["head"])


def samples(count: int, seed: int) -> tuple[Array, Array]:
    """Codes (N, 8) and labels (N,) in turn."""
    centres = np.random.default_rng(0).integers(-70, 70, (CLASSES, INPUTS))
    labels = np.arange(count) % CLASSES
    spread = np.random.default_rng([1, seed]).normal(0, 25, (count, INPUTS))
    return np.clip(centres[labels] + spread, -128, 127).astype(np.int8), labels.astype(np.int64)


def pool(count: int, seed: int) -> Pool:
    """Samples for the package."""
    x, y = samples(count, seed)
    return Pool({t.name: t for t in backbone().inputs}, {"x": x}, y)


def clouds(count: int = 80) -> Package:
    """Its vectors hold all four classes."""
    x, y = samples(count, 2)
    manifest = {"seed": 3, "recipe": {"data": {"name": "clouds", "classes": KNOWN}}}
    return Package(backbone(), {"x": x, "y": y}, manifest)

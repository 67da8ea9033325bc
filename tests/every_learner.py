"""Every learner with its default options, on digits: what tests of all of them share."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from int8_graphs import scale_fields
from spikelet.graph import Array, Graph
from spikelet.graph.ops.fully_connected import FullyConnected
from spikelet.learn import Setting, identity, until
from spikelet.learn.learner import learners

CLASSES = 10


@functools.cache
def digits() -> tuple[Array, Array]:
    """Images as i8 (N, 64), labels (N,)."""
    bunch = load_digits()
    return (bunch.data * 8 - 64).astype(np.int8), bunch.target.astype(np.int64)


def backbone() -> Graph:
    """The images as they are for features, and a head of class means."""
    images, labels = digits()
    means = np.stack([images[labels == k].mean(axis=0) for k in range(CLASSES)])
    weight = np.round(means - means.mean(axis=0)).clip(-127, 127).astype(np.int8)
    head = FullyConnected(
        name="head", inputs=("features",), weight=weight, **scale_fields(rng(), CLASSES, 64, 0)
    )
    raw = identity((64,))
    return replace(raw, nodes=[*raw.nodes, head], outputs=["head"])


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def graph_of(name: str, **options: Any) -> Graph:
    """The learner, by default with its default options, on raw digits."""
    images, labels = digits()
    learner, graph = learners()[name](**options), backbone()
    setting = Setting(
        "features", CLASSES, seed=7, calibration={"x": images[:300]}, labels=labels[:300]
    )
    return learner.attach(graph if learner.WHOLE else until(graph, "features"), setting)


def stream(graph: Graph, steps: int) -> tuple[dict[str, Array], Array | None]:
    """Digits in an order of their own, again and again."""
    images, labels = digits()
    order = rng().integers(0, len(images), steps)
    return {"x": images[order]}, labels[order] if graph.classes else None

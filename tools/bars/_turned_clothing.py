"""Clothing turned by 90 degrees and inverted: what two bars of fashion_cnn share."""

from __future__ import annotations

import numpy as np
from _shifts import Shift
from _turned_sensor import codes

from spikelet.graph import Array, Graph
from spikelet.package import Package
from spikelet.paths import models_dir
from spikelet.train.data import load

LABELLED, TESTED = 1000, 2000


def network() -> Graph:
    """fashion_cnn."""
    return Package.load(models_dir() / "fashion_cnn" / "fashion_cnn.spk").graph


def shift(graph: Graph) -> Shift:
    """Samples of the training part to adapt to, and of the test part."""
    data = load("fashion_mnist")
    rows = np.random.default_rng(5).permutation(len(data.x_train))[:LABELLED]
    x, test = (
        codes(graph, data, turned(given))[graph.inputs[0].name]
        for given in (data.x_train[rows], data.x_test[:TESTED])
    )
    return Shift(x, data.y_train[rows], test, data.y_test[:TESTED])


def turned(x: Array) -> Array:
    """Images (N, 28, 28, 1) u8."""
    return 255 - np.ascontiguousarray(np.rot90(x, axes=(1, 2)))

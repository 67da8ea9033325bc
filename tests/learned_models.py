"""A small learner for tests of what becomes of learned tensors."""

from __future__ import annotations

import numpy as np

from spikelet.graph import Array, Graph
from spikelet.learn import Setting, identity
from spikelet.learn.learners.nearest_mean import NearestMean

CLASSES = 4


def learner_graph(units: int = 12) -> Graph:
    return NearestMean().attach(identity((units,)), Setting(features="features", classes=CLASSES))


def samples(number: int, units: int = 12, seed: int = 0) -> tuple[dict[str, Array], Array]:
    rng = np.random.default_rng(seed)
    inputs = {"x": rng.integers(-128, 128, (number, units)).astype(np.int8)}
    return inputs, rng.integers(0, CLASSES, number)

"""A data set's samples through an int8 graph."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from spikelet.graph import Array, Graph
from spikelet.quantise import Code
from spikelet.quantise.calibrate import integers
from spikelet.train.data import DataSet

CHUNK = 256  # samples that are executed at once


def codes(graph: Graph, data: DataSet, x: Array) -> Array:
    """Samples (N, *shape), channels last, as the graph's input takes them, int8."""
    tensor = graph.inputs[0]
    code = Code.of(tensor.scale, tensor.zero_point)
    return integers(data.real(x), code).reshape(len(x), *tensor.shape)


def predict(graph: Graph, data: DataSet, x: Array, more: Mapping[str, int] | None = None) -> Array:
    """What the graph predicts for samples (N, *shape): (N,) int64; `more`: its other inputs."""
    others = {t.name: t for t in graph.inputs[1:]}
    labels = []
    for start in range(0, len(x), CHUNK):
        part = codes(graph, data, x[start : start + CHUNK])
        given = {
            name: np.full((len(part), *others[name].shape), value, others[name].numpy_dtype)
            for name, value in (more or {}).items()
        }
        outputs = graph.run({graph.inputs[0].name: part, **given}).outputs
        labels.append(graph.predicted(outputs[graph.outputs[0]]))
    return np.concatenate(labels)

"""A data set's samples through an int8 graph."""

from __future__ import annotations

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


def predict(graph: Graph, data: DataSet, x: Array) -> Array:
    """What the graph predicts for samples (N, *shape): (N,) int64."""
    labels = []
    for start in range(0, len(x), CHUNK):
        part = codes(graph, data, x[start : start + CHUNK])
        outputs = graph.run({graph.inputs[0].name: part}).outputs
        labels.append(graph.predicted(outputs[graph.outputs[0]]))
    return np.concatenate(labels)

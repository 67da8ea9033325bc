"""Long streams: the native device learns every sample, its twin the first and the last ones."""

from __future__ import annotations

import itertools

import numpy as np

from spikelet.graph import Array
from spikelet.learn import Twin
from spikelet.run.learner import DeviceLearner, outputs_crc

BLOCK = 1000  # samples that the twin predicts together


def learn(device: DeviceLearner, twin: Twin, x: Array, y: Array, checked: int) -> None:
    """Learn samples x (N, n), y (N,); both ends are the twin's too, in every bit.

    The twin takes over the device's state behind the samples that it does not see, so that its
    last ones are learned from weights which all samples before have moved.
    """
    ends = [0, min(checked, len(x)), max(checked, len(x) - checked), len(x)]
    device.agree(twin)
    for i, (first, end) in enumerate(itertools.pairwise(ends)):
        if first >= end:
            continue
        said = device.observe({"x": x[first:end]}, y[first:end])
        if i == 1:
            twin.restore(device.state())
            continue
        expected = twin.observe({"x": x[first:end]}, y[first:end])
        np.testing.assert_array_equal(said, outputs_crc(twin.graph, expected))
        device.agree(twin)


def accuracy(device: DeviceLearner, twin: Twin, x: Array, y: Array, checked: int = 20) -> float:
    """Of predictions for x (N, n); the device makes the first ones, too."""
    output = twin.graph.outputs[0]
    accuracies = []
    for first in range(0, len(x), BLOCK):
        scores = twin.predict({"x": x[first : first + BLOCK]}).outputs[output]
        if first == 0:
            here = device.predict({"x": x[:checked]})[output]
            np.testing.assert_array_equal(here, scores[:checked])
        accuracies.append(twin.graph.predicted(scores))
    return float((np.concatenate(accuracies) == y).mean())

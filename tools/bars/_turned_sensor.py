"""har_cnn on a phone that is worn another way round: what two bars share."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from spikelet.graph import Array, Graph
from spikelet.learn import Setting, Twin
from spikelet.package import Package
from spikelet.run.learner import device_learner, outputs_crc
from spikelet.train.data import DataSet, load

PACKAGE = Path(__file__).parents[2] / "models" / "har_cnn" / "har_cnn.spk"
FEATURES = "adaptive_avg_pool1d_shaped"
STANDING = 2  # the label that each of a person's two rounds of activities begins with


class Task:
    """People whose phone is turned: learn each one's first round, evaluate on the second.

    Attributes:
        graph: the network.
        setting: with inputs of the training part, from phones worn as usual, as calibration.
        inputs, labels: of the test part.
        learn, held_out: rows of it.
    """

    def __init__(self, turn: str) -> None:
        """turn: a key of `TURNS`."""
        data = load("uci_har_subset")
        self.graph = Package.load(PACKAGE).graph
        calibration = codes(self.graph, data, data.x_train[::8])
        self.setting = Setting(FEATURES, data.classes, calibration=calibration)
        self.inputs = codes(self.graph, data, TURNS[turn](data.x_test))
        self.labels = data.y_test
        self.learn, self.held_out = rounds(data.y_test)

    def part(self, rows: Array) -> dict[str, Array]:
        """Some inputs."""
        return {name: values[rows] for name, values in self.inputs.items()}

    def accuracy(self, twin: Twin) -> float:
        """Of what the twin says of the rows that are held out."""
        scores = twin.predict(self.part(self.held_out)).outputs[twin.graph.outputs[0]]
        classes = scores.reshape(len(scores), -1).argmax(1)
        return float((classes == self.labels[self.held_out]).mean())

    def learn(self, graph: Graph, seed: int, passes: int) -> tuple[float, float]:
        """Accuracy before and after; the native device must be the twin in every bit."""
        twin = Twin(graph)
        before = self.accuracy(twin)
        with device_learner(graph) as device:
            for number in range(passes):
                rows = np.random.default_rng([seed, number]).permutation(self.learn)
                said = device.observe(self.part(rows), self.labels[rows])
                expected = twin.observe(self.part(rows), self.labels[rows])
                assert np.array_equal(said, outputs_crc(graph, expected))
                device.agree(twin)
        return before, self.accuracy(twin)


def turn(x: Array, degrees: float) -> Array:
    """All three sensors turned about their z axis: (N, 128, 9) of any integers."""
    angle = np.deg2rad(degrees)
    turn = np.eye(3)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    moved = x.reshape(*x.shape[:2], 3, 3).astype(np.float64) @ turn.T
    return np.clip(np.rint(moved), -32768, 32767).astype(x.dtype).reshape(x.shape)


def upside_down(x: Array) -> Array:
    """All three sensors turned by 180 degrees about their x axis."""
    signs = np.tile(np.array([1, -1, -1]), 3)
    return np.clip(x.astype(np.int32) * signs, -32768, 32767).astype(x.dtype)


def rounds(y: Array) -> tuple[Array, Array]:
    """Rows of the first and of the second round of activities of each person.

    Windows overlap by half, so neighbours must not be on both sides.
    """
    starts = (y == STANDING) & (np.roll(y, 1) != STANDING)
    number = np.maximum(np.cumsum(starts), 1) - 1
    return np.flatnonzero(number % 2 == 0), np.flatnonzero(number % 2 == 1)


def codes(graph: Graph, data: DataSet, x: Array) -> dict[str, Array]:
    """What the network reads."""
    tensor = graph.inputs[0]
    scaled = data.real(x) / tensor.scale + tensor.zero_point
    held = np.clip(np.floor(scaled + 0.5), -128, 127).astype(np.int8)
    return {tensor.name: held.reshape(len(x), *tensor.shape)}


TURNS = {
    "tilted": lambda x: turn(x, 45),
    "upside down": upside_down,
    "sideways": lambda x: turn(x, 90),
}

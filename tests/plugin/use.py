"""Runs the example's operator on a board with the command, then its learner against its twin."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np

from spikelet.graph.operator import operators
from spikelet.learn import Setting, Twin, identity
from spikelet.learn.learner import learners
from spikelet.package import Package
from spikelet.run.learner import device_learner, outputs_crc

SIZE, CLASSES, SAMPLES = 24, 3, 60


def main(folder: Path, board: str, machine: str) -> None:
    """Saves `median.spk` and prints how many outputs and learned elements differ, as JSON."""
    rng = np.random.default_rng(5)
    y = np.arange(SAMPLES) % CLASSES
    x = rng.integers(-128, 128, (CLASSES, SIZE))[y] + rng.normal(0, 20, (SAMPLES, SIZE))
    x = np.clip(x, -128, 127).astype(np.int8)
    raw = identity((SIZE,))
    median = operators()["example_median3"](name="median", inputs=("features",))
    graph = dataclasses.replace(raw, nodes=[*raw.nodes, median], outputs=["median"])
    Package(graph, {"x": x}).with_golden().save(folder / "median.spk")
    learning = learners()["example_moving_mean"]().attach(graph, Setting("median", CLASSES))
    twin = Twin(learning)
    with device_learner(Package(learning), board, machine=machine) as device:
        said = device.observe({"x": x}, y)
        wrong = int((said != outputs_crc(learning, twin.observe({"x": x}, y))).sum())
        different = device.compare(twin)
    print(json.dumps({"outputs": wrong, "learned": different, "samples": twin.steps}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])

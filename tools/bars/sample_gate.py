"""Sample gate: digits learned sample by sample, three passes, with and without the gate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from _gate import Gate, points

from spikelet.graph import Array
from spikelet.learn import Setting, Twin, identity
from spikelet.learn.learners.sample_gate import Gated
from spikelet.run.learner import device_learner, outputs_crc
from spikelet.train.data import DataSet, load

TITLE = "Sample gate, digits, 64-32-10 in int16, three passes"
WHERE = "native, every sample"
TUNED_ON = "threshold: a held-out fifth of the training part"
GATES = (
    Gate("updates left out, %", ">=", 60, lambda f: 100 * np.mean(f["skipped"])),
    Gate("points lost", "<=", 0.3, lambda f: points(f["plain"], f["gated"])),
)
HEAD = "replay;replays=0;blocks=1;slots=1"  # plain descent, one sample a step
PASSES, THRESHOLD = 3, 0.4
TRIED = (0.2, 0.3, 0.4, 0.6)


def measure(seeds: Sequence[int]) -> dict[str, Any]:
    """On the native device and the twin."""
    digits = load("digits").flat()
    rows = [[_learn(digits, seed, threshold) for threshold in (0, THRESHOLD)] for seed in seeds]
    plain, behind = ([row[i][0] for row in rows] for i in (0, 1))
    skipped = [row[1][1] for row in rows]
    return {
        "figure": (
            f"{np.mean(skipped):.3f} of the updates left out; {np.mean(plain):.4f} -> "
            f"{np.mean(behind):.4f}"
        ),
        "plain": plain,
        "gated": behind,
        "skipped": skipped,
    }


def tuning(seeds: Sequence[int]) -> dict[str, float]:
    """The points lost with each threshold, and the share left out, on held-out digits."""
    data = load("digits").held_out().flat()
    plain = [_learn(data, seed, 0)[0] for seed in seeds]
    accuracies = {}
    for threshold in TRIED:
        rows = [_learn(data, seed, threshold) for seed in seeds]
        accuracies[f"points lost with {threshold}"] = points(plain, [row[0] for row in rows])
        accuracies[f"left out with {threshold}"] = float(np.mean([row[1] for row in rows]))
    return accuracies


def _learn(data: DataSet, seed: int, threshold: float) -> tuple[float, float]:
    """Test accuracy, and the share of samples that taught nothing."""
    backbone = identity(data.x_train.shape[1:], "u8", scale=1 / 255)
    learner = Gated(learner=HEAD, threshold=threshold)
    setting = Setting("features", 10, seed=seed, calibration={"x": data.x_train[:500]})
    graph = learner.attach(backbone, setting)
    twin = Twin(graph)
    rng = np.random.default_rng(seed)
    order: Array = np.concatenate([rng.permutation(len(data.y_train)) for _ in range(PASSES)])
    x, y = {"x": data.x_train[order]}, data.y_train[order]
    with device_learner(graph) as device:
        said = device.observe(x, y)
        np.testing.assert_array_equal(said, outputs_crc(graph, twin.observe(x, y)))
        device.agree(twin)
    health = learner.health(twin.learned)
    scores = twin.predict({"x": data.x_test}).outputs[graph.outputs[0]]
    accuracy = float((graph.predicted(scores) == data.y_test).mean())
    return accuracy, health["skipped"] / health["seen"]

"""Early exit over time steps: `digits_snn` stops at the first step whose answer is sure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from _gate import Gate, points

from spikelet.early_exit import calibrate, judge, running_scores
from spikelet.graph import Array
from spikelet.package import Package
from spikelet.seeds import sample_seeds
from spikelet.train import model_path, train
from spikelet.train.data import DataSet, load

TITLE = "Early exit over time steps: digits_snn, 16 steps"
WHERE = "the integer graph (golden), 360 test images"
TUNED_ON = "the leads: a fifth of the training part, that the network was not trained on"
GATES = (
    Gate("share of the steps", "<=", 0.6, lambda f: np.mean(f["share"])),
    Gate("points lost", "<=", 0.5, lambda f: points(f["whole"], f["accuracy"])),
    Gate(
        "points above a fixed T of as many steps",
        ">",
        0,
        lambda f: points(f["accuracy"], f["fixed"]),
    ),
)


def measure(seeds: Sequence[int]) -> dict[str, Any]:
    """Each seed trains on four fifths, chooses on the fifth and is measured on the test part."""
    rows: dict[str, list[float]] = {}
    for seed in seeds:
        package = train(model_path("digits_snn"), seed=seed, part="validation")
        whole = load("digits").flat()
        held = whole.held_out()
        chosen = calibrate(_scores(package, held), held.y_test)
        scores = _scores(package, whole)
        found = judge(scores, whole.y_test, chosen.leads)
        for key, value in {
            "share": found.mean_steps / len(scores),
            "steps": found.mean_steps,
            "accuracy": found.accuracy,
            "whole": found.whole,
            "fixed": fixed(scores, whole.y_test, found.mean_steps),
        }.items():
            rows.setdefault(key, []).append(value)
    mean = {key: float(np.mean(values)) for key, values in rows.items()}
    return {
        "figure": (
            f"{mean['accuracy']:.4f} in {mean['steps']:.2f} steps of 16 on average, "
            f"{mean['whole']:.4f} "
            f"in all; {mean['fixed']:.4f} with a fixed T of as many"
        ),
        **rows,
    }


def fixed(scores: Array, labels: Array, steps: float) -> float:
    """Accuracy with the same T for all samples, between the whole numbers around `steps`."""
    right = (scores.argmax(axis=-1) == labels).mean(axis=1)
    return float(np.interp(steps, np.arange(1, len(right) + 1), right))


def _scores(package: Package, data: DataSet) -> Array:
    """(T, N, classes) of a test part."""
    seed = int(package.manifest["seed"])
    inputs = {"x": data.x_test, "seed": sample_seeds(seed, len(data.x_test))}
    return running_scores(package.graph, inputs)

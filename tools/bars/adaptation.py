"""Test-time adaptation: digits whose contrast, offset and noise drift, without any label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from _gate import Gate, points
from _mlp import FEATURES, codes, real, train_perceptron

from spikelet.graph import Array, Graph
from spikelet.learn import Setting, Twin
from spikelet.learn.learner import Learner
from spikelet.learn.learners.adaptation import Adaptation
from spikelet.run.learner import device_learner
from spikelet.train.data import DataSet, load

TITLE = "Test-time adaptation under gradual drift, digits"
WHERE = "native, 1500 samples of the affine drift; the other drifts on the twin only"
TUNED_ON = "nothing: defaults; `statistics=element` is reported beside"
GATES = (
    Gate("frozen network, last half", "<=", 0.40, lambda f: np.mean(f["none"]["affine"])),
    Gate("adapted, last half", ">=", 0.90, lambda f: np.mean(f["adapted"]["affine"])),
    Gate("clean loss, points", "<=", 0.5, lambda f: _loss(f, "clean")),
    Gate(
        "loss within 500 samples of a sudden end, points", "<=", 0.5,
        lambda f: _loss(f, "recovered"),
    ),
)  # fmt: skip
SAMPLES, NOISE, HIDDEN = 1500, 0.07, 128
LEARNERS: dict[str, Learner] = {
    "adapted": Adaptation(),
    "by_element": Adaptation(statistics="element"),
    "prototypes": Adaptation(head="prototypes"),
}


def drift(x: Array, by: Array, kind: str, rng: np.random.Generator) -> Array:
    """Images (N, 64) of 0 to 1 under a drift of size `by` (N,), 0 to 1.

    affine: contrast to 0.4, offset to 0.35. gamma: to the third power, contrast to 0.6, offset to
    0.3. gradient: contrast to 0.6, a light from the right that adds up to 0.5. All with Gaussian
    noise to 0.07.
    """
    size = by[:, None]
    if kind == "gamma":
        moved = x ** (1 + 2 * size) * (1 - 0.4 * size) + 0.3 * size
    elif kind == "gradient":
        moved = x * (1 - 0.4 * size) + 0.5 * size * np.tile(np.linspace(0, 1, 8), 8)
    else:
        moved = x * (1 - 0.6 * size) + 0.35 * size
    return np.clip(moved + rng.normal(0, NOISE, x.shape) * size, 0, 1)


def measure(seeds: Sequence[int]) -> dict[str, Any]:
    """A stream of test digits: the drift grows over the first half and stays in the second.

    `recovered` is the accuracy of the last 500 of 1000 clean samples that follow at once.
    """
    data = load("digits")
    results: dict[str, dict[str, list[float]]] = {}
    for seed in seeds:
        for key, value in _of_seed(data, seed).items():
            for kind, accuracy in value.items():
                results.setdefault(key, {}).setdefault(kind, []).append(accuracy)
    mean = {k: {name: float(np.mean(v)) for name, v in row.items()} for k, row in results.items()}
    none, adapted, element = mean["none"], mean["adapted"], mean["by_element"]
    return {
        "figure": (
            f"{none['affine']:.3f} to {adapted['affine']:.3f}, clean loss "
            f"{_loss(results, 'clean'):.2f} points, {adapted['recovered']:.3f} within 500 samples "
            f"of a sudden end (frozen {none['recovered']:.3f}); gamma {none['gamma']:.3f} "
            f"to {adapted['gamma']:.3f}, gradient {none['gradient']:.3f} to "
            f"{adapted['gradient']:.3f} ({element['gradient']:.3f} by element, clean loss "
            f"{100 * (none['clean'] - element['clean']):.2f})"
        ),
        **results,
    }


def _loss(results: Mapping[str, Any], kind: str) -> float:
    return points(results["none"][kind], results["adapted"][kind])


def _of_seed(data: DataSet, seed: int) -> dict[str, dict[str, float]]:
    """Accuracy by learner and drift."""
    graph = train_perceptron(data, 10, HIDDEN, seed, epochs=40, batch=32)
    rng = np.random.default_rng(seed)
    order = rng.integers(0, len(data.x_test), SAMPLES)
    x, y = real(data, data.x_test[order]), data.y_test[order]
    by = np.minimum(1, np.arange(SAMPLES) / (SAMPLES / 2))
    streams = {k: drift(x, by, k, rng) for k in ("affine", "gamma", "gradient")}
    streams = {k: codes(graph, v) for k, v in {**streams, "clean": x}.items()}
    sudden = np.concatenate([streams["affine"], streams["clean"][:1000]])
    last = slice(SAMPLES // 2, None)
    results: dict[str, dict[str, float]] = {"none": {}}
    for kind, stream in streams.items():
        right = graph.predicted(graph.run({"x": stream}).outputs[graph.outputs[0]]) == y
        results["none"][kind] = float((right if kind == "clean" else right[last]).mean())
        if kind == "clean":
            results["none"]["recovered"] = float(right[500:1000].mean())
    setting_of = {
        "calibration": {"x": codes(graph, real(data, data.x_train))},
        "labels": data.y_train,
    }
    for name, learner in LEARNERS.items():
        learns = learner.attach(graph, Setting(FEATURES, 10, seed, **setting_of))
        results[name] = {}
        for kind, stream in streams.items():
            on_device = kind == "affine"
            right = _observe(learns, stream, on_device) == y
            results[name][kind] = float((right if kind == "clean" else right[last]).mean())
        after = _observe(learns, sudden, False)[-500:]
        results[name]["recovered"] = float((after == y[500:1000]).mean())
    return results


def _observe(graph: Graph, x: Array, on_device: bool) -> Array:
    """Predictions, each before its sample was learned; the device must hold the same then."""
    twin = Twin(graph)
    outputs = twin.observe({"x": x})
    if on_device:
        with device_learner(graph) as device:
            device.observe({"x": x})
            device.agree(twin)
    return graph.predicted(outputs[graph.outputs[0]])

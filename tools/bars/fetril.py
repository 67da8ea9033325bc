"""FeTrIL: digits in tasks of 5, 1, 1, 1, 1 and 1 classes, features that know the first five."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from _gate import Gate, points
from _mlp import FEATURES, codes, real, train_perceptron
from sklearn.linear_model import LogisticRegression

from spikelet.graph import Array, Graph
from spikelet.learn import Setting, Twin, needs, until
from spikelet.learn.learner import Learner
from spikelet.learn.learners.fetril import Fetril
from spikelet.learn.learners.nearest_mean import NearestMean
from spikelet.learn.learners.streaming_lda import StreamingLda
from spikelet.run.learner import device_learner
from spikelet.train.data import DataSet, load

TITLE = "Feature translation (FeTrIL with a perceptron for head), digits 5 + 5 x 1"
WHERE = "native, every sample; the comparisons on the twin only"
TUNED_ON = "epochs and margin: a held-out fifth of the training part"
MEANS = ("nearest_mean", "nearest_mean_cosine")
GATES = (
    Gate("after the last task, points above nearest mean", ">=", 3,
         lambda f: points(f["last"]["fetril"], _best(f, *MEANS))),
    Gate("points below joint training", "<=", 5,
         lambda f: points(_best(f, "joint", "joint_linear"), f["last"]["fetril"])),
)  # fmt: skip
TASKS = (range(5), range(5, 6), range(6, 7), range(7, 8), range(8, 9), range(9, 10))
OPTIONS: dict[str, Any] = {"epochs": 40, "margin": 20}
TRIED = {"epochs": (10, 40), "margin": (16, 18, 20)}
LEARNERS: dict[str, Learner] = {
    "fetril": Fetril(**OPTIONS),
    "nearest_mean": NearestMean(),
    "nearest_mean_cosine": NearestMean(metric="cosine"),
    "streaming_lda": StreamingLda(),
}


def measure(seeds: Sequence[int]) -> dict[str, Any]:
    """Accuracy on all test digits after the last task, and the mean over tasks of those known."""
    data = load("digits")
    last: dict[str, list[float]] = {name: [] for name in (*LEARNERS, "joint", "joint_linear")}
    average: dict[str, list[float]] = {name: [] for name in LEARNERS}
    learned_bytes = 0
    for seed in seeds:
        backbone, x, x_test, tasks = _tasks(data, seed)
        for name, learner in LEARNERS.items():
            learns = learner.attach(backbone, Setting(FEATURES, 10, seed))
            if name == "fetril":
                learned_bytes = needs(learns).learned_bytes
            curve = _curve(
                learns, x, data.y_train, x_test, data.y_test, tasks, name == "fetril"
            )  # fmt: skip
            last[name].append(curve[-1])
            average[name].append(float(np.mean(curve)))
        # The same head with nothing to translate: all classes are one task, all features are kept.
        whole = Fetril(rows=len(x), **OPTIONS).attach(backbone, Setting(FEATURES, 10, seed))
        everything = [np.random.default_rng(seed).permutation(len(x))]
        last["joint"] += _curve(whole, x, data.y_train, x_test, data.y_test, everything, False)
        last["joint_linear"].append(_linear(backbone, x, data.y_train, x_test, data.y_test))
    results = {"last": last, "average": average, "bytes": learned_bytes}
    fetril, best = np.mean(last["fetril"]), np.mean(_best(results, *MEANS))
    return {
        "figure": (
            f"{fetril:.3f} against {best:.3f} of nearest mean ({100 * (fetril - best):+.1f} "
            f"points); joint training {np.mean(last['joint']):.3f} with the same head and "
            f"{np.mean(last['joint_linear']):.3f} by logistic regression; average over tasks "
            f"{np.mean(average['fetril']):.3f}; streaming LDA {np.mean(last['streaming_lda']):.3f};"
            f" {learned_bytes} B"
        ),
        **results,
    }


def tuning(seeds: Sequence[int]) -> dict[str, float]:
    """Accuracy after the last task, on held-out digits of the training part."""
    data = load("digits").held_out()
    courses = [_tasks(data, seed) for seed in seeds]
    accuracies = {}
    for epochs, margin in itertools.product(*TRIED.values()):
        last = []
        for (backbone, x, x_test, tasks), seed in zip(courses, seeds, strict=True):
            learner = Fetril(epochs=epochs, margin=margin)
            graph = learner.attach(backbone, Setting(FEATURES, 10, seed))
            curve = _curve(graph, x, data.y_train, x_test, data.y_test, tasks, False)
            last.append(curve[-1])
        accuracies[f"epochs {epochs}, margin {margin}"] = float(np.mean(last))
    return accuracies


def _tasks(data: DataSet, seed: int) -> tuple[Graph, Array, Array, list[Array]]:
    """A network of the first five classes, codes of all images, and rows of each task."""
    graph = train_perceptron(data, 5, 64, seed, epochs=40, batch=32)
    x, x_test = (codes(graph, real(data, v)) for v in (data.x_train, data.x_test))
    rng = np.random.default_rng(seed)
    tasks = [rng.permutation(np.flatnonzero(np.isin(data.y_train, list(t)))) for t in TASKS]
    return until(graph, FEATURES), x, x_test, tasks


def _best(results: Mapping[str, Any], *names: str) -> list[float]:
    """Of some learners, what the best one has after the last task."""
    return max((results["last"][name] for name in names), key=lambda values: float(np.mean(values)))


def _linear(backbone: Graph, x: Array, y: Array, x_test: Array, y_test: Array) -> float:
    """A linear head on the same features in floats, which sees all classes at once."""
    parts = [backbone.run({"x": v}).outputs[FEATURES].reshape(len(v), -1) for v in (x, x_test)]
    train, test = (part.astype(np.float64) / parts[0].std() for part in parts)
    head = LogisticRegression(max_iter=1000).fit(train, y)
    return float((head.predict(test) == y_test).mean())


def _curve(
    graph: Graph,
    x: Array,
    y: Array,
    x_test: Array,
    y_test: Array,
    tasks: Sequence[Array],
    on_device: bool,
) -> list[float]:
    """Accuracy on test samples of known classes after each task; the device must agree."""
    twin, curve, known = Twin(graph), [], np.zeros(10, bool)
    for task in tasks:
        twin.observe({"x": x[task]}, y[task])
        twin.commit()
        known[y[task]] = True
        rows = known[y_test]
        scores = twin.predict({"x": x_test[rows]}).outputs[graph.outputs[0]]
        curve.append(float((graph.predicted(scores) == y_test[rows]).mean()))
    if on_device:
        with device_learner(graph) as device:
            for task in tasks:
                device.observe({"x": x[task]}, y[task])
                device.commit()
            device.agree(twin)
    return curve

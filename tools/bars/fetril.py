"""FeTrIL: digits in tasks of 5, 1, 1, 1, 1 and 1 classes, features that know the first five."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from _mlp import FEATURES, codes, real, trained

from spikelet.graph import Array, Graph
from spikelet.learn import Setting, Twin, needs, until
from spikelet.learn.learner import Learner
from spikelet.learn.learners.fetril import Fetril
from spikelet.learn.learners.nearest_mean import NearestMean
from spikelet.learn.learners.streaming_lda import StreamingLda
from spikelet.run.learner import device_learner
from spikelet.train.data import load

TITLE = "FeTrIL, digits 5 + 5 x 1"
WHERE = "native, every sample; the comparisons on the twin only"
TUNED_ON = "no record of it"
JOINT = 0.950  # accuracy of a linear head that saw all classes at once, of the design's measurement
BAR = "after the last task >= nearest mean + 3 points, and joint training (0.950) - 5 points"
TASKS = (range(5), range(5, 6), range(6, 7), range(7, 8), range(8, 9), range(9, 10))
LEARNERS: dict[str, Learner] = {
    "fetril": Fetril(),
    "nearest_mean": NearestMean(),
    "nearest_mean_cosine": NearestMean(metric="cosine"),
    "streaming_lda": StreamingLda(),
}


def measure(seeds: Sequence[int]) -> dict[str, Any]:
    """Accuracy on all test digits after the last task, and the mean over tasks of those known."""
    data = load("digits")
    last: dict[str, list[float]] = {name: [] for name in LEARNERS}
    average: dict[str, list[float]] = {name: [] for name in LEARNERS}
    learned_bytes = 0
    for seed in seeds:
        graph = trained(data, 5, 64, seed, epochs=40, batch=32)
        x, x_test = (codes(graph, real(data, v)) for v in (data.x_train, data.x_test))
        backbone, rng = until(graph, FEATURES), np.random.default_rng(seed)
        tasks = [rng.permutation(np.flatnonzero(np.isin(data.y_train, list(t)))) for t in TASKS]
        for name, learner in LEARNERS.items():
            learns = learner.attach(backbone, Setting(FEATURES, 10, seed))
            if name == "fetril":
                learned_bytes = needs(learns).learned_bytes
            curve = _curve(
                learns, x, data.y_train, x_test, data.y_test, tasks, name == "fetril"
            )  # fmt: skip
            last[name].append(curve[-1])
            average[name].append(float(np.mean(curve)))
    best = max(np.mean(last[name]) for name in ("nearest_mean", "nearest_mean_cosine"))
    gain = 100 * (np.mean(last["fetril"]) - best)
    return {
        "figure": (
            f"{np.mean(last['fetril']):.3f} against {best:.3f} of nearest mean (+{gain:.1f} "
            f"points), average over tasks {np.mean(average['fetril']):.3f}; streaming LDA "
            f"{np.mean(last['streaming_lda']):.3f}; {learned_bytes} B"
        ),
        "met": bool(gain >= 3 and np.mean(last["fetril"]) >= JOINT - 0.05),
        "last": last,
        "average": average,
        "bytes": learned_bytes,
    }


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

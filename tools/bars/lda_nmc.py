"""Streaming LDA and nearest mean: one pass over MNIST, features that know classes 0 to 4 only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from _mlp import FEATURES, codes, real, trained

from spikelet.graph import Array, Graph
from spikelet.learn import Setting, Twin, identity, needs, until
from spikelet.learn.learners.nearest_mean import NearestMean
from spikelet.learn.learners.streaming_lda import StreamingLda
from spikelet.run.learner import device_learner
from spikelet.train.data import load

TITLE = "Streaming LDA and nearest mean, MNIST, 64 features of classes 0 to 4"
WHERE = "native, the last 5,000 of 20,000 samples; the rest on the twin only"
TUNED_ON = "nothing: defaults"
BAR = "LDA >= nearest mean + 5 points; any order of the stream gives the same bits"
SAMPLES = 20_000
ON_DEVICE = 5_000  # of them, learned by the native device too
RAM = 20 * 1024


def measure(seeds: Sequence[int]) -> dict[str, Any]:
    """Accuracy on the 10,000 test images, after one pass in random order."""
    data = load("mnist")
    found: dict[str, list[float]] = {"lda": [], "nearest_mean": [], "lda_sorted": []}
    arena, same = 0, True
    for seed in seeds:
        graph = trained(data, 5, 64, seed, epochs=3)
        order = np.random.default_rng(seed).permutation(len(data.x_train))[:SAMPLES]
        backbone = until(graph, FEATURES)
        x, y = codes(graph, real(data, data.x_train[order])), data.y_train[order]
        x_test = codes(graph, real(data, data.x_test))
        setting = Setting(FEATURES, 10, seed)
        lda = StreamingLda().attach(backbone, setting)
        arena = max(arena, needs(lda).learned_bytes + needs(lda).work_bytes)
        shuffled = _learned(lda, x, y)
        by_class = np.argsort(y, kind="stable")
        in_order = _learned(lda, x[by_class], y[by_class])
        same &= shuffled.crc() == in_order.crc() == _on_device(lda, x, y)
        found["lda"].append(_accuracy(shuffled, x_test, data.y_test))
        found["lda_sorted"].append(_accuracy(in_order, x_test, data.y_test))
        mean = _learned(NearestMean().attach(backbone, setting), x, y)
        found["nearest_mean"].append(_accuracy(mean, x_test, data.y_test))
    gain = 100 * (np.mean(found["lda"]) - np.mean(found["nearest_mean"]))
    others = _others()
    return {
        "figure": (
            f"LDA {np.mean(found['lda']):.3f}, nearest mean {np.mean(found['nearest_mean']):.3f} "
            f"(+{gain:.1f} points), sorted by class the same bits; {arena} B; nearest mean of raw "
            f"digits {others['digits']:.3f}, of raw MNIST {others['mnist']:.3f}"
        ),
        "met": bool(gain >= 5 and same and arena <= RAM and others["mnist"] >= 0.81),
        "same_bits": bool(same),
        "bytes": arena,
        **found,
        "nearest_mean_raw": others,
    }


def _learned(graph: Graph, x: Array, y: Array) -> Twin:
    twin = Twin(graph)
    twin.observe({"x": x}, y)
    twin.commit()
    return twin


def _on_device(graph: Graph, x: Array, y: Array) -> int:
    """CRC of what the device holds after all samples, in yet another order.

    The last of them are learned there; what it held before them comes from the twin's sums.
    """
    order = np.random.default_rng(1).permutation(len(x))
    first, last = order[:-ON_DEVICE], order[-ON_DEVICE:]
    twin = _learned(graph, x[first], y[first])
    with device_learner(graph) as device:
        device.restore(twin.state(), twin.steps)
        device.observe({"x": x[last]}, y[last])
        twin.observe({"x": x[last]}, y[last])
        device.agree(twin)
        device.commit()
        return device.crc()


def _accuracy(twin: Twin, x: Array, y: Array) -> float:
    outputs = twin.predict({"x": x}).outputs
    return float((twin.graph.predicted(outputs[twin.graph.outputs[0]]) == y).mean())


def _others() -> dict[str, float]:
    """Nearest mean on raw pixels, trained on the whole training part of each data set."""
    found = {}
    for name in ("digits", "mnist"):
        data = load(name)
        x, x_test = (v.reshape(len(v), -1) for v in (data.x_train, data.x_test))
        backbone = identity((x.shape[1],), "u8")
        graph = NearestMean().attach(backbone, Setting("features", data.classes))
        found[name] = _accuracy(_learned(graph, x, data.y_train), x_test, data.y_test)
    return found

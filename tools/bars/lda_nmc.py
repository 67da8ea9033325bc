"""Streaming LDA and nearest mean: one pass over MNIST, features that know classes 0 to 4 only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from _gate import Gate, points
from _mlp import FEATURES, codes, real, train_perceptron

from spikelet.graph import Array, Graph
from spikelet.learn import Setting, Twin, identity, needs, until
from spikelet.learn.learners.nearest_mean import NearestMean
from spikelet.learn.learners.streaming_lda import StreamingLda
from spikelet.run.learner import device_learner
from spikelet.train.data import DataSet, load

TITLE = "Streaming LDA and nearest mean, MNIST, 64 features of classes 0 to 4"
WHERE = "native, the last 5,000 of 20,000 samples; the rest on the twin only"
TUNED_ON = "nothing: defaults"
GATES = (
    Gate("LDA on MNIST", ">=", 0.86, lambda f: np.mean(f["lda"])),
    Gate("points above nearest mean", ">=", 5, lambda f: points(f["lda"], f["nearest_mean"])),
    Gate("orders of the stream that give other bits", "<=", 0, lambda f: not f["same_bits"]),
    Gate("bytes", "<=", 20 * 1024, lambda f: f["bytes"]),
    Gate("nearest mean of raw MNIST", ">=", 0.81, lambda f: f["nearest_mean_raw"]["mnist"]),
    Gate("LDA of raw digits", ">=", 0.945, lambda f: f["lda_raw"]["digits"]),
    Gate("LDA of UCI HAR, 36 statistics", ">=", 0.82, lambda f: f["lda_raw"]["uci_har"]),
    *(Gate(f"points above nearest mean, {name}", ">=", 5,
           lambda f, of=name: points(f["lda_raw"][of], f["nearest_mean_raw"][of]))
      for name in ("digits", "uci_har")),
)  # fmt: skip
SAMPLES = 20_000
ON_DEVICE = 5_000  # of them, learned by the native device too


def measure(seeds: Sequence[int]) -> dict[str, Any]:
    """Accuracy on the 10,000 test images, after one pass in random order."""
    data = load("mnist")
    results: dict[str, list[float]] = {"lda": [], "nearest_mean": [], "lda_sorted": []}
    arena, same = 0, True
    for seed in seeds:
        graph = train_perceptron(data, 5, 64, seed, epochs=3)
        order = np.random.default_rng(seed).permutation(len(data.x_train))[:SAMPLES]
        backbone = until(graph, FEATURES)
        x, y = codes(graph, real(data, data.x_train[order])), data.y_train[order]
        x_test = codes(graph, real(data, data.x_test))
        setting = Setting(FEATURES, 10, seed)
        lda = StreamingLda().attach(backbone, setting)
        arena = max(arena, needs(lda).learned_bytes + needs(lda).work_bytes)
        shuffled = _learn(lda, x, y)
        by_class = np.argsort(y, kind="stable")
        in_order = _learn(lda, x[by_class], y[by_class])
        same &= shuffled.crc() == in_order.crc() == _on_device(lda, x, y)
        results["lda"].append(_accuracy(shuffled, x_test, data.y_test))
        results["lda_sorted"].append(_accuracy(in_order, x_test, data.y_test))
        mean = _learn(NearestMean().attach(backbone, setting), x, y)
        results["nearest_mean"].append(_accuracy(mean, x_test, data.y_test))
    gain = 100 * (np.mean(results["lda"]) - np.mean(results["nearest_mean"]))
    mean_raw, lda_raw = _others()
    return {
        "figure": (
            f"LDA {np.mean(results['lda']):.3f}, nearest mean "
            f"{np.mean(results['nearest_mean']):.3f} ({gain:+.1f} points), "
            f"{'the same' if same else 'other'} bits sorted by class; "
            f"{arena} B; raw digits {lda_raw['digits']:.3f} and {mean_raw['digits']:.3f}, "
            f"statistics of UCI HAR {lda_raw['uci_har']:.3f} and {mean_raw['uci_har']:.3f}, "
            f"nearest mean of raw MNIST {mean_raw['mnist']:.3f}"
        ),
        "same_bits": bool(same),
        "bytes": arena,
        **results,
        "nearest_mean_raw": mean_raw,
        "lda_raw": lda_raw,
    }


def _learn(graph: Graph, x: Array, y: Array) -> Twin:
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
    twin = _learn(graph, x[first], y[first])
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


def _others() -> tuple[dict[str, float], dict[str, float]]:
    """Nearest mean and LDA without a network, on the whole training part of each data set.

    Images are raw pixels, LDA for digits only: MNIST has too many. Signals are 36 statistics.
    """
    means, ldas = {}, {}
    for name in ("digits", "mnist", "uci_har"):
        data = load("uci_har_subset" if name == "uci_har" else name)
        x, x_test = data.x_train.reshape(len(data.x_train), -1), data.x_test
        x_test = x_test.reshape(len(x_test), -1)
        if name == "uci_har":
            x, x_test = _statistics(data)
        backbone = identity((x.shape[1],), "i8" if name == "uci_har" else "u8")
        setting = Setting("features", data.classes)
        graph = NearestMean().attach(backbone, setting)
        means[name] = _accuracy(_learn(graph, x, data.y_train), x_test, data.y_test)
        if name != "mnist":
            graph = StreamingLda().attach(backbone, setting)
            ldas[name] = _accuracy(_learn(graph, x, data.y_train), x_test, data.y_test)
    return means, ldas


def _statistics(data: DataSet) -> tuple[Array, Array]:
    """Mean, deviation, least and largest value of each channel, int8 codes of 3 deviations."""
    parts = [
        np.concatenate([x.mean(1), x.std(1), x.min(1), x.max(1)], axis=1)
        for x in (data.x_train.astype(np.float64), data.x_test.astype(np.float64))
    ]
    mean, deviation = parts[0].mean(axis=0), parts[0].std(axis=0)
    x, x_test = (np.clip(np.rint(127 / 3 * (p - mean) / deviation), -128, 127) for p in parts)
    return x.astype(np.int8), x_test.astype(np.int8)

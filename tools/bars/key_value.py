"""Discrete key-value table: class-sorted samples against shuffled ones; keys that know less."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from _gate import Gate, points

from spikelet.graph import Array
from spikelet.learn import Setting, Twin, identity
from spikelet.learn.learners.key_value import KeyValue
from spikelet.run.learner import device_learner, outputs_crc
from spikelet.train.data import DataSet, load

TITLE = "Key-value table, class-sorted digits"
WHERE = "digits: native, every sample; MNIST: twin only"
TUNED_ON = "nothing: defaults"
GATES = (
    Gate("digits sorted by class", ">=", 0.95, lambda f: np.mean(f["sorted"])),
    Gate("points below shuffled, worst seed", "<=", 1.5,
         lambda f: 100 * max(np.subtract(f["shuffled"], f["sorted"]))),
    Gate("keys of classes 0 to 4 only", ">=", 0.93,
         lambda f: np.mean(f["keys_of_half_the_classes"])),
    Gate("raw MNIST", ">=", 0.88, lambda f: np.mean(f["mnist"])),
    Gate("points lost there with keys of 0 to 4", "<=", 1.5,
         lambda f: points(f["mnist"], f["mnist_keys_of_half_the_classes"])),
)  # fmt: skip
BLOCK = 5000  # samples of MNIST that are executed together


def measure(seeds: Sequence[int]) -> dict[str, Any]:
    """Digits on the native device and the twin; MNIST on the twin, its first part on the device."""
    digits, mnist = load("digits").flat(), load("mnist").flat()
    sorted_, shuffled, half, raw, raw_half = [], [], [], [], []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        in_order = np.argsort(digits.y_train, kind="stable")
        mixed = rng.permutation(len(digits.y_train))
        few = digits.x_train[digits.y_train < 5]
        sorted_.append(_learn(digits, digits.x_train, in_order, seed))
        shuffled.append(_learn(digits, digits.x_train, mixed, seed))
        half.append(_learn(digits, few, in_order, seed))
        if seed != seeds[0]:
            continue  # MNIST takes a minute
        broad = rng.permutation(len(mnist.x_train))[:BLOCK]
        narrow = broad[mnist.y_train[broad] < 5]
        raw.append(_learned_mnist(mnist, mnist.x_train[broad], seed))
        raw_half.append(_learned_mnist(mnist, mnist.x_train[narrow], seed))
    means = [float(np.mean(v)) for v in (sorted_, shuffled, half, raw, raw_half)]
    return {
        "figure": (
            f"sorted {means[0]:.3f}, shuffled {means[1]:.3f}, keys of 0-4 {means[2]:.3f}; "
            f"raw MNIST {means[3]:.3f}, keys of 0-4 {means[4]:.3f}"
        ),
        "sorted": sorted_,
        "shuffled": shuffled,
        "keys_of_half_the_classes": half,
        "mnist": raw,
        "mnist_keys_of_half_the_classes": raw_half,
    }


def _learn(data: DataSet, calibration: Array, order: Array, seed: int) -> float:
    """Test accuracy after one pass, on the device; the twin must agree in every bit."""
    backbone = identity(data.x_train.shape[1:], "u8", scale=1 / 255)
    setting = Setting("features", 10, seed=seed, calibration={"x": calibration})
    graph = KeyValue().attach(backbone, setting)
    twin = Twin(graph)
    x, y = {"x": data.x_train[order]}, data.y_train[order]
    with device_learner(graph) as device:
        said = device.observe(x, y)
        np.testing.assert_array_equal(said, outputs_crc(graph, twin.observe(x, y)))
        device.agree(twin)
        scores = device.predict({"x": data.x_test})["kv_scores"]
    expected = twin.predict({"x": data.x_test}).outputs["kv_scores"]
    np.testing.assert_array_equal(scores, expected)
    return float((graph.predicted(scores) == data.y_test).mean())


def _learned_mnist(data: DataSet, calibration: Array, seed: int) -> float:
    """Test accuracy after one pass in the order of classes; 128 keys a book."""
    backbone = identity(data.x_train.shape[1:], "u8", scale=1 / 255)
    setting = Setting("features", 10, seed=seed, calibration={"x": calibration})
    graph = KeyValue(keys=128).attach(backbone, setting)
    twin = Twin(graph)
    order = np.argsort(data.y_train, kind="stable")
    for first in range(0, len(order), BLOCK):
        part = order[first : first + BLOCK]
        twin.observe({"x": data.x_train[part]}, data.y_train[part])
    accuracies = [
        graph.predicted(twin.predict({"x": data.x_test[i : i + BLOCK]}).outputs["kv_scores"])
        for i in range(0, len(data.x_test), BLOCK)
    ]
    return float((np.concatenate(accuracies) == data.y_test).mean())

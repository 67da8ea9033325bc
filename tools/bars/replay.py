"""Latent replay: five tasks one after the other, with and without stored samples."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from _gate import Gate, points

from spikelet.graph import Array
from spikelet.learn import Setting, Twin, identity, needs
from spikelet.learn.learners.replay import Replay
from spikelet.run.learner import device_learner, outputs_crc
from spikelet.train.data import DataSet, load

TITLE = "Replay, 5 permuted digits tasks, and 5 x 2 classes"
WHERE = "native, every sample"
TUNED_ON = "replays and rate: a held-out fifth of the training part"
ARENA = 16 * 1024
GATES = (
    *(Gate(f"points above naive, {stream}", ">=", 35,
           lambda f, of=stream: points(f[f"{of}_uniform"], f[f"{of}_naive"]))
      for stream in ("permuted", "classes")),
    Gate("arena, bytes", "<=", ARENA, lambda f: f["arena_bytes"]),
)  # fmt: skip
TASKS, SAMPLES = 5, 600  # of each task
STREAMS = {"permuted": ("naive", "uniform", "power"), "classes": ("naive", "uniform")}
OPTIONS: dict[str, Any] = {"hidden": 32, "slots": 32, "replays": 16, "rate": 0.024}
TRIED = {"replays": (6, 16), "rate": (0.012, 0.024)}


def measure(seeds: Sequence[int]) -> dict[str, Any]:
    """On the native device and the twin; naive: the same network without replay."""
    digits = load("digits").flat()
    learners = {
        "naive": Replay(**{**OPTIONS, "replays": 0}),
        "uniform": Replay(**OPTIONS),
        "power": Replay(**OPTIONS, exponent=1.0),
    }
    results: dict[str, Any] = {}
    for stream, names in STREAMS.items():
        for name in names:
            learner = learners[name]
            results[f"{stream}_{name}"] = [_mean(digits, learner, stream, seed) for seed in seeds]
    mean = {name: float(np.mean(values)) for name, values in results.items()}
    arena = _arena(learners["uniform"])
    figure = "; ".join(
        ", ".join([stream, *(f"{name} {mean[f'{stream}_{name}']:.3f}" for name in names)])
        for stream, names in STREAMS.items()
    )
    return {
        "figure": f"{figure}; arena {arena} bytes",
        "arena_bytes": arena,
        **results,
    }


def tuning(seeds: Sequence[int]) -> dict[str, float]:
    """The smaller of the two gains, in points, on held-out digits of the training part."""
    data = load("digits").held_out().flat()
    naive: dict[float, list[list[float]]] = {}  # by rate
    by_choice = {}

    def accuracies(options: Mapping[str, Any]) -> list[list[float]]:
        learner = Replay(**options)
        return [[_mean(data, learner, k, seed, False) for seed in seeds] for k in STREAMS]

    for values in itertools.product(*TRIED.values()):
        tried = dict(zip(TRIED, values, strict=True))
        rate = tried["rate"]
        if rate not in naive:
            naive[rate] = accuracies({**OPTIONS, "rate": rate, "replays": 0})
        pairs = zip(accuracies({**OPTIONS, **tried}), naive[rate], strict=True)
        text = ", ".join(f"{k} {v}" for k, v in tried.items())
        by_choice[text] = min(points(*pair) for pair in pairs)
    return by_choice


def _arena(learner: Replay) -> int:
    backbone = identity((64,), "u8", scale=1 / 255)
    return needs(learner.attach(backbone, Setting("features", 10))).arena_bytes


def _tasks(data: DataSet, stream: str, seed: int) -> list[tuple[Array, Array, Array]]:
    """Of each task: the order of its pixels, its training and its test samples."""
    rng = np.random.default_rng(seed)
    pixels = [np.arange(data.x_train.shape[1])]
    if stream == "permuted":
        pixels += [rng.permutation(pixels[0]) for _ in range(TASKS - 1)]
    learning = []
    for task in range(TASKS):
        train, test = np.arange(len(data.y_train)), np.arange(len(data.y_test))
        if stream == "classes":
            train = train[data.y_train // 2 == task]
            test = test[data.y_test // 2 == task]
        learning.append((pixels[task % len(pixels)], rng.permutation(train)[:SAMPLES], test))
    return learning


def _mean(data: DataSet, learner: Replay, stream: str, seed: int, with_twin: bool = True) -> float:
    """Accuracy over all tasks at the end, of the device; if asked for, the twin learns all, too."""
    backbone = identity(data.x_train.shape[1:], "u8", scale=1 / 255)
    setting = Setting("features", 10, seed=seed, calibration={"x": data.x_train[:500]})
    graph = learner.attach(backbone, setting)
    twin, tasks = Twin(graph), _tasks(data, stream, seed)
    with device_learner(graph) as device:
        for pixels, train, _ in tasks:
            x, y = {"x": data.x_train[train][:, pixels]}, data.y_train[train]
            said = device.observe(x, y)
            device.commit()
            if with_twin:
                np.testing.assert_array_equal(said, outputs_crc(graph, twin.observe(x, y)))
                twin.commit()
        if with_twin:
            device.agree(twin)
        else:
            twin.restore(device.state())
    accuracy = []
    for pixels, _, test in tasks:
        scores = twin.predict({"x": data.x_test[test][:, pixels]}).outputs[graph.outputs[0]]
        accuracy.append((graph.predicted(scores) == data.y_test[test]).mean())
    return float(np.mean(accuracy))

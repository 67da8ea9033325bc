"""HLOP: five permuted MNIST tasks, one after the other, int16, sample by sample on the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from _gate import Gate, points
from _long import accuracy, learn

from spikelet.graph import Array
from spikelet.learn import Learner, Setting, Twin, identity
from spikelet.learn.learners.hlop import ONE, Hlop
from spikelet.learn.learners.penalties import Penalties
from spikelet.run.learner import DeviceLearner, device_learner
from spikelet.train.data import DataSet, load

TITLE = "HLOP, five permuted MNIST tasks, 784-100-10, int16"
WHERE = "native, every sample; the twin the first and last 30 of each task"
TUNED_ON = "no record of it"
GATES = (
    Gate("ACC", ">=", 0.90, lambda f: np.mean(f["acc"]["hlop"])),
    Gate("BWT of task 1, points", ">=", -3, lambda f: 100 * np.mean(f["bwt1"]["hlop"])),
    Gate("points below GPM, first seed", "<=", 1,
         lambda f: points(f["acc"]["gpm"], f["acc"]["hlop"][:1])),
    Gate("ACC of naive", "<=", 0.86, lambda f: np.mean(f["acc"]["naive"])),
)  # fmt: skip
TASKS, SAMPLES = 5, 8_000  # a task shows each sample once
HIDDEN, RATE = "100", 0.03
TESTED = 5_000
CHECKED = 30  # samples at either end of a task that the twin learns too
TRACES = 1_000  # of a task, for GPM

AfterTask = Callable[[DeviceLearner, Twin, Array], None]


def measure(seeds: Sequence[int]) -> dict[str, Any]:
    """The mean accuracy over all tasks in the end, and what became of the first one.

    GPM is the same device with columns that the host found by singular value decomposition; for
    the first seed.
    """
    data = load("mnist").flat()
    naive = Penalties(kind="none", hidden=HIDDEN, rate=RATE, samples=SAMPLES)
    ours = Hlop(hidden=HIDDEN, tasks=TASKS, rate=RATE, samples=SAMPLES)
    matrices: dict[str, list[Array]] = {"hlop": [], "naive": [], "gpm": []}
    for seed in seeds:
        matrices["hlop"].append(_learned(ours, data, seed))
        matrices["naive"].append(_learned(naive, data, seed))
    matrices["gpm"].append(_learned(ours, data, seeds[0], _singular_vectors))
    acc = {k: [float(m[-1].mean()) for m in v] for k, v in matrices.items()}
    bwt = {k: [float(m[-1, 0] - m[0, 0]) for m in v] for k, v in matrices.items()}
    mean = {k: float(np.mean(v)) for k, v in acc.items()}
    back = {k: 100 * float(np.mean(v)) for k, v in bwt.items()}
    return {
        "figure": (
            f"ACC {mean['hlop']:.3f}, BWT1 {back['hlop']:+.1f} points; naive {mean['naive']:.3f}, "
            f"{back['naive']:+.1f}; GPM {mean['gpm']:.3f}, {back['gpm']:+.1f} (one seed)"
        ),
        "acc": acc,
        "bwt1": bwt,
    }


def _learned(
    learner: Learner, data: DataSet, seed: int, after: AfterTask = lambda device, twin, x: None
) -> Array:
    """Accuracy of each task after each task, (tasks, tasks)."""
    rng = np.random.default_rng(seed)
    pixels = data.x_train.shape[1]
    permuted = [np.arange(pixels), *(rng.permutation(pixels) for _ in range(TASKS - 1))]
    backbone = identity((pixels,), "u8", scale=1 / 255)
    graph = learner.attach(backbone, Setting("features", data.classes, seed))
    twin = Twin(graph)
    tested = rng.permutation(len(data.x_test))[:TESTED]
    found = np.zeros((TASKS, TASKS))
    with device_learner(graph) as device:
        for task, pixel in enumerate(permuted):
            drawn = rng.permutation(len(data.x_train))[:SAMPLES]
            x = np.ascontiguousarray(data.x_train[drawn][:, pixel])
            learn(device, twin, x, data.y_train[drawn], CHECKED)
            after(device, twin, x)
            device.commit()
            twin.commit()
            device.agree(twin)
            for old in range(task + 1):
                seen = np.ascontiguousarray(data.x_test[tested][:, permuted[old]])
                found[task, old] = accuracy(device, twin, seen, data.y_test[tested])
    return found


def _singular_vectors(device: DeviceLearner, twin: Twin, x: Array) -> None:
    """GPM in place of what was learned: the task's columns become singular vectors of its traces.

    Source: Saha, Garg, Roy, "Gradient Projection Memory for Continual Learning", ICLR 2021.
    """
    traces = twin.graph.run({"x": x[-TRACES:]}, trace=True, learned=twin.learned).trace
    state = twin.state()
    for layer, source in (("hidden0", "features"), ("scores", "hidden0")):
        used, begun = (int(v) for v in state[f"{layer}.columns"])
        old = state[f"{layer}.basis"][:, :used] / ONE
        seen = traces[source][-1].astype(np.float64)
        rest = seen - seen @ old @ old.T
        vectors = np.linalg.svd(rest, full_matrices=False)[2][: begun - used]
        state[f"{layer}.basis"][:, used:begun] = np.rint(vectors.T * ONE)
    device.restore(state, twin.steps)
    twin.restore(state)

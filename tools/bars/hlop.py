"""HLOP: five permuted MNIST tasks, one after the other, int16, sample by sample on the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from _gate import Gate, points
from _tasks import matrix, permuted_tasks, singular_vectors

from spikelet.graph import Array
from spikelet.learn.learners.hlop import Hlop
from spikelet.learn.learners.penalties import Penalties
from spikelet.train.data import load

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
        course = permuted_tasks(data, TASKS, seed, SAMPLES, TESTED)
        matrices["hlop"].append(matrix(ours, course, seed))
        matrices["naive"].append(matrix(naive, course, seed))
    first = permuted_tasks(data, TASKS, seeds[0], SAMPLES, TESTED)
    matrices["gpm"].append(matrix(ours, first, seeds[0], singular_vectors))
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

"""HLOP on permuted digits: against naive, against GPM, and against the same rule in floats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from _float_hlop import FloatHlop
from _gate import Gate, points
from _tasks import Course, matrix, permuted_tasks, singular_vectors

from spikelet.graph import Array
from spikelet.learn.learners.hlop import Hlop
from spikelet.learn.learners.penalties import Penalties
from spikelet.train.data import DataSet, load

TITLE = "HLOP, five permuted digits tasks, 64-256-10, int16"
WHERE = "native, every sample; the twin the first and last 30 of each task"
TUNED_ON = "passes: a held-out fifth of the training part; the rest are defaults"
GATES = (
    Gate("points above naive", ">=", 30, lambda f: points(f["acc"]["hlop"], f["acc"]["naive"])),
    Gate("points below GPM", "<=", 2, lambda f: points(f["acc"]["gpm"], f["acc"]["hlop"])),
    Gate("points below floats", "<=", 0.5, lambda f: points(f["acc"]["float"], f["acc"]["hlop"])),
)
TASKS, EPOCHS = 5, 20
HIDDEN, RATE = 256, 0.03
COLUMNS = ((32, 6), (64, 16))  # the learner's defaults of each layer: first task, further ones
TRIED = (5, 20)  # passes over the samples of a task


def measure(seeds: Sequence[int]) -> dict[str, Any]:
    """The mean accuracy over all tasks in the end, and what became of the first one."""
    data = load("digits").flat()
    matrices = {k: [_learn(k, data, seed) for seed in seeds] for k in ("hlop", "naive", "gpm")}
    matrices["float"] = [_in_floats(data, seed) for seed in seeds]
    acc = {k: [float(m[-1].mean()) for m in v] for k, v in matrices.items()}
    bwt = {k: [float(m[-1, 0] - m[0, 0]) for m in v] for k, v in matrices.items()}
    return {
        "figure": "; ".join(
            f"{name} ACC {np.mean(acc[k]):.3f}, BWT1 {100 * np.mean(bwt[k]):+.1f} points"
            for k, name in (
                ("hlop", "HLOP"), ("float", "in floats"), ("gpm", "GPM"), ("naive", "naive")
            )
        ),
        "acc": acc,
        "bwt1": bwt,
    }  # fmt: skip


def tuning(seeds: Sequence[int]) -> dict[str, float]:
    """Mean accuracy, and points above naive, on held-out digits of the training part."""
    data, accuracies = load("digits").held_out().flat(), {}
    for epochs in TRIED:
        ours, naive = (
            [_learn(kind, data, seed, epochs)[-1].mean() for seed in seeds]
            for kind in ("hlop", "naive")
        )
        accuracies[f"accuracy of {epochs} passes"] = float(np.mean(ours))
        accuracies[f"points above naive of {epochs} passes"] = points(ours, naive)
    return accuracies


def _course(data: DataSet, seed: int, epochs: int = EPOCHS) -> Course:
    return permuted_tasks(data, TASKS, seed, len(data.x_train), len(data.x_test), epochs)


def _learn(kind: str, data: DataSet, seed: int, epochs: int = EPOCHS) -> Array:
    """Accuracy of each task after each task."""
    course, hidden = _course(data, seed, epochs), str(HIDDEN)
    samples = epochs * len(data.x_train)
    if kind == "naive":
        plain = Penalties(kind="none", hidden=hidden, rate=RATE, samples=samples)
        return matrix(plain, course, seed)
    first, more = ("-".join(map(str, each)) for each in zip(*COLUMNS, strict=True))
    ours = Hlop(hidden=hidden, first=first, more=more, tasks=TASKS, rate=RATE, samples=samples)
    after = {"after": singular_vectors} if kind == "gpm" else {}
    return matrix(ours, course, seed, **after)


def _in_floats(data: DataSet, seed: int) -> Array:
    """The same course, by the same rule without rounding."""
    course, net = _course(data, seed), FloatHlop((64, HIDDEN, data.classes), seed)
    accuracies = np.zeros((TASKS, TASKS))
    for task, (view, rows) in enumerate(zip(course.views, course.orders, strict=True)):
        columns = [more if task else first for first, more in COLUMNS]
        net.learn(view(data.x_train[rows]) / 255, data.y_train[rows], RATE, columns)
        for old in range(task + 1):
            said = net.activations(course.views[old](data.x_test[course.tested]) / 255)[-1]
            accuracies[task, old] = (said.argmax(axis=1) == data.y_test[course.tested]).mean()
    return accuracies

"""What a learner kept and what it forgot, computed from the log of a run.

A log is a sequence of blocks: evaluations of all tasks, and training of one task. All tasks are
evaluated before the first and after every training block.

ACC, BWT and FWT: D. Lopez-Paz, M. Ranzato, "Gradient episodic memory for continual learning",
NeurIPS 2017. The lifelong metrics: A. New et al., "Lifelong learning metrics", arXiv:2201.08278,
with the conventions of its program l2metrics 3.1.0: performance in percent, training smoothed by a
moving average over a fifth of the block (at most 100 experiences), terminal performance the mean of
the last tenth of a training block and of a whole evaluation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, permutations, zip_longest
from typing import Any

import numpy as np

from spikelet.errors import UsageError
from spikelet.graph import Array

SMOOTHED = 0.2  # of a block's experiences, in one window
WIDEST = 100  # experiences
TERMINAL = 0.1  # of a block's experiences
POOR = 0.2  # of an expert's saturation: below it there is no sample efficiency


@dataclass(frozen=True)
class Evaluation:
    """All tasks, predicted without learning.

    Attributes:
        accuracy: (T,) shares of correct predictions.
    """

    accuracy: Array


@dataclass(frozen=True)
class Training:
    """A block of one task.

    Attributes:
        task: its index.
        correct: (n,) for each sample whether its prediction, made before it was learned, is right.
    """

    task: int
    correct: Array


Log = Sequence[Evaluation | Training]


def smooth(values: Array) -> Array:
    """Moving average of (n,) values over a fifth of them, at most 100; both ends are mirrored.

    The window of w values ends (w - 2) // 2 behind its place, as in l2metrics.
    """
    window = min(int(len(values) * SMOOTHED), WIDEST)
    if window < 3:
        return values.astype(np.float64)
    around = np.concatenate(
        [values[window - 1 : 0 : -1], values, values[-2 : -window - 1 : -1]]
    ).astype(np.float64)
    means = np.convolve(np.full(window, 1 / window), around, mode="valid")
    smoothed: Array = means[math.floor(window / 2 - 1) : -math.ceil(window / 2)]
    return smoothed


def count_tasks(log: Log) -> int:
    """The number of tasks; raises UsageError where evaluations and training do not alternate."""
    evaluations = [b for b in log if isinstance(b, Evaluation)]
    tasks = len(evaluations[0].accuracy) if evaluations else 0
    for i, (block, wanted) in enumerate(zip(log, _alternating(len(log)), strict=True)):
        if not isinstance(block, wanted) or (
            isinstance(block, Evaluation) and len(block.accuracy) != tasks
        ):
            raise UsageError(
                f"log: block {i} is no {wanted.__name__.lower()} of {tasks} tasks",
                "the log broke off, or is of another program",
                "evaluate all tasks before the first and after every training block",
            )
    if len(log) % 2 == 0:
        raise UsageError(
            f"log: {len(log)} blocks, expected an odd number",
            "the run broke off before the last evaluation",
            "go on with --resume",
        )
    return tasks


def _alternating(count: int) -> list[type[Evaluation | Training]]:
    return [Training if i % 2 else Evaluation for i in range(count)]


def accuracy_matrix(log: Log) -> Array:
    """(1 + phases, T) accuracies before learning and after each phase of one task.

    A phase is a run of training blocks of one task.
    """
    count_tasks(log)
    rows = [_accuracy(log[0])]
    training = [b.task for b in log if isinstance(b, Training)]
    for i, (task, following) in enumerate(zip_longest(training, training[1:])):
        if task != following:
            rows.append(_accuracy(log[2 * i + 2]))
    return np.stack(rows)


def _accuracy(block: Evaluation | Training) -> Array:
    if not isinstance(block, Evaluation):
        raise TypeError(f"{type(block).__name__} where an evaluation stands")
    return np.asarray(block.accuracy, np.float64)


def continual(log: Log) -> dict[str, Any]:
    """Average accuracy, backward and forward transfer, as shares; None where undefined.

    With R[i, j] the accuracy on task j after phase i, R[0] before learning, phase e_j the last one
    and s_j the first one of task j, and P phases:

        ACC = mean_j R[P, j];   BWT = mean over tasks with e_j < P of R[P, j] - R[e_j, j];
        FWT = mean over tasks with s_j > 1 of R[s_j - 1, j] - R[0, j].
    """
    matrix = accuracy_matrix(log)
    training = [b.task for b in log if isinstance(b, Training)]
    phases = [t for t, n in zip_longest(training, training[1:]) if t != n]
    last = {task: i for i, task in enumerate(phases, 1)}
    first = {task: i for i, task in reversed(list(enumerate(phases, 1)))}
    backward = {j: matrix[-1, j] - matrix[e, j] for j, e in last.items() if e < len(phases)}
    forward = {j: matrix[s - 1, j] - matrix[0, j] for j, s in first.items() if s > 1}
    return {
        "acc": float(matrix[-1].mean()),
        "bwt": _mean(list(backward.values())),
        "fwt": _mean(list(forward.values())),
        "bwt_of_tasks": {str(j): float(v) for j, v in sorted(backward.items())},
        "accuracy_matrix": matrix.tolist(),
    }


def lifelong(log: Log, experts: Mapping[int, Array] | None = None) -> dict[str, Any]:
    """The lifelong metrics; each is a mean over tasks or pairs of tasks, None where undefined.

    - performance_maintenance: an evaluation of a task less its reference, in points; the reference
      is the first evaluation after the task was last trained. Mean by task, then over tasks.
      `performance_maintenance_terminal` takes the terminal performance of that training.
    - forward_transfer: of pairs (trained, other), other not trained yet: evaluations p1 before and
      p2 after a training block; `ratio` p2 / p1, `contrast` (p2 - p1) / (p2 + p1).
    - backward_transfer: the same where other was trained earlier.
    - performance_recovery: minus the Theil-Sen slope of recovery times: experiences until a task
      that is trained again is back at its last terminal performance.
    - relative_performance: sum of a task's learning curve over that of its single-task expert, over
      the common length.
    - sample_efficiency: ratio of saturations times the inverse ratio of experiences up to them;
      saturation is the maximum of a task's curve, all its blocks smoothed once more together. 0
      where it is below a fifth of the expert's, or the curve falls.

    Args:
        log: of a run.
        experts: by task, (n,) whether an expert that learns this task only, from the same start,
            predicts each of its samples, before learning it.
    """
    tasks = count_tasks(log)
    curves = {i: smooth(100.0 * b.correct) for i, b in enumerate(log) if isinstance(b, Training)}
    terminal = {i: _terminal(curve) for i, curve in curves.items()}
    points = [100.0 * _accuracy(b) if isinstance(b, Evaluation) else None for b in log]
    trained: dict[int, list[int]] = {t: [] for t in range(tasks)}
    for i, b in enumerate(log):
        if isinstance(b, Training):
            trained[b.task].append(i)
    measures: dict[str, Any] = {
        "performance_maintenance": _maintenance(points, trained, None),
        "performance_maintenance_terminal": _maintenance(points, trained, terminal),
        "performance_recovery": _recovery(curves, terminal, trained),
        "relative_performance": None,
        "sample_efficiency": None,
    }
    for way, ratios in zip(("forward", "backward"), _transfers(points, trained), strict=True):
        measures[f"{way}_transfer_ratio"] = _mean([b / a for a, b in ratios if a > 0])
        measures[f"{way}_transfer_contrast"] = _mean(
            [(b - a) / (b + a) for a, b in ratios if a + b > 0]
        )
    if experts:
        curve = {
            t: np.concatenate([curves[i] for i in blocks])
            for t, blocks in trained.items()
            if blocks and t in experts
        }
        expert = {t: smooth(100.0 * experts[t]) for t in curve}
        measures["relative_performance"] = _mean([_relative(curve[t], expert[t]) for t in curve])
        at = _experiences(log)
        measures["sample_efficiency"] = _mean(
            [
                _efficiency(curve[t], expert[t], np.concatenate([at[i] for i in trained[t]]))
                for t in curve
            ]
        )
    return measures


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None


def _terminal(curve: Array) -> float:
    return float(curve[int((1 - TERMINAL) * len(curve)) :].mean())


def _maintenance(
    points: Sequence[Array | None],
    trained: Mapping[int, Sequence[int]],
    terminal: Mapping[int, float] | None,
) -> float | None:
    by_task = []
    for task, blocks in trained.items():
        references = {i + 1 for i in blocks}  # an evaluation follows every training block
        lost = []
        for i, evaluation in enumerate(points):
            before = [b for b in blocks if b + 1 < i]
            if evaluation is None or i in references or not before:
                continue
            at = before[-1]
            reference = points[at + 1]
            if terminal is not None:
                lost.append(float(evaluation[task]) - terminal[at])
            elif reference is not None:
                lost.append(float(evaluation[task] - reference[task]))
        by_task.append(_mean(lost))
    return _mean(by_task)


def _transfers(
    points: Sequence[Array | None], trained: Mapping[int, Sequence[int]]
) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Performances before and after, of forward and of backward pairs."""
    forward: list[tuple[float, float]] = []
    backward: list[tuple[float, float]] = []
    for task, other in permutations(trained, 2):
        first = min(trained[other], default=len(points))
        for i in trained[task]:
            before, after = points[i - 1], points[i + 1]
            if before is not None and after is not None:
                pair = (float(before[other]), float(after[other]))
                (forward if i < first else backward).append(pair)
    return forward, backward


def _recovery(
    curves: Mapping[int, Array],
    terminal: Mapping[int, float],
    trained: Mapping[int, Sequence[int]],
) -> float | None:
    slopes = []
    for blocks in trained.values():
        times = []
        for before, again in pairwise(blocks):
            back = np.flatnonzero(curves[again] >= terminal[before])
            times.append(int(back[0]) if len(back) else len(curves[again]) + 1)
        if len(times) > 1:
            slopes.append(-_theil_sen(times))
    return _mean(slopes)


def _theil_sen(values: Sequence[float]) -> float:
    """Median slope of all pairs of values at 0, 1, 2, ..."""
    rise = [
        (values[j] - values[i]) / (j - i)
        for i in range(len(values))
        for j in range(i + 1, len(values))
    ]
    return float(np.median(rise))


def _relative(curve: Array, expert: Array) -> float | None:
    common = min(len(curve), len(expert))
    best = float(expert[:common].sum())
    return float(curve[:common].sum()) / best if best > 0 else None


def _experiences(log: Log) -> dict[int, Array]:
    """By training block, the numbers of its experiences among all of the run."""
    tasks, count = {}, 0
    for i, b in enumerate(log):
        if isinstance(b, Training):
            tasks[i] = count + np.arange(len(b.correct))
            count += len(b.correct)
    return tasks


def _efficiency(curve: Array, expert: Array, at: Array) -> float | None:
    """Of curves smoothed by block; `at`: the number of each experience of `curve`."""
    again = smooth(curve), smooth(expert)
    (high, reached), (best, best_reached) = ((float(c.max()), int(c.argmax())) for c in again)
    if not reached or not best_reached or best <= 0:
        return None  # saturated from the first experience on
    if high < POOR * best or np.polyfit(at, curve, 1)[0] < 0:
        return 0.0
    return (high / best) * (best_reached / reached)

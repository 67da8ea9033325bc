"""Tasks that show the same images in other ways, one after the other: accuracy of each after each.

What a bar learns here: the native device every sample, the twin the first and last ones of a task.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from _long import accuracy, learn

from spikelet.graph import Array
from spikelet.learn import Learner, Setting, Twin, identity
from spikelet.learn.bases.subspace import ONE
from spikelet.run.learner import DeviceLearner, device_learner
from spikelet.train.data import DataSet

CHECKED = 30  # samples at either end of a task that the twin learns too
TRACES = 1_000  # of a task, for GPM

AfterTask = Callable[[DeviceLearner, Twin, Array], None]


@dataclass(frozen=True)
class Course:
    """Flat images, and what each task makes of them.

    Attributes:
        data: images (N, n) u8.
        views: of each task, what it makes of images (N, n).
        orders: of each task, rows of the training part.
        tested: rows of the test part.
    """

    data: DataSet
    views: Sequence[Callable[[Array], Array]]
    orders: Sequence[Array]
    tested: Array


def permuted_tasks(
    data: DataSet, tasks: int, seed: int, samples: int, tested: int, epochs: int = 1
) -> Course:
    """Each task but the first has its pixels in an order of its own; other samples in each."""
    rng = np.random.default_rng(seed)
    pixels = data.x_train.shape[1]
    orders = [np.arange(pixels), *(rng.permutation(pixels) for _ in range(tasks - 1))]
    rows = rng.permutation(len(data.x_test))[:tested]
    drawn = []
    for _ in orders:
        part = rng.permutation(len(data.x_train))[:samples]
        drawn.append(np.concatenate([part, *(rng.permutation(part) for _ in range(epochs - 1))]))
    views = [lambda x, order=order: np.ascontiguousarray(x[:, order]) for order in orders]
    return Course(data, views, drawn, rows)


def matrix(
    learner: Learner,
    course: Course,
    seed: int,
    after: AfterTask = lambda device, twin, x: None,
) -> Array:
    """Accuracy of each task after each task, (tasks, tasks); 0 for those that are to come."""
    data, views = course.data, course.views
    backbone = identity(data.x_train.shape[1:], "u8", scale=1 / 255)
    graph = learner.attach(backbone, Setting("features", data.classes, seed))
    twin = Twin(graph)
    tests = [view(data.x_test[course.tested]) for view in views]
    accuracies = np.zeros((len(views), len(views)))
    with device_learner(graph) as device:
        for task, (view, rows) in enumerate(zip(views, course.orders, strict=True)):
            x = view(data.x_train[rows])
            learn(device, twin, x, data.y_train[rows], CHECKED)
            after(device, twin, x)
            device.commit()
            twin.commit()
            device.agree(twin)
            for old in range(task + 1):
                seen = data.y_test[course.tested]
                accuracies[task, old] = accuracy(device, twin, tests[old], seen)
    return accuracies


def singular_vectors(device: DeviceLearner, twin: Twin, x: Array) -> None:
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


def backward(accuracies: Array) -> float:
    """Backward transfer: how much the tasks before the last gained, on average, until the end."""
    return float(np.mean(accuracies[-1, :-1] - np.diag(accuracies)[:-1]))

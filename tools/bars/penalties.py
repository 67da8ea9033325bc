"""Penalties: five tasks of permuted digits, int16, without one and with L2, EWC and MAS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from _float_ewc import FloatEwc
from _gate import Gate, points
from _long import accuracy, learn

from spikelet.graph import Array
from spikelet.learn import Setting, Twin, identity
from spikelet.learn.learners.penalties import Penalties
from spikelet.run.learner import device_learner
from spikelet.train.data import DataSet, load

TITLE = "Penalties (EWC with drawn labels, local MAS), permuted digits, 64-256-10, int16"
WHERE = "native, every sample; the twin the first and last 100 of each task"
TUNED_ON = "rate and strengths: a held-out part of the training part, by hand"
GATES = (
    Gate("EWC, points above naive", ">=", 20, lambda f: points(f["ewc"], f["none"])),
    Gate("points below EWC in floats, exact Fisher at a task's end", "<=", 3,
         lambda f: points(f["float"], f["ewc"])),
)  # fmt: skip
TASKS, EPOCHS = 5, 5
HIDDEN, RATE = "256", 0.08  # rate and strengths were chosen by a held-out part of the training part
STRENGTH, EVERY = 0.004, 32  # in floats, chosen there, too; the device's are the learner's defaults
CHECKED = 100  # samples of each task that the twin learns too

Kind = Literal["none", "l2", "ewc", "mas"]
KINDS: tuple[Kind, ...] = ("none", "l2", "ewc", "mas")


def measure(seeds: Sequence[int]) -> dict[str, Any]:
    """The mean accuracy over all tasks after the last one."""
    data = load("digits").flat()
    results: dict[str, list[float]] = {k: [_learn(k, data, seed) for seed in seeds] for k in KINDS}
    results["float"] = [_in_floats(data, seed) for seed in seeds]
    mean = {k: float(np.mean(v)) for k, v in results.items()}
    return {
        "figure": (
            f"naive {mean['none']:.3f}, L2 {mean['l2']:.3f}, EWC {mean['ewc']:.3f}, "
            f"MAS {mean['mas']:.3f}; EWC in floats {mean['float']:.3f}"
        ),
        **results,
    }


def _tasks(data: DataSet, seed: int) -> tuple[list[Array], list[Array]]:
    """Of each task, the order of pixels and that of samples."""
    rng = np.random.default_rng(seed)
    permuted = [np.arange(64), *(rng.permutation(64) for _ in range(TASKS - 1))]
    count = len(data.x_train)
    passes = [[rng.permutation(count) for _ in range(EPOCHS)] for _ in permuted]
    return permuted, [np.concatenate(each) for each in passes]


def _in_floats(data: DataSet, seed: int) -> float:
    """Of all tasks in the end, by EWC as its paper has it."""
    permuted, orders = _tasks(data, seed)
    net = FloatEwc((64, int(HIDDEN), data.classes), seed)
    x, test = (v.astype(np.float32) / 255 for v in (data.x_train, data.x_test))
    for pixel, order in zip(permuted, orders, strict=True):
        net.learn(_permute_pixels(x[order], pixel), data.y_train[order], RATE, STRENGTH, EVERY)
    said = [net.logits(_permute_pixels(test, pixel))[1].argmax(axis=1) for pixel in permuted]
    return float(np.mean([answers == data.y_test for answers in said]))


def _learn(kind: Kind, data: DataSet, seed: int) -> float:
    """Of all tasks in the end; see `_long.learn`."""
    permuted, orders = _tasks(data, seed)
    samples = EPOCHS * len(data.x_train)
    learner = Penalties(kind=kind, hidden=HIDDEN, rate=RATE, samples=samples)
    backbone = identity((64,), "u8", scale=1 / 255)
    graph = learner.attach(backbone, Setting("features", data.classes, seed))
    twin = Twin(graph)
    with device_learner(graph) as device:
        for pixel, order in zip(permuted, orders, strict=True):
            x, y = np.ascontiguousarray(data.x_train[order][:, pixel]), data.y_train[order]
            learn(device, twin, x, y, CHECKED)
            device.commit()
            twin.commit()
            device.agree(twin)
        return float(
            np.mean(
                [
                    accuracy(device, twin, _permute_pixels(data.x_test, p), data.y_test)
                    for p in permuted
                ]
            )
        )


def _permute_pixels(x: Array, pixel: Array) -> Array:
    return np.ascontiguousarray(x[:, pixel])

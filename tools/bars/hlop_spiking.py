"""HLOP on spiking layers: five permuted MNIST tasks, sample by sample, by the three-factor rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from _gate import Gate
from _tasks import matrix, permuted_tasks

from spikelet.board import find_board
from spikelet.graph import Array, Graph
from spikelet.learn import Setting, Twin, identity
from spikelet.learn.learners.hlop import Hlop
from spikelet.run import SessionTarget
from spikelet.run.learner import device_learner
from spikelet.train.data import DataSet, load

TITLE = "HLOP on spiking layers, five permuted MNIST tasks, 784-256-10, 8 time steps"
WHERE = "native, every sample; the twin the first and last 30 of each task; 8 steps on mps2-an386"
TUNED_ON = "rate: a held-out fifth of the training part, two tasks"
GATES = (
    Gate("ACC", ">=", 0.90, lambda f: np.mean(f["acc"]["hlop"])),
    Gate("BWT of task 1, points", ">=", -3, lambda f: 100 * np.mean(f["bwt1"]["hlop"])),
    Gate("BWT of task 1 by the plain rule, points", "<=", -15,
         lambda f: 100 * np.mean(f["bwt1"]["plain"])),
)  # fmt: skip
TASKS, SAMPLES = 5, 8_000  # a task shows each sample once
TESTED = 5_000
RATE, TRIED = 0.003, (0.001, 0.003, 0.01)
BOARD, EMULATED = "mps2-an386", 8  # samples


class Plain(Hlop):
    """The same network and rule, from traces as they are."""

    NAME = "plain"
    PROJECTS = False


def learner(kind: type[Hlop], rate: float = RATE) -> Hlop:
    """One for five tasks; the network is always the same."""
    return kind(neurons="lif", hidden="256", tasks=TASKS, rate=rate, samples=SAMPLES)


def measure(seeds: Sequence[int]) -> dict[str, Any]:
    """The mean accuracy over all tasks in the end, what became of the first one, and the cost."""
    data = load("mnist").flat()
    kinds = {"hlop": Hlop, "plain": Plain}
    matrices: dict[str, list[Array]] = {
        name: [_learn(learner(kind), data, seed, TASKS) for seed in seeds]
        for name, kind in kinds.items()
    }
    acc = {k: [float(m[-1].mean()) for m in v] for k, v in matrices.items()}
    bwt = {k: [float(m[-1, 0] - m[0, 0]) for m in v] for k, v in matrices.items()}
    costs = {name: _costs(learner(kind), data) for name, kind in kinds.items()}
    said = {
        name: f"ACC {np.mean(acc[name]):.3f}, BWT1 {100 * np.mean(bwt[name]):+.1f} points, "
        f"{costs[name]['instructions'] / 1e6:.2f} M instructions a sample"
        for name in kinds
    }
    ram = round(costs["hlop"]["arena_bytes"] / 1024)
    return {
        "figure": f"{said['hlop']}, {ram} KB of RAM; the plain rule {said['plain']}",
        "acc": acc,
        "bwt1": bwt,
        "costs": costs,
    }


def tuning(seeds: Sequence[int]) -> dict[str, float]:
    """Mean accuracy of two tasks, on a held-out fifth of the training part."""
    data = load("mnist").held_out().flat()
    return {
        f"accuracy at rate {rate:g}": float(
            np.mean([_learn(learner(Hlop, rate), data, seed, 2)[-1].mean() for seed in seeds])
        )
        for rate in TRIED
    }


def _learn(made: Hlop, data: DataSet, seed: int, tasks: int) -> Array:
    return matrix(made, permuted_tasks(data, tasks, seed, SAMPLES, TESTED), seed)


def _costs(made: Hlop, data: DataSet) -> dict[str, float]:
    """Instructions of a sample that is predicted and learned, and RAM; the twin's bits."""
    backbone = identity(data.x_train.shape[1:], "u8", scale=1 / 255)
    graph: Graph = made.attach(backbone, Setting("features", data.classes, 0))
    twin, ticks = Twin(graph), 0
    x, y = data.x_train[:EMULATED], data.y_train[:EMULATED]
    with device_learner(graph, BOARD, toolchain="gcc", machine="qemu") as device:
        for i in range(EMULATED):
            device.observe({"x": x[i : i + 1]}, y[i : i + 1])
            assert device.ran is not None
            assert device.learned is not None
            ticks += device.ran.ticks + device.learned.ticks
        twin.observe({"x": x}, y)
        device.agree(twin)
        facts = device.facts
    target = SessionTarget(find_board(BOARD), None, "qemu")
    tick = target.speed("qemu").instructions_per_tick or 1.0
    return {"instructions": tick * ticks / EMULATED, "arena_bytes": facts["arena_bytes"]}

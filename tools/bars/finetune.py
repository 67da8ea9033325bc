"""Whole-network fine-tuning of har_cnn on a device: the phone is worn another way round."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from _gate import Gate
from _turned_sensor import Task

from spikelet.board import find_board
from spikelet.graph import Graph
from spikelet.learn import Twin
from spikelet.learn.learners.finetune import FineTune
from spikelet.learn.networks.training_plan import training_plan
from spikelet.run.learner import device_learner

TITLE = "Whole-network fine-tuning, har_cnn with a turned sensor"
WHERE = "native, every sample; virt-rv32f, virt-rv32 and mps2-an386 (QEMU), 12 steps"
GATES = (
    Gate("RAM of a core that learns, bytes", "<=", 64 * 1024,
         lambda f: max(board["ram_bytes"] for board in f["boards"].values())),
    Gate("least gain on a turned sensor, points", ">=", 5,
         lambda f: 100 * (min(map(min, f["after"].values())) - f["before"])),
)  # fmt: skip
PASSES = 1
TUNED_ON = "training part, phone turned by -90 degrees"
PLANS = {
    "sparse, f32": FineTune(update="conv1d_0_0+biases+head", learning_rate=0.02),
    "all, i16": FineTune(update="all", precision="i16", learning_rate=0.01),
}
BOARDS = {"sparse, f32": ("virt-rv32f", "mps2-an386"), "all, i16": ("virt-rv32", "mps2-an386")}
STEPS = 12  # that other boards learn


def measure(seeds: Sequence[int]) -> dict[str, Any]:
    """Learn each person's first round, evaluate on the second; native device and twin."""
    task = Task("sideways")
    before, after, ram, boards = 0.0, {}, {}, {}
    for name, learner in PLANS.items():
        graph = learner.attach(task.graph, task.setting)
        results = [task.learn(graph, seed, PASSES) for seed in seeds]
        before, after[name] = results[0][0], [accuracy for _, accuracy in results]
        for board in BOARDS[name]:
            boards[f"{board}, {name}"] = _elsewhere(graph, board, task)
        ram[name] = max(boards[f"{board}, {name}"]["ram_bytes"] for board in BOARDS[name])
    return {
        "figure": "; ".join(
            f"{name}: {before:.3f} -> {np.mean(after[name]):.3f} in {ram[name]} B of RAM"
            for name in PLANS
        ),
        "before": before,
        "after": after,
        "boards": boards,
    }


def _elsewhere(graph: Graph, board: str, task: Task) -> dict[str, int]:
    """Some steps on another board: its bits must be the twin's; what they take."""
    twin = Twin(graph)
    rows = task.learn[:STEPS]
    told = training_plan(graph, find_board(board).target)
    with device_learner(graph, board, toolchain="gcc") as device:
        device.observe(task.part(rows), task.labels[rows])
        twin.observe(task.part(rows), task.labels[rows])
        device.agree(twin)
        assert device.ran is not None and device.learned is not None
        assert device.facts["arena_bytes"] == told.needs.arena_bytes
        return {
            "arena_bytes": device.facts["arena_bytes"],
            "ram_bytes": device.facts["ram_bytes"] + device.learned.stack,
            "flash_bytes": device.facts["flash_bytes"],
            "run_ticks": device.ran.ticks,
            "learn_ticks": device.learned.ticks,
            "learn_instructions_told": told.instructions or 0,
        }

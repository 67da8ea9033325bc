"""The ladder against fine-tuning the whole of har_cnn: RAM and accuracy on turned sensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from _turned_sensor import TURNS, Task

from spikelet.learn import needs
from spikelet.learn.learner import Learner
from spikelet.learn.learners.finetune import FineTune
from spikelet.learn.learners.ladder import Ladder

TITLE = "Ladder beside a frozen har_cnn"
WHERE = "native, every sample"
BAR = "peak training RAM <= 35 % of full backward's at <= 3 points less, in all three turns"
PASSES = 4
TUNED_ON = "training part, phone turned by -90 degrees, and upside down about y"
LEARNERS: dict[str, Learner] = {
    "full": FineTune(update="all", precision="i16", learning_rate=0.01),
    "ladder": Ladder(precision="i16", learning_rate=0.03),
}


def measure(seeds: Sequence[int]) -> dict[str, Any]:
    """Both learn each person's first round in the same order, and are evaluated on the second."""
    arena: dict[str, int] = {}
    macs: dict[str, int] = {}
    after: dict[str, dict[str, list[float]]] = {}
    for turn in TURNS:
        task = Task(turn)
        after[turn] = {}
        for name, learner in LEARNERS.items():
            graph = learner.attach(task.graph, task.setting)
            found = needs(graph)
            arena[name], macs[name] = found.arena_bytes, found.learn_macs
            after[turn][name] = [task.learned(graph, seed, PASSES)[1] for seed in seeds]
    part = arena["ladder"] / arena["full"]
    less = {
        turn: float(np.mean(found["full"]) - np.mean(found["ladder"]))
        for turn, found in after.items()
    }
    return {
        "figure": f"{arena['ladder']} of {arena['full']} B ({100 * part:.0f} %), "
        f"{macs['ladder']} of {macs['full']} MACs to learn; points less: "
        + ", ".join(f"{turn} {100 * lost:.1f}" for turn, lost in less.items()),
        "met": part <= 0.35 and max(less.values()) <= 0.03,
        "after": after,
        "arena_bytes": arena,
        "learn_macs": macs,
        "tuned_on": TUNED_ON,
    }

"""The ladder against fine-tuning the whole of har_cnn: RAM and accuracy on turned sensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from _gate import Gate, points
from _turned_sensor import TURNS, Task

from spikelet.learn import needs
from spikelet.learn.learner import Learner
from spikelet.learn.learners.finetune import FineTune
from spikelet.learn.learners.ladder import Ladder

TITLE = "Ladder beside a frozen har_cnn"
WHERE = "native, every sample"
GATES = (
    Gate("peak training RAM, % of full backward's", "<=", 35,
         lambda f: 100 * f["arena_bytes"]["ladder"] / f["arena_bytes"]["full"]),
    *(Gate(f"points below it, {turn}", "<=", 3, lambda f, turn=turn: _less(f["after"][turn]))
      for turn in TURNS),
)  # fmt: skip
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
            plan = needs(graph)
            arena[name], macs[name] = plan.arena_bytes, plan.learn_macs
            after[turn][name] = [task.learn(graph, seed, PASSES)[1] for seed in seeds]
    part = arena["ladder"] / arena["full"]
    return {
        "figure": f"{arena['ladder']} of {arena['full']} B ({100 * part:.0f} %), "
        f"{macs['ladder']} of {macs['full']} MACs to learn; points less: "
        + ", ".join(f"{turn} {_less(plan):.1f}" for turn, plan in after.items()),
        "after": after,
        "arena_bytes": arena,
        "learn_macs": macs,
    }


def _less(results: Mapping[str, Any]) -> float:
    return points(results["full"], results["ladder"])

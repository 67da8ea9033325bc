"""Adapters of har_cnn for a phone that is worn another way round (turned by a fixed rotation)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from _shifts import GATES, Shift, compare, told
from _turned_sensor import Task

from spikelet.graph.adapted import Adapter

__all__ = ["FORM", "GATES", "TITLE", "TUNED_ON", "WHERE", "measure"]
TITLE = "Adapter of har_cnn, sensor remounted (a synthetic turn by 90 degrees)"
WHERE = "golden; that devices agree with it is tests/learn/test_delta.py's"
FORM = Adapter("low_rank", 4, 1, head=True)
TUNED_ON = "nothing: defaults"


def measure(seeds: Sequence[int]) -> dict[str, Any]:
    """Each person's first round adapts, the second one tests."""
    task = Task("sideways")
    x = task.inputs[task.graph.inputs[0].name]
    rows, held = task.learn, task.held_out
    shift = Shift(x[rows], task.labels[rows], x[held], task.labels[held])
    found = compare(task.graph, FORM, [shift], seeds, lambda said, y: float(np.mean(said == y)))
    return {"figure": told(found), **found}

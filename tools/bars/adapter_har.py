"""Adapters of har_cnn for a phone that is worn another way round (turned by a fixed rotation)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from _gate import Gate
from _shifts import Shift, compare, share, told
from _turned_sensor import Task

from spikelet.graph.adapted import Adapter

TITLE = "Adapter of har_cnn, sensor remounted (a synthetic turn by 90 degrees)"
WHERE = "golden; that devices agree with it is tests/learn/test_delta.py's"
FORM = Adapter("low_rank", 4, 1, head=True)
GATES = (
    Gate("bytes, head included", "<=", 1024, lambda f: f["bytes"]),
    Gate("share of the gap from head to whole network", ">=", 0.5, lambda f: share(f)),
)
TUNED_ON = "nothing: defaults"


def measure(seeds: Sequence[int]) -> dict[str, Any]:
    """Each person's first round adapts, the second one tests."""
    task = Task("sideways")
    x = task.inputs[task.graph.inputs[0].name]
    rows, held = task.learn, task.held_out
    shift = Shift(x[rows], task.labels[rows], x[held], task.labels[held])
    found = compare(task.graph, FORM, [shift], seeds, lambda said, y: float(np.mean(said == y)))
    return {"figure": told(found), **found}

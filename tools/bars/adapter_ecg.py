"""Adapters of ecg_cnn for a patient: the first five minutes of a record adapt, the rest tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _shifts import GATES, Shift, compare, told
from _turned_sensor import codes

from spikelet.graph import Array
from spikelet.graph.adapted import Adapter
from spikelet.package import Package
from spikelet.paths import models_dir
from spikelet.train.data import load

__all__ = ["FORM", "GATES", "TITLE", "TUNED_ON", "WHERE", "measure"]
TITLE = "Adapter of ecg_cnn, twelve records of DS2"
WHERE = "golden; that devices agree with it is tests/learn/test_delta.py's"
RECORDS = (200, 202, 210, 213, 214, 219, 221, 222, 228, 232, 233, 234)  # two classes of >= 50 beats
SECONDS = 300
LEAST = 50
FORM = Adapter("low_rank", 4, 1, head=True)
TUNED_ON = "nothing: defaults"


def measure(seeds: Sequence[int]) -> dict[str, Any]:
    """Macro-F1 over the classes that a record has 50 beats of, a mean over the records."""
    data = load("mitbih_beats")
    graph = Package.load(models_dir() / "ecg_cnn" / "ecg_cnn.spk").graph
    x = codes(graph, data, data.x_test)[graph.inputs[0].name]
    shifts = []
    for rows in records(len(x)):
        seconds = np.cumsum(data.x_test[rows, 0, 1]) / 1000  # of the intervals before each beat
        first, rest = rows[seconds < SECONDS], rows[seconds >= SECONDS]
        shifts.append(Shift(x[first], data.y_test[first], x[rest], data.y_test[rest]))
    found = compare(graph, FORM, shifts, seeds, macro_f1)
    return {"figure": f"macro-F1: {told(found)}", **found}


def records(beats: int) -> list[Array]:
    """Rows of the test part of each record."""
    import os

    with np.load(Path(os.environ["SPIKELET_DATA"]) / "mitbih_beats" / "mitbih_beats.npz") as held:
        of = held["record_test"]
    if len(of) != beats:
        raise ValueError(f"{len(of)} records of {beats} beats")
    return [np.flatnonzero(of == record) for record in RECORDS]


def macro_f1(said: Array, labels: Array) -> float:
    """Of the classes with 50 beats or more."""
    scores = []
    for label in np.flatnonzero(np.bincount(labels) >= LEAST):
        right = int(((said == label) & (labels == label)).sum())
        scores.append(2 * right / max(1, int((said == label).sum() + (labels == label).sum())))
    return float(np.mean(scores))

"""Digits of an event camera in steps of a millisecond: a recurrent layer, five folds."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _gate import Gate
from _nmnist import trained

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from step_cost import cost

TITLE = "nmnist_recurrent, N-MNIST (1,100 recordings), five folds, steps of 1 ms"
WHERE = "the firmware on the host, events over the link; steps on mps2-an386 (QEMU)"
TUNED_ON = "a fifth of the training part of fold 0, by hand"
GATES = (
    Gate("accuracy", ">=", 0.93, lambda f: np.mean(f["spiking"])),
    Gate("instructions of the longest step", "<=", 27_000, lambda f: f["longest"]),
    Gate("recurrent neurons", "<=", 128, lambda f: f["neurons"]),
    Gate("mismatches", "<=", 0, lambda f: f["mismatches"]),
)
RECORDINGS = 10  # whose steps are counted


def measure(seeds: Sequence[int]) -> dict[str, Any]:
    """Each fold is trained once a seed; the steps of the first package are counted."""
    folds = list(trained("nmnist_recurrent", seeds))
    first = folds[0].package
    graph, spiking = first.graph, [fold.accuracy for fold in folds]
    longest = float(cost(first, "mps2-an386", RECORDINGS).max())
    flash = sum(values.nbytes for values in graph.constants().values())
    return {
        "figure": f"{np.mean(spiking):.4f} ({' '.join(f'{a:.3f}' for a in spiking)}); longest step "
        f"{longest:,.0f} instructions; {flash:,} B of constants in flash",
        "spiking": spiking,
        "longest": longest,
        "flash": flash,
        "mismatches": sum(fold.mismatches for fold in folds),
        "neurons": next(n.arrays()["threshold"].size for n in graph.nodes if n.KIND == "lif"),
    }

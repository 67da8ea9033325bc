"""Digits of an event camera, five folds over all 1,100 recordings, beside an SVM on counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from _gate import Gate, points
from _nmnist import FOLDS, svm, trained

from spikelet.train.recipe_figures import weight_bytes

TITLE = "nmnist_conv, N-MNIST (1,100 recordings), five folds"
WHERE = "the firmware on the host, events over the link, every recording"
TUNED_ON = "a fifth of the training part of fold 0, by hand"
GATES = (
    Gate("accuracy", ">=", 0.96, lambda f: np.mean(f["spiking"])),
    Gate("points above an RBF-SVM on square roots of counts in three bins", ">=", 0,
         lambda f: points(f["spiking"], f["svm"])),
    Gate("bytes of weights", "<=", 32 * 1024, lambda f: max(f["weight_bytes"])),
    Gate("steps", "<=", 30, lambda f: f["steps"]),
    Gate("mismatches", "<=", 0, lambda f: f["mismatches"]),
)  # fmt: skip


def measure(seeds: Sequence[int]) -> dict[str, Any]:
    """Each fold is trained once a seed; beside it the SVM."""
    folds = list(trained("nmnist_conv", seeds))
    spiking = [fold.accuracy for fold in folds]
    sizes = [weight_bytes(fold.package.graph) for fold in folds]
    machines = [svm(fold) for fold in range(FOLDS)]
    return {
        "figure": f"{np.mean(spiking):.4f} ({' '.join(f'{a:.3f}' for a in spiking)}) in "
        f"{max(sizes)} B; SVM {np.mean(machines):.4f}",
        "spiking": spiking,
        "svm": machines,
        "weight_bytes": sizes,
        "steps": folds[0].package.graph.steps,
        "mismatches": sum(fold.mismatches for fold in folds),
    }

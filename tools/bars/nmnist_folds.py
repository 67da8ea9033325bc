"""Digits of an event camera, five folds over all 1,100 recordings, beside an SVM on counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from _gate import Gate, points
from sklearn.svm import SVC

from spikelet.events import Binning
from spikelet.graph import Array
from spikelet.paths import models_dir
from spikelet.train.data import load
from spikelet.train.recipe import SpikingRecipe, load_recipe
from spikelet.train.recipe_figures import weight_bytes
from spikelet.train.spiking import fit

TITLE = "nmnist_conv, N-MNIST (1,100 recordings), five folds"
WHERE = "the integer graph (golden), every recording"
TUNED_ON = "a fifth of the training part of fold 0, by hand"
GATES = (
    Gate("accuracy", ">=", 0.96, lambda f: np.mean(f["spiking"])),
    Gate("points above an RBF-SVM on square roots of counts in three bins", ">=", 0,
         lambda f: points(f["spiking"], f["svm"])),
    Gate("bytes of weights", "<=", 32 * 1024, lambda f: max(f["weight_bytes"])),
    Gate("steps", "<=", 30, lambda f: f["steps"]),
)  # fmt: skip
FOLDS = 5
BINS = Binning(steps=3, bin_us=105_000, counts=True)  # one a saccade
C = 5.0  # of the SVM


def measure(seeds: Sequence[int]) -> dict[str, Any]:
    """Each fold is trained once a seed; beside it the SVM."""
    spiking: list[float] = []
    sizes: list[int] = []
    folder = models_dir() / "nmnist_conv"
    recipe = load_recipe(folder)
    if not isinstance(recipe, SpikingRecipe):
        raise TypeError(f"{folder}: no recipe of a spiking network")
    for seed in seeds:
        for fold in range(FOLDS):
            changes = {"seed": seed, "data": recipe.data.model_copy(update={"fold": fold})}
            package = fit.train(folder, recipe.model_copy(update=changes), None, "test")
            spiking.append(float(package.manifest["integer_accuracy"]))
            sizes.append(weight_bytes(package.graph))
    svm = [_svm(fold) for fold in range(FOLDS)]
    return {
        "figure": f"{np.mean(spiking):.4f} ({' '.join(f'{a:.3f}' for a in spiking)}) in "
        f"{max(sizes)} B; SVM {np.mean(svm):.4f}",
        "spiking": spiking,
        "svm": svm,
        "weight_bytes": sizes,
        "steps": recipe.spiking.steps,
    }


def _svm(fold: int) -> float:
    """Accuracy of scikit-learn's SVC with its default kernel on a fold."""
    data = load("nmnist_small", BINS).fold(fold)

    def features(x: Array) -> Array:
        return np.sqrt(x.reshape(len(x), -1).astype(np.float32))

    machine = SVC(C=C).fit(features(data.x_train), data.y_train)
    return float(machine.score(features(data.x_test), data.y_test))

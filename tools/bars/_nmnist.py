"""N-MNIST in five folds: a model's recipe trained on each, and an SVM on counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from sklearn.svm import SVC

from spikelet.events import Binning
from spikelet.graph import Array
from spikelet.package import Package
from spikelet.paths import models_dir
from spikelet.train.data import load
from spikelet.train.recipe import SpikingRecipe, load_recipe
from spikelet.train.spiking import fit

FOLDS = 5
BINS = Binning(steps=3, bin_us=105_000, counts=True)  # one a saccade
C = 5.0  # of the SVM


def packages(model: str, seeds: Sequence[int]) -> Iterator[Package]:
    """A model that comes with Spikelet, trained on each fold, once a seed."""
    folder = models_dir() / model
    recipe = load_recipe(folder)
    if not isinstance(recipe, SpikingRecipe):
        raise TypeError(f"{folder}: no recipe of a spiking network")
    for seed in seeds:
        for fold in range(FOLDS):
            changes = {"seed": seed, "data": recipe.data.model_copy(update={"fold": fold})}
            yield fit.train(folder, recipe.model_copy(update=changes), None, "test")


def svm(fold: int) -> float:
    """Accuracy of scikit-learn's SVC with its default kernel on a fold."""
    data = load("nmnist_small", BINS).fold(fold)

    def features(x: Array) -> Array:
        return np.sqrt(x.reshape(len(x), -1).astype(np.float32))

    machine = SVC(C=C).fit(features(data.x_train), data.y_train)
    return float(machine.score(features(data.x_test), data.y_test))

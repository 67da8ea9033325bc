"""N-MNIST in five folds: a model's recipe trained on each, and an SVM on counts."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.svm import SVC

import spikelet
from spikelet.events import Binning
from spikelet.graph import Array
from spikelet.package import Package
from spikelet.paths import models_dir
from spikelet.train.data import load
from spikelet.train.recipe import SpikingRecipe, load_recipe
from spikelet.train.spiking import fit
from spikelet.train.spiking.samples import Coding

FOLDS = 5
BINS = Binning(steps=3, bin_us=105_000, counts=True)  # one a saccade
C = 5.0  # of the SVM


@dataclass(frozen=True)
class Trained:
    """A model that was trained on a fold.

    Attributes:
        package: of it.
        accuracy: of the firmware on the host, over all recordings of the fold, whose events it got
            over the link, a frame a step.
        mismatches: elements of its outputs that were not golden's.
    """

    package: Package
    accuracy: float
    mismatches: int


def trained(model: str, seeds: Sequence[int]) -> Iterator[Trained]:
    """A model that comes with Spikelet, trained on each fold, once a seed."""
    folder = models_dir() / model
    recipe = load_recipe(folder)
    if not isinstance(recipe, SpikingRecipe):
        raise TypeError(f"{folder}: no recipe of a spiking network")
    for seed in seeds:
        for fold in range(FOLDS):
            changes = {"seed": seed, "data": recipe.data.model_copy(update={"fold": fold})}
            own = recipe.model_copy(update=changes)
            made = _over_the_link(fit.train(folder, own, None, "test"), own)
            print(f"{model}, seed {seed}, fold {fold}: {made.accuracy:.4f}", file=sys.stderr)
            yield made


def _over_the_link(package: Package, recipe: SpikingRecipe) -> Trained:
    """Runs all recordings of a fold in the firmware."""
    data = recipe.data.load()
    coding = Coding.of(data, recipe.spiking)
    vectors = {"x": coding.in_graph(coding.codes(data, data.x_test)), "y": data.y_test}
    whole = Package(package.graph, vectors, dict(package.manifest)).with_golden()
    with tempfile.TemporaryDirectory() as session:
        ran = spikelet.Package.of(whole).run("native", session=Path(session) / "run").result
    return Trained(package, float(ran["accuracy"]), int(ran["mismatches"]))


def svm(fold: int) -> float:
    """Accuracy of scikit-learn's SVC with its default kernel on a fold."""
    data = load("nmnist_small", BINS).fold(fold)

    def features(x: Array) -> Array:
        return np.sqrt(x.reshape(len(x), -1).astype(np.float32))

    machine = SVC(C=C).fit(features(data.x_train), data.y_train)
    return float(machine.score(features(data.x_test), data.y_test))

"""Recipes' machinery: data sets, surrogate-gradient training, quantisation, packages.

A recipe is a folder with recipe.toml and model.py. Nothing here prints or knows a board; what a
layer becomes on a device is decided in `spikelet.frontends`.
"""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from spikelet.errors import UsageError
from spikelet.package import Package
from spikelet.paths import models_dir

Part = Literal["test", "validation"]


@dataclass(frozen=True)
class EpochProgress:
    """One epoch is done.

    Attributes:
        phase: "float" or "quantised"; "pretrain" or "coarse" before them, "teacher" of a teacher.
        epoch: 1 to `epochs`, counted over all phases; a teacher's are counted for themselves.
        epochs: of all phases, or of the teacher.
        loss: mean over the epoch.
        accuracy: on the training part, while it was trained, 0 to 1.
    """

    phase: str
    epoch: int
    epochs: int
    loss: float
    accuracy: float


def train(
    model_dir: Path,
    seed: int | None = None,
    progress: Callable[[EpochProgress], None] | None = None,
    part: Part = "test",
) -> Package:
    """Train a recipe and export it, with the part's samples as test vectors.

    Args:
        model_dir: a folder with recipe.toml and model.py.
        seed: instead of the recipe's.
        progress: called after each epoch.
        part: what the accuracies and the vectors are of. With "validation" a fifth of the training
            part is held out, stratified, and the test part stays unseen: for tuning.

    The same recipe, seed, versions and machine give the same package, bit for bit. Raises
    RecipeError, DataError, ExportError, or UsageError where PyTorch or snnTorch is missing.
    """
    check_installed()
    from spikelet.train.recipe import Int8Recipe, SpikingRecipe, load_recipe

    recipe = load_recipe(model_dir)
    if seed is not None:
        recipe = type(recipe).model_validate({**recipe.model_dump(), "seed": seed})
    from spikelet.train import int8, trainer
    from spikelet.train.spiking import fit

    if isinstance(recipe, SpikingRecipe):
        return fit.train(model_dir, recipe, progress, part)
    if isinstance(recipe, Int8Recipe):
        return int8.train(model_dir, recipe, progress, part)
    return trainer.train(model_dir, recipe, progress, part)


def check_installed() -> None:
    """Raise UsageError where what training needs is not installed."""
    for name in ("torch", "snntorch", "sklearn"):
        if importlib.util.find_spec(name) is None:
            raise UsageError(
                f"training needs the package {name}",
                "Spikelet was installed without its extra `train`",
                "pip install 'spikelet[train]'",
            )


def model_path(name: str) -> Path:
    """A recipe's folder: a path, or the name of a model that comes with Spikelet."""
    path = Path(name)
    if (path / "recipe.toml").is_file():
        return path
    shipped = sorted(p.parent.name for p in models_dir().glob("*/recipe.toml"))
    if name in shipped:
        return models_dir() / name
    near = difflib.get_close_matches(name, shipped, n=1, cutoff=0.4)
    raise UsageError(
        f"model {name!r}: no folder with a recipe.toml, and no model that comes with Spikelet",
        f"did you mean {near[0]!r}?" if near else "a wrong path",
        f"there are: {', '.join(shipped)}; `spikelet models` describes them",
    )


__all__ = ["EpochProgress", "Part", "model_path", "train"]

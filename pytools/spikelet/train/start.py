"""What a recipe takes from another model: its module, its augmentation, its weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from spikelet.errors import UsageError
from spikelet.frontends.onnx import parse
from spikelet.frontends.onnx.export import export
from spikelet.graph import Array, Graph
from spikelet.package import Package
from spikelet.paths import models_dir
from spikelet.quantise import Network, fold
from spikelet.quantise.operator import operator_of
from spikelet.train.recipe import (
    Augment,
    Int8Recipe,
    Recipe,
    RecipeError,
    SpikingRecipe,
    load_augment,
    load_recipe,
)

AnyRecipe = Recipe | Int8Recipe | SpikingRecipe


def started(model_dir: Path, start: str) -> Package:
    """The package that a recipe starts from: a shipped model's, or a file beside the recipe.

    Raises:
        PackageError: it is missing or damaged.
    """
    shipped = models_dir() / start / f"{start}.spk"
    return Package.load(shipped if shipped.is_file() else model_dir / start)


def module_dir(model_dir: Path) -> Path:
    """The folder of a recipe's model.py: its own, or that of the model that the recipe names.

    A recipe names it as its `model`, or as what it starts from.

    Raises:
        RecipeError: the recipe cannot be read, or names a model beside a model.py of its own.
    """
    own = (model_dir / "model.py").is_file()
    recipe = load_recipe(model_dir)
    if recipe.model is not None:
        if own:
            raise RecipeError(
                f"recipe {model_dir / 'recipe.toml'}: model = {recipe.model!r}, but there is a "
                "model.py beside it",
                next="take one of them away",
            )
        return named_dir(model_dir, recipe.model)
    start = recipe.train.start if isinstance(recipe, Int8Recipe) else None
    shipped = models_dir() / start if start and not own else model_dir
    return shipped if (shipped / "model.py").is_file() else model_dir


def named_dir(model_dir: Path, name: str) -> Path:
    """The folder of a model that a recipe names: one that comes with Spikelet, or as seen from it.

    Raises:
        RecipeError: there is no model.py.
    """
    for folder in (models_dir() / name, model_dir / name):
        if (folder / "model.py").is_file():
            return folder
    raise RecipeError(
        f"recipe {model_dir / 'recipe.toml'}: no model {name!r} with a model.py",
        "a misspelt name",
        "`spikelet models` lists those that come with it; a folder is seen from the recipe's own",
    )


def module_files(model_dir: Path) -> list[Path]:
    """The Python files that training a recipe executes; see `module_dir`."""
    files = [module_dir(model_dir) / "model.py"]
    if (other := load_recipe(model_dir).augment) is not None:
        files.append(named_dir(model_dir, other) / "model.py")
    return files


def augment_of(model_dir: Path, recipe: AnyRecipe, own: Augment | None) -> Augment | None:
    """The augmentation of a recipe: that of the model that it names, or its model.py's own."""
    if recipe.augment is None:
        return own
    return load_augment(named_dir(model_dir, recipe.augment))


def start_from(network: Network, graph: Graph) -> Network:
    """The network, folded, with a graph's weights and biases as real values.

    Args:
        network: of the same layers with weights, in the same order.
        graph: what a package has become of such a network.

    Raises:
        UsageError: a layer that differs.
    """
    network = fold(network)
    given = parse(export(graph)).network
    own, theirs = _weights(network), _weights(given)
    shapes = [[network.constants[name].shape for name in names] for names in own]
    others = [[given.constants[name].shape for name in names] for names in theirs]
    if shapes != others:
        at = next((i for i, (a, b) in enumerate(zip(shapes, others, strict=False)) if a != b), -1)
        raise UsageError(
            f"network {network.name}: layer {at} with weights has shapes {shapes[at]}, in the "
            f"package that it starts from {others[at]}",
            "model.py builds another network than the package's recipe did",
            "give the same layers in the same order",
        )
    values: dict[str, Array] = {}
    for names, found in zip(own, theirs, strict=True):
        for name, other in zip(names, found, strict=True):
            values[name] = np.asarray(given.constants[other], np.float32)
    network.constants.update(values)
    return network


def _weights(network: Network) -> list[list[str]]:
    """Weight and bias of each layer that has them."""
    return [
        [name for name in node.inputs[1:] if name in network.constants]
        for node in network.nodes
        if operator_of(node).weighted
    ]

"""A network that starts from a package in place of random weights: its layers and its weights."""

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
from spikelet.train.recipe import Int8Recipe, load_recipe


def started(model_dir: Path, start: str) -> Package:
    """The package that a recipe starts from: a shipped model's, or a file beside the recipe.

    Raises:
        PackageError: it is missing or damaged.
    """
    shipped = models_dir() / start / f"{start}.spk"
    return Package.load(shipped if shipped.is_file() else model_dir / start)


def module_dir(model_dir: Path) -> Path:
    """The folder of a recipe's model.py: its own, or that of the shipped model it starts from.

    Raises:
        RecipeError: there is no model.py beside the recipe, and the recipe cannot be read.
    """
    if (model_dir / "model.py").is_file():
        return model_dir
    recipe = load_recipe(model_dir)
    start = recipe.train.start if isinstance(recipe, Int8Recipe) else None
    shipped = models_dir() / start if start else model_dir
    return shipped if (shipped / "model.py").is_file() else model_dir


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

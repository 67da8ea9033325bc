"""The package of a trained spiking network: its graph, figures of all test samples."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from spikelet.frontends.spiking.encoders import Poisson
from spikelet.frontends.spiking.framework import versions
from spikelet.frontends.spiking.network import Linear, SpikingNetwork
from spikelet.frontends.spiking.package import Plan, make_package
from spikelet.graph import Array, Graph, tune
from spikelet.graph.ops.delayed_dense import kept_bytes
from spikelet.package import Package
from spikelet.seeds import epoch_seed, sample_seeds
from spikelet.train import Part
from spikelet.train.data import DataSet
from spikelet.train.evaluate import CHUNK
from spikelet.train.int8 import spread
from spikelet.train.origin import origin
from spikelet.train.recipe import RecipeError, SpikingRecipe
from spikelet.train.spiking.executor import Executor
from spikelet.train.spiking.samples import Coding

TYPICAL = 256  # training samples that tell how often a layer's inputs spike and change


def plan_of(executor: Executor, recipe: SpikingRecipe, coding: Coding) -> Plan:
    """The graph that an executor with a grid was trained as."""
    grid = executor.grid
    assert grid is not None
    return Plan(
        replace(executor.network(), name=recipe.name),
        coding.steps,
        coding.encoder,
        executor.readout,
        fraction_bits=grid.fraction_bits,
        units=grid.units,
    )


def check_delay_bytes(network: SpikingNetwork, recipe: SpikingRecipe) -> None:
    """Refuse delays a synapse that may keep more RAM than the recipe allows, before the training.

    Raises:
        RecipeError: says how much they may keep.
    """
    how, least = recipe.delays, 0
    for layer in network.layers:
        if isinstance(layer, Linear) and layer.delays is not None:
            longest = how.most if "delay" in recipe.spiking.learn else int(layer.delays.max())
            least += min(kept_bytes(layer.weight.shape, longest, way) for way in (False, True))
    if how.ram_bytes is not None and least > how.ram_bytes:
        raise RecipeError(
            f"recipe {recipe.name}: delays a synapse may keep {least} bytes of RAM, and ram_bytes "
            f"of [delays] is {how.ram_bytes}",
            next="give them more, a smaller `most`, or one delay a neuron",
        )


def package(
    plan: Plan,
    before: Array,
    recipe: SpikingRecipe,
    data: DataSet,
    coding: Coding,
    part: Part,
) -> Package:
    """A package.

    Args:
        plan: of the graph.
        before: (M,) what the network predicted for the test part before it was rounded.
        recipe: of it.
        data: what it was trained on.
        coding: of its samples.
        part: of the data, that is tested.
    """
    y, codes = data.y_test, coding.codes(data, data.x_test)
    chosen = spread(y, recipe.package.vectors)
    vectors = coding.in_graph(codes[chosen])
    made = make_package(plan, "narrow", vectors, y[chosen], recipe.seed, versions())
    few = coding.codes(data, data.x_train[:TYPICAL])
    typical = {"x": coding.in_graph(few)}
    if isinstance(coding.encoder, Poisson):
        typical["seed"] = sample_seeds(epoch_seed(recipe.seed, 0), len(few))
    graph = tune(made.graph, typical, recipe.delays.ram_bytes)
    correct = int((predicted(graph, coding, codes, recipe.seed) == y).sum())
    correct_float, n = int((before == y).sum()), len(y)
    manifest: dict[str, Any] = {
        **made.manifest,
        "layouts": {"x": plan.layout()},
        **origin(recipe, data, part),
        "vectors": f"{len(chosen)} of {n} test samples, spread over the classes",
        "float": "the network as it stood before it was trained with rounding"
        if recipe.ridge is None
        else "the network in real numbers, with the readout that was fitted to the integers",
        "float_accuracy": correct_float / n,
        "integer_accuracy": correct / n,
        "drift": (correct - correct_float) / n,
    }
    kept = {k: v for k, v in made.vectors.items() if not k.startswith("golden.")}
    return Package(graph, kept, manifest).with_golden()


def predicted(graph: Graph, coding: Coding, codes: Array, seed: int) -> Array:
    """What golden predicts for samples of u8 codes in the data set's shape, (N,) int64."""
    seeds = sample_seeds(seed, len(codes))
    labels = []
    for at in range(0, len(codes), CHUNK):
        part = slice(at, at + CHUNK)
        inputs = {"x": coding.in_graph(codes[part])}
        if isinstance(coding.encoder, Poisson):
            inputs["seed"] = seeds[part]
        outputs = graph.run(inputs).outputs
        labels.append(graph.predicted(outputs[graph.outputs[0]]))
    return np.concatenate(labels)

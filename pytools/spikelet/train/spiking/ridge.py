"""Reservoirs: nothing is trained but the readout, by ridge regression on states of the graph.

The network is as model.py made it. Its scores are sums over time of layers of weights; what these
read, the integers of the graph, is averaged over time, and the weights follow in closed form, are
rounded, and the biases follow again. The penalty is chosen by cross-validation over the groups of
the training part.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from spikelet.frontends.spiking.lower import Lowered
from spikelet.frontends.spiking.network import Add, Linear, Seeded, SpikingNetwork
from spikelet.frontends.spiking.package import CHUNK_ELEMENTS, Plan
from spikelet.frontends.spiking.rounding import WEIGHT_MAX
from spikelet.frontends.spiking.simulate import Simulation
from spikelet.graph import Array
from spikelet.seeds import sample_seeds
from spikelet.train.data import DataSet
from spikelet.train.evaluate import CHUNK
from spikelet.train.recipe import RecipeError, SpikingRecipe
from spikelet.train.spiking.samples import Coding

FOLDS = 5


def fitted(
    network: SpikingNetwork, recipe: SpikingRecipe, data: DataSet, coding: Coding
) -> tuple[Plan, Array]:
    """The plan of the network with a fitted readout, and what it predicts in real numbers, (M,).

    Args:
        network: with a readout of any weights.
        recipe: with `[ridge]`.
        data: its test part is predicted.
        coding: of its samples.

    Raises:
        RecipeError: the output is not made of layers of weights alone.
    """
    assert recipe.ridge is not None
    network = dataclasses.replace(network, name=recipe.name)
    parts = readout_layers(network, recipe.name)
    plan = Plan(network, coding.steps, coding.encoder, "sum")
    lowered, labels = plan.build(narrow=True), data.y_train
    x = means(lowered, parts, coding, coding.codes(data, data.x_train), recipe.seed)
    units = np.concatenate(
        [np.full(part.weight.shape[1], lowered.held[part.inputs[0]].unit[0]) for part in parts]
    )
    groups = np.arange(len(labels)) if data.groups is None else data.groups
    groups = np.unique(groups, return_inverse=True)[1] % FOLDS

    def right(penalty: float) -> int:
        """Samples of all folds that the others' readout tells."""
        count = 0
        for fold in range(FOLDS):
            mine = groups == fold
            there = x[~mine], labels[~mine], data.classes
            if mine.any() and (~mine).any():
                weight, bias = rounded(*ridge(*there, penalty), x[~mine], units)
                guessed = (x[mine] @ weight.T + bias).argmax(axis=1)
                count += int((guessed == labels[mine]).sum())
        return count

    penalty = max(sorted(recipe.ridge.penalties, reverse=True), key=right)
    real = ridge(x, labels, data.classes, penalty)
    made = with_readout(network, parts, *rounded(*real, x, units))
    before = predicted(with_readout(network, parts, *real), recipe, data, coding)
    step = {part.name: np.array([grid_step(real[0], units)]) for part in parts}
    return dataclasses.replace(plan, network=made, units=step), before


def readout_layers(network: SpikingNetwork, name: str) -> list[Linear]:
    """The layers of weights that a network's output is the sum of; raises RecipeError."""

    def reads(layer: Linear) -> bool:
        """Whether it reads what another layer writes."""
        return layer.inputs[0] not in network.inputs

    def parts(layer_name: str) -> list[Linear]:
        layer = network.layer(layer_name)
        if isinstance(layer, Add):
            return [part for source in layer.inputs for part in parts(source)]
        trained = isinstance(layer, Linear) and not isinstance(layer, Seeded)
        if isinstance(layer, Linear) and trained and layer.delays is None and reads(layer):
            return [layer]
        raise RecipeError(
            f"recipe {name}: [ridge] fits layers of weights, and the output is made of "
            f"{layer.called} ({type(layer).__name__})",
            "neurons at the end, delays, or a readout of the input itself",
            "end build() with linear() on what the reservoir writes, or the sum of several",
        )

    return parts(network.output)


def means(
    lowered: Lowered, parts: Sequence[Linear], coding: Coding, codes: Array, seed: int
) -> Array:
    """What the readout reads, averaged over time, (N, F) real values.

    Args:
        lowered: the network's graph.
        parts: its readout; F is all that they read.
        coding: of the samples.
        codes: (N, ..., C) u8.
        seed: of random encoders.
    """
    graph, made = lowered.graph, []
    at_once = max(1, CHUNK_ELEMENTS // (graph.steps * sum(t.size for t in graph.tensors.values())))
    seeds = sample_seeds(seed, len(codes))
    seeded = any(tensor.name == "seed" for tensor in graph.inputs)
    for at in range(0, len(codes), at_once):
        inputs = {"x": coding.in_graph(codes[at : at + at_once])}
        if seeded:
            inputs["seed"] = seeds[at : at + at_once]
        trace = graph.run(inputs, trace=True).trace
        read = [lowered.held[part.inputs[0]] for part in parts]
        real = [
            (trace[held.name].mean(axis=0) - held.zero) * float(held.unit[0]) for held in read
        ]  # fmt: skip
        made.append(np.concatenate([each.reshape(len(each), -1) for each in real], axis=1))
    return np.concatenate(made)


def ridge(x: Array, labels: Array, classes: int, penalty: float) -> tuple[Array, Array]:
    """Weights (C, F) and biases (C,) of least squares on classes, 1 or -1.

    Args:
        x: (N, F).
        labels: (N,).
        classes: C.
        penalty: of squared weights, in mean variances of x.
    """
    middle, wanted = x.mean(axis=0), 2.0 * np.eye(classes)[labels] - 1
    centred = x - middle
    square = centred.T @ centred
    limit = penalty * max(float(np.trace(square)) / len(square), 1e-12)
    level = wanted.mean(axis=0)
    weight = np.linalg.solve(square + limit * np.eye(len(square)), centred.T @ (wanted - level)).T
    return weight, level - weight @ middle


def grid_step(weight: Array, units: Array) -> float:
    """Real value of one unit of the sums: the largest weight has 127; see `rounded`."""
    return float(np.abs(weight * units).max()) / WEIGHT_MAX or 1.0


def rounded(weight: Array, bias: Array, x: Array, units: Array) -> tuple[Array, Array]:
    """Weights (C, F) on one grid of 127 steps, and biases with which mean scores stay the same.

    Args:
        weight: (C, F).
        bias: (C,).
        x: (N, F), what it was fitted to.
        units: (F,), real value of one code of what is read.
    """
    step = grid_step(weight, units)
    coarse = np.round(weight * units / step) * step / units
    return coarse, bias + (weight - coarse) @ x.mean(axis=0)


def with_readout(
    network: SpikingNetwork, parts: Sequence[Linear], weight: Array, bias: Array
) -> SpikingNetwork:
    """The network with these weights (C, F) in the layers of its readout, in their order."""
    made, at = dict[str, Linear](), 0
    for part in parts:
        end = at + part.weight.shape[1]
        own = bias if not at else None
        made[part.name] = dataclasses.replace(part, weight=weight[:, at:end], bias=own)
        at = end
    layers = tuple(made.get(layer.name, layer) for layer in network.layers)
    return dataclasses.replace(network, layers=layers)


def predicted(
    network: SpikingNetwork, recipe: SpikingRecipe, data: DataSet, coding: Coding
) -> Array:
    """What a network predicts for the test part in real numbers, (M,)."""
    (name,) = network.inputs
    codes = coding.codes(data, data.x_test)
    seeds, labels = sample_seeds(recipe.seed, len(codes)), []
    for at in range(0, len(codes), CHUNK):
        part = codes[at : at + CHUNK]
        given = coding.inputs(torch.from_numpy(part), seeds[at : at + CHUNK])
        inputs = coding.real(given.double()).numpy()
        simulation = Simulation(network, len(part))
        scores = np.zeros(())
        for t in range(coding.steps):
            scores = scores + simulation.step({name: inputs[t % len(inputs)]})[network.output]
        labels.append(scores.argmax(axis=1))
    return np.concatenate(labels)

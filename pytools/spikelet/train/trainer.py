"""The training loop: a float phase, a quantisation-aware phase, export, a package."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from spikelet.frontends.snntorch.exporter import chain_plan
from spikelet.frontends.snntorch.layers import refuse, stages
from spikelet.frontends.spiking.encoders import Poisson, encode
from spikelet.frontends.spiking.package import Plan, agreement
from spikelet.graph import Array, Graph, tune
from spikelet.package import Package
from spikelet.seeds import epoch_seed, sample_seeds
from spikelet.train import EpochProgress, Part
from spikelet.train.data import DataSet
from spikelet.train.epochs import Epochs, ScoredBatch
from spikelet.train.origin import origin
from spikelet.train.recipe import Recipe, load_model
from spikelet.train.spiking_net import SpikingNet, deployed_parameters
from spikelet.train.start import module_dir

# The layers are small and stepped one by one: a second thread only waits, and on a busy machine
# training takes five times as long.
THREADS = 1
FILL = "fill_uninitialized_memory"  # with deterministic kernels; a tenth of a training's time
# How many spikes are held in float32 at once, over samples, steps and inputs.
CODED_ELEMENTS = 1 << 25

TYPICAL = 256  # training samples that tell how often a layer's inputs spike and change


def train(
    model_dir: Path,
    recipe: Recipe,
    progress: Callable[[EpochProgress], None] | None,
    part: Part,
) -> Package:
    """See `spikelet.train.train`."""
    build = load_model(module_dir(model_dir), recipe.build or "build")
    data = recipe.data.load().flat()
    if part == "validation":
        data = data.held_out()
    with reproducible(recipe.seed):
        net = SpikingNet(
            build(data.x_train.shape[1], data.classes),
            recipe.network.steps,
            recipe.network.readout,
        )
        check_layers(net, recipe, data)
        _Fit(net, recipe, data, progress).run()
        return _package(net, recipe, data, part)


def check_layers(net: SpikingNet, recipe: Recipe, data: DataSet) -> None:
    """Make sure, before the first epoch, that the layers fit each other and the data.

    Raises:
        ExportError: names the layer, what is wrong with it and what is supported.
    """
    chain = stages(net.layers, recipe.network.readout)
    first, last = chain[0], chain[-1]
    inputs = int(data.x_train.shape[1])
    if first.linear.in_features != inputs:
        raise refuse(
            first.path,
            first.linear,
            f"it takes {first.linear.in_features} inputs, but a sample of {data.name} has {inputs}",
            "use the argument `inputs` of build()",
        )
    if last.linear.out_features < data.classes:
        raise refuse(
            last.path,
            last.linear,
            f"it has {last.linear.out_features} outputs, but {data.name} has {data.classes} "
            "classes",
            "use the argument `classes` of build()",
        )


@contextmanager
def reproducible(seed: int) -> Iterator[None]:
    """All generators seeded, deterministic kernels, a fixed number of threads; then as before."""
    threads = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    debug = torch.utils.deterministic
    fill = getattr(debug, FILL)
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        torch.set_num_threads(THREADS)
        torch.use_deterministic_algorithms(True)
        setattr(debug, FILL, False)  # of memory that nothing reads before it is written
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(deterministic)
            setattr(debug, FILL, fill)
            random.setstate(python)
            np.random.set_state(numpy)


class _Fit:
    """One training."""

    def __init__(
        self,
        net: SpikingNet,
        recipe: Recipe,
        data: DataSet,
        progress: Callable[[EpochProgress], None] | None,
    ) -> None:
        self.net = net
        self.recipe = recipe
        self.data = data
        self.encoder = recipe.network.encoding()
        self.labels = torch.from_numpy(data.y_train)
        total = recipe.train.epochs + recipe.quantise.epochs
        self.epochs = Epochs(len(self.labels), total, progress)

    def run(self) -> None:
        """Both phases; the network is left in evaluation mode."""
        train, quantise = self.recipe.train, self.recipe.quantise
        self._phase("float", train.epochs, train.learning_rate)
        self._phase("quantised", quantise.epochs, quantise.learning_rate)
        self.net.eval()

    def _phase(self, phase: str, epochs: int, learning_rate: float) -> None:
        if not epochs:
            return
        self.net.train()
        optimiser = torch.optim.Adam(
            self.net.parameters(), learning_rate, weight_decay=self.recipe.train.weight_decay
        )
        batches = -(-len(self.labels) // self.recipe.train.batch)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * batches)
        scored = partial(self._score_batches, phase == "quantised")
        self.epochs.run(phase, epochs, optimiser, schedule, scored)

    def _score_batches(self, rounded: bool) -> Iterator[ScoredBatch]:
        """The batches of an epoch, `rounded` as the graph of its beginning rounds."""
        graph = to_graph(self.net, self.recipe) if rounded else None
        for x, labels in self._batches():
            tensors = {} if graph is None else deployed_parameters(self.net, self.encoder, graph)
            scores: Tensor = functional_call(self.net, tensors, (x,))
            yield scores, cross_entropy(scores * self.recipe.train.score_scale, labels), labels

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The training part in a new order, coded; random spikes are drawn anew each epoch."""
        batch, n = self.recipe.train.batch, len(self.labels)
        order = torch.randperm(n)
        chunk = batch * max(1, _chunk(self.recipe, self.data.x_train) // batch)
        for start in range(0, n, chunk):
            chosen = order[start : start + chunk]
            seeds = None
            if isinstance(self.encoder, Poisson):
                seed = epoch_seed(self.recipe.seed, self.epochs.epoch)
                seeds = sample_seeds(seed, n)[chosen.numpy()]
            codes = self.data.x_train[chosen.numpy()]
            x = encode(codes, self.encoder, self.recipe.network.steps, seeds)
            for i in range(0, len(chosen), batch):
                yield x[..., i : i + batch, :], self.labels[chosen[i : i + batch]]


def _chunk(recipe: Recipe, x: Array) -> int:
    """Samples that are coded at once."""
    return max(1, CODED_ELEMENTS // (recipe.network.steps * int(x.shape[1])))


def to_plan(net: SpikingNet, recipe: Recipe) -> Plan:
    """How a network as it stands becomes a graph."""
    network = recipe.network
    return chain_plan(net.layers, network.steps, network.encoding(), network.readout, recipe.name)


def to_graph(net: SpikingNet, recipe: Recipe) -> Graph:
    """The integer graph of a network as it stands; trained with the rounding of its state."""
    return to_plan(net, recipe).build(narrow=True).graph


def float_labels(net: SpikingNet, recipe: Recipe, inputs: dict[str, Array]) -> Array:
    """What the float network predicts, (N,) int64, for the graph's inputs."""
    x, seeds = inputs["x"], inputs.get("seed")
    labels: list[Array] = []
    size = _chunk(recipe, x)
    for start in range(0, len(x), size):
        part = slice(start, start + size)
        coded = encode(
            x[part],
            recipe.network.encoding(),
            recipe.network.steps,
            None if seeds is None else seeds[part],
        )
        with torch.no_grad():
            labels.append(np.argmax(net(coded).numpy(), axis=1))
    return np.concatenate(labels)


def _inputs(graph: Graph, x: Array, seed: int) -> dict[str, Array]:
    inputs = {"x": x}
    if any(t.name == "seed" for t in graph.inputs):
        inputs["seed"] = sample_seeds(seed, len(x))
    return inputs


def _package(net: SpikingNet, recipe: Recipe, data: DataSet, part: Part) -> Package:
    graph = to_graph(net, recipe)
    graph = tune(graph, _inputs(graph, data.x_train[:TYPICAL], epoch_seed(recipe.seed, 0)))
    inputs = _inputs(graph, data.x_test, recipe.seed)
    package = Package(graph, {**inputs, "y": data.y_test}).with_golden()
    labels = data.y_test
    correct_float = int((float_labels(net, recipe, inputs) == labels).sum())
    correct = int((package.vectors["golden.label"][:, 0] == labels).sum())
    n = len(labels)
    manifest: dict[str, Any] = {
        **origin(recipe, data, part, "snntorch"),
        "image_shape": list(data.shape),
        "float_accuracy": correct_float / n,
        "integer_accuracy": correct / n,
        "drift": (correct - correct_float) / n,
        **agreement(to_plan(net, recipe), data.x_test, recipe.seed),
    }
    return Package(graph, package.vectors, manifest)

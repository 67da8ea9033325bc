"""Training of an int8 network: float, then with the rounding of its graph; export, a package."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softmax

from spikelet.frontends.manifest import drift_rows, layouts
from spikelet.frontends.torch import from_torch
from spikelet.graph import Array, Graph
from spikelet.graph.simplify import simplify
from spikelet.graph.widths import EFFORT
from spikelet.metrics import Scores, scores
from spikelet.package import Package
from spikelet.quantise import Code, Network, Options, Quantised, fold, quantise
from spikelet.train import EpochProgress, Part, teacher
from spikelet.train.batches import Batches, channels_first, copies_of, fast
from spikelet.train.data import DataSet
from spikelet.train.draft import drafted
from spikelet.train.epochs import Epochs, ScoredBatch, cosine
from spikelet.train.evaluate import CHUNK, codes, predict
from spikelet.train.origin import origin
from spikelet.train.qat import Grids, QatNetwork
from spikelet.train.recipe import Int8Recipe, RecipeError, load_int8_model
from spikelet.train.start import augment_of, module_dir, module_files, start_from, started
from spikelet.train.teacher import Lesson, Watched
from spikelet.train.trainer import reproducible
from spikelet.train.widths import WidthsNetwork, drawn

TEMPERATURE = 2.0  # of scores that are compared with the float network's
TRIAL = 16  # samples that show before training whether the graph can carry the network
DRIFT_SAMPLES = 200  # that the signal-to-noise ratio of each layer is measured on


def train(
    model_dir: Path,
    recipe: Int8Recipe,
    progress: Callable[[EpochProgress], None] | None,
    part: Part,
) -> Package:
    """See `spikelet.train.train`."""
    code_dir = module_dir(model_dir)
    model = load_int8_model(code_dir, recipe.build or "build")
    whole = recipe.data.whole()
    if part == "validation":
        whole = whole.held_out()
    whole, held = _part(whole, recipe.data.held_out)
    data = recipe.data.sized(whole)
    with reproducible(recipe.seed):
        net = model.build(data.shape, data.classes)
        augment = augment_of(model_dir, recipe, model.augment)
        batches = Batches(recipe, augment, data, copies_of(recipe, whole))
        fit = Fit(recipe, batches, progress)
        check_scores(code_dir, net, batches.x[:2], data.classes)
        check_layers(net, recipe, data, batches.x)
        if recipe.teacher is not None:
            source = module_files(model_dir)[-1].read_text() if batches.augment else ""
            fit.lesson = teacher.lesson(recipe, batches, part, source, progress)
        if recipe.train.start is not None:
            network = to_network(net, recipe, data, batches.x)
            network = start_from(network, started(model_dir, recipe.train.start).graph)
            feeds = calibration(network, recipe, batches.x)
            net = QatNetwork(network, feeds, recipe.quantise.method)
            net.rounding = False
        else:
            rate = recipe.train.learning_rate
            fit.phase("float", net, net.parameters(), recipe.train.epochs, rate)
            network = to_network(net, recipe, data, batches.x)
            feeds = calibration(network, recipe, batches.x)
        before = float_labels(net, data, data.x_test)
        fit.example = net
        if recipe.quantise.widths:
            nets = WidthsNetwork(
                network, feeds, recipe.quantise.method, recipe.quantise.widths,
                normalise=bool(recipe.quantise.normalise),
            )  # fmt: skip
            groups = nets.parameter_groups(recipe.train.weight_decay)
            rate = recipe.quantise.learning_rate
            fit.phase("quantised", nets, groups, recipe.quantise.epochs, rate)
            made = package_of_widths(nets.to_graph(recipe.name), recipe, data, part, before)
            if recipe.quantise.draft is None or held is None:
                return made
            return with_draft(made, recipe.quantise.draft, data, recipe.data.sized(held))
        options = Options(bits=recipe.quantise.bits or 8, odd=recipe.quantise.odd is not False)
        bits = options.bits_of(fold(network))
        if recipe.quantise.epochs:
            qat = _with_rounding(network, feeds, recipe, bits)
            rate = recipe.quantise.learning_rate
            groups = qat.parameter_groups(recipe.train.weight_decay)
            fit.phase("quantised", qat, groups, recipe.quantise.epochs, rate)
            quantised = quantise(qat.to_network(), None)
        else:
            quantised = quantise(network, feeds, options)
        return package(quantised, recipe, data, part, before)


def _part(data: DataSet, share: float | None) -> tuple[DataSet, DataSet | None]:
    """The data less a share of its training part, and that share as a test part."""
    if share is None:
        return data, None
    held = data.held_out(share)
    x, y = held.x_train, held.y_train
    return dataclasses.replace(data, x_train=x, y_train=y, groups=held.groups), held


def check_scores(code_dir: Path, net: nn.Module, x: Tensor, classes: int) -> None:
    """Make sure, before the first epoch, that the module takes a sample and gives scores."""
    net.eval()
    path = code_dir / "model.py"
    try:
        with torch.no_grad():
            logits = net(x)
    except Exception as e:
        raise RecipeError(
            f"model {path}: forward() failed on {tuple(x.shape)}, {type(e).__name__}: {e}",
            "a layer that does not fit the one before it, or the data",
            "the data's shape is the first argument of build(), channels last",
        ) from e
    shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if shape != (len(x), classes):
        raise RecipeError(
            f"model {path}: forward() gives {shape} for {tuple(x.shape)}, expected "
            f"{(len(x), classes)}",
            next="return scores, one a class",
        )


def check_layers(net: nn.Module, recipe: Int8Recipe, data: DataSet, x: Tensor) -> None:
    """Make sure, before the first epoch, that the graph can carry the network; random draws stay.

    Raises:
        UsageError: names the layer and what would be supported.
    """
    with torch.random.fork_rng(devices=[]):
        network = to_network(net, recipe, data, x)
        quantise(network, {"x": np.ascontiguousarray(x[:TRIAL].numpy())}, Options(equalise=False))


class Fit:
    """Both phases of one training.

    Attributes:
        lesson: of a teacher, or None.
        example: the network whose scores are to be met while rounding, or None.
    """

    def __init__(
        self,
        recipe: Int8Recipe,
        batches: Batches,
        progress: Callable[[EpochProgress], None] | None,
    ) -> None:
        self.recipe, self.batches = recipe, batches
        self.lesson: Lesson | None = None
        self.example: nn.Module | None = None
        self.turn = 0  # epochs of the phase that are done
        total = recipe.train.epochs + recipe.quantise.epochs
        self.epochs = Epochs(len(batches.labels), total, progress)

    def phase(
        self, name: str, net: nn.Module, parameters: Any, epochs: int, learning_rate: float
    ) -> None:
        """Train; the network is left in evaluation mode."""
        for parameter in net.parameters():
            parameter.data = fast(parameter.data)
        net.train()
        decay = self.recipe.train.weight_decay
        optimiser = torch.optim.AdamW(parameters, learning_rate, weight_decay=decay)
        schedule = cosine(optimiser, self.batches.steps(epochs))
        self.turn = 0
        pupils = list(net.nets) if isinstance(net, WidthsNetwork) else [net]
        self.epochs.run(name, epochs, optimiser, schedule, partial(self._score_batches, pupils))
        net.eval()

    def _score_batches(self, pupils: Sequence[nn.Module]) -> Iterator[ScoredBatch]:
        train, holding = self.recipe.train, self.recipe.quantise.hold_epochs or 0
        if self.epochs.total - self.epochs.epoch < holding:
            for net in pupils:
                if isinstance(net, QatNetwork):
                    net.hold()
        watched = {net: Watched(net) for net in pupils} if self.lesson else {}
        copy = self.batches.copy(self.turn)
        for x, targets, labels, chosen in self.batches.epoch(self.turn):
            given = self.lesson.given(x, copy, chosen) if self.lesson else None
            every, losses = [], []
            for net in drawn(pupils, self.recipe.quantise.narrowest):
                seen = watched[net](x) if watched else (net(x), x)
                loss = cross_entropy(
                    seen[0],
                    targets,
                    self.batches.weights,
                    label_smoothing=train.label_smoothing,
                )
                if self.lesson and given:
                    loss = self.lesson.loss(seen, given, loss)
                loss = self._distilled(x, seen[0], loss)
                every.append(seen[0])
                losses.append(loss)
            yield every[0], torch.stack(losses).mean(), labels
        self.turn += 1

    def _distilled(self, x: Tensor, scores: Tensor, loss: Tensor) -> Tensor:
        """The loss with the share of it that the recipe gives to the example's scores."""
        share = self.recipe.quantise.distil
        if self.example is None or share is None:
            return loss
        with torch.no_grad():
            wanted = softmax(self.example(x) / TEMPERATURE, dim=1)
        apart = cross_entropy(scores / TEMPERATURE, wanted)
        return (1 - share) * loss + share * TEMPERATURE * apart


def float_labels(net: nn.Module, data: DataSet, x: Array) -> Array:
    """What a float network predicts for samples, (N,) int64."""
    net.eval()
    labels: list[Array] = []
    with torch.no_grad():
        for start in range(0, len(x), CHUNK):
            part = torch.from_numpy(channels_first(data, x[start : start + CHUNK]))
            labels.append(net(fast(part)).argmax(dim=1).numpy())
    return np.concatenate(labels)


def to_network(net: nn.Module, recipe: Int8Recipe, data: DataSet, x: Tensor) -> Network:
    """The module as a float network; u8 samples get the code that holds each of them exactly."""
    network = from_torch(net, x[:1], recipe.name)
    if data.x_train.dtype == np.uint8 and data.scale.size == 1 and data.offset.size == 1:
        scale = np.float32(data.scale.reshape(()))
        zero = -128 - float(data.offset.reshape(())) / float(scale)
        if abs(zero - round(zero)) < 1e-3 and -128 <= round(zero) <= 127:
            network.codes["x"] = Code(np.asarray(scale), round(zero))
    return network


def calibration(network: Network, recipe: Int8Recipe, x: Tensor) -> dict[str, Array]:
    """Training samples that ranges are found on."""
    chosen = torch.randperm(len(x))[: recipe.quantise.samples]
    return {"x": np.ascontiguousarray(x[chosen].numpy())}


def _with_rounding(
    network: Network, feeds: Mapping[str, Array], recipe: Int8Recipe, bits: Mapping[str, int]
) -> QatNetwork:
    """The network as the recipe's `[quantise]` trains it."""
    how = recipe.quantise
    grids = Grids(
        bits,
        odd=how.odd is not False,
        normalise=bool(how.normalise),
        sine=how.signs == "sine",
    )
    qat = QatNetwork(network, feeds, how.method, grids)
    if how.normalise:
        qat.match(torch.from_numpy(feeds["x"]))
    return qat


def package(
    quantised: Quantised, recipe: Int8Recipe, data: DataSet, part: Part, before: Array
) -> Package:
    """The package: figures of all test samples, vectors of some.

    Args:
        quantised: the network.
        recipe: of it.
        data: what it was trained on.
        part: of the data, that is tested.
        before: (M,) what the float network predicted for the test part.
    """
    graph = quantised.graph
    after = predict(graph, data, data.x_test)
    y = data.y_test
    figures = {"float": scores(before, y, data.classes), "integer": scores(after, y, data.classes)}
    chosen = spread(y, recipe.package.vectors)
    vectors = {graph.inputs[0].name: codes(graph, data, data.x_test[chosen]), "y": y[chosen]}
    feeds = {"x": channels_first(data, data.x_test[chosen[:DRIFT_SAMPLES]])}
    manifest = {
        **_of_training(recipe, data, part, figures),
        "vectors": f"{len(chosen)} of {len(y)} test samples, spread over the classes",
        "layouts": layouts(quantised),
        "layer_drift": drift_rows(quantised, feeds),
    }
    less = simplify(graph)
    return Package(less.graph, vectors, {**manifest, **less.manifest_entry()}).with_golden()


def _of_training(
    recipe: Int8Recipe, data: DataSet, part: Part, figures: Mapping[str, Scores]
) -> dict[str, Any]:
    """What a manifest says of a recipe, its data and its figures."""
    return {
        **origin(recipe, data, part),
        "float": "the network as it stood before it was trained with rounding",
        "float_accuracy": figures["float"].accuracy,
        "integer_accuracy": figures["integer"].accuracy,
        "drift": figures["integer"].accuracy - figures["float"].accuracy,
        **_by_class(figures),
    }


def package_of_widths(
    graph: Graph, recipe: Int8Recipe, data: DataSet, part: Part, before: Array
) -> Package:
    """The package of a network at several widths; its vectors take them in turn."""
    y = data.y_test
    widths = sorted(next(t.choices for t in graph.inputs if t.name == EFFORT), reverse=True)
    after = {w: predict(graph, data, data.x_test, {EFFORT: w}) for w in widths}
    figures = {"float": scores(before, y, data.classes)}
    figures |= {"integer": scores(after[widths[0]], y, data.classes)}
    chosen = spread(y, recipe.package.vectors)
    efforts = np.resize(np.array(widths, np.uint8), (len(chosen), 1))
    vectors = {
        graph.inputs[0].name: codes(graph, data, data.x_test[chosen]),
        EFFORT: efforts,
        "y": y[chosen],
    }
    manifest = {
        **_of_training(recipe, data, part, figures),
        "accuracy_by_bits": {str(w): float((after[w] == y).mean()) for w in widths},
        "vectors": f"{len(chosen)} of {len(y)} test samples, at the widths in turn",
    }
    return Package(graph, vectors, manifest).with_golden()


def with_draft(package: Package, gain: float, data: DataSet, held: DataSet) -> Package:
    """The package with 1 bit first and 8 where that is not sure; tested on the test part."""
    name = package.graph.inputs[0].name
    made = drafted(package, {name: codes(package.graph, held, held.x_test)}, held.y_test, gain)
    after = predict(made.graph, data, data.x_test)
    accuracy = float((after == data.y_test).mean())
    drift = accuracy - package.manifest["float_accuracy"]
    gone = ("macro_f1", "recall")
    kept = {key: value for key, value in made.manifest.items() if key not in gone}
    figures = {"integer_accuracy": accuracy, "drift": drift}
    return Package(made.graph, made.vectors, {**kept, **figures})


def _by_class(figures: Mapping[str, Scores]) -> dict[str, Any]:
    return {
        "macro_f1": {k: round(v.macro_f1, 6) for k, v in figures.items()},
        "recall": {k: [round(r, 6) for r in v.recall] for k, v in figures.items()},
    }


def spread(labels: Array, count: int) -> Array:
    """Indices of `count` samples in ascending order: as many of each class as there are, evenly."""
    if count >= len(labels):
        return np.arange(len(labels))
    order = np.argsort(labels, kind="stable")  # every k-th of the samples sorted by class
    chosen: Array = order[np.arange(count) * len(labels) // count]
    return np.sort(chosen)

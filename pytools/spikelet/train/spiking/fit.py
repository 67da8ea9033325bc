"""The training of a spiking network of any shape: its phases, and the package of what it becomes.

Pretraining without time and conversion, surrogate gradients in real numbers, then in the integers
of the graph; each phase is a section of recipe.toml.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_

from spikelet.frontends.spiking.encoders import Poisson
from spikelet.frontends.spiking.lower import Readout, readout_of
from spikelet.frontends.spiking.network import SpikingNetwork
from spikelet.frontends.spiking.program import READ_SAMPLES, read
from spikelet.graph import Array
from spikelet.package import Package
from spikelet.seeds import epoch_seed, sample_seeds
from spikelet.train import EpochProgress, Part, teacher
from spikelet.train.batches import Batches, copies_of
from spikelet.train.data import DataSet
from spikelet.train.deform import deform
from spikelet.train.epochs import Epochs, ScoredBatch
from spikelet.train.recipe import (
    Augment,
    CoarseSection,
    RecipeError,
    SpikingModel,
    SpikingRecipe,
    load_spiking_model,
)
from spikelet.train.spiking import conversion, ridge, rounding
from spikelet.train.spiking.executor import Executor
from spikelet.train.spiking.neurons import Slope
from spikelet.train.spiking.package import check_delay_bytes, package, plan_of
from spikelet.train.spiking.samples import Coding, summed
from spikelet.train.spiking.teaching import Teaching
from spikelet.train.start import augment_of, module_dir, module_files
from spikelet.train.trainer import reproducible

AT_ONCE = 250  # samples that are executed together without a gradient
BALANCED = 1000  # samples that thresholds are balanced on
LARGEST_GRADIENT = 1.0  # its norm
SPREAD = 0.75  # of the float epochs, in which delays are not whole steps
PRUNED = 0.5  # of the float epochs, in which ever fewer delays are kept


def train(
    model_dir: Path,
    recipe: SpikingRecipe,
    progress: Callable[[EpochProgress], None] | None,
    part: Part,
) -> Package:
    """See `spikelet.train.train`."""
    whole = recipe.data.whole()
    if part == "validation":
        whole = whole.held_out()
    data = recipe.data.sized(whole)
    coding = Coding.of(data, recipe.spiking)
    with reproducible(recipe.seed):
        code_dir = module_dir(model_dir)
        model = load_spiking_model(code_dir, recipe.build or "build")
        network, readout = built(code_dir, model, recipe, data, coding)
        if recipe.ridge is not None:
            if readout != "sum":
                raise RecipeError(
                    f"recipe {recipe.name}: [ridge] with a readout of {readout}",
                    next="end build() with linear(), whose sums are added up over time",
                )
            plan, labels = ridge.fitted(network, recipe, data, coding)
            return package(plan, labels, recipe, data, coding, part)
        fit = _Fit(network, readout, recipe, data, coding, progress)
        fit.augment = augment_of(model_dir, recipe, model.augment)
        fit.copies = copies_of(recipe, whole)
        if recipe.teacher is not None:
            batches = Batches(recipe, fit.augment, data, fit.copies)
            source = module_files(model_dir)[-1].read_text() if fit.augment else ""
            lesson = teacher.lesson(recipe, batches, part, source, progress)
            fit.teaching = Teaching(lesson, data, coding)
        fit.run()
        plan = plan_of(fit.executor, recipe, coding)
        return package(plan, fit.float_labels, recipe, data, coding, part)


def built(
    model_dir: Path, model: SpikingModel, recipe: SpikingRecipe, data: DataSet, coding: Coding
) -> tuple[SpikingNetwork, Readout]:
    """The network of model.py and its readout.

    Raises:
        RecipeError: what `build` returned does not fit the data.
        ImportRefused: a program that cannot be read.
    """
    path = model_dir / "model.py"
    made = model.build(coding.shape, data.classes)
    if isinstance(made, SpikingNetwork):
        network, readout = made, readout_of(made)
    else:
        codes = coding.codes(data, data.x_train[:READ_SAMPLES])
        samples = np.ascontiguousarray(coding.for_author(codes))
        if coding.framed:
            samples = np.moveaxis(samples, 1, 0)
        found = read(made, samples, coding.steps, recipe.name, per_step=coding.framed)
        network, readout = found.network, found.readout
    (shape,) = network.inputs.values()
    if tuple(shape) != coding.shape:
        raise RecipeError(
            f"model {path}: build returned a network for {tuple(shape)}, a step of {data.name} "
            f"sees {coding.shape}",
            next="use the argument `shape` of build()",
        )
    return network, recipe.spiking.readout or readout


def kept_share(final: float, done: float) -> float:
    """Share of the delays that are kept when a part of the pruning is done, 0 to 1: cubic.

    After Zhu, Gupta, "To prune, or not to prune", 2017: many go early, while what is left of the
    training can make good what they were worth, and few late.
    """
    return final + (1 - final) * (1 - done) ** 3


class _Fit:
    """One training.

    Attributes:
        executor: the network; at the end it has a grid.
        augment: of model.py, see `SpikingModel`.
        copies: (copies, N, H, W, C) u8 codes that epochs take in turn, or None.
        teaching: by a teacher, or None.
        float_labels: (M,) what it predicted for the test part before it was rounded.
    """

    def __init__(
        self,
        network: SpikingNetwork,
        readout: Readout,
        recipe: SpikingRecipe,
        data: DataSet,
        coding: Coding,
        progress: Callable[[EpochProgress], None] | None,
    ) -> None:
        self.recipe, self.data, self.coding = recipe, data, coding
        how = recipe.spiking
        self.executor = Executor(
            network,
            coding.steps,
            readout,
            learn=how.learn,
            batch_norm=how.batch_norm,
            slope=Slope(how.surrogate, how.slope),
        )
        if how.loop_gradient is not None:
            self.executor.loop_gradient = how.loop_gradient
        for delays in self.executor.delays().values():
            delays.most = float(recipe.delays.most)
        self.codes = torch.from_numpy(coding.codes(data, data.x_train))
        self.labels = torch.from_numpy(data.y_train)
        self.augment: Augment | None = None
        self.copies: Array | None = None
        self.teaching: Teaching | None = None
        self.float_labels: Array = np.zeros(0)
        self.levels: int | None = None
        first = [phase.epochs for phase in (recipe.pretrain, recipe.coarse) if phase]
        total = sum(first) + recipe.train.epochs + recipe.quantise.epochs
        self.epochs = Epochs(len(self.labels), total, progress)

    def run(self) -> None:
        """All phases; the executor is left in evaluation mode, with a grid."""
        recipe, executor = self.recipe, self.executor
        self._check()
        if (pretrain := recipe.pretrain) is not None:
            conversion.check(executor.source)
            rates = partial(conversion.scores, executor, levels=pretrain.levels)
            self._phase("pretrain", pretrain.epochs, pretrain.learning_rate, rates)
            given = (self._inputs(part) for part in torch.split(self.codes[:BALANCED], AT_ONCE))
            conversion.convert(executor, given, pretrain.percentile, pretrain.half)
        if recipe.coarse is not None:
            self._in_long_steps(recipe.coarse)
        self._phase("float", recipe.train.epochs, recipe.train.learning_rate, executor)
        self._settle()
        self.float_labels = self._predicted()
        executor.fold()
        executor.grid = rounding.choose(
            executor.network(),
            self.coding.steps,
            self.coding.encoder,
            executor.readout,
            recipe.quantise.bits,
        )
        self._phase("quantised", recipe.quantise.epochs, recipe.quantise.learning_rate, executor)
        executor.eval()

    def _in_long_steps(self, how: CoarseSection) -> None:
        """The phase in which a step is as long as several."""
        coding, codes = self.coding, self.codes
        self.coding, self.codes = coding.coarse(how.factor), summed(codes, how.factor)
        self.executor.coarsen(how.factor)
        self._phase("coarse", how.epochs, how.learning_rate, self.executor)
        self.executor.coarsen(1)
        self.coding, self.codes = coding, codes

    def _check(self) -> None:
        """Make sure, before the first epoch, that the graph holds the network; draws stay."""
        how = self.recipe.quantise
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            executor = self.executor
            check_delay_bytes(executor.network(), self.recipe)
            rounding.choose(
                executor.network(), executor.steps, self.coding.encoder, executor.readout, how.bits
            )
            scores = executor.eval()(self._inputs(self.codes[:2], sample_seeds(0, 2)))
        if scores.shape[1] < self.data.classes:
            raise RecipeError(
                f"recipe {self.recipe.name}: the network has {scores.shape[1]} outputs, but "
                f"{self.data.name} has {self.data.classes} classes",
                next="use the argument `classes` of build()",
            )

    def _phase(
        self, name: str, epochs: int, rate: float, scores: Callable[[Tensor], Tensor]
    ) -> None:
        if not epochs:
            return
        self.executor.train()
        optimiser = torch.optim.AdamW(self._groups(rate), rate)
        batches = epochs * -(-len(self.labels) // self.recipe.train.batch)
        warm = max(1, batches // 20)
        rising = torch.optim.lr_scheduler.LinearLR(optimiser, 0.1, total_iters=warm)
        falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, batches - warm))
        schedule = torch.optim.lr_scheduler.SequentialLR(optimiser, [rising, falling], [warm])
        begun = self.epochs.epoch
        scored = partial(self._score_batches, name, epochs, begun, scores)
        self.epochs.run(name, epochs, optimiser, schedule, scored, self._clip)
        self.executor.eval()

    def _clip(self) -> None:
        clip_grad_norm_(self.executor.parameters(), LARGEST_GRADIENT)

    def _groups(self, rate: float) -> list[dict[str, Any]]:
        """Parameters: weights decay, what neurons and delays learn does not."""
        executor = self.executor
        neurons = [p for part in executor.neuron_parts().values() for p in part.parameters()]
        delays = [times.steps for times in executor.delays().values()]
        apart = {id(p) for p in (*neurons, *delays)}
        weights = [p for p in executor.parameters() if id(p) not in apart]
        decay = self.recipe.train.weight_decay
        groups: list[dict[str, Any]] = [
            {"params": weights, "weight_decay": decay},
            {"params": neurons, "weight_decay": 0.0},
            {"params": delays, "weight_decay": 0.0, "lr": self.recipe.delays.learning_rate},
        ]
        return [group for group in groups if group["params"]]

    def _score_batches(
        self, phase: str, epochs: int, begun: int, scores: Callable[[Tensor], Tensor]
    ) -> Iterator[ScoredBatch]:
        how, executor = self.recipe.train, self.executor
        if phase == "float":
            self._narrow((self.epochs.epoch - begun - 1) / epochs)
        copy = (self.epochs.epoch - begun - 1) % (1 if self.copies is None else len(self.copies))
        for chosen, codes, x, targets in self._batches(copy):
            made = scores(x)
            scaled = made * how.score_scale
            loss = cross_entropy(scaled, targets, label_smoothing=how.label_smoothing)
            if self.teaching is not None:
                loss = self.teaching.loss(scaled, self.teaching.answers(codes, copy, chosen), loss)
            if how.rate is not None and phase != "pretrain":
                above = [(rate - how.rate).clamp(min=0) ** 2 for rate in executor.rates.values()]
                loss = loss + how.rate_weight * cast(Tensor, sum(above))
            yield made, loss, self.labels[chosen]

    def _narrow(self, done: float) -> None:
        """Delays for a part of the float epochs that is done: ever narrower, then whole steps."""
        how = self.recipe.delays
        if "delay" not in self.recipe.spiking.learn:
            return
        self._keep(min(done / PRUNED, 1.0))
        if done >= SPREAD:
            self._settle()
        else:
            share = done / SPREAD
            self.executor.width = how.width * (how.narrow / how.width) ** share

    def _settle(self) -> None:
        """Delays are whole steps from now on, and only those that are kept."""
        self._keep(1.0)
        self.executor.width = 0.0

    def _keep(self, done: float) -> None:
        """Prune delays as far as is due when a part of the pruning is done."""
        final = self.recipe.delays.kept
        if final is None:
            return
        for delays in self.executor.delays().values():
            delays.keep(kept_share(final, done))

    def _batches(self, copy: int) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """The training part in a new order, deformed, augmented.

        Which samples, their codes, inputs, targets.
        """
        order = torch.randperm(len(self.labels))
        seeds = sample_seeds(epoch_seed(self.recipe.seed, self.epochs.epoch), len(order))
        for chosen in torch.split(order, self.recipe.train.batch):
            codes, targets = self.codes[chosen], self.labels[chosen]
            if self.copies is not None:
                codes = torch.from_numpy(self.copies[copy][chosen.numpy()])
            elif self.recipe.deform is not None:
                image = codes.movedim(-1, 1).float()
                codes = deform(image, self.recipe.deform).round().movedim(1, -1)
            if self.augment is not None:
                codes, targets = self.coding.augmented(codes, targets, self.augment)
            yield chosen, codes, self._inputs(codes, seeds[chosen.numpy()]), targets

    def _inputs(self, codes: Tensor, seeds: Array | None = None) -> Tensor:
        """What the executor takes: real values, with a grid codes."""
        drawn = seeds if isinstance(self.coding.encoder, Poisson) else None
        x = self.coding.inputs(codes, drawn)
        return self.coding.real(x) if self.executor.grid is None else x

    def _predicted(self) -> Array:
        """What the network predicts for the test part, (M,) int64."""
        codes = torch.from_numpy(self.coding.codes(self.data, self.data.x_test))
        seeds = sample_seeds(self.recipe.seed, len(codes))
        labels: list[Array] = []
        self.executor.eval()
        with torch.no_grad():
            for at in range(0, len(codes), AT_ONCE):
                part = slice(at, at + AT_ONCE)
                x = self._inputs(codes[part], seeds[part])
                labels.append(self.executor(x).argmax(dim=1).numpy())
        return np.concatenate(labels)

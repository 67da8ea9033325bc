"""Distillation: a network of few bits, or of spikes, learns from a wide float network, too.

From its scores (Hinton et al., "Distilling the knowledge in a neural network", 2015), and from
which samples it holds to be alike: the normalised Gram matrices of what the last layers read
(direction matching, Qin et al., "BiBERT: Accurate fully binarized BERT", ICLR 2022).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax

from spikelet.graph import Array
from spikelet.paths import cache_dir
from spikelet.train import EpochProgress, Part
from spikelet.train.batches import Batches, fast
from spikelet.train.epochs import Epochs, ScoredBatch, cosine
from spikelet.train.evaluate import CHUNK
from spikelet.train.qat import QatNetwork
from spikelet.train.recipe import (
    Int8Recipe,
    Int8TrainSection,
    RecipeError,
    SpikingRecipe,
    SpikingTrainSection,
    TeacherSection,
)

# Of a batch: scores (N, classes), and what the last layer with weights reads, (N, ...).
Seen = tuple[Tensor, Tensor]


def build(shape: tuple[int, ...], classes: int, channels: int) -> nn.Sequential:
    """The teacher of images (H, W, C) or signals (L, C): convolutions over 3, some at stride 2.

    Raises:
        RecipeError: the samples are neither, or have less than eight pixels or samples to a side.
    """
    if len(shape) not in (2, 3) or min(shape[:-1]) < 8:
        raise RecipeError(
            f"a teacher for samples of shape {shape}",
            "[teacher] is for images (H, W, C) and signals (L, C) of at least 8 to a side",
            "leave [teacher] out",
        )
    conv: Any = nn.Conv2d if len(shape) == 3 else nn.Conv1d
    norm: Any = nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d
    pool: Any = nn.AdaptiveAvgPool2d(2) if len(shape) == 3 else nn.AdaptiveAvgPool1d(4)

    def block(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
        return [conv(inputs, outputs, 3, stride, 1, bias=False), norm(outputs), nn.ReLU()]

    c = channels
    return nn.Sequential(
        *block(shape[-1], c, 1), *block(c, c, 2), *block(c, 2 * c, 1), *block(2 * c, 2 * c, 2),
        *block(2 * c, 2 * c, 1), pool, nn.Flatten(), nn.Dropout(0.3), nn.Linear(8 * c, classes),
    )  # fmt: skip


class Watched:
    """A network, and what its last layer with weights reads: a module, or one that rounds."""

    def __init__(self, net: nn.Module) -> None:
        self.net = net
        self.read: Tensor | None = None
        if isinstance(net, QatNetwork):
            weighted = [node for node in net.network.nodes if node.inputs[1:2] and
                        node.inputs[1] in net.weights]  # fmt: skip
            self.last = weighted[-1].inputs[0]
        else:
            layers = [m for m in net.modules() if isinstance(m, nn.Linear | nn.Conv1d | nn.Conv2d)]
            layers[-1].register_forward_pre_hook(self._keep)

    def _keep(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.read = inputs[0]

    def __call__(self, x: Tensor) -> Seen:
        """Of a batch (N, *shape)."""
        if isinstance(self.net, QatNetwork):
            tensors = self.net.tensors(x)
            return tensors[self.net.network.outputs[0]], tensors[self.last]
        scores = self.net(x)
        assert self.read is not None  # the last layer has been executed
        return scores, self.read


def gram(features: Tensor) -> Tensor:
    """(N, N) of features (N, ...): how alike the samples are, of norm 1."""
    flat = features.flatten(1)
    product = flat @ flat.T
    alike: Tensor = product / product.norm().clamp(min=1e-12)
    return alike


class Lesson:
    """What a pupil loses beside its teacher.

    Args:
        teacher: trained.
        how: the recipe's section.
        scores: (copies, N, classes), what the teacher says to each copy of each sample; None where
            it is asked again for every batch.
    """

    def __init__(
        self, teacher: nn.Module, how: TeacherSection, scores: Tensor | None = None
    ) -> None:
        self.teacher, self.how, self.scores = Watched(teacher.eval()), how, scores

    def given(self, x: Tensor, copy: int, chosen: Tensor) -> Seen:
        """What the teacher makes of a batch x, which is samples `chosen` (N,) of a copy."""
        if self.scores is not None:
            return self.scores[copy, chosen], x
        with torch.no_grad():
            return self.teacher(x)

    def loss(self, seen: Seen, given: Seen, of_labels: Tensor) -> Tensor:
        """Of the pupil's scores and features; `of_labels` is its loss without a teacher."""
        t, share = self.how.temperature, self.how.share
        apart = kl_div(
            log_softmax(seen[0] / t, dim=1), softmax(given[0] / t, dim=1), reduction="batchmean"
        )
        loss = (1 - share) * of_labels + share * t * t * apart
        if self.how.gram:
            loss = loss + self.how.gram * (gram(seen[1]) - gram(given[1])).norm()
        return loss


def lesson(
    recipe: Int8Recipe | SpikingRecipe,
    batches: Batches,
    part: Part,
    source: str,
    progress: Callable[[EpochProgress], None] | None,
) -> Lesson:
    """Of the teacher that a recipe asks for, trained or as it was kept; random draws stay.

    Args:
        recipe: with a section `[teacher]`.
        batches: what it is trained on.
        part: of the data, that is tested.
        source: of the batches' augmentation; the teacher is kept by it, too.
        progress: told after each of its epochs, which are counted for themselves.

    Raises:
        RecipeError: there is no teacher for samples of that shape.
    """
    how, train = recipe.teacher, recipe.train
    if how is None:
        raise ValueError(f"recipe {recipe.name} has no [teacher]")
    facts = {  # nothing of the pupil, nor of how it is taught
        **recipe.model_dump(include={"data", "deform"}, exclude_none=True),
        "teacher": how.model_dump(include={"channels", "epochs", "learning_rate", "seed"}),
        "train": train.model_dump(include={"batch", "weight_decay", "label_smoothing"}),
        "weights": batches.weights.tolist(),
        "part": part,
        "torch": torch.__version__,
        "augment": source,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(how.seed)
        net = build(batches.data.shape, batches.data.classes, how.channels)

        def trained() -> dict[str, Tensor]:
            _train(net, how, train, batches, progress)
            return net.state_dict()

        net.load_state_dict(_kept(facts, "", trained))
    for parameter in net.parameters():  # in one order, whether it was trained or kept
        parameter.data = fast(parameter.data)
    copies = batches.copies
    if copies is None or batches.augment is not None or how.gram:
        return Lesson(net, how)
    scores = _kept(facts, ".scores", lambda: {"scores": _answers(net, batches, copies)})
    return Lesson(net, how, scores["scores"])


def _train(
    net: nn.Module,
    how: TeacherSection,
    train: Int8TrainSection | SpikingTrainSection,
    batches: Batches,
    progress: Callable[[EpochProgress], None] | None,
) -> None:
    """Train a teacher; it is left in evaluation mode."""
    for parameter in net.parameters():
        parameter.data = fast(parameter.data)
    net.train()
    decay = train.weight_decay
    optimiser = torch.optim.AdamW(net.parameters(), how.learning_rate, weight_decay=decay)
    schedule = cosine(optimiser, batches.steps(how.epochs))
    epochs = Epochs(len(batches.labels), how.epochs, progress)

    def scored() -> Iterator[ScoredBatch]:
        for x, targets, labels, _ in batches.epoch(epochs.epoch - 1):
            scores = net(x)
            smooth = train.label_smoothing
            loss = cross_entropy(scores, targets, batches.weights, label_smoothing=smooth)
            yield scores, loss, labels

    epochs.run("teacher", how.epochs, optimiser, schedule, scored)
    net.eval()


def _answers(net: nn.Module, batches: Batches, copies: Array) -> Tensor:
    """What a teacher says to copies (copies, N, ...) of the samples, (copies, N, classes)."""
    net.eval()
    with torch.no_grad():
        return torch.stack([
            torch.cat([net(batches.real(copy[at : at + CHUNK])) for at in
                       range(0, len(copy), CHUNK)])
            for copy in copies
        ])  # fmt: skip


def _kept(facts: object, kind: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """What was made when all facts were the same, or make and keep it."""
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    path = cache_dir() / "teachers" / f"{key[:32]}{kind}.pt"
    if path.is_file():
        found: dict[str, Tensor] = torch.load(path, weights_only=True)
        return found
    made = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = path.with_suffix(f".{os.getpid()}")  # another training may keep the same one
    torch.save(made, whole)
    whole.replace(path)
    return made

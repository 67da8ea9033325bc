"""Distillation: a network of few bits, or of spikes, learns from a wide float network, too.

From its scores (Hinton et al., "Distilling the knowledge in a neural network", 2015), and from
which samples it holds to be alike: the normalised Gram matrices of what the last layers read
(direction matching, Qin et al., "BiBERT: Accurate fully binarized BERT", ICLR 2022).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax, softmax

from spikelet.paths import cache_dir
from spikelet.train.qat import QatNetwork
from spikelet.train.recipe import RecipeError, TeacherSection

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


def kept(net: nn.Module, facts: object, train: Callable[[], None]) -> None:
    """Give a teacher the weights that it had when all facts were the same, or train and keep it."""

    def trained() -> dict[str, Tensor]:
        train()
        return net.state_dict()

    net.load_state_dict(_kept(facts, "", trained))


def kept_scores(facts: object, ask: Callable[[], Tensor]) -> Tensor:
    """What a teacher said when all facts were the same, or ask it and keep that."""
    return _kept(facts, ".scores", lambda: {"scores": ask()})["scores"]


def _kept(facts: object, kind: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
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

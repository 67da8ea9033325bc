"""The training part in batches, as a network in real numbers gets it: deformed, augmented."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from spikelet.graph import Array
from spikelet.train.copies import drawn
from spikelet.train.data import DataSet
from spikelet.train.deform import deform
from spikelet.train.recipe import Augment, Int8Recipe, SpikingRecipe

# Of a batch: inputs (N, C, ...), targets for the loss, labels (N,), which samples (N,).
Batch = tuple[Tensor, Tensor, Tensor, Tensor]


class Batches:
    """What a recipe's network, or its teacher, is trained on.

    Args:
        recipe: its sections `[data]`, `[deform]` and `[train]`.
        augment: of a batch, see `spikelet.train.recipe.Int8Model`, or None.
        data: the data.
        copies: (copies, N, H, W, C) u8 codes that epochs take in turn, see `copies_of`, or None.

    Attributes:
        x: the training part (N, C, ...), real values.
        labels: (N,) int64.
        weights: (classes,) of the loss.
    """

    def __init__(
        self,
        recipe: Int8Recipe | SpikingRecipe,
        augment: Augment | None,
        data: DataSet,
        copies: Array | None,
    ) -> None:
        self.data, self.copies, self.batch = data, copies, recipe.train.batch
        self.deform, self.augment = recipe.deform, augment
        self.x = fast(torch.from_numpy(channels_first(data, data.x_train)))
        self.labels = torch.from_numpy(data.y_train)
        power = recipe.train.class_weights if isinstance(recipe, Int8Recipe) else 0.0
        counts = np.maximum(np.bincount(data.y_train, minlength=data.classes), 1)
        weights = counts.astype(np.float64) ** -power
        weights /= weights[data.y_train].mean()
        self.weights = torch.from_numpy(weights.astype(np.float32))

    def steps(self, epochs: int) -> int:
        """Batches of so many epochs."""
        return epochs * -(-len(self.labels) // self.batch)

    def copy(self, turn: int) -> int:
        """Which copy of the samples an epoch takes: its turn counts from 0."""
        return turn % (1 if self.copies is None else len(self.copies))

    def real(self, codes: Array) -> Tensor:
        """What a module gets for samples (N, ..., C)."""
        return fast(torch.from_numpy(channels_first(self.data, codes)))

    def epoch(self, turn: int) -> Iterator[Batch]:
        """All samples in a new order."""
        order = torch.randperm(len(self.labels))
        for chosen in torch.split(order, self.batch):
            labels = self.labels[chosen]
            targets = labels
            if self.copies is not None:
                x = self.real(self.copies[self.copy(turn)][chosen.numpy()])
            elif self.deform is not None:
                x = deform(self.x[chosen], self.deform)
            else:
                x = self.x[chosen]
            if self.augment is not None:
                x, targets = self.augment(x, labels)
            yield fast(x), targets, labels, chosen


def copies_of(recipe: Int8Recipe | SpikingRecipe, whole: DataSet) -> Array | None:
    """The copies (copies, N, H, W, C), u8 codes, that a recipe asks for."""
    if recipe.deform is None or not recipe.deform.copies:
        return None
    return drawn(whole, recipe.data, recipe.deform)


def channels_first(data: DataSet, x: Array) -> Array:
    """What a module gets for samples (N, ..., C): real values (N, C, ...), float32."""
    real: Array = np.ascontiguousarray(np.moveaxis(data.real(x), -1, 1), np.float32)
    return real


def fast(x: Tensor) -> Tensor:
    """Images in the memory order that convolutions on a CPU are quickest in."""
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x

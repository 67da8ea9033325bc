"""The epochs of a training: steps over batches, and what is told of each epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from spikelet.train import EpochProgress

WARM_UP = 0.05  # of the steps, in which the rate rises

# Of a batch: its scores (N, classes), its mean loss (), and the labels (N,) that it is counted by.
ScoredBatch = tuple[Tensor, Tensor, Tensor]


@dataclass
class Epochs:
    """The epochs of one training, counted over all its phases.

    Attributes:
        samples: of an epoch.
        total: epochs of all phases.
        progress: told after each epoch.
        epoch: the present one, from 1.
    """

    samples: int
    total: int
    progress: Callable[[EpochProgress], None] | None
    epoch: int = 0

    def run(
        self,
        phase: str,
        epochs: int,
        optimiser: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
        batches: Callable[[], Iterable[ScoredBatch]],
        before_step: Callable[[], None] | None = None,
    ) -> None:
        """One phase.

        Args:
            phase: its name.
            epochs: of it.
            optimiser: makes a step after each batch.
            schedule: of the learning rate, by batch.
            batches: those of an epoch; each is scored after the step of the one before.
            before_step: called when a batch's gradients are there.
        """
        for _ in range(epochs):
            self.epoch += 1
            losses, correct = 0.0, 0
            for scores, loss, labels in batches():
                optimiser.zero_grad()
                torch.autograd.backward(loss)
                if before_step is not None:
                    before_step()
                optimiser.step()
                schedule.step()
                losses += float(loss.detach()) * len(labels)
                correct += int((scores.argmax(dim=1) == labels).sum())
            if self.progress is not None:
                n = self.samples
                self.progress(EpochProgress(phase, self.epoch, self.total, losses / n, correct / n))


def cosine(optimiser: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LambdaLR:
    """A learning rate that rises in the first of so many steps, then falls to 0."""
    warm_up = max(1, int(WARM_UP * steps))

    def rate(step: int) -> float:
        if step < warm_up:
            return (step + 1) / warm_up
        return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))

    return torch.optim.lr_scheduler.LambdaLR(optimiser, rate)

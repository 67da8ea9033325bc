"""The teacher of a spiking recipe: a float network without time, see `spikelet.train.teacher`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from spikelet.train import EpochProgress, Part, teacher
from spikelet.train.data import DataSet
from spikelet.train.int8 import Fit
from spikelet.train.recipe import Augment, Int8Model, Int8Recipe, SpikingRecipe, TeacherSection
from spikelet.train.spiking.samples import CURRENTS, Coding


class Teaching:
    """What a spiking network loses beside its teacher, which sees the same samples at once.

    Args:
        net: trained.
        how: the recipe's section.
        data: of the samples.
        coding: of their codes.
    """

    def __init__(
        self, net: torch.nn.Module, how: TeacherSection, data: DataSet, coding: Coding
    ) -> None:
        self.lesson = teacher.Lesson(net, how)
        self.data, self.coding = data, coding

    def answers(self, codes: Tensor) -> Tensor:
        """Its scores (N, classes) of samples' codes (N, ..., C)."""
        encoder = self.coding.encoder
        if isinstance(encoder, CURRENTS):
            real = (codes.float() - encoder.zero_point) * encoder.scale
        else:
            real = torch.from_numpy(self.data.real(codes.numpy())).float()
        return self.lesson.given(real.movedim(-1, 1), 0, codes[:0])[0]

    def loss(self, scores: Tensor, answers: Tensor, of_labels: Tensor) -> Tensor:
        """Of the pupil's scores; `of_labels` is its loss without a teacher."""
        return self.lesson.loss((scores, scores), (answers, answers), of_labels)


def taught(
    recipe: SpikingRecipe,
    data: DataSet,
    coding: Coding,
    augment: tuple[Path, Augment] | None,
    part: Part,
    progress: Callable[[EpochProgress], None] | None,
) -> Teaching | None:
    """The teacher that a recipe asks for, trained or as it was kept; random draws stay.

    Args:
        recipe: of the pupil.
        data: the training part is what it learns.
        coding: of the pupil's samples.
        augment: of the pupil's batches, and the file that it is in; or None.
        part: of the data, that is tested.
        progress: told after each of the teacher's epochs, which are counted for themselves.

    Raises:
        RecipeError: there is no teacher for samples of that shape.
    """
    how = recipe.teacher
    if how is None:
        return None
    train = recipe.train.model_dump(include={"batch", "weight_decay", "label_smoothing"})
    own = recipe.model_dump(
        include={"name", "seed", "data", "deform", "teacher"}, exclude={"deform": {"copies"}}
    )
    like = Int8Recipe.model_validate(
        {
            **own,
            "train": {**train, "epochs": how.epochs, "learning_rate": how.learning_rate},
            "quantise": {"epochs": 0, "learning_rate": how.learning_rate},
        }
    )
    file, function = augment or (Path(), None)
    model = Int8Model(lambda shape, classes: teacher.build(shape, classes, how.channels), function)
    fit = Fit(like, model, data, data, progress)
    fit.epochs.total = 0
    net, _ = fit.taught(how, file, part)
    return Teaching(net, how, data, coding)

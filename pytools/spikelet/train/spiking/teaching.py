"""What a spiking network learns from a teacher without time, see `spikelet.train.teacher`."""

from __future__ import annotations

import torch
from torch import Tensor

from spikelet.train.data import DataSet
from spikelet.train.spiking.samples import CURRENTS, Coding
from spikelet.train.teacher import Lesson


class Teaching:
    """What a spiking network loses beside its teacher, which sees the same samples at once.

    Args:
        lesson: of the teacher.
        data: of the samples.
        coding: of their codes.
    """

    def __init__(self, lesson: Lesson, data: DataSet, coding: Coding) -> None:
        self.lesson, self.data, self.coding = lesson, data, coding

    def answers(self, codes: Tensor, copy: int, chosen: Tensor) -> Tensor:
        """Its scores (N, classes) of codes (N, ..., C), which are samples `chosen` of a copy."""
        if self.lesson.scores is not None:
            return self.lesson.scores[copy, chosen]
        encoder = self.coding.encoder
        if isinstance(encoder, CURRENTS):
            real = (codes.float() - encoder.zero_point) * encoder.scale
        else:
            real = torch.from_numpy(self.data.real(codes.numpy())).float()
        return self.lesson.given(real.movedim(-1, 1), copy, chosen)[0]

    def loss(self, scores: Tensor, answers: Tensor, of_labels: Tensor) -> Tensor:
        """Of the pupil's scores; `of_labels` is its loss without a teacher."""
        return self.lesson.loss((scores, scores), (answers, answers), of_labels)

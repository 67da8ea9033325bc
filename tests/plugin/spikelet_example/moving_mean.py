"""Class means that follow a drift. C twin: firmware/example/moving_mean.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from spikelet.graph import Array, Graph, Learned, c
from spikelet.graph.c import Fields, Statement
from spikelet.graph.declared import within
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval, Operator
from spikelet.learn.bases.prototypes import LinearScores, flat
from spikelet.learn.choices import Within
from spikelet.learn.learner import Learner, Setting, extend

FRACTION = 7  # bits behind the point of a mean of int8 features
MOST = 128 << FRACTION  # magnitude of a mean
COUNTED = (1 << 31) - 1


@dataclass(kw_only=True)
class MovingMeanLearn(Operator):
    """`mean[y] += (f - mean[y]) / 2^shift`, halves up; the first sample of a class is its mean.

    Reads features (n elements, i8), label, and learned count (C,) i32, mean (C, n) i16 with 7
    fraction bits and bias (C,) i32, which is -|mean|^2 / 2.
    """

    KIND: ClassVar[str] = "example_moving_mean_learn"

    shift: Annotated[int, within(1, 8)]

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        features, label, count, mean, bias = self.ins
        if features.dtype != "i8":
            raise self.error(f"input {features.name} is {features.dtype}, expected i8")
        self.expect_label(label, bounds, count.size)
        self.expect_learned(count, bounds, "i32", (count.size,), (0, COUNTED))
        self.expect_learned(mean, bounds, "i16", (count.size, features.size), (-MOST, MOST))
        self.expect_learned(bias, bounds, "i32", (count.size,))
        return Inferred([])

    def golden(self, env: dict[str, Array], t: int) -> None:
        label, count, mean, bias = (env[name] for name in self.inputs[1:])
        y, x = int(label[0, 0]), flat(env, self.inputs[0])[0] << FRACTION
        old = mean[y].astype(np.int64)
        mean[y] = x if not count[y] else old + ((x - old + (1 << self.shift - 1)) >> self.shift)
        count[y] += count[y] < COUNTED
        bias[y] = -int((mean[y].astype(np.int64) ** 2).sum() >> FRACTION + 1)

    def cost(self) -> Cost:
        return Cost(macs=self.ins[0].size, updates=self.ins[0].size)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("example/moving_mean.h")
        fields: Fields = {"n": em.bounds[self.inputs[0]][0].size, "shift": self.shift}
        config = em.config(self.name, "spk_example_moving_mean", fields)
        return [c.run("spk_example_moving_mean_learn", config, *map(em.tensor, self.inputs))]


@dataclass(kw_only=True)
class MovingMean(Learner):
    """Nearest class mean whose means forget: for features that drift.

    Attributes:
        shift: a sample moves its class's mean by 2^-shift of the way.
    """

    NAME: ClassVar[str] = "example_moving_mean"

    shift: Annotated[int, Within(1, 8)] = 4

    def build(self, backbone: Graph, setting: Setting) -> Graph:
        size, classes, name = backbone.tensors[setting.features].size, setting.classes, self.NAME
        reach = size * (128 * 128 << FRACTION - 1)
        learned = [
            Learned.of(f"{name}.count", "i32", (classes,), low=0, high=COUNTED),
            Learned.of(f"{name}.mean", "i16", (classes, size), low=-MOST, high=MOST),
            Learned.of(f"{name}.bias", "i32", (classes,), low=-reach, high=0),
        ]
        count, mean, bias = (one.tensor.name for one in learned)
        nodes: list[Operator] = [
            LinearScores(name="example_scores", inputs=(setting.features, mean, bias, count)),
            MovingMeanLearn(
                name="example_learn",
                inputs=(setting.features, "label", count, mean, bias),
                shift=self.shift,
            ),
        ]
        return extend(backbone, nodes, learned, ["example_scores"], classes)

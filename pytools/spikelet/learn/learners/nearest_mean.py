"""Nearest class mean: sums and counts, nothing else, so that no order of samples matters.

Source: the baseline of Mensink et al., "Distance-Based Image Classification", TPAMI 2013, one pass
over the samples, without exemplars and without task boundaries. C twin:
firmware/learn/nearest_mean.h.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

import numpy as np

from spikelet.graph import Array, Graph, Learned, c
from spikelet.graph.c import Fields, Statement
from spikelet.graph.declared import one_of
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval, Operator
from spikelet.learn.bases.prototypes import LinearScores, flat, largest
from spikelet.learn.learner import Learner, Setting, extend
from spikelet.learn.numbers.feature import C_TYPES
from spikelet.learn.numbers.fixed import (
    INT16_MAX,
    INT32_MAX,
    add,
    divide,
    isqrt,
    mean,
    saturate,
    shift_round,
)

FRACTION = 4  # bits behind the point of a mean
UNIT = 12  # bits of 1.0 in a mean of length 1
MOST = 1 << 27  # samples of a class, whose remainder with FRACTION more bits fits 32


def most_samples(reach: int) -> int:
    """Samples of a class until a sum of features of magnitude `reach` could overflow."""
    return min(INT32_MAX // reach, MOST)


@dataclass(frozen=True)
class Limits:
    """What sums are proved to hold.

    Attributes:
        samples: of a class, at the most.
        ends: largest weight and bias.
    """

    samples: int
    ends: tuple[int, int]


@dataclass(kw_only=True)
class NearestMeanLearn(Operator):
    """Adds a sample to its class: `sum[y] += f; count[y] += 1`, and the class's weight and bias.

    With Euclid's metric `weight = mean`, `bias = -|mean|^2 / 2`, both with 4 fraction bits; the
    largest score is then the nearest mean. With the cosine, `weight` is the mean of f less the
    features' zero point, scaled to length 4096. A class that has all the samples that its sums
    can hold learns no more of them; they are counted.

    Reads features (n elements, u8, i8, i16 or i32), label, and learned count (C,) i32, sum (C, n)
    i32, weight (C, n) i16, bias (C,) i32 and health (1,) i32: skipped samples.

    Attributes:
        metric: euclid or cosine.
    """

    KIND: ClassVar[str] = "nearest_mean_learn"

    metric: Annotated[str, one_of("euclid", "cosine")] = "euclid"

    facts: Limits = field(init=False, repr=False, compare=False)

    @property
    def _zero(self) -> int:
        """What is taken off a feature."""
        return self.ins[0].zero_point if self.metric == "cosine" else 0

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        reach = largest(self, ins[0], bounds)
        if reach << FRACTION > INT16_MAX:
            raise self.error(f"features of magnitude {reach} have no 16-bit mean")
        limit = most_samples(reach)
        classes, shape = ins[2].size, (ins[2].size, ins[0].size)
        self.expect_label(ins[1], bounds, classes)
        self.expect_learned(ins[2], bounds, "i32", (classes,), (0, limit))
        self.expect_learned(ins[3], bounds, "i32", shape)
        self.expect_learned(ins[6], bounds, "i32", (1,))
        most = []
        for tensor, dtype, size in ((ins[4], "i16", shape), (ins[5], "i32", (classes,))):
            most.append(int(bounds[tensor.name][1].max()))
            self.expect_learned(tensor, bounds, dtype, size, (-most[-1], most[-1]))
        return Inferred([], Limits(limit, (most[0], most[1])))

    def golden(self, env: dict[str, Array], t: int) -> None:
        label, count, total, weight, bias, health = (env[name] for name in self.inputs[1:])
        y = int(label[0, 0])
        if count[y] >= self.facts.samples:
            health[0] = add(health[0], 1)
            return
        count[y] += 1
        total[y] = (total[y].astype(np.int64) + flat(env, self.inputs[0])[0]).astype(np.int32)
        centre = mean(total[y], int(count[y]), FRACTION) - (self._zero << FRACTION)
        wide, deep = self.facts.ends
        if self.metric == "cosine":
            centre = saturate(centre, 16)
            length = max(int(isqrt((centre * centre).sum())), 1)
            weight[y] = divide(centre << UNIT, length)
            offset = -self._zero * int(weight[y].astype(np.int64).sum())
        else:
            weight[y] = np.clip(centre, -wide, wide)
            square = (weight[y].astype(np.int64) ** 2).sum()
            offset = -int(shift_round(square, FRACTION + 1))
        bias[y] = min(max(offset, -deep), deep)

    def cost(self) -> Cost:
        return Cost(macs=self.ins[0].size, updates=2 * self.ins[0].size)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("learn/nearest_mean.h")
        features, label, *learned = map(em.tensor, self.inputs)
        size = em.bounds[self.inputs[0]][0].size
        fields: Fields = {
            "type": C_TYPES[self.ins[0].dtype],
            "n": size,
            "limit": self.facts.samples,
            "cosine": self.metric == "cosine",
            "zero_point": self._zero,
            "wide": self.facts.ends[0],
            "deep": self.facts.ends[1],
        }
        config = em.config(self.name, "spk_nearest_mean", fields)
        return [c.run("spk_nearest_mean_learn", config, features, label, *learned)]


def mean_tensors(
    name: str, classes: int, size: int, reach: int, metric: str = "euclid"
) -> list[Learned]:
    """The learned tensors of class means of n = size features of magnitude `reach`."""
    wide, bias = reach << FRACTION, size * (reach * reach << FRACTION - 1) + 1
    if metric == "cosine":
        wide, bias = 1 << UNIT, size * (reach << UNIT)
    wide, bias = min(wide, INT16_MAX), min(bias, INT32_MAX)  # what needs more is refused by name
    return [
        Learned.of(f"{name}.count", "i32", (classes,), low=0, high=most_samples(reach)),
        Learned.of(f"{name}.sum", "i32", (classes, size)),
        Learned.of(f"{name}.weight", "i16", (classes, size), low=-wide, high=wide),
        Learned.of(f"{name}.bias", "i32", (classes,), low=-bias, high=bias),
        Learned.of(f"{name}.health", "i32", (1,), low=0),
    ]


@dataclass(kw_only=True)
class NearestMean(Learner):
    """Nearest class mean of the features: the baseline that every head must beat.

    Of int8 features it learns 16,777,215 samples a class, then no more.

    Attributes:
        metric: distance to a mean, euclid or cosine.
    """

    NAME: ClassVar[str] = "nearest_mean"
    AFTER: ClassVar[str] = "nearest class mean (Mensink et al., TPAMI 2013)"
    DIFFERS: ClassVar[str] = "the paper's baseline: no metric is learned"

    metric: Literal["euclid", "cosine"] = "euclid"

    def build(self, backbone: Graph, setting: Setting) -> Graph:
        features = backbone.tensors[setting.features]
        low, high = backbone.bounds[setting.features]
        reach = max(int(np.abs(low).max()), int(np.abs(high).max()), 1)
        learned = mean_tensors(self.NAME, setting.classes, features.size, reach, self.metric)
        names = tuple(k.tensor.name for k in learned)
        count, _, weight, bias, _ = names
        scores = f"{self.NAME}_scores"
        nodes: list[Operator] = [
            LinearScores(name=scores, inputs=(setting.features, weight, bias, count)),
            NearestMeanLearn(
                name=f"{self.NAME}_learn",
                inputs=(setting.features, "label", *names),
                metric=self.metric,
            ),
        ]
        return extend(backbone, nodes, learned, [scores], setting.classes)

    def health(self, learned: Mapping[str, Array]) -> dict[str, float]:
        """`skipped` samples of full classes; `classes` that have samples."""
        count = learned[f"{self.NAME}.count"]
        return {
            "skipped": float(learned[f"{self.NAME}.health"][0]),
            "classes": float((count > 0).sum()),
        }

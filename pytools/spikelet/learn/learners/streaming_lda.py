"""Streaming linear discriminant analysis: class means and one covariance, from exact sums.

What is kept are integer sums of features and of their products, so that any order of the samples
ends in the same bits; the classifier is solved from them when it has become stale, and by a
commit. Sources: Hayes and Kanan, "Lifelong Machine Learning with Deep Streaming Linear
Discriminant Analysis", CVPR-W 2020; the shared-covariance case of ProtoCL. C twin:
firmware/learn/gaussian.h.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from spikelet.errors import UsageError
from spikelet.graph import Array, Graph, Learned, Phase, c
from spikelet.graph.c import Expression, Fields, Statement
from spikelet.graph.declared import one_of, within
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval, Operator
from spikelet.learn.bases.gaussian import (
    BIAS,
    DISTANCE,
    MOST,
    REACH,
    WHITE,
    mahalanobis,
    scale,
    solve,
    triangle,
)
from spikelet.learn.bases.prototypes import Distances, LinearScores, flat, largest
from spikelet.learn.choices import Within
from spikelet.learn.learner import Learner, Setting, extend
from spikelet.learn.numbers.feature import C_TYPES
from spikelet.learn.numbers.fixed import INT32_MAX, add

WIDEST = 256  # features
UNIT = 1 << 30  # the largest inverse deviation
FARTHEST = 17  # the largest exponent of the weights
PARTS = (
    *("count", "sum", "moment", "weight", "bias", "exponent"),
    *("centre", "inverse", "factor", "due", "health"),
)


def most_samples(reach: int) -> int:
    """Samples until a sum of products of features of magnitude `reach` could overflow."""
    return min(INT32_MAX // (reach * reach), MOST)


def gaussian_tensors(name: str, classes: int, size: int, reach: int) -> list[Learned]:
    """The learned tensors of a Gaussian for features up to `reach`, in the order of `PARTS`."""
    triangle = (size * (size + 1) // 2,)
    most = most_samples(reach)
    return [
        Learned.of(f"{name}.count", "i32", (classes,), low=0, high=most),
        Learned.of(f"{name}.sum", "i32", (classes, size), low=-most * reach, high=most * reach),
        Learned.of(f"{name}.moment", "i32", triangle),
        Learned.of(f"{name}.weight", "i16", (classes, size)),
        Learned.of(f"{name}.bias", "i32", (classes,), low=-BIAS, high=BIAS),
        Learned.of(f"{name}.exponent", "i32", (1,), low=0, high=FARTHEST),
        Learned.of(f"{name}.centre", "i32", (size,)),
        Learned.of(f"{name}.inverse", "i32", (size,), low=0, high=UNIT),
        Learned.of(f"{name}.factor", "i16", triangle),
        Learned.of(f"{name}.due", "i32", (1,)),
        Learned.of(f"{name}.health", "i32", (2,), low=0),
    ]


@dataclass(kw_only=True)
class Gaussian(Operator):
    """Base of operators that change a learner's Gaussian.

    They read the learned tensors of `PARTS` at the end of their inputs.

    Attributes:
        prior: samples that the assumption of independent features is worth, 4 to 65535.
        refresh: the classifier is stale when there are 2^-refresh more samples, 0 to 16.
        reach: the largest magnitude of a feature.
        dtype: of the features.
    """

    KIND: ClassVar[str] = ""

    prior: Annotated[int, within(4, 65535)]
    refresh: Annotated[int, within(0, 16)]
    reach: Annotated[int, within(1, 65535)]
    dtype: Annotated[str, one_of(*C_TYPES)]

    @property
    def _shape(self) -> tuple[int, int]:
        """Classes and features."""
        classes, size = self.ins[PARTS.index("sum") - len(PARTS)].shape
        return classes, size

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        if not 4 <= self.prior <= 65535 or not 0 <= self.refresh <= 16:
            raise self.error(
                f"prior {self.prior} or refresh {self.refresh} is not in 4..65535, 0..16"
            )
        if not 1 <= self.reach <= REACH or self.dtype not in C_TYPES:
            raise self.error(f"reach {self.reach} of {self.dtype} is not 1 to {REACH}")
        given = self.ins[-len(PARTS) :]
        classes, size = (*given[PARTS.index("sum")].shape, 0)[:2]
        for tensor, own in zip(
            given, gaussian_tensors("own", classes, size, self.reach), strict=True
        ):
            ends = own.interval[0].flat[0], own.interval[1].flat[0]
            self.expect_learned(tensor, bounds, own.tensor.dtype, own.tensor.shape, ends)
        return Inferred([])

    def solve(self, learned: dict[str, Array]) -> None:
        """Classifier, factor and when the next one is due, of the sums."""
        solution = solve(learned["count"], learned["sum"], learned["moment"], self.prior)
        for name in ("weight", "bias", "exponent", "centre", "inverse", "factor"):
            learned[name][...] = getattr(solution, name)
        samples = min(int(learned["count"].astype(np.int64).sum()), MOST)
        learned["due"][0] = samples + (samples >> self.refresh) + 1
        learned["health"][1] = solution.saturations

    def learned_arrays(self, env: dict[str, Array]) -> dict[str, Array]:
        """The learned tensors by the names of `PARTS`."""
        return {p: env[n] for p, n in zip(PARTS, self.inputs[-len(PARTS) :], strict=True)}

    def solve_macs(self) -> int:
        """Multiply-accumulates of one solution."""
        classes, size = self._shape
        pairs = size * (size + 1) // 2
        return size * pairs // 3 + 2 * classes * pairs + classes * (pairs + size)

    def arguments(self, em: Emitter) -> tuple[Expression, Expression, Expression]:
        """The configuration, the learned tensors, the scratch."""
        em.include("learn/gaussian.h")
        classes, size = self._shape
        fields: Fields = {
            "type": C_TYPES[self.dtype],
            "n": size,
            "classes": classes,
            "limit": most_samples(self.reach),
            "prior": self.prior,
            "refresh": self.refresh,
        }
        config = em.config(self.name, "spk_gaussian", fields)
        tensors = tuple(map(em.tensor, self.inputs[-len(PARTS) :]))
        work = c.cast("int32_t *", em.scratch(self.name, 4 * (classes + 2) * size))
        return config, c.compound("const struct spk_gaussian_learned", tensors), work


@dataclass(kw_only=True)
class GaussianLearn(Gaussian):
    """Adds a sample to the sums, and solves the classifier when it is stale.

    That is when 2^-refresh more samples have come than the last one was solved with, or the
    sample's class has 1, 2, 4, 8, ... of them. When there are as many samples as the sums can
    hold, none is learned any more; they are counted.

    Reads features (n elements, u8, i8, i16 or i32), label, and what `Gaussian` does.
    """

    KIND: ClassVar[str] = "gaussian_learn"

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        inferred = super().infer(bounds, steps)
        self.expect_label(ins[1], bounds, self._shape[0])
        reach = largest(self, ins[0], bounds)
        if reach > REACH:
            raise self.error(f"features of magnitude {reach}, expected at most {REACH}")
        if (reach, ins[0].dtype) != (self.reach, self.dtype) or ins[0].size != self._shape[1]:
            raise self.error(
                f"input {ins[0].name} is {ins[0].dtype} {ins[0].shape} up to {reach}, expected "
                f"{self.dtype} ({self._shape[1]},) up to {self.reach}"
            )
        return inferred

    def golden(self, env: dict[str, Array], t: int) -> None:
        learned = self.learned_arrays(env)
        count, health = learned["count"], learned["health"]
        if count.astype(np.int64).sum() >= most_samples(self.reach):
            health[0] = add(health[0], 1)
            return
        y = int(env[self.inputs[1]][0, 0])
        x = flat(env, self.inputs[0])[0].astype(np.int32)
        count[y] += 1
        learned["sum"][y] += x
        learned["moment"] += np.outer(x, x)[triangle(len(x))]
        stale = count.astype(np.int64).sum() >= learned["due"][0]
        if stale or count[y] & (count[y] - 1) == 0:
            self.solve(learned)

    def cost(self) -> Cost:
        size = self.ins[0].size
        return Cost(macs=size * (size + 1) // 2, updates=size)

    def emit(self, em: Emitter) -> list[Statement]:
        config, learned, work = self.arguments(em)
        features, label = map(em.tensor, self.inputs[:2])
        return [c.run("spk_gaussian_learn", config, learned, features, label, work)]


@dataclass(kw_only=True)
class GaussianCommit(Gaussian):
    """Solves the classifier of all samples that were learned. Reads what `Gaussian` does."""

    KIND: ClassVar[str] = "gaussian_commit"

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.COMMIT

    def golden(self, env: dict[str, Array], t: int) -> None:
        self.solve(self.learned_arrays(env))

    def cost(self) -> Cost:
        return Cost(macs=self.solve_macs())

    def emit(self, em: Emitter) -> list[Statement]:
        config, learned, work = self.arguments(em)
        return [c.run("spk_gaussian_solve", config, learned, work)]


@dataclass(kw_only=True)
class MahalanobisDistances(Distances):
    """Squared distances to the means in units of the shared covariance, 8 fraction bits.

    Reads features, scores (C,) i32, and learned exponent, centre, inverse and factor; writes (C,)
    i32.
    """

    KIND: ClassVar[str] = "mahalanobis_distances"

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        size = ins[0].size
        shapes = (("i32", (1,), (0, FARTHEST)), ("i32", (size,), None), ("i32", (size,), (0, UNIT)))
        for tensor, (dtype, shape, ends) in zip(ins[2:5], shapes, strict=True):
            self.expect_learned(tensor, bounds, dtype, shape, ends)
        self.expect_learned(ins[5], bounds, "i16", (size * (size + 1) // 2,))
        return super().infer(bounds, steps)

    def square(self, env: dict[str, Array]) -> Array:
        centre, inverse, factor = (env[name] for name in self.inputs[3:])
        return mahalanobis(flat(env, self.inputs[0]), centre, inverse, factor)

    def scores(self, env: dict[str, Array]) -> Array:
        exponent = int(env[self.inputs[2]][0])
        return scale(super().scores(env), WHITE - DISTANCE - exponent)

    def cost(self) -> Cost:
        return Cost(macs=self.ins[0].size * (self.ins[0].size + 3) // 2)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("learn/gaussian.h")
        features, scores, *learned, to = map(em.tensor, (*self.inputs, self.name))
        size = em.bounds[self.inputs[0]][0].size
        classes = len(em.bounds[self.name][0])
        work = c.cast("int32_t *", em.scratch(self.name, 4 * size))
        given = (features, C_TYPES[self.ins[0].dtype], size, classes, scores)
        return [c.run("spk_mahalanobis", *given, *learned, work, to)]


@dataclass(kw_only=True)
class StreamingLda(Learner):
    """Linear discriminant analysis of the features, from sums: any order of samples, same bits.

    Of int8 features it learns 131,071 samples, then no more. With 64 of them and 10 classes it
    keeps 16.5 KB and works in 3 KB more.

    Attributes:
        prior: samples that the assumption of independent features is worth, 4 to 65535.
        refresh: solve again when 2^-refresh more samples have come, 0 to 16.
    """

    NAME: ClassVar[str] = "streaming_lda"
    AFTER: ClassVar[str] = "streaming LDA (Hayes and Kanan, CVPR-W 2020)"
    DIFFERS: ClassVar[str] = (
        "exact integer sums in place of running means; correlations shrink by `prior`, and the "
        "classifier is solved when stale, not for each prediction"
    )

    prior: Annotated[int, Within(4, 65535)] = 16
    refresh: Annotated[int, Within(0, 16)] = 4

    def build(self, backbone: Graph, setting: Setting) -> Graph:
        features = backbone.tensors[setting.features]
        low, high = backbone.bounds[setting.features]
        reach = max(int(np.abs(low).max()), int(np.abs(high).max()), 1)
        classes, size = setting.classes, features.size
        if size > WIDEST:
            raise UsageError(
                f"learner {self.NAME}: {features.name} has {size} features, at most {WIDEST} go",
                "their covariance would take more memory than a device has",
                "choose a later, narrower tensor, or nearest_mean",
            )
        learned = gaussian_tensors(self.NAME, classes, size, reach)
        names = tuple(k.tensor.name for k in learned)
        of = dict(zip(PARTS, names, strict=True))
        common: dict[str, Any] = {
            "prior": self.prior,
            "refresh": self.refresh,
            "reach": reach,
            "dtype": features.dtype,
        }
        scores = f"{self.NAME}_scores"
        nodes: list[Operator] = [
            LinearScores(
                name=scores, inputs=(setting.features, of["weight"], of["bias"], of["count"])
            ),
            GaussianLearn(
                name=f"{self.NAME}_learn", inputs=(setting.features, "label", *names), **common
            ),
            GaussianCommit(name=f"{self.NAME}_commit", inputs=names, **common),
        ]
        return extend(backbone, nodes, learned, [scores], classes)

    def health(self, learned: Mapping[str, Array]) -> dict[str, float]:
        """`skipped` samples once the sums are full; `saturations` in the last solution."""
        skipped, clipped = (float(v) for v in learned[f"{self.NAME}.health"])
        return {"skipped": skipped, "saturations": clipped}

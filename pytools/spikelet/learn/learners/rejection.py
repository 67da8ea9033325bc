"""Open-set rejection: a device says when an input is of no class that it knows.

On top of the distances of `nearest_mean` or `streaming_lda`. What is compared is, in octaves, the
distance to the nearest class, or its ratio to the distance of the second nearest; against a
threshold a class, which follows the labelled samples of that class as they come. "Unknown" asks
the host for a label. Source of the ratio: Mendes Junior et al., "Nearest neighbors
distance ratio open-set classifier", Machine Learning 2017. C twin: firmware/learn/rejection.h.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np

from spikelet.graph import Array, Graph, Learned, Tensor, c
from spikelet.graph.c import Statement
from spikelet.graph.declared import within
from spikelet.graph.int8 import interval
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval, Operator, Phase
from spikelet.learn.bases.prototypes import EuclideanDistances, after
from spikelet.learn.choices import Within
from spikelet.learn.learner import Learner, Setting
from spikelet.learn.learners.nearest_mean import FRACTION, NearestMean
from spikelet.learn.learners.streaming_lda import MahalanobisDistances, StreamingLda
from spikelet.learn.numbers.fixed import INT32_MAX, ONE, divide, log2, shift_round

MEMORY = 32  # samples that a class's mean and deviation look back
START = 2 * ONE  # mean absolute deviations above the mean, before anything was learned
WIDEST = 64 * ONE
LIMIT = 32 * ONE  # octaves of 32 bits
STEP = ONE // 4  # of the threshold in deviations, when a sample lies above and none should


def octaves(distances: Array, of: Array, ratio: bool) -> Array:
    """What is compared to a threshold, (N,) Q16.

    Args:
        distances: (N, C) int32.
        of: (N,) the classes that it is asked of.
        ratio: less the log2 of the least distance to another class.
    """
    distances = distances.astype(np.int64)
    rows = np.arange(len(distances))
    value = log2(distances[rows, of] + 1)
    if ratio:
        others = distances.copy()
        others[rows, of] = INT32_MAX
        value = value - log2(others.min(axis=1) + 1)
    return value


@dataclass(kw_only=True)
class Rejection(Operator):
    """How far a sample lies above its nearest class's threshold, and whether it does.

    With v as `octaves` gives it for the nearest class c (the first of equals),
    `novelty = v - (mean[c] + round(spread * deviation[c] / 2^16))`, in octaves, Q16. It is unknown
    where that is above 0, and as long as class c has no mean yet.

    Reads distances (C,) i32, and learned mean (C,) i32 Q16, deviation (C,) i32 Q16, seen (C,) i32,
    spread (1,) i32 Q16; writes `name.novelty` (1,) i32 and `name.unknown` (1,) i32.

    Attributes:
        ratio: compare the ratio of two distances.
    """

    KIND: ClassVar[str] = "rejection"

    ratio: bool

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        _check(self, self.ins, bounds)
        novelty, unknown = f"{self.name}.novelty", f"{self.name}.unknown"
        bounds[novelty] = interval((1,), -INT32_MAX - 1, INT32_MAX)
        bounds[unknown] = interval((1,), 0, 1)
        return Inferred([Tensor(novelty, "i32", (1,), scale=1 / ONE), Tensor(unknown, "i32", (1,))])

    def phase(self, ins: list[Phase]) -> Phase:
        return after(ins)

    def golden(self, env: dict[str, Array], t: int) -> None:
        distances, mean, deviation, seen, spread = (env[name] for name in self.inputs)
        best = np.argmin(distances, axis=1)
        limit = mean[best] + _times(deviation[best], spread[0])
        novelty = np.clip(octaves(distances, best, self.ratio) - limit, -INT32_MAX - 1, INT32_MAX)
        env[f"{self.name}.novelty"] = novelty.astype(np.int32)[:, None]
        unknown = (novelty > 0) | (seen[best] == 0)
        env[f"{self.name}.unknown"] = unknown.astype(np.int32)[:, None]

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("learn/rejection.h")
        tensors = [*self.inputs, f"{self.name}.novelty", f"{self.name}.unknown"]
        return [c.run("spk_reject", *map(em.tensor, tensors), self.ins[0].size, self.ratio)]


@dataclass(kw_only=True)
class RejectionLearn(Operator):
    """Moves the threshold of a sample's class; runs before the sample is learned.

    Of a class that has samples: with v as `octaves` gives it for the label's class, n the samples
    of the class that came here, this one counted, and m = min(n, 32):

    - `spread += 2^14 * percent / 100` if v lies above the threshold, else
      `spread -= 2^14 * (100 - percent) / 100`, in 0 to 64; from the third sample of a class on;
    - `d = v - mean; mean += d / m; deviation += (|d| - deviation) / m`, divided to the nearest;
      with n = 1 the mean is v and the deviation 1 octave.

    So `spread`, one number for all classes, becomes the percentile of `(v - mean) / deviation`.

    Reads what `Rejection` does, then label and count (C,) i32, the samples a class has.

    Attributes:
        ratio: as in `Rejection`.
        percent: of the labelled samples that are to lie below the threshold, 50 to 99.
    """

    KIND: ClassVar[str] = "rejection_learn"

    ratio: bool
    percent: Annotated[int, within(50, 99)]

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        if not 50 <= self.percent <= 99:
            raise self.error(f"percent {self.percent} is not in 50..99")
        _check(self, ins[:5], bounds)
        self.expect_label(ins[5], bounds, ins[0].size)
        self.expect_learned(ins[6], bounds, "i32", (ins[0].size,))
        return Inferred([])

    def golden(self, env: dict[str, Array], t: int) -> None:
        distances, mean, deviation, seen, spread, label, count = (env[name] for name in self.inputs)
        y = int(label[0, 0])
        if count[y] <= 0:
            return
        v = int(octaves(distances, np.array([y]), self.ratio)[0])
        apart = v - int(mean[y])
        if seen[y] >= 2:
            above = apart > int(_times(deviation[y], spread[0]))
            moved = int(spread[0]) + (self._up if above else -self._down)
            spread[0] = min(max(moved, 0), WIDEST)
        n = min(int(seen[y]) + 1, MEMORY)
        seen[y] = n
        if n == 1:
            mean[y], deviation[y] = v, ONE
            return
        mean[y] += int(divide(np.array(apart), n))
        deviation[y] += int(divide(np.array(abs(apart) - int(deviation[y])), n))

    @property
    def _up(self) -> int:
        return STEP * self.percent // 100

    @property
    def _down(self) -> int:
        return STEP * (100 - self.percent) // 100

    def cost(self) -> Cost:
        return Cost(updates=3)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("learn/rejection.h")
        numbers = (self.ins[0].size, self.ratio, self._up, self._down)
        return [c.run("spk_reject_learn", *map(em.tensor, self.inputs), *numbers)]


def _check(node: Operator, ins: Sequence[Tensor], bounds: dict[str, Interval]) -> None:
    """Refuse distances, and thresholds of other shapes and ranges."""
    if ins[0].dtype != "i32" or len(ins[0].shape) != 1:
        raise node.error(f"distances are {ins[0].dtype} {ins[0].shape}, expected i32 (C,)")
    node.expect_range(ins[0], bounds, 0, INT32_MAX)
    ranges = ((-LIMIT, LIMIT), (0, 2 * LIMIT), (0, MEMORY), (0, WIDEST))
    shapes = (*[ins[0].shape] * 3, (1,))
    for tensor, shape, ends in zip(ins[1:], shapes, ranges, strict=True):
        node.expect_learned(tensor, bounds, "i32", shape, ends)


def _times(deviation: Array, spread: Array) -> Array:
    """Both Q16, their product Q16."""
    return shift_round(np.asarray(deviation, np.int64) * np.int64(spread), 16)


@dataclass(kw_only=True)
class OpenSet(Learner):
    """Says "unknown" of inputs that fit no class: streaming LDA or nearest mean with thresholds.

    Outputs, beside the scores: `rejection.novelty`, octaves above the threshold, and
    `rejection.unknown`, 1 where a label should be asked for.

    Attributes:
        base: the learner below, with its default options.
        measure: compare a distance, or the ratio of the two least ones.
        percent: of labelled samples that are to be accepted, 50 to 99.
    """

    NAME: ClassVar[str] = "rejection"
    AFTER: ClassVar[str] = (
        "nearest neighbours' distance ratio (Mendes Júnior et al., Machine Learning 2017)"
    )
    DIFFERS: ClassVar[str] = (
        "distances to classes, not to samples; a threshold a class, which follows the labelled "
        "stream"
    )

    base: Literal["streaming_lda", "nearest_mean"] = "streaming_lda"
    measure: Literal["ratio", "distance"] = "ratio"
    percent: Annotated[int, Within(50, 99)] = 95

    def build(self, backbone: Graph, setting: Setting) -> Graph:
        below = self._below().attach(backbone, setting)
        name, base, classes = self.NAME, self.base, setting.classes
        distances = f"{base}_distances"
        scores = (setting.features, below.outputs[0])
        nodes: list[Operator] = []
        if base == "streaming_lda":
            learned = tuple(
                f"{base}.{part}" for part in ("exponent", "centre", "inverse", "factor")
            )
            nodes.append(MahalanobisDistances(name=distances, inputs=(*scores, *learned)))
        else:
            nodes.append(EuclideanDistances(name=distances, inputs=scores, fraction=FRACTION))
        unit = 1 / ONE
        kept = [
            Learned.of(f"{name}.mean", "i32", (classes,), low=-LIMIT, high=LIMIT, scale=unit),
            Learned.of(f"{name}.deviation", "i32", (classes,), low=0, high=2 * LIMIT, scale=unit),
            Learned.of(f"{name}.seen", "i32", (classes,), low=0, high=MEMORY),
            Learned.of(
                f"{name}.spread", "i32", (1,), np.array([START], np.int32),
                low=0, high=WIDEST, scale=unit,
            ),
        ]  # fmt: skip
        names = (distances, *(k.tensor.name for k in kept))
        ratio = self.measure == "ratio"
        nodes.append(Rejection(name=name, inputs=names, ratio=ratio))
        nodes.append(
            RejectionLearn(
                name=f"{name}_learn",
                inputs=(*names, "label", f"{base}.count"),
                ratio=ratio,
                percent=self.percent,
            )
        )
        # Thresholds move before the learner below learns the sample.
        learning = {n.name for n in below.nodes if below.phase(n) >= Phase.LEARN}
        return dataclasses.replace(
            below,
            nodes=[
                *(n for n in below.nodes if n.name not in learning),
                *nodes,
                *(n for n in below.nodes if n.name in learning),
            ],
            learned=[*below.learned, *kept],
            outputs=[*below.outputs, f"{name}.novelty", f"{name}.unknown"],
        )

    def _below(self) -> Learner:
        return StreamingLda() if self.base == "streaming_lda" else NearestMean()

    def health(self, learned: Mapping[str, Array]) -> dict[str, float]:
        """What the learner below says, and the threshold's `spread` in mean deviations."""
        return {
            **self._below().health(learned),
            "spread": float(learned[f"{self.NAME}.spread"][0]) / ONE,
        }

"""Feature translation (FeTrIL): old classes are imitated by moving new features to old means.

While a task lasts, only class sums and a few of its features are kept. A commit then trains a
linear head anew on all classes: of each kept feature, on what is left when its class's mean is
replaced by that of every class that lies nearest to it. Source: Petit et al., "FeTrIL: Feature
Translation for Exemplar-Free Class-Incremental Learning", WACV 2023. Here the head is an int16
one-versus-rest perceptron with a margin, and the nearest class is Euclid's. C twin:
firmware/learn/fetril.h.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import numpy as np

from spikelet.errors import UsageError
from spikelet.graph import Array, Graph, Learned, Phase, Tensor, c
from spikelet.graph.c import Fields, Statement
from spikelet.graph.declared import one_of, within
from spikelet.graph.fixed import mix32, xorshift32
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval, Operator
from spikelet.learn.bases.prototypes import LinearScores, flat, largest
from spikelet.learn.choices import Within
from spikelet.learn.learner import Learner, Setting, extend
from spikelet.learn.learners.nearest_mean import FRACTION, most_samples
from spikelet.learn.numbers.feature import C_TYPES
from spikelet.learn.numbers.fixed import add, mean, saturate, shift_round

REACH = (1 << 11) - 1  # the largest magnitude of a feature: 16 bits hold its mean
SUM = 1 << 30  # what weights may make of any feature, and the largest bias
COLLECTED = ("count", "sum", "rows", "of", "kept", "seen", "random", "health")
HEAD = ("weight", "bias", "known")


def draw(state: Array, n: int) -> int:
    """A number of 0 to n - 1 from the next word of `state` (1,) uint32: its product's high word."""
    state[...] = xorshift32(state)
    return int(state[0]) * n >> 32


@dataclass(kw_only=True)
class FetrilCollect(Operator):
    """Adds a sample to its class's sum, and keeps it with equal chance among those of its task.

    Sample number s of a task, counted from 1, is kept if there is room; else it takes the place
    of row d if d < rows, where d is drawn of 0 to s - 1 (reservoir sampling). A class that has all
    the samples that its sums can hold learns no more; they are counted.

    Reads features (n elements, u8, i8 or i16), label, and learned count (C,) i32, sum (C, n) i32,
    rows (R, n) of the features' type, of (R,) u8 their classes, kept (1,) i32 how many there are,
    seen (1,) i32 samples of the task, random (1,) u32, health (2,) i32: skipped samples,
    saturations.
    """

    KIND: ClassVar[str] = "fetril_collect"

    facts: int = field(init=False, repr=False, compare=False)  # samples whose sums fit

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        limit = most_samples(largest(self, ins[0], bounds))
        classes = len(bounds[ins[2].name][0])
        sizes = (classes, ins[0].size, ins[4].shape[0])
        _check(self, ins[2:], bounds, sizes, limit, ins[0].dtype)
        self.expect_label(ins[1], bounds, classes)
        return Inferred([], limit)

    def golden(self, env: dict[str, Array], t: int) -> None:
        label, count, total, rows, of, kept, seen, random, health = (
            env[name] for name in self.inputs[1:]
        )
        y = int(label[0, 0])
        if count[y] >= self.facts or seen[0] >= self.facts:
            health[0] = add(health[0], 1)
            return
        x = flat(env, self.inputs[0])[0]
        count[y] += 1
        total[y] = (total[y].astype(np.int64) + x).astype(np.int32)
        seen[0] += 1
        at = int(kept[0])
        if at < self.ins[4].shape[0]:
            kept[0] += 1
        else:
            at = draw(random, int(seen[0]))
        if at < self.ins[4].shape[0]:
            rows[at], of[at] = x, y

    def cost(self) -> Cost:
        return Cost(updates=2 * self.ins[0].size)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("learn/fetril.h")
        fields: Fields = {
            "type": C_TYPES[self.ins[0].dtype],
            "n": em.bounds[self.inputs[0]][0].size,
            "rows": self.ins[4].shape[0],
            "limit": self.facts,
        }
        config = em.config(self.name, "spk_fetril_collect", fields)
        return [c.run("spk_fetril_collect", config, *map(em.tensor, self.inputs))]


def _check(
    node: Operator,
    ins: Sequence[Tensor],
    bounds: dict[str, Interval],
    sizes: tuple[int, int, int],
    samples: int,
    dtype: str,
) -> None:
    """Refuse collected tensors, in the order of `COLLECTED`, of other shapes and ranges.

    Args:
        node: that reads them.
        ins: the tensors.
        bounds: of all tensors.
        sizes: classes, features and rows.
        samples: of a class, and of a task.
        dtype: of the features.
    """
    classes, size, rows = sizes
    if dtype not in ("u8", "i8", "i16"):
        raise node.error(f"features of type {dtype}, expected u8, i8 or i16")
    expected: tuple[tuple[str, tuple[int, ...], tuple[int, int] | None], ...] = (
        ("i32", (classes,), (0, samples)),
        ("i32", (classes, size), None),
        (dtype, (rows, size), None),
        ("u8", (rows,), (0, classes - 1)),
        ("i32", (1,), (0, rows)),
        ("i32", (1,), (0, samples)),
        ("u32", (1,), None),
        ("i32", (2,), None),
    )
    for tensor, (kind, shape, ends) in zip(ins, expected, strict=True):
        node.expect_learned(tensor, bounds, kind, shape, ends)


@dataclass(kw_only=True)
class FetrilCommit(Operator):
    """Trains the head on translated features, and forgets them: a task ended.

    All classes with samples start from weight 0 and take part. Means have 4 fraction bits; the
    centre is the mean of the classes' means. A class's source is the class with kept rows whose
    mean is nearest, the lower one of two. Then, in each of `epochs` epochs, as often as there are
    rows: draw a row; for each class c whose source is the row's class l, in order,
    `f = row + round((mean[c] - mean[l]) / 16) - centre`, and for each class k, with y = 1 for
    k = c, else -1: where `y * (weight[k] . f + bias[k]) < 2^margin`, the weight changes by
    `y * (f >> shift)` and the bias by `y * (step >> shift)`, step being the largest feature / 2.
    The shift is 0, 1 and 2 in the thirds of the epochs. At last the centre goes into the bias.
    With no rows kept, nothing is done.

    Reads what `FetrilCollect` learned, then weight (C, n) i16, bias (C,) i32 and known (C,) i32,
    the samples of the classes in the head.

    Attributes:
        epochs: 1 to 1000.
        margin: 0 to 28, log2 of the score that a sample must have.
        reach: the largest magnitude of a feature.
        dtype: of the features.
    """

    KIND: ClassVar[str] = "fetril_commit"

    epochs: Annotated[int, within(1, 1000)]
    margin: Annotated[int, within(0, 28)]
    reach: Annotated[int, within(1, 65535)]
    dtype: Annotated[str, one_of(*C_TYPES)]

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        if not 1 <= self.epochs <= 1000 or not 0 <= self.margin <= 28:
            raise self.error(f"epochs {self.epochs} or margin {self.margin} is out of range")
        if not 1 <= self.reach <= REACH or len(ins[1].shape) != 2:
            raise self.error(f"reach {self.reach} is not 1 to {REACH}, or sums are {ins[1].shape}")
        classes, size = ins[1].shape
        most = most_samples(self.reach)
        _check(self, ins[:8], bounds, (classes, size, ins[2].shape[0]), most, self.dtype)
        limit = weight_limit(size, self.reach)
        self.expect_learned(ins[8], bounds, "i16", ins[1].shape, (-limit, limit))
        self.expect_learned(ins[9], bounds, "i32", (classes,), (-SUM, SUM))
        self.expect_learned(ins[10], bounds, "i32", (classes,), (0, most))
        return Inferred([])

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.COMMIT

    def golden(self, env: dict[str, Array], t: int) -> None:
        count, total, rows, of, kept, seen, random, health, weight, bias, known = (
            env[name] for name in self.inputs
        )
        there = int(kept[0])
        if there == 0:
            return
        means = np.zeros(self.ins[1].shape, np.int64)
        learned = count > 0
        means[learned] = mean(total[learned], count[learned][:, None], FRACTION)
        means = saturate(means, 16)
        classes = np.flatnonzero(learned)
        centre = means[classes].sum(axis=0) // max(len(classes), 1) >> FRACTION
        source = self._sources(means, classes, of[:there])
        w, b = np.zeros(self.ins[1].shape, np.int64), np.zeros(self.ins[1].shape[0], np.int64)
        most, step, clipped = weight_limit(self.ins[1].shape[1], self.reach), self.reach >> 1, 0
        for epoch in range(self.epochs):
            shift = epoch * 3 // self.epochs
            for _ in range(there):
                row = draw(random, there)
                label = int(of[row])
                base = rows[row].reshape(-1).astype(np.int64) - centre
                for k in classes[source[classes] == label]:
                    f = base + shift_round(means[k] - means[label], FRACTION)
                    sign = np.where(np.arange(len(w)) == k, 1, -1)
                    score = (w @ f + b).astype(np.int32).astype(np.int64)  # wraps, as in C
                    short = (sign * score < 1 << self.margin) & learned
                    moved = w + sign[:, None] * short[:, None] * (f >> shift)
                    w = np.clip(moved, -most, most)
                    clipped += int((w != moved).sum())
                    b = np.clip(b + sign * short * (step >> shift), -SUM, SUM)
        weight[...] = w
        bias[...] = np.clip(b - w @ centre, -SUM, SUM)
        known[...] = count
        health[1] = add(health[1], np.array(clipped))
        kept[0] = seen[0] = 0

    def _sources(self, means: Array, classes: Array, of: Array) -> Array:
        """For each class of `classes` the nearest one with rows."""
        source = np.zeros(len(means), np.int64)
        having = np.intersect1d(of, classes)
        if len(having):
            apart = means[classes][:, None] - means[having][None]
            source[classes] = having[np.argmin((apart * apart).sum(axis=2), axis=1)]
        return source

    def cost(self) -> Cost:
        classes, size = self.ins[1].shape
        return Cost(macs=2 * self.epochs * self.ins[2].shape[0] * classes * classes * size)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("learn/fetril.h")
        classes, size = self.ins[1].shape
        fields: Fields = {
            "type": C_TYPES[self.dtype],
            "n": size,
            "classes": classes,
            "epochs": self.epochs,
            "margin": self.margin,
            "limit": weight_limit(size, self.reach),
            "step": self.reach >> 1,
        }
        config = em.config(self.name, "spk_fetril_commit", fields)
        tensors = tuple(map(em.tensor, self.inputs))
        work = em.scratch(self.name, 2 * (classes * size + 2 * size + 2 * classes))
        learned = c.compound("const struct spk_fetril_learned", tensors)
        return [c.run("spk_fetril_commit", config, learned, c.cast("int16_t *", work))]


def weight_limit(size: int, reach: int) -> int:
    """The largest weight: `size` products with a centred and moved feature stay below `SUM`."""
    return min(SUM // (size * 4 * reach), np.iinfo(np.int16).max)


@dataclass(kw_only=True)
class Fetril(Learner):
    """Means of old classes stand in for their samples: a head is trained when a task is committed.

    Attributes:
        rows: features of a task that are kept, 1 to 4096.
        epochs: of the head's training, 1 to 1000.
        margin: log2 of the score that every feature must have on its side, 0 to 28.
    """

    NAME: ClassVar[str] = "fetril"
    AFTER: ClassVar[str] = "FeTrIL (Petit et al., WACV 2023)"
    DIFFERS: ClassVar[str] = (
        "the head is an int16 perceptron with a margin, not a linear SVM; the nearest class is "
        "Euclid's, not by cosine; `rows` features of a task are kept, not all"
    )

    rows: Annotated[int, Within(1, 4096)] = 64
    epochs: Annotated[int, Within(1, 1000)] = 10
    margin: Annotated[int, Within(0, 28)] = 18

    def build(self, backbone: Graph, setting: Setting) -> Graph:
        features = backbone.tensors[setting.features]
        low, high = backbone.bounds[setting.features]
        reach = max(int(np.abs(low).max()), int(np.abs(high).max()), 1)
        classes, size, name = setting.classes, features.size, self.NAME
        if classes > 256 or reach > REACH or features.dtype == "i32":
            raise UsageError(
                f"learner {name}: {classes} classes of {features.name}, {features.dtype} up to "
                f"{reach}",
                f"it keeps 256 classes and features of 8 or 16 bits up to {REACH}, at most",
                "choose a tensor of int8 features, or another learner",
            )
        limit, most = weight_limit(size, reach), most_samples(reach)
        random = mix32(np.array([setting.seed & 0xFFFFFFFF], np.uint32)) | np.uint32(1)
        collected = [
            Learned.of(f"{name}.count", "i32", (classes,), low=0, high=most),
            Learned.of(f"{name}.sum", "i32", (classes, size)),
            Learned.of(f"{name}.rows", features.dtype, (self.rows, size)),
            Learned.of(f"{name}.of", "u8", (self.rows,), low=0, high=classes - 1),
            Learned.of(f"{name}.kept", "i32", (1,), low=0, high=self.rows),
            Learned.of(f"{name}.seen", "i32", (1,), low=0, high=most),
            Learned.of(f"{name}.random", "u32", (1,), random),
            Learned.of(f"{name}.health", "i32", (2,), low=0),
        ]
        head = [
            Learned.of(f"{name}.weight", "i16", (classes, size), low=-limit, high=limit),
            Learned.of(f"{name}.bias", "i32", (classes,), low=-SUM, high=SUM),
            Learned.of(f"{name}.known", "i32", (classes,), low=0, high=most),
        ]
        of = tuple(k.tensor.name for k in collected)
        at = tuple(k.tensor.name for k in head)
        options: dict[str, Any] = {"epochs": self.epochs, "margin": self.margin}
        nodes: list[Operator] = [
            LinearScores(name=f"{name}_scores", inputs=(setting.features, *at)),
            FetrilCollect(name=f"{name}_collect", inputs=(setting.features, "label", *of)),
            FetrilCommit(
                name=f"{name}_commit",
                inputs=(*of, *at),
                reach=reach,
                dtype=features.dtype,
                **options,
            ),
        ]
        return extend(backbone, nodes, [*collected, *head], [f"{name}_scores"], classes)

    def health(self, learned: Mapping[str, Array]) -> dict[str, float]:
        """`skipped` samples of full classes; `saturations` of weights; `kept` rows of the task."""
        skipped, clipped = (float(v) for v in learned[f"{self.NAME}.health"])
        kept = float(learned[f"{self.NAME}.kept"][0])
        return {"skipped": skipped, "saturations": clipped, "kept": kept}

"""Binary associative memory: a cue recalls the stored patterns that are most like it.

One step of a modern Hopfield network (Ramsauer et al., "Hopfield Networks is All You Need", ICLR
2021) on bits: overlaps are counted, weights are powers of two, sums are integers. With cubes for
weights it is a dense associative memory (Krotov and Hopfield, 2016). It serves as a store of
exemplars and, with labels, as a nearest-neighbour classifier. C twin: firmware/learn/associative.h.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

import numpy as np

from spikelet.errors import UsageError
from spikelet.graph import Array, Graph, Learned, Tensor, c
from spikelet.graph.c import Expression, Fields, Statement
from spikelet.graph.declared import Held, one_of, within
from spikelet.graph.int8 import interval
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval, Operator, Phase
from spikelet.learn.choices import Within
from spikelet.learn.learner import Learner, Setting, extend
from spikelet.learn.numbers.feature import C_TYPES, extent
from spikelet.learn.numbers.fixed import shift_round

NO_PATTERN = 32767  # the distance of a row that is not in use
WEIGHTS = ("exp2", "pow3")
FULL = ("refuse", "oldest")


@dataclass(kw_only=True)
class Binarise(Operator):
    """`bit[i] = x[i] > threshold[i]`: features of any shape, n elements, to (n,) bit.

    Attributes:
        threshold: (n,) int32.
    """

    KIND: ClassVar[str] = "binarise"

    threshold: Annotated[Array, Held("int32", 1)]

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        extent(self, ins[0], bounds)
        if self.threshold.dtype != np.int32 or self.threshold.shape != (ins[0].size,):
            raise self.error(
                f"threshold is {self.threshold.dtype} of shape {self.threshold.shape}, expected "
                f"int32 ({ins[0].size},)"
            )
        bounds[self.name] = interval(self.threshold.shape, 0, 1)
        return Inferred([Tensor(self.name, "bit", self.threshold.shape)])

    def golden(self, env: dict[str, Array], t: int) -> None:
        x = env[self.inputs[0]]
        env[self.name] = (x.reshape(len(x), -1) > self.threshold).astype(np.uint8)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("learn/associative.h")
        n = len(self.threshold)
        threshold = em.const(f"{self.name}_threshold", self.threshold, f"({n},)")
        source, to = em.tensor(self.inputs[0]), em.tensor(self.name)
        return [c.run("spk_binarise", source, C_TYPES[self.ins[0].dtype], n, threshold, to)]


@dataclass(frozen=True)
class Extent:
    """Patterns of `bits` in `rows`, with labels of so many classes."""

    rows: int
    bits: int
    classes: int


@dataclass(kw_only=True)
class _Memory(Operator):
    """Base of what reads the patterns (rows, words) u32.

    Attributes:
        weights: `exp2`: of a pattern d bits farther than the nearest one,
            `2^(top - round(2 d beta))`, 0 where that is below 1; `pow3`:
            `round((n - 2 * distance)^3 / 2^shift)`. Halves go up. `top` and `shift` are chosen so
            that the weights of all rows together stay within 2^30.
        beta: Q8; of exp2 only.
    """

    weights: Annotated[str, one_of(*WEIGHTS)] = "exp2"
    beta: Annotated[int, within(1, 1 << 12)] = 96

    facts: Extent = field(init=False, repr=False, compare=False)

    def _extent(self, rows: int, bits: int, classes: int = 0) -> Extent:
        if not 0 < self.beta <= 1 << 12:
            raise self.error(f"beta {self.beta} is not in 1..4096 (Q8)")
        if bits > (1024 if self.weights == "pow3" else 16383):
            raise self.error(
                f"patterns of {bits} bits; at most 16383, with pow3 1024, whose cubes fit 31 bits"
            )
        return Extent(rows, bits, classes)

    @property
    def top(self) -> int:
        """Log2 of the nearest pattern's weight."""
        return 30 - math.ceil(math.log2(self.facts.rows))

    @property
    def shift(self) -> int:
        """Bits that cubes are shifted by."""
        return max(0, math.ceil(math.log2(self.facts.rows * self.facts.bits**3)) - 30)

    def _weigh(self, distances: Array) -> Array:
        """(N, rows) int64 weights, 0 of rows that are not in use."""
        there = distances != NO_PATTERN
        distances = distances.astype(np.int64)
        if self.weights == "pow3":
            weights = shift_round((self.facts.bits - 2 * distances) ** 3, self.shift)
        else:
            least = distances.min(axis=1, keepdims=True)
            down = (2 * self.beta * (distances - least) + 128) >> 8
            weights = np.where(down > self.top, 0, 1 << np.maximum(self.top - down, 0))
        chosen: Array = np.where(there, weights, 0)
        return chosen

    def _config(self, em: Emitter) -> Expression:
        em.include("learn/associative.h")
        fields: Fields = {
            "bits": self.facts.bits,
            "words": words(self.facts.bits),
            "rows": self.facts.rows,
            "beta": self.beta,
            "top": self.top,
            "shift": self.shift,
            "classes": self.facts.classes,
            "cubic": self.weights == "pow3",
        }
        return em.config(self.name, "spk_associative", fields)


def words(bits: int) -> int:
    """Of 32 bits, that a pattern takes."""
    return -(-bits // 32)


def pack_bits(bits: Array) -> Array:
    """(N, n) bits as (N, words) uint32, least significant bit first, padded with 0."""
    padded = np.zeros((len(bits), 32 * words(bits.shape[1])), np.uint8)
    padded[:, : bits.shape[1]] = bits
    packed_: Array = np.packbits(padded, axis=1, bitorder="little").view("<u4")
    return packed_


def unpack_bits(patterns: Array, bits: int) -> Array:
    """The inverse of `pack_bits`."""
    unpacked_: Array = np.unpackbits(
        patterns.astype("<u4").view(np.uint8), axis=1, count=bits, bitorder="little"
    )
    return unpacked_


def _expect_memory(
    node: Operator, patterns: Tensor, used: Tensor, bits: int, bounds: dict[str, Interval]
) -> None:
    rows = patterns.shape[0]
    node.expect_learned(patterns, bounds, "u32", (rows, words(bits)))
    node.expect_learned(used, bounds, "i32", (1,), (0, rows))


@dataclass(kw_only=True)
class AssociativeDistances(_Memory):
    """Bits in which the cue differs from each pattern; 32767 of a row that is not in use.

    Reads a cue (n,) bit, learned patterns (rows, words) u32 and the rows in use (1,) i32; writes
    (rows,) i16. The overlap of a pattern is n - 2 * distance.
    """

    KIND: ClassVar[str] = "associative_distances"

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        self.expect(ins[0], ("bit",))
        _expect_memory(self, ins[1], ins[2], ins[0].size, bounds)
        extent = self._extent(ins[1].shape[0], ins[0].size)
        bounds[self.name] = interval((extent.rows,), 0, NO_PATTERN)
        return Inferred([Tensor(self.name, "i16", (extent.rows,))], extent)

    def golden(self, env: dict[str, Array], t: int) -> None:
        cue, patterns, used = (env[name] for name in self.inputs)
        stored = 2.0 * unpack_bits(patterns, self.facts.bits).astype(np.float32) - 1
        overlaps = (2.0 * cue.astype(np.float32) - 1) @ stored.T  # exact: at most 2^14
        distances = ((self.facts.bits - overlaps) / 2).astype(np.int16)
        distances[:, int(used[0]) :] = NO_PATTERN
        env[self.name] = distances

    def cost(self) -> Cost:
        return Cost(synaptic_ops=self.facts.rows * self.facts.bits, weight_bits=1)

    def emit(self, em: Emitter) -> list[Statement]:
        arguments = map(em.tensor, (*self.inputs, self.name))
        return [c.run("spk_associative_distances", self._config(em), *arguments)]


@dataclass(kw_only=True)
class AssociativeRecall(_Memory):
    """`bit[i] = (sum over patterns p of weight[p] * (2 p[i] - 1)) >= 0`.

    Reads distances (rows,) i16, learned patterns (rows, words) u32 and the rows in use (1,) i32;
    writes (n,) bit. Without patterns every bit is 1.

    Attributes:
        bits: n.
    """

    KIND: ClassVar[str] = "associative_recall"

    bits: Annotated[int, within(1, 16383)]

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        self.expect(ins[0], ("i16",))
        _expect_memory(self, ins[1], ins[2], self.bits, bounds)
        extent = self._extent(ins[0].size, self.bits)
        if ins[1].shape[0] != extent.rows:
            raise self.error(f"{extent.rows} distances, but {ins[1].shape[0]} rows of patterns")
        bounds[self.name] = interval((self.bits,), 0, 1)
        return Inferred([Tensor(self.name, "bit", (self.bits,))], extent)

    def golden(self, env: dict[str, Array], t: int) -> None:
        distances, patterns, _ = (env[name] for name in self.inputs)
        stored = 2.0 * unpack_bits(patterns, self.facts.bits) - 1
        sums = self._weigh(distances).astype(np.float64) @ stored  # exact: at most 2^30
        env[self.name] = (sums >= 0).astype(np.uint8)

    def cost(self) -> Cost:
        return Cost(synaptic_ops=self.facts.rows * self.facts.bits, weight_bits=1)

    def emit(self, em: Emitter) -> list[Statement]:
        config = self._config(em)
        sums = em.scratch(self.name, 4 * 32 * words(self.facts.bits))
        read, to = map(em.tensor, self.inputs), em.tensor(self.name)
        return [c.run("spk_associative_recall", config, *read, sums, to)]


@dataclass(kw_only=True)
class AssociativeScores(_Memory):
    """Of each class, the weights of its patterns together.

    Reads distances (rows,) i16, learned labels (rows,) u8 and the rows in use (1,) i32; writes
    (classes,) i32.

    Attributes:
        bits: of a pattern.
        classes: how many, at most 256.
    """

    KIND: ClassVar[str] = "associative_scores"

    bits: Annotated[int, within(1, 16383)]
    classes: Annotated[int, within(1, 32767)]

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        self.expect(ins[0], ("i16",))
        extent = self._extent(ins[0].size, self.bits, self.classes)
        self.expect_learned(ins[1], bounds, "u8", (extent.rows,), (0, self.classes - 1))
        self.expect_learned(ins[2], bounds, "i32", (1,), (0, extent.rows))
        bounds[self.name] = interval((self.classes,), -(1 << 30), 1 << 30)
        return Inferred([Tensor(self.name, "i32", (self.classes,))], extent)

    def golden(self, env: dict[str, Array], t: int) -> None:
        distances, labels, _ = (env[name] for name in self.inputs)
        members = labels[:, None] == np.arange(self.classes)
        env[self.name] = (self._weigh(distances) @ members.astype(np.int64)).astype(np.int32)

    def emit(self, em: Emitter) -> list[Statement]:
        arguments = map(em.tensor, (*self.inputs, self.name))
        return [c.run("spk_associative_scores", self._config(em), *arguments)]


@dataclass(kw_only=True)
class AssociativeWrite(_Memory):
    """Appends the cue to the patterns, with its label where there are classes.

    Reads a cue (n,) bit, then the label if `labelled`; changes patterns (rows, words) u32, labels
    (rows,) u8 if `labelled`, the rows in use, the next row and health, all three (1,) i32. Health
    counts the cues that found no free row.

    Attributes:
        full: what happens to them: `refuse`, or `oldest`: they take the row of the oldest pattern.
        labelled: whether there are classes.
    """

    KIND: ClassVar[str] = "associative_write"

    full: Annotated[str, one_of(*FULL)] = "refuse"
    labelled: bool = False

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        self.expect(ins[0], ("bit",))
        if len(ins) != (7 if self.labelled else 5):
            raise self.error(f"{len(ins)} inputs, expected {7 if self.labelled else 5}")
        patterns, used, following = ins[2 if self.labelled else 1], ins[-3], ins[-2]
        _expect_memory(self, patterns, used, ins[0].size, bounds)
        extent = self._extent(patterns.shape[0], ins[0].size)
        self.expect_learned(following, bounds, "i32", (1,), (0, extent.rows - 1))
        self.expect_learned(ins[-1], bounds, "i32", (1,))
        if self.labelled:
            labels = int(bounds[ins[3].name][1].max()) + 1
            self.expect_learned(ins[3], bounds, "u8", (extent.rows,))
            self.expect_label(ins[1], bounds, labels)
        return Inferred([], extent)

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.LEARN

    def golden(self, env: dict[str, Array], t: int) -> None:
        values = [env[name] for name in self.inputs]
        cue, (used, following, health) = values[0], values[-3:]
        row = int(following[0])
        if used[0] == self.facts.rows:
            health[0] = min(int(health[0]) + 1, (1 << 31) - 1)
            if self.full == "refuse":
                return
        else:
            used[0] += 1
        values[2 if self.labelled else 1][row] = pack_bits(cue)[0]
        if self.labelled:
            values[3][row] = values[1][0, 0]
        following[0] = (row + 1) % self.facts.rows

    def emit(self, em: Emitter) -> list[Statement]:
        tensors = [em.tensor(name) for name in self.inputs]
        if not self.labelled:
            none = c.name("NULL")
            tensors = [tensors[0], none, tensors[1], none, *tensors[2:]]
        config, oldest = self._config(em), self.full == "oldest"
        return [c.run("spk_associative_write", config, oldest, *tensors)]


@dataclass(kw_only=True)
class Associative(Learner):
    """Associative memory of bit patterns: stores each sample, recalls and classifies by likeness.

    Features that are no bits are compared with their medians in the calibration data, or with the
    middle of their type. Outputs: with classes, scores and the recalled pattern; without, that.

    Attributes:
        rows: patterns that it can hold.
        weights: exp2 or pow3.
        beta: steepness of exp2, up to 16: the weight halves with 1 / beta of overlap, which is half
            as many bits.
        full: what becomes of a sample when all rows are in use: refuse, or oldest.
    """

    NAME: ClassVar[str] = "associative"
    AFTER: ClassVar[str] = (
        "modern Hopfield networks (Ramsauer et al., ICLR 2021), dense associative memory (Krotov "
        "and Hopfield, 2016)"
    )
    DIFFERS: ClassVar[str] = (
        "one step, on bits; weights are powers of two or cubes of overlaps, not a softmax of real "
        "products"
    )

    rows: Annotated[int, Within(1, 65535)] = 200
    weights: Literal["exp2", "pow3"] = "exp2"
    beta: Annotated[float, Within(1 / 256, 16)] = 0.375
    full: Literal["refuse", "oldest"] = "refuse"

    def build(self, backbone: Graph, setting: Setting) -> Graph:
        if setting.classes > 256:
            raise UsageError(
                f"an associative memory of {setting.classes} classes",
                "it keeps a label in a byte",
                "take at most 256 classes",
            )
        tensor = backbone.tensors[setting.features]
        nodes: list[Operator] = []
        cue = setting.features
        if tensor.dtype != "bit":
            cue = "am_cue"
            threshold = self._threshold(tensor, setting.fitting(backbone))
            nodes.append(Binarise(name=cue, inputs=(setting.features,), threshold=threshold))
        patterns = Learned.of("associative.patterns", "u32", (self.rows, words(tensor.size)))
        labels = Learned.of(
            "associative.labels", "u8", (self.rows,), low=0, high=max(0, setting.classes - 1)
        )
        used = Learned.of("associative.rows", "i32", (1,), low=0, high=self.rows)
        following = Learned.of("associative.next", "i32", (1,), low=0, high=self.rows - 1)
        health = Learned.of("associative.health", "i32", (1,), low=0)
        labelled = setting.classes > 0
        learned = [patterns, *([labels] if labelled else []), used, following, health]
        names = [k.tensor.name for k in learned]
        rows, bits = "associative.rows", tensor.size
        how = {"weights": self.weights, "beta": round(256 * self.beta)}
        nodes += [
            AssociativeDistances(
                name="am_distances",
                inputs=(cue, names[0], rows),
                **how,  # type: ignore[arg-type]
            ),
            AssociativeRecall(
                name="am_recall",
                inputs=("am_distances", names[0], rows),
                bits=bits,
                **how,  # type: ignore[arg-type]
            ),
        ]
        if labelled:
            nodes.append(
                AssociativeScores(
                    name="am_scores",
                    inputs=("am_distances", names[1], rows),
                    bits=bits,
                    classes=setting.classes,
                    **how,  # type: ignore[arg-type]
                )
            )
        nodes.append(
            AssociativeWrite(
                name="am_write",
                inputs=(cue, *(["label"] if labelled else []), *names),
                full=self.full,
                labelled=labelled,
            )
        )
        outputs = ["am_scores", "am_recall"] if labelled else ["am_recall"]
        return extend(backbone, nodes, learned, outputs, setting.classes)

    def _threshold(self, tensor: Tensor, features: Array) -> Array:
        if len(features):
            middle = np.floor(np.median(features.reshape(len(features), -1), axis=0))
        else:
            middle = np.full(tensor.size, 127 if tensor.dtype == "u8" else 0)
        threshold: Array = middle.astype(np.int32)
        return threshold

    def health(self, learned: Mapping[str, Array]) -> dict[str, float]:
        return {
            "rows": float(learned["associative.rows"][0]),
            "full": float(learned["associative.health"][0]),
        }

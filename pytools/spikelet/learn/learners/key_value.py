"""Discrete key-value table: what is learned are counts behind frozen keys.

The features are projected by random signs, cut into pieces of a few dimensions, and each piece is
replaced by the nearest key of its book. A sample increments one counter a book, so that classes do
not overwrite each other, and the order of samples does not matter. Idea: Träuble et al., "Discrete
Key-Value Bottleneck", ICML 2023; values are counts here. C twin: firmware/learn/key_value.h.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np

from spikelet.errors import UsageError
from spikelet.graph import Array, Graph, Learned, Tensor, c
from spikelet.graph.c import Expression, Fields, Statement
from spikelet.graph.declared import Held, within
from spikelet.graph.fixed import mix32
from spikelet.graph.int8 import interval
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval, Operator, Phase
from spikelet.learn.choices import Within
from spikelet.learn.learner import Learner, Setting, extend
from spikelet.learn.numbers.feature import C_TYPES, extent
from spikelet.learn.numbers.fixed import log2, shift_round

SIGNS = 32  # that a draw gives
MOST = 1 << 29  # samples of a class that are counted
HALVINGS = 24  # of a column
UNSEEN = -(1 << 30)  # the score of a class without samples
FITTED_ON = 4000  # samples of the calibration data, at most
ROUNDS = 15  # of k-means
LOG_COUNT = (log2(4 * np.arange(256) + 1) >> 4).astype(np.uint16)  # Q12


@dataclass(kw_only=True)
class SignProjection(Operator):
    """`p[r] = round((sum over i of s[r, i] * x[i] - offset[r]) / 2^shift)`, saturated to int8.

    Reads features of any shape, n elements u8, i8, i16 or i32; writes (rows,) i8. The signs s are
    bits of xorshift32, 1 for plus: a draw holds, lowest bit first, 32 features of one row. Rows
    come one after the other, for the first 32 features, then for the next.

    Attributes:
        offset: (rows,) int32.
        seed: state before the first draw, 1 to 2^32 - 1.
        shift: 0 to 31, halves go up.
    """

    KIND: ClassVar[str] = "sign_projection"

    offset: Annotated[Array, Held("int32", 1)]
    seed: Annotated[int, within(1, (1 << 32) - 1)]
    shift: Annotated[int, within(0, 31)]

    facts: Array = field(init=False, repr=False, compare=False)  # (rows, n), `signs`

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        if self.offset.dtype != np.int32 or self.offset.ndim != 1:
            raise self.error(
                f"offset is {self.offset.dtype} {self.offset.shape}, not int32 (rows,)"
            )
        if not 1 <= self.seed < 1 << 32 or not 0 <= self.shift <= 31:
            raise self.error(f"seed {self.seed} or shift {self.shift} is out of range")
        most = extent(self, ins[0], bounds) * 2 + int(np.abs(self.offset.astype(np.int64)).max())
        if most + (1 << self.shift) >= 1 << 31:
            raise self.error(f"sums of input {ins[0].name} may reach {most}, beyond 32 bits")
        drawn = signs(self.seed, len(self.offset), ins[0].size)
        bounds[self.name] = interval(self.offset.shape)
        return Inferred([Tensor(self.name, "i8", self.offset.shape)], drawn)

    def golden(self, env: dict[str, Array], t: int) -> None:
        x = env[self.inputs[0]]
        sums = x.reshape(len(x), -1).astype(np.float64) @ self.facts.T  # exact: below 2^31
        shifted = shift_round(sums.astype(np.int64) - self.offset, self.shift)
        env[self.name] = np.clip(shifted, -128, 127).astype(np.int8)

    def cost(self) -> Cost:
        return Cost(synaptic_ops=self.facts.size, weight_bits=1)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("learn/key_value.h")
        rows, n = self.facts.shape
        fields: Fields = {
            "offset": em.const(f"{self.name}_offset", self.offset, f"({rows},)"),
            "seed": c.unsigned(self.seed),
            "n": n,
            "rows": rows,
            "shift": self.shift,
        }
        config = em.config(self.name, "spk_sign_projection", fields)
        work = c.cast("int32_t *", em.scratch(self.name, 4 * (8 * 16 + rows)))
        x, to = em.tensor(self.inputs[0]), em.tensor(self.name)
        return [c.run("spk_sign_projection", config, x, C_TYPES[self.ins[0].dtype], work, to)]


def signs(seed: int, rows: int, n: int) -> Array:
    """(rows, n) float64 of +-1 in the order that `SignProjection` states."""
    state = seed
    draws = np.empty((-(-n // SIGNS), rows), np.uint32)
    for i in range(draws.size):
        state ^= (state << 13) & 0xFFFFFFFF
        state ^= state >> 17
        state ^= (state << 5) & 0xFFFFFFFF
        draws.flat[i] = state
    bits = np.unpackbits(draws.T.astype("<u4").copy().view(np.uint8), axis=1, bitorder="little")
    values: Array = 2.0 * bits[:, :n] - 1.0
    return values


@dataclass(kw_only=True)
class NearestKey(Operator):
    """Of each book, the index of the key nearest to its query; the first one wins a tie.

    Reads queries (books * size,) i8; writes indices (books,) u8. Distances are sums of squares.

    Attributes:
        keys: (books, count, size) int8, at most 256 a book.
    """

    KIND: ClassVar[str] = "nearest_key"

    keys: Annotated[Array, Held("int8", 3)]

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        self.expect(ins[0], ("i8",))
        if self.keys.dtype != np.int8 or self.keys.ndim != 3 or self.keys.shape[1] > 256:
            raise self.error(
                f"keys are {self.keys.dtype} of shape {self.keys.shape}, expected int8 "
                "(books, at most 256, size)"
            )
        books, count, size = self.keys.shape
        if ins[0].size != books * size or size > 256:
            raise self.error(f"keys {self.keys.shape} do not fit {ins[0].size} queries")
        bounds[self.name] = interval((books,), 0, count - 1)
        return Inferred([Tensor(self.name, "u8", (books,))])

    def golden(self, env: dict[str, Array], t: int) -> None:
        queries = env[self.inputs[0]]
        books, _, size = self.keys.shape
        q = queries.reshape(-1, books, size).astype(np.float32)  # sums are exact: below 2^24
        keys = self.keys.astype(np.float32)
        norms = (keys**2).sum(axis=2)
        nearest = np.empty((len(queries), books), np.uint8)
        for book in range(books):
            nearest[:, book] = np.argmin(norms[book] - 2 * q[:, book] @ keys[book].T, axis=1)
        env[self.name] = nearest

    def cost(self) -> Cost:
        return Cost(macs=self.keys.size, weight_bits=8)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("learn/key_value.h")
        books, count, size = self.keys.shape
        fields: Fields = {
            "keys": em.const(f"{self.name}_keys", self.keys, f"({books}, {count}, {size})"),
            "books": books,
            "count": count,
            "size": size,
        }
        config = em.config(self.name, "spk_nearest_key", fields)
        return [c.run("spk_nearest_key", config, em.tensor(self.inputs[0]), em.tensor(self.name))]


@dataclass(kw_only=True)
class _Table(Operator):
    """What reads the table: indices (B,) u8, counts (B, K, C) u8, totals (C,) i32."""

    COUNTS: ClassVar[int] = 1  # the number of the counts among its inputs

    @property
    def _shape(self) -> tuple[int, ...]:
        return self.ins[self.COUNTS].shape

    def _check(
        self, index: Tensor, counts: Tensor, totals: Tensor, bounds: dict[str, Interval]
    ) -> None:
        if (index.dtype, counts.dtype, totals.dtype) != ("u8", "u8", "i32"):
            raise self.error(
                f"inputs are {index.dtype}, {counts.dtype}, {totals.dtype}, expected u8, u8, i32"
            )
        books, keys, classes = (*counts.shape, 0, 0)[:3]
        if index.shape != (books,) or totals.shape != (classes,) or len(counts.shape) != 3:
            raise self.error(
                f"indices {index.shape}, counts {counts.shape} and totals {totals.shape} do not "
                "fit: expected (B,), (B, K, C), (C,)"
            )
        if not 1 <= books <= 2048 or not 1 <= keys <= 256:
            raise self.error(f"{books} books of {keys} keys, expected at most 2048 of 256")
        self.expect_range(index, bounds, 0, keys - 1)
        self.expect_learned(counts, bounds, "u8", counts.shape)
        self.expect_learned(totals, bounds, "i32", (classes,), (0, MOST))

    def _config(self, em: Emitter) -> Expression:
        em.include("learn/key_value.h")
        books, keys, classes = self._shape
        fields: Fields = {
            "log_count": em.const("key_value_log_count", LOG_COUNT, "(256,) Q12"),
            "books": books,
            "keys": keys,
            "classes": classes,
        }
        return em.config(self.name, "spk_key_value", fields)


@dataclass(kw_only=True)
class KeyValueScores(_Table):
    """Log-likelihoods of the classes, from counts with a quarter of a sample added to each.

    `score[y] = sum over books b of log2(4 n[b, k_b, y] + 1) - B * log2(4 N[y] + K)`, Q12: naive
    Bayes without a prior over classes, so that a new class of few samples stands beside old ones. A
    class without samples has the score -2^30.

    Reads indices (B,) u8, learned counts n (B, K, C) u8 and totals N (C,) i32; writes (C,) i32.
    """

    KIND: ClassVar[str] = "key_value_scores"

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        self._check(ins[0], ins[1], ins[2], bounds)
        bounds[self.name] = interval(ins[2].shape, UNSEEN, self._shape[0] * int(LOG_COUNT.max()))
        return Inferred([Tensor(self.name, "i32", ins[2].shape)])

    def golden(self, env: dict[str, Array], t: int) -> None:
        index, counts, totals = (env[name] for name in self.inputs)
        books, keys, _ = counts.shape
        cells = counts[np.arange(books), index]  # (N, B, C)
        likelihood = LOG_COUNT[cells].astype(np.int64).sum(axis=1)
        scores = likelihood - books * (log2(totals.astype(np.int64) * 4 + keys) >> 4)
        env[self.name] = np.where(totals > 0, scores, UNSEEN).astype(np.int32)

    def cost(self) -> Cost:
        return Cost(synaptic_ops=self._shape[0] * self._shape[2])

    def emit(self, em: Emitter) -> list[Statement]:
        arguments = map(em.tensor, (*self.inputs, self.name))
        return [c.run("spk_key_value_scores", self._config(em), *arguments)]


@dataclass(kw_only=True)
class KeyValueCount(_Table):
    """Counts the sample's label under the key of each book.

    A counter that is at 255 halves its column first: the counts of all classes under that key,
    rounded down. From then on the column counts every second sample of a class, after two
    halvings every fourth, so that classes that come later are counted in the same unit.

    Reads indices (B,) u8 and the label; changes counts (B, K, C) u8, totals (C,) i32, which stop
    at 2^29, and halved (B, K) u8, at most 24 halvings a column.
    """

    KIND: ClassVar[str] = "key_value_count"
    COUNTS: ClassVar[int] = 2

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        self._check(ins[0], ins[2], ins[3], bounds)
        self.expect_learned(ins[4], bounds, "u8", self._shape[:2], (0, HALVINGS))
        self.expect_label(ins[1], bounds, self._shape[2])
        return Inferred([])

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.LEARN

    def golden(self, env: dict[str, Array], t: int) -> None:
        index, label, counts, totals, halved = (env[name] for name in self.inputs)
        y = int(label[0, 0])
        books = np.arange(len(counts))
        times = halved[books, index[0]].astype(np.int64)
        books = books[int(totals[y]) & ((1 << times) - 1) == 0]
        full = books[counts[books, index[0, books], y] == 255]
        counts[full, index[0, full]] >>= 1
        cells = full, index[0, full]
        halved[cells] = np.minimum(halved[cells] + 1, HALVINGS)
        counts[books, index[0, books], y] += 1
        totals[y] = min(int(totals[y]) + 1, MOST)

    def cost(self) -> Cost:
        return Cost(updates=self._shape[0])

    def emit(self, em: Emitter) -> list[Statement]:
        return [c.run("spk_key_value_count", self._config(em), *map(em.tensor, self.inputs))]


@dataclass(kw_only=True)
class KeyValue(Learner):
    """Discrete key-value table: counts behind frozen keys; any order of samples, no learning rate.

    The keys are fitted on the calibration data, which should be broad and needs no labels.

    Attributes:
        books: codebooks.
        keys: a codebook, 2 to 256.
        size: dimensions of a key.
    """

    NAME: ClassVar[str] = "key_value"
    AFTER: ClassVar[str] = "discrete key-value bottleneck (Träuble et al., ICML 2023)"
    DIFFERS: ClassVar[str] = (
        "values are counts of labels, not vectors that descend; keys come from k-means on "
        "calibration data"
    )

    books: Annotated[int, Within(1, 2048)] = 32
    keys: Annotated[int, Within(2, 256)] = 64
    size: Annotated[int, Within(1, 256)] = 8

    def build(self, backbone: Graph, setting: Setting) -> Graph:
        features = setting.fitting(backbone)
        if len(features) < self.keys:
            raise UsageError(
                f"key_value has {len(features)} samples to fit {self.keys} keys on",
                "no calibration data was given, or too little",
                f"give {4 * self.keys} broad samples or more; they need no labels",
            )
        rng = np.random.default_rng(setting.seed)
        chosen = rng.permutation(len(features))[:FITTED_ON]
        x = features[chosen].reshape(min(len(features), FITTED_ON), -1).astype(np.float64)
        seed = int(mix32(np.array([setting.seed], np.uint32))[0]) or 1
        sums = x @ signs(seed, self.books * self.size, x.shape[1]).T
        offset = np.rint(sums.mean(axis=0))
        most = float(np.quantile(np.abs(sums - offset), 0.999))
        shift = max(0, int(np.ceil(np.log2(max(most, 1) / 127))))
        queries = np.clip(np.floor((sums - offset) / (1 << shift) + 0.5), -128, 127)
        pieces = queries.reshape(len(x), self.books, self.size).astype(np.float32)
        keys = np.stack([_means(pieces[:, b], self.keys, rng) for b in range(self.books)])
        counts = Learned.of("key_value.counts", "u8", (self.books, self.keys, setting.classes))
        totals = Learned.of("key_value.totals", "i32", (setting.classes,), low=0, high=MOST)
        halved = Learned.of("key_value.halved", "u8", (self.books, self.keys), low=0, high=HALVINGS)
        learned = [counts, totals, halved]
        nodes: list[Operator] = [
            SignProjection(
                name="kv_query",
                inputs=(setting.features,),
                offset=offset.astype(np.int32),
                seed=seed,
                shift=shift,
            ),
            NearestKey(name="kv_key", inputs=("kv_query",), keys=keys),
            KeyValueScores(name="kv_scores", inputs=("kv_key", *_names(learned[:2]))),
            KeyValueCount(name="kv_count", inputs=("kv_key", "label", *_names(learned))),
        ]
        return extend(backbone, nodes, learned, ["kv_scores"], setting.classes)

    def health(self, learned: Mapping[str, Array]) -> dict[str, float]:
        return {
            "saturations": float(learned["key_value.halved"].sum()),
            "samples": float(learned["key_value.totals"].sum()),
            "used": float((learned["key_value.counts"].max(axis=2) > 0).mean()),
        }


def _names(learned: list[Learned]) -> tuple[str, ...]:
    return tuple(k.tensor.name for k in learned)


def _means(x: Array, count: int, rng: np.random.Generator) -> Array:
    """(count, size) int8: k-means of x (N, size) float32; an empty cluster starts again."""
    centres = x[rng.permutation(len(x))[:count]].copy()
    for _ in range(ROUNDS):
        nearest = np.argmin((centres**2).sum(axis=1) - 2 * x @ centres.T, axis=1)
        members = (np.arange(count)[:, None] == nearest).astype(np.float32)
        sizes = members.sum(axis=1)
        centres = members @ x / np.maximum(sizes, 1)[:, None]
        empty = sizes == 0
        centres[empty] = x[rng.integers(0, len(x), int(empty.sum()))]
    keys: Array = np.clip(np.rint(centres), -128, 127).astype(np.int8)
    return keys

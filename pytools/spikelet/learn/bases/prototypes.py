"""Classes as rows of learned integers: the scores of a linear classifier, and squared distances.

C twin: firmware/learn/prototypes.h.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Statement
from spikelet.graph.declared import within
from spikelet.graph.int8 import interval
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval, Operator, Phase
from spikelet.graph.tensor import Array, Tensor
from spikelet.learn.numbers.feature import C_TYPES, extent
from spikelet.learn.numbers.fixed import INT32_MAX, saturate

INT32_MIN = -INT32_MAX - 1  # score of a class without samples


def flat(env: dict[str, Array], name: str) -> Array:
    """Features of all samples, (N, n) int64."""
    x = env[name]
    return x.reshape(len(x), -1).astype(np.int64)


def largest(node: Operator, features: Tensor, bounds: dict[str, Interval]) -> int:
    """The largest magnitude of a feature; refuses another type of features."""
    extent(node, features, bounds)
    low, high = bounds[features.name]
    return max(int(np.abs(low).max()), int(np.abs(high).max()), 1)


def after(ins: list[Phase]) -> Phase:
    """When features are read: at once if they are, else after the last step."""
    return Phase.ONCE if max(ins) is Phase.ONCE else max(Phase.END, *ins)


@dataclass(kw_only=True)
class LinearScores(Operator):
    """`score[c] = bias[c] + sum over i of weight[c, i] * f[i]`; -2^31 for a class without samples.

    Reads features of any shape, n elements u8, i8, i16 or i32; then learned weight (C, n) i16,
    bias (C,) i32 and count (C,) i32, the samples of each class. Writes (C,) i32.
    """

    KIND: ClassVar[str] = "linear_scores"

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        features, weight, bias, count = self.ins
        extent(self, features, bounds)
        classes = bias.size
        if weight.shape != (classes, features.size) or count.shape != bias.shape:
            raise self.error(
                f"weight {weight.shape}, bias {bias.shape} and count {count.shape} do not fit "
                f"input {features.name} of shape {features.shape}"
            )
        for tensor, dtype in ((weight, "i16"), (bias, "i32"), (count, "i32")):
            if tensor.dtype != dtype:
                raise self.error(f"input {tensor.name} is {tensor.dtype}, expected {dtype}")
        low, high = (b.reshape(-1).astype(np.int64) for b in bounds[features.name])
        reach = np.maximum(np.abs(low), np.abs(high))
        most = np.maximum(*(np.abs(b.astype(np.int64)) for b in bounds[weight.name])) @ reach
        worst = int((most + np.maximum(*(np.abs(b) for b in bounds[bias.name]))).max())
        if worst >= 1 << 31:
            raise self.error(
                f"a score of {features.size} features may reach {worst}, beyond 32 bits: fewer "
                "features, or of a smaller range"
            )
        bounds[self.name] = interval((classes,), INT32_MIN, INT32_MAX)
        return Inferred([Tensor(self.name, "i32", (classes,))])

    def phase(self, ins: list[Phase]) -> Phase:
        return after(ins)

    def golden(self, env: dict[str, Array], t: int) -> None:
        weight, bias, count = (env[name] for name in self.inputs[1:])
        # In float64, exactly: sums are proved to fit 32 bits.
        sums = flat(env, self.inputs[0]).astype(np.float64) @ weight.T.astype(np.float64) + bias
        env[self.name] = np.where(count > 0, sums, INT32_MIN).astype(np.int32)

    def cost(self) -> Cost:
        return Cost(macs=self.ins[1].size, weight_bits=16)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("learn/prototypes.h")
        features, weight, bias, count, to = map(em.tensor, (*self.inputs, self.name))
        classes, size = len(em.bounds[self.name][0]), em.bounds[self.inputs[1]][0].shape[1]
        given = (features, C_TYPES[self.ins[0].dtype], size, classes, weight, bias, count, to)
        return [c.run("spk_linear_scores", *given)]


@dataclass(kw_only=True)
class Distances(Operator):
    """Base of squared distances to every class: `square(f) - 2 * score[c]`, 0 at the least.

    Reads features, scores (C,) i32 of `LinearScores`, then what `square` needs; writes (C,) i32,
    of a class without samples 2^31 - 1.
    """

    KIND: ClassVar[str] = ""

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        largest(self, ins[0], bounds)
        bounds[self.name] = interval(ins[1].shape, 0, INT32_MAX)
        return Inferred([Tensor(self.name, "i32", ins[1].shape)])

    def phase(self, ins: list[Phase]) -> Phase:
        return after(ins)

    def square(self, env: dict[str, Array]) -> Array:
        """(N,) int64: the squared distance of the features from the origin of the scores."""
        raise NotImplementedError

    def scores(self, env: dict[str, Array]) -> Array:
        """(N, C) int64 scores in the units of `square`."""
        return env[self.inputs[1]].astype(np.int64)

    def golden(self, env: dict[str, Array], t: int) -> None:
        squares = np.maximum(self.square(env)[:, None] - 2 * self.scores(env), 0)
        seen = env[self.inputs[1]] > INT32_MIN
        env[self.name] = np.where(seen, saturate(squares), INT32_MAX).astype(np.int32)


@dataclass(kw_only=True)
class EuclideanDistances(Distances):
    """Squared Euclidean distances to means whose weights have `fraction` bits behind the point.

    Reads features, n elements u8, i8, i16 or i32, and scores (C,) i32; writes (C,) i32, of the
    fraction bits.
    """

    KIND: ClassVar[str] = "euclidean_distances"

    fraction: Annotated[int, within(0, 15)]

    def square(self, env: dict[str, Array]) -> Array:
        x = flat(env, self.inputs[0])
        squares: Array = (x * x).sum(axis=1) << self.fraction
        return squares

    def cost(self) -> Cost:
        return Cost(macs=self.ins[0].size)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("learn/prototypes.h")
        features, scores, to = map(em.tensor, (*self.inputs, self.name))
        size = em.bounds[self.inputs[0]][0].size
        classes = len(em.bounds[self.name][0])
        given = (features, C_TYPES[self.ins[0].dtype], size, classes, self.fraction, scores, to)
        return [c.run("spk_euclidean_distances", *given)]

"""The operators of CUBER: columns of old tasks may be used. C twin: firmware/learn/hlop.h."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Fields, Statement
from spikelet.graph.declared import Size, within
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval, Operator, Phase
from spikelet.graph.tensor import Array
from spikelet.learn.bases.subspace import (
    BEGUN,
    USED,
    Gradients,
    SubspaceOperator,
)
from spikelet.learn.numbers.feature import C_TYPES
from spikelet.learn.numbers.fixed import ema


@dataclass(kw_only=True)
class CuberCompare(SubspaceOperator):
    """Allows the columns of old tasks whose gradient this task's agrees with.

    In each sample the gradient `error y'`, y = H' x, of the weights in all columns joins its mean,
    `m += (g - m) / 2^mean`. With the task's sample number `probe`, each old task is compared: where
    the cosine of its last mean gradient and this one's, in its columns, is at least `cosine`, this
    task may change what the weights are there, for that lowers the old loss, too. Sums of means
    less 14 bits, 64-bit. Source: Lin et al., "Beyond Not-Forgetting: Continual Learning with
    Backward Knowledge Transfer", NeurIPS 2022; without its penalty on the change.

    Reads error (O,) i16, x, basis, columns; changes now (O, K) i32, reads then (O, K) i32, changes
    allowed (K,) u8 and count (1,) i32, 0 to probe.

    Attributes:
        first: columns of the first task.
        more: columns of each further task.
        probe: samples, 1 or more.
        cosine: Q15, above 0.
        mean: 1 to 16.
    """

    KIND: ClassVar[str] = "cuber_compare"

    first: Size
    more: Size
    probe: Annotated[int, within(1, (1 << 31) - 1)]
    cosine: Annotated[int, within(1, 1 << 15)]
    mean: Annotated[int, within(1, 16)] = 8

    facts: Gradients = field(init=False, repr=False, compare=False)

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        error, x, basis, columns, now, then, allowed, count = self.ins
        subspace = self.expect_subspace(x, basis, columns, bounds)
        kept = ("i32", (error.size, subspace.capacity))
        shapes = (("i16", (error.size,)), kept, kept, ("u8", (subspace.capacity,)), ("i32", (1,)))
        for tensor, (dtype, shape) in zip((error, now, then, allowed, count), shapes, strict=True):
            if (tensor.dtype, tensor.shape) != (dtype, shape):
                raise self.error(
                    f"input {tensor.name} is {tensor.dtype} of shape {tensor.shape}, expected "
                    f"{dtype} of shape {shape}"
                )
        if not (self.first >= 1 and self.more >= 1 and self.probe >= 1 and 1 <= self.mean <= 16):
            raise self.error(f"first, more, probe or mean {self.mean} is out of range")
        if not 1 <= self.cosine <= 1 << 15:
            raise self.error(f"cosine {self.cosine} is not 1 to 2^15")
        low, high = bounds[error.name]
        product = subspace.limit * max(1, -int(low.min()), int(high.max()))
        fraction = 31 - product.bit_length() - 1
        if fraction < 0:
            raise self.error(f"gradients reach {product}: give the error fewer bits")
        return Inferred([], Gradients(**vars(subspace), fraction=fraction))

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.LEARN

    def golden(self, env: dict[str, Array], t: int) -> None:
        error, x, basis, columns, now, then, allowed, count = (env[k] for k in self.inputs)
        used, begun = int(columns[USED]), int(columns[BEGUN])
        values = x.reshape(-1).astype(np.int64) - self.facts.zero
        y = self._coordinates(values, basis[:, :begun])
        gradient = error[0].astype(np.int64)[:, None] * y << self.facts.fraction
        now[:, :begun] = ema(now[:, :begun], gradient, self.mean)
        if count[0] >= self.probe:
            return
        count[0] += 1
        if count[0] < self.probe:
            return
        start = 0
        while start < used:
            end = min(used, start + (self.more if start else self.first))
            allowed[start:end] = self._agree(now[:, start:end], then[:, start:end])
            start = end

    def _agree(self, now: Array, then: Array) -> bool:
        u, v = now.astype(np.int64) >> 14, then.astype(np.int64) >> 14
        dot, a, b = int((u * v).sum()), int((u * u).sum()), int((v * v).sum())
        down = max(0, max(a, b).bit_length() - 30)
        dot >>= down
        return dot > 0 and dot * dot >= ((a >> down) * (b >> down) >> 15) * self._squared_cosine

    @property
    def _squared_cosine(self) -> int:
        return self.cosine * self.cosine >> 15

    def cost(self) -> Cost:
        return Cost(macs=(self.facts.n + self.ins[0].size) * self.facts.capacity, weight_bits=16)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("learn/hlop.h")
        fields: Fields = {
            "layer": self._layer(),
            "outputs": self.ins[0].size,
            "first": self.first,
            "more": self.more,
            "mean": self.mean,
            "fraction": self.facts.fraction,
            "probe": self.probe,
            "squared": self._squared_cosine,
        }
        config = em.config(self.name, "spk_cuber", fields)
        work = c.cast("int32_t *", em.scratch(self.name, 4 * self.facts.capacity))
        error, x, *rest = map(em.tensor, self.inputs)
        return [c.run("spk_cuber", config, error, x, C_TYPES[self.ins[1].dtype], *rest, work)]


@dataclass(kw_only=True)
class CuberKeep(Operator):
    """On commit a task's mean gradient is kept, and the next one starts: before `HlopMerge`.

    Reads columns (2,) i32; changes now and then (O, K) i32, allowed (K,) u8 and count (1,) i32.
    """

    KIND: ClassVar[str] = "cuber_keep"

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        _, now, then, allowed, _ = self.ins
        if now.shape != then.shape or allowed.shape != now.shape[1:]:
            raise self.error(f"shapes {now.shape}, {then.shape} and {allowed.shape} do not fit")
        return Inferred([])

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.COMMIT

    def golden(self, env: dict[str, Array], t: int) -> None:
        columns, now, then, allowed, count = (env[name] for name in self.inputs)
        block = slice(int(columns[USED]), int(columns[BEGUN]))
        then[:, block] = now[:, block]
        now[...], allowed[...], count[...] = 0, 0, 0

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("learn/hlop.h")
        outputs, capacity = self.ins[1].shape
        size = (c.unsigned(outputs), c.unsigned(capacity))
        return [c.run("spk_cuber_keep", *size, *map(em.tensor, self.inputs))]

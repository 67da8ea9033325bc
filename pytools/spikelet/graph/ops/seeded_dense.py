"""Fully connected layer whose weights are made of a seed. C twin: firmware/kernels/seeded_dense.h.

A fixed random reservoir has two of them: on the input, and on its own state of the step before.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Fields, Statement
from spikelet.graph.declared import AnyCode, Size, UInt32, within
from spikelet.graph.fixed import counted32, mix32, pick_int
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval, Operator, Role
from spikelet.graph.tensor import Array, Tensor

MOST_WEIGHTS = 1 << 22  # of a layer: golden holds them
MOST_SIZE = 32767
LANE = 32767  # of a sum, in 16 bits


def seeded_signs(seed: int, outputs: int, inputs: int, fan_out: int | None = None) -> Array:
    """(outputs, inputs) int32: the sign of each weight; with a fan-out, sums of signs.

    They are made of the words of `counted32`. Without a fan-out W = ceil(outputs / 32) words belong
    to each input, in order, and bit o % 32 of its word o / 32 says the sign to output o: 1 for +1,
    0 for -1. With one, each of an input's `fan_out` words adds a sign, +1 where its bit 0 is 1, to
    output (word >> 1) * outputs >> 31.
    """
    each = -(-outputs // 32) if fan_out is None else fan_out
    words = counted32(seed, inputs * each).reshape(inputs, each)
    if fan_out is None:
        bits = words[:, :, None] >> np.arange(32, dtype=np.uint32) & np.uint32(1)
        signs: Array = bits.reshape(inputs, -1)[:, :outputs].T.astype(np.int32) * 2 - 1
        return signs
    to = ((words >> 1).astype(np.int64) * outputs) >> 31
    signs = np.zeros((outputs, inputs), np.int32)
    np.add.at(signs, (to, np.arange(inputs)[:, None]), (words & 1).astype(np.int32) * 2 - 1)
    return signs


@dataclass(frozen=True)
class Seeded:
    """What a seeded layer is proved to be.

    Attributes:
        weight: (m, n) int64, in steps.
        most: the largest value of an input less its zero, in size.
    """

    weight: Array
    most: int


@dataclass(kw_only=True)
class SeededDense(Operator):
    """`sum[o] = size * sum over i of sign[o, i] * (input[i] - zero)`: weights that take no memory.

    Reads n spikes, bit, or values, u8 or i8, row-major; writes sums (m,), i16 where they are
    proved to fit, else i32. The signs are those of `seeded_signs`.

    Attributes:
        outputs: m.
        seed: of the signs.
        fan_out: how many outputs each input goes into, drawn with replacement; None for all.
        size: of every weight, in steps.
        zero: the code of 0 of the input.
    """

    KIND: ClassVar[str] = "seeded_dense"

    outputs: Size
    seed: UInt32
    fan_out: Size | None = None
    size: Annotated[int, within(1, MOST_SIZE)] = 1
    zero: AnyCode = 0

    facts: Seeded = field(init=False, repr=False, compare=False)

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        x = self.ins[0]
        if x.dtype not in ("bit", "u8", "i8"):
            raise self.error(f"input {x.name} is {x.dtype}, expected bit, u8 or i8")
        least, most = x.limits
        if not least <= self.zero <= most or (x.dtype == "bit" and self.zero):
            raise self.error(f"zero is {self.zero}, no code of 0 of {x.dtype}")
        if x.size * self._each > MOST_WEIGHTS:
            raise self.error(
                f"{x.size} inputs with {self._each} weights each, expected up to {MOST_WEIGHTS} "
                "weights in all"
            )
        signs = seeded_signs(self.seed, self.outputs, x.size, self.fan_out)
        weight = signs.astype(np.int64) * self.size
        low, high = (end.reshape(-1).astype(np.int64) - self.zero for end in bounds[x.name])
        # Partial sums in any order included.
        ends = [np.maximum(weight, 0) @ end + np.minimum(weight, 0) @ other
                for end, other in ((np.minimum(low, 0), np.maximum(high, 0)),
                                   (np.maximum(high, 0), np.minimum(low, 0)))]  # fmt: skip
        dtype = pick_int(int(ends[0].min()), int(ends[1].max()))
        if dtype is None:
            raise self.error(
                f"a sum may reach {max(-int(ends[0].min()), int(ends[1].max()))}, beyond 32 bits"
            )
        bounds[self.name] = (ends[0], ends[1])
        largest = max(-int(low.min()), int(high.max()))
        return Inferred([Tensor(self.name, dtype, (self.outputs,))], Seeded(weight, largest))

    @property
    def _each(self) -> int:
        """Weights of an input."""
        return self.outputs if self.fan_out is None else self.fan_out

    def golden(self, env: dict[str, Array], t: int) -> None:
        x = env[self.inputs[0]]
        values = x.reshape(len(x), -1).astype(np.float64) - self.zero
        sums = values @ self.facts.weight.T.astype(np.float64)  # exact: integers below 2^53
        env[self.name] = sums.astype(self.outs[0].numpy_dtype)

    def tensor_roles(self) -> dict[str, Role]:
        return {self.inputs[0]: Role.WEIGHTED}

    def synapses(self) -> dict[str, Array]:
        met = np.count_nonzero(self.facts.weight, axis=0)
        return {self.inputs[0]: met.reshape(self.ins[0].shape)}

    def cost(self) -> Cost:
        size = self.ins[0].size * self._each
        if self.ins[0].dtype == "bit":
            return Cost(synaptic_ops=size, weight_bits=1)
        return Cost(macs=size, weight_bits=1)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("kernels/seeded_dense.h")
        x = self.ins[0]
        fields: Fields = {
            "inputs": x.size,
            "outputs": self.outputs,
            "words": self.fan_out or -(-self.outputs // 32),
            "start": int(mix32(np.array([self.seed], np.uint32))[0]),
            "size": self.size,
            "zero": self.zero,
            "at_once": min(x.size, LANE // max(1, self.facts.most)),
            "is_signed": x.dtype == "i8",
            "wide": self.outs[0].dtype == "i32",
        }
        config = em.config(self.name, "spk_seeded_dense", fields)
        read = "spikes" if x.dtype == "bit" else "values"
        how = "scatter" if self.fan_out else "dense"
        sums = em.tensor(self.name)
        return [c.run(f"spk_seeded_{how}_{read}", config, em.tensor(self.inputs[0]), sums)]

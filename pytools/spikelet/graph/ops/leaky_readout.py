"""Leaky integrators that do not spike. C twin: firmware/kernels/leaky_readout.h."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Fields, Statement
from spikelet.graph.declared import Held, one_of, within
from spikelet.graph.fixed import (
    C_ROUNDINGS,
    LEAK_BITS,
    LEAK_INSTRUCTIONS,
    Q15_ONE,
    ROUNDINGS,
    Membranes,
    leak,
    pick_int,
    saturate,
)
from spikelet.graph.membranes import SETTLED
from spikelet.graph.operator import (
    Cost,
    Emitter,
    Inferred,
    Interval,
    Operator,
    Phase,
    Precision,
    Role,
)
from spikelet.graph.tensor import Array, Tensor
from spikelet.graph.varied import check_leaks, leak_fields, repeated


@dataclass(kw_only=True)
class LeakyReadout(Operator):
    """`v = leak(v) + (x << input_shift)`, from 0; its membrane is the result.

    Reads input of n elements, i16, i32, or codes i8; writes the membrane in its shape, i16 where it
    is proved to fit, else i32.
    Membranes saturate; every saturation is counted.

    Attributes:
        leak: what the membrane keeps in a step, 0 to 2^leak_bits, which sums.
        leaks: (n,) or (k,) uint32 in its place, where it differs between neurons; see `Lif`.
        leak_bits: fraction bits of the leak, 15 to 31.
        leak_round: rounding of the leak, one of floor, zero, nearest.
        input_shift: fraction bits of the membrane.
    """

    KIND: ClassVar[str] = "leaky_readout"
    KEPT: ClassVar[bool] = True

    leak: Annotated[int, within(0, 1 << 31)] = Q15_ONE
    leaks: Annotated[Array, Held("uint32", 1, 0, 1 << 31)] | None = None
    leak_bits: Annotated[int, within(LEAK_BITS[0], LEAK_BITS[-1])] = 15
    leak_round: Annotated[str, one_of(*ROUNDINGS)] = "zero"
    input_shift: Annotated[int, within(0, 15)] = 0

    facts: Membranes = field(init=False, repr=False, compare=False)

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        x = self.ins[0]
        if x.dtype not in ("i8", "i16", "i32"):
            raise self.error(f"input {x.name} is {x.dtype}, expected i8, i16 or i32")
        check_leaks(self, x.size)
        x_low, x_high = (b.astype(np.int64) << self.input_shift for b in bounds[self.inputs[0]])
        if max(-int(x_low.min()), int(x_high.max())) >= 1 << 31:
            raise self.error("an input may reach beyond 32 bits: lower input_shift")
        low = high = least = most = np.zeros(x_low.shape, np.int64)
        for t in range(SETTLED + 1 if self.endless else steps):
            if t == SETTLED and self.endless:  # it grows on: then it is held by its type alone
                low, high = (np.full_like(low, end) for end in (-(1 << 31), (1 << 31) - 1))
            before = low, high
            low, high = self._leak(low) + x_low, self._leak(high) + x_high
            least, most = np.minimum(least, low), np.maximum(most, high)
            low, high = saturate(low, "i32")[0], saturate(high, "i32")[0]
            if self.endless:  # from any state of the steps before
                low, high = np.minimum(low, before[0]), np.maximum(high, before[1])
                if (low == before[0]).all() and (high == before[1]).all():
                    break
        fits = pick_int(int(least.min()), int(most.max()))
        exact = fits is not None
        dtype = fits or "i32"
        small = self.leak_bits == 15 and -Q15_ONE < int(least.min()) and int(most.max()) < Q15_ONE
        bounds[self.name] = (saturate(least, "i32")[0], saturate(most, "i32")[0])
        shape = self.ins[0].shape
        return Inferred(
            [Tensor(self.name, dtype, shape, kind="state", persistent=True)],
            Membranes(exact, small),
        )

    def tensor_roles(self) -> dict[str, Role]:
        return {self.name: Role.MEMBRANE}

    def membrane_precision(self) -> Precision:
        cost = LEAK_INSTRUCTIONS[self.outs[0].dtype, self.leak_bits > 15]
        return Precision(self.input_shift, self.leak_bits, cost)

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.STEP

    def start(self, env: dict[str, Array], samples: int) -> None:
        dtype = np.int16 if self.outs[0].dtype == "i16" else np.int32
        env[self.name] = np.zeros((samples, *self.ins[0].shape), dtype)

    def golden(self, env: dict[str, Array], t: int) -> Array:
        stored = env[self.name]
        x = env[self.inputs[0]].astype(np.int64) << self.input_shift
        v = self._leak(stored.astype(np.int64)) + x
        v, clipped = saturate(v, self.outs[0].dtype)
        env[self.name] = v.astype(stored.dtype)
        saturations: Array = clipped.reshape(len(v), -1).sum(axis=1)
        return saturations

    def _leak(self, v: Array) -> Array:
        factor = self.leak if self.leaks is None else repeated(self.leaks, self.ins[0].shape)
        return leak(v, factor, self.leak_round, self.leak_bits)

    def cost(self) -> Cost:
        return Cost(updates=self.ins[0].size)

    def emit_start(self, em: Emitter) -> list[Statement]:
        em.include("kernels/leaky_readout.h")
        size = 4 if self.outs[0].dtype == "i32" else 2
        return [c.run("spk_clear", em.tensor(self.name), size * self.ins[0].size)]

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("kernels/leaky_readout.h")
        fields: Fields = {
            "n": self.ins[0].size,
            **leak_fields(self, em),
            "leak_bits": self.leak_bits,
            "rounding": c.name(C_ROUNDINGS[self.leak_round]),
            "input_shift": self.input_shift,
            "input_wide": self.ins[0].dtype == "i32",
            "wide": self.outs[0].dtype == "i32",
            "exact": self.facts.exact,
            "small": self.facts.small,
        }
        if self.ins[0].dtype == "i8":
            fields["input_code"] = True
        config = em.config(self.name, "spk_leaky_readout", fields)
        source, membrane = em.tensor(self.inputs[0]), em.tensor(self.name)
        return [c.run("spk_leaky_readout", config, source, membrane, c.SATURATIONS)]

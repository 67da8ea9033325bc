"""Neurons with an alpha-shaped synapse. C twin: firmware/kernels/alpha.h."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Expression, Fields, Statement
from spikelet.graph.declared import Held, one_of, within
from spikelet.graph.fixed import (
    C_ROUNDINGS,
    LEAK_BITS,
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
from spikelet.graph.ops.lif import COMPARISONS
from spikelet.graph.tensor import Array, Tensor
from spikelet.graph.varied import Leaks, check_leaks, check_length, leak_fields, repeated

RESETS = ("none", "zero", "subtract")
STATES = ("membrane", "excitation", "inhibition")


@dataclass(kw_only=True)
class Alpha(Operator):
    """Two currents whose sum is the membrane: it rises behind an input, and falls again.

    Reads input x of n elements, i16 or i32; writes in its shape `name.spikes` bit and, i16 where
    all are proved to fit and else i32, `name.membrane` v, `name.excitation` e, `name.inhibition` h,
    from 0. With r whether the stored v fires, and x shifted left by `input_shift`:

        v = leak(e) + leak_h(h), without the input, which both take in with opposite signs
        e = leak(e) + x;  h = leak_h(h) - x

    - zero: where r, all three become 0.
    - subtract: where r, `amount` is taken off e, h becomes 0, and v gets `part` of the h before.

    States saturate; every saturation is counted.

    Attributes:
        threshold: (n,), (k,) or (1,) int32.
        leak: what e keeps in a step, 0 to 2^leak_bits.
        leaks: (n,) or (k,) uint32 in its place; see `Lif`.
        inhibitory_leak: the same of h.
        inhibitory_leaks: the same of h.
        part: of h that v gets where it is reset by subtraction, 0 to 2^leak_bits.
        parts: (n,) or (k,) uint32 in its place.
        leak_bits: fraction bits of all these, 15 to 31.
        leak_round: rounding of their products, one of floor, zero, nearest.
        compare: `>` or `>=`.
        reset: none, zero, subtract.
        amount: (n,), (k,) or (1,) int32, with reset subtract.
        input_shift: fraction bits of the states.
    """

    KIND: ClassVar[str] = "alpha"
    KEPT: ClassVar[bool] = True

    threshold: Annotated[Array, Held("int32", 1, 0)]
    leak: Annotated[int, within(0, 1 << 31)] = Q15_ONE
    leaks: Annotated[Array, Held("uint32", 1, 0, 1 << 31)] | None = None
    inhibitory_leak: Annotated[int, within(0, 1 << 31)] = 0
    inhibitory_leaks: Annotated[Array, Held("uint32", 1, 0, 1 << 31)] | None = None
    part: Annotated[int, within(0, 1 << 31)] = 0
    parts: Annotated[Array, Held("uint32", 1, 0, 1 << 31)] | None = None
    leak_bits: Annotated[int, within(LEAK_BITS[0], LEAK_BITS[-1])] = 15
    leak_round: Annotated[str, one_of(*ROUNDINGS)] = "zero"
    compare: Annotated[str, one_of(*COMPARISONS)] = ">"
    reset: Annotated[str, one_of(*RESETS)] = "zero"
    amount: Annotated[Array, Held("int32", 1, 0)] | None = None
    input_shift: Annotated[int, within(0, 15)] = 0

    facts: Membranes = field(init=False, repr=False, compare=False)

    @property
    def _factors(self) -> dict[str, Leaks]:
        """The leaks of both currents and the part, by what their fields in C begin with."""
        given = {
            "": (self.leak, self.leaks),
            "inhibitory_": (self.inhibitory_leak, self.inhibitory_leaks),
            "part_": (self.part, self.parts),
        }
        return {
            begin: Leaks(f"{self.name}_{begin}factor", *pair, self.leak_bits, self.error)
            for begin, pair in given.items()
        }

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        x = self.ins[0]
        if x.dtype not in ("i16", "i32"):
            raise self.error(f"input {x.name} is {x.dtype}, expected i16 or i32")
        for leaks in self._factors.values():
            check_leaks(leaks, x.size)
        for name in ("threshold", "amount"):
            check_length(self, name, getattr(self, name), x.size)
        if (self.amount is not None) != (self.reset == "subtract"):
            raise self.error("amount goes with reset 'subtract', and only with it")
        x_low, x_high = (b.astype(np.int64) << self.input_shift for b in bounds[self.inputs[0]])
        if max(-int(x_low.min()), int(x_high.max())) >= 1 << 31:
            raise self.error("an input may reach beyond 32 bits: lower input_shift")
        ranges = self._ranges((x_low, x_high), steps)
        ends = [int(end.min()) for end, _ in ranges.values()]
        tops = [int(end.max()) for _, end in ranges.values()]
        least = min(*ends, 0)
        most = max(*tops, int(self.threshold.max()), int(self._each(self.amount).max()))
        fits = pick_int(least, most)
        dtype = fits or "i32"
        small = self.leak_bits == 15 and -Q15_ONE < least and most < Q15_ONE
        limit = "i16" if dtype == "i16" else "i32"
        for state, (low, high) in ranges.items():
            bounds[f"{self.name}.{state}"] = saturate(low, limit)[0], saturate(high, limit)[0]
        zeros = np.zeros(x.shape, np.int64)
        bounds[f"{self.name}.spikes"] = zeros, zeros + 1
        return Inferred(
            [
                Tensor(f"{self.name}.spikes", "bit", x.shape),
                *(
                    Tensor(f"{self.name}.{state}", dtype, x.shape, kind="state", persistent=True)
                    for state in STATES
                ),
            ],
            Membranes(fits is not None, small),
        )

    def _ranges(self, x: Interval, steps: int) -> dict[str, Interval]:
        """Lowest and highest of each state before it is clipped, in any step."""
        zero = np.zeros(x[0].shape, np.int64)
        e = h = v = (zero, zero)
        off = self._each(self.amount)
        for t in range(SETTLED + 1 if self.endless else steps):
            if t == SETTLED and self.endless:  # they grow on: then they are held by their type
                e = h = np.full_like(zero, -(1 << 31)), np.full_like(zero, (1 << 31) - 1)
            before = (*e, *h, *v)
            kept_e = [self._kept("", end) for end in e]
            kept_h = [self._kept("inhibitory_", end) for end in h]
            back = [self._kept("part_", end) for end in h]
            low, high = kept_e[0] + kept_h[0], kept_e[1] + kept_h[1]
            if self.reset == "subtract":
                low, high = low + np.minimum(back[0], 0), high + np.maximum(back[1], 0)
            v = np.minimum(v[0], low), np.maximum(v[1], high)
            e = (
                np.clip(np.minimum(e[0], kept_e[0] + x[0] - off), -(1 << 32), None),
                np.clip(np.maximum(e[1], kept_e[1] + x[1]), None, 1 << 32),
            )
            h = (
                np.clip(np.minimum(h[0], kept_h[0] - x[1]), -(1 << 32), None),
                np.clip(np.maximum(h[1], kept_h[1] - x[0]), None, 1 << 32),
            )
            after = (*e, *h, *v)
            if self.endless and all(map(np.array_equal, before, after)):
                break
        return {"membrane": v, "excitation": e, "inhibition": h}

    def _kept(self, begin: str, state: Array) -> Array:
        factor = self._factors[begin]
        each = factor.leak if factor.leaks is None else self._each(factor.leaks)
        return leak(
            np.clip(state, -(1 << 31), (1 << 31) - 1), each, self.leak_round, self.leak_bits
        )

    def _each(self, values: Array | None) -> Array:
        return repeated(np.zeros(1) if values is None else values, self.ins[0].shape)

    def tensor_roles(self) -> dict[str, Role]:
        return {f"{self.name}.spikes": Role.SPIKES, f"{self.name}.membrane": Role.MEMBRANE}

    def membrane_precision(self) -> Precision:
        return Precision(self.input_shift, self.leak_bits, None)

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.STEP

    def start(self, env: dict[str, Array], samples: int) -> None:
        dtype = np.int16 if self.outs[1].dtype == "i16" else np.int32
        for state in STATES:
            env[f"{self.name}.{state}"] = np.zeros((samples, *self.ins[0].shape), dtype)

    def _fires(self, v: Array) -> Array:
        threshold = self._each(self.threshold)
        fires: Array = v > threshold if self.compare == ">" else v >= threshold
        return fires

    def golden(self, env: dict[str, Array], t: int) -> Array:
        v, e, h = (env[f"{self.name}.{state}"].astype(np.int64) for state in STATES)
        x = env[self.inputs[0]].astype(np.int64) << self.input_shift
        reset = self._fires(v) & (self.reset != "none")
        kept_e, kept_h = self._kept("", e), self._kept("inhibitory_", h)
        v = kept_e + kept_h
        new_e, new_h = kept_e + x, kept_h - x
        if self.reset == "zero":
            v, new_e, new_h = (np.where(reset, 0, state) for state in (v, new_e, new_h))
        elif self.reset == "subtract":
            v = v + np.where(reset, self._kept("part_", h), 0)
            new_e = new_e - reset * self._each(self.amount)
            new_h = np.where(reset, 0, new_h)
        count = np.zeros(len(v), np.int64)
        for state, values in zip(STATES, (v, new_e, new_h), strict=True):
            kept, clipped = saturate(values, self.outs[1].dtype)
            count += clipped.reshape(len(v), -1).sum(axis=1)
            env[f"{self.name}.{state}"] = kept.astype(env[f"{self.name}.{state}"].dtype)
        env[f"{self.name}.spikes"] = self._fires(env[f"{self.name}.membrane"]).astype(np.uint8)
        return count

    def cost(self) -> Cost:
        return Cost(updates=3 * self.ins[0].size)

    def _config(self, em: Emitter) -> Expression:
        fields: Fields = {
            "n": self.ins[0].size,
            "leak_bits": self.leak_bits,
            "rounding": c.name(C_ROUNDINGS[self.leak_round]),
            "inclusive": self.compare == ">=",
            "reset": c.name(f"SPK_RESET_{self.reset.upper()}"),
            "input_shift": self.input_shift,
            "input_wide": self.ins[0].dtype == "i32",
            "wide": self.outs[1].dtype == "i32",
            "exact": self.facts.exact,
            "small": self.facts.small,
        }
        for begin, leaks in self._factors.items():
            fields |= {f"{begin}{name}": value for name, value in leak_fields(leaks, em).items()}
        for name, values in (("threshold", self.threshold), ("amount", self.amount)):
            if values is not None and len(np.unique(values)) == 1:
                fields[f"{name}_all"] = int(values[0])
            elif values is not None:
                note = f"({len(values)},)"
                fields[name] = em.const(f"{self.name}_{name}", values.astype(np.int32), note)
                fields[f"{name}_each"] = len(values)
        return em.config(self.name, "spk_alpha", fields)

    def emit_start(self, em: Emitter) -> list[Statement]:
        em.include("kernels/alpha.h")
        return [
            c.run("spk_clear", em.tensor(f"{self.name}.{state}"), self.outs[1].nbytes)
            for state in STATES
        ]

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("kernels/alpha.h")
        states = [em.tensor(f"{self.name}.{state}") for state in STATES]
        source, spikes = em.tensor(self.inputs[0]), em.tensor(f"{self.name}.spikes")
        return [c.run("spk_alpha", self._config(em), source, *states, spikes, c.SATURATIONS)]

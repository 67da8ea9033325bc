"""Fully connected layer on spikes or on 8-bit values.

C twins: firmware/kernels/dense.h, and dense_packed.h for weights of less than 8 bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Expression, Statement, Value
from spikelet.graph.declared import Held
from spikelet.graph.grid import check_spike_weights, lane_fields, levels_of
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval, Operator, Role
from spikelet.graph.quantised import pack
from spikelet.graph.tensor import Array, Tensor

# Sums in this range, partial sums included, may share a word two by two: see dense.h.
LANE_LIMIT = 24575


@dataclass(kw_only=True)
class Dense(Operator):
    """`sum[o] = bias[o] + sum over i of weight[o, i] * input[i]`, in units of the weight's step.

    Reads n spikes, bit, or values, u8 or i8, row-major; writes sums (m,), i16 where the interval
    pass proves them within +-24575, else i32. A channel's scale is not applied here: it goes into
    the threshold of the neurons behind.

    With `by_change` the device starts from the sums of the step before and touches the columns of
    inputs that changed, not of those that spiked: the same sums, cheaper where inputs repeat. It
    then keeps `name.previous`, bit, and the sums, from step to step.

    Attributes:
        weight: (m, n) int8 codes, symmetric, per output channel, of `bits` bits.
        bias: (m,) int32 in the units of the sum, or None.
        by_change: for spikes and sums in i16 only.
        bits: of a weight; those of less than 8, for spikes only, lie packed.
        odd: of less than 8 bits, a code k stands for 2k + 1, not for k.
    """

    KIND: ClassVar[str] = "dense"

    weight: Annotated[Array, Held("int8", 2)]
    bias: Annotated[Array, Held("int32", 1)] | None = None
    by_change: bool = False
    bits: Literal[1, 2, 4, 8] = 8
    odd: bool = False

    @property
    def levels(self) -> Array:
        """(m, n) weights: what a code stands for, in units of the weight's step; int8 or int16."""
        return levels_of(self.weight, self.odd)

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        if ins[0].dtype not in ("bit", "u8", "i8"):
            raise self.error(f"input {ins[0].name} is {ins[0].dtype}, expected bit, u8 or i8")
        if self.weight.dtype != np.int8 or self.weight.ndim != 2:
            raise self.error(
                f"weight is {self.weight.dtype} of shape {self.weight.shape}, expected int8 (m, n)"
            )
        check_spike_weights(self.error, self.weight, self.bits, self.odd, ins[0].dtype)
        m, n = self.weight.shape
        if ins[0].size != n:
            raise self.error(f"weight {self.weight.shape} does not fit input {ins[0].shape}")
        if self.bias is not None and (self.bias.dtype != np.int32 or self.bias.shape != (m,)):
            raise self.error(
                f"bias is {self.bias.dtype} of shape {self.bias.shape}, expected int32 ({m},)"
            )
        low, high = self._sums(*(end.reshape(-1) for end in bounds[self.inputs[0]]))
        worst = max(-int(low.min()), int(high.max()))
        if worst >= 1 << 31:
            channel = int(np.argmax(np.maximum(-low, high)))
            raise self.error(f"the sum of channel {channel} may reach {worst}, beyond 32 bits")
        bounds[self.name] = (low, high)
        dtype = "i16" if worst <= LANE_LIMIT else "i32"
        if not self.by_change:
            return Inferred([Tensor(self.name, dtype, (m,))])
        if not (self._from_spikes and dtype == "i16"):
            raise self.error("by_change needs spikes as input and sums within +-24575")
        bounds[f"{self.name}.previous"] = bounds[self.inputs[0]]
        return Inferred(
            [
                Tensor(self.name, dtype, (m,), kind="state", persistent=True),
                Tensor(f"{self.name}.previous", "bit", ins[0].shape, kind="state", persistent=True),
            ]
        )

    @property
    def _from_spikes(self) -> bool:
        return self.ins[0].dtype == "bit"

    @property
    def can_update_by_change(self) -> bool:
        """Whether `by_change` may be set; known once it is part of a graph."""
        return self._from_spikes and self.outs[0].dtype == "i16"

    def start(self, env: dict[str, Array], samples: int) -> None:
        if self.by_change:
            m = len(self.weight)
            bias = np.zeros(m, np.int16) if self.bias is None else self.bias.astype(np.int16)
            env[self.name] = np.tile(bias, (samples, 1))
            env[f"{self.name}.previous"] = np.zeros((samples, *self.ins[0].shape), np.uint8)

    def _sums(self, low: Array, high: Array) -> Interval:
        """Lowest and highest sum, partial sums in any order included."""
        w = self.levels.astype(np.int64)
        bias = 0 if self.bias is None else self.bias.astype(np.int64)
        ends = np.stack([w * low, w * high, np.zeros_like(w)])
        return ends.min(axis=0).sum(axis=1) + bias, ends.max(axis=0).sum(axis=1) + bias

    def golden(self, env: dict[str, Array], t: int) -> None:
        x = env[self.inputs[0]]
        sums = x.reshape(len(x), -1).astype(np.int64) @ self.levels.astype(np.int64).T
        if self.bias is not None:
            sums = sums + self.bias
        env[self.name] = sums.astype(np.int16 if self.outs[0].dtype == "i16" else np.int32)
        if self.by_change:
            env[f"{self.name}.previous"] = env[self.inputs[0]]

    def tensor_roles(self) -> dict[str, Role]:
        return {self.inputs[0]: Role.WEIGHTED}

    def exercised_weights(self, moved: Mapping[str, Array]) -> tuple[int, int]:
        return len(self.weight) * int(moved[self.inputs[0]].sum()), self.weight.size

    def synapses(self) -> dict[str, Array]:
        met = np.count_nonzero(self.levels, axis=0)
        return {self.inputs[0]: met.reshape(self.ins[0].shape)}

    def cost(self) -> Cost:
        size = self.weight.size
        if self._from_spikes:
            return Cost(synaptic_ops=size, weight_bits=self.bits)
        return Cost(macs=size, weight_bits=8)

    def emit_start(self, em: Emitter) -> list[Statement]:
        if not self.by_change:
            return []
        m, n = self.weight.shape
        em.include("kernels/dense.h")
        previous, sums = em.tensor(f"{self.name}.previous"), _words(em.tensor(self.name))
        bias = self._lane_bias(em)
        return [c.run("spk_dense_changes_start", bias, n, -(-m // 4), previous, sums)]

    def _lane_bias(self, em: Emitter) -> Value:
        if self.bias is None:
            return 0
        m = len(self.bias)
        pairs = np.zeros(4 * -(-m // 4), "<i2")
        pairs[:m] = self.bias
        return em.const(f"{self.name}_bias", pairs.view("<u4"), f"({m},) int16, two to a word")

    def _emit_lanes(self, em: Emitter) -> list[Statement]:
        m, n = self.weight.shape
        words = -(-m // 4)
        weight = em.const(
            f"{self.name}_weight",
            lane_words(self.weight),
            f"(inputs {n}, words {words}): four weights + 128 a word, see dense.h",
        )
        spikes, sums = em.tensor(self.inputs[0]), _words(em.tensor(self.name))
        if self.by_change:
            previous = em.tensor(f"{self.name}.previous")
            return [c.run("spk_dense_changes_s16", spikes, previous, n, weight, words, sums)]
        bias = self._lane_bias(em)
        return [c.run("spk_dense_spikes_s16", spikes, n, weight, words, bias, sums)]

    def _emit_packed(self, em: Emitter) -> list[Statement]:
        em.include("kernels/dense_packed.h")
        m, n = self.weight.shape
        lanes = self.outs[0].dtype == "i16"
        fields = lane_fields(self.weight, self.bits) if lanes else pack(self.weight.T, self.bits)
        note = f"(inputs {n}, words {fields.shape[1]}): {32 // self.bits} weights a word"
        weight = em.const(f"{self.name}_weight", fields, note)
        config = em.config(
            self.name,
            "spk_few",
            {"bits": self.bits, "outputs": m, "odd": self.odd, "drops": self.by_change},
        )
        spikes, sums = em.tensor(self.inputs[0]), em.tensor(self.name)
        if not lanes:
            bias: Value = 0
            if self.bias is not None:
                bias = em.const(f"{self.name}_bias", self.bias, f"({m},) int32")
            return [c.run("spk_dense_packed_s32", config, spikes, n, weight, bias, sums)]
        sums = _words(sums)
        if self.by_change:
            previous = em.tensor(f"{self.name}.previous")
            given = config, spikes, previous, n, weight, sums
            return [c.run("spk_dense_packed_changes_s16", *given)]
        lane_bias = self._lane_bias(em)
        return [c.run("spk_dense_packed_s16", config, spikes, n, weight, lane_bias, sums)]

    def emit(self, em: Emitter) -> list[Statement]:
        if self.bits < 8:
            return self._emit_packed(em)
        em.include("kernels/dense.h")
        if self._from_spikes and self.outs[0].dtype == "i16":
            return self._emit_lanes(em)
        m, n = self.weight.shape
        source, sums = em.tensor(self.inputs[0]), em.tensor(self.name)
        padded = 4 * -(-m // 4)
        bias: Value = 0
        if self.bias is not None:
            wide = np.zeros(padded, np.int32)
            wide[:m] = self.bias
            bias = em.const(f"{self.name}_bias", wide, f"({m},) int32, padded to fours")
        if self._from_spikes:
            weight = em.const(f"{self.name}_weight", self.weight.T, f"(inputs {n}, outputs {m})")
            return [c.run("spk_dense_spikes_s32", source, n, weight, m, bias, sums)]
        rows = np.zeros((padded, n), np.int8)
        rows[:m] = self.weight
        blocked = rows.reshape(padded // 4, 4, n).transpose(0, 2, 1)
        weight = em.const(
            f"{self.name}_weight", blocked, f"(outputs / 4 {padded // 4}, inputs {n}, 4)"
        )
        given = (
            source,
            self.ins[0].dtype == "i8",
            n,
            weight,
            m,
            bias,
            self.outs[0].dtype == "i32",
            sums,
        )
        return [c.run("spk_dense_values", *given)]


def lane_words(weight: Array) -> Array:
    """(m, n) int8 to (n, ceil(m / 4)) uint32: outputs 4j, 4j+2, 4j+1, 4j+3 from the low byte up."""
    m, n = weight.shape
    rows = np.zeros((4 * -(-m // 4), n), np.int16)
    rows[:m] = weight
    codes = (rows + 128).astype("<u1").T.reshape(n, -1, 4)
    return np.ascontiguousarray(codes[:, :, [0, 2, 1, 3]]).view("<u4")[:, :, 0]


def _words(sums: Expression) -> Expression:
    """Sums of 16 bits, two of them a word."""
    return c.cast("uint32_t *", c.cast("void *", sums))

"""Dense layer of a spiking network whose weights learn. C twin: firmware/learn/spiking.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Statement, Value
from spikelet.graph.declared import Held, Size, one_of
from spikelet.graph.fixed import pick_int
from spikelet.graph.int8 import interval
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval, Role
from spikelet.graph.tensor import Array, Tensor
from spikelet.learn.bases.trainable import INT32_MAX, Trainable
from spikelet.learn.numbers.scalar import PRECISIONS

CODE = 8  # bits that a learned weight has below its code
HALF = 1 << (CODE - 1)


def stored(codes: Array) -> Array:
    """Weights int16 whose codes these are, in the middle of each."""
    return ((codes.astype(np.int64) << CODE) + HALF).astype(np.int16)


def code_of(weight: Array) -> Array:
    """The int8 code of a learned weight, int64: its high byte."""
    return weight.astype(np.int64) >> CODE


@dataclass(kw_only=True)
class SpikingDense(Trainable):
    """`sum[o] = bias[o] + sum over i of code[i, o] * input[i]`, as `Dense`, with learned weights.

    A learned weight is an int16: its high byte is the int8 code that sums are made of, its low byte
    what learning has added since the code changed. It starts in the middle, so that codes change at
    halves. A learned bias is an int32 in 256ths of the unit of a sum, and is rounded.

    Reads n spikes, bit, or values, u8 or i8, then weight (n, outputs) i16 unless it is frozen, then
    bias (outputs,) i32 if it has one; writes sums (outputs,), i16 where it is proved to fit, else
    i32.

    Attributes:
        outputs: m.
        frozen: (n, m) int8 codes of weights that do not learn, in flash; None where they do.
        bias: whether it has a bias.
    """

    KIND: ClassVar[str] = "spiking_dense"

    precision: Annotated[str, one_of(*PRECISIONS)] = "i16"
    outputs: Size
    frozen: Annotated[Array, Held("int8", 2)] | None = None
    bias: bool = False

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        x = self.ins[0]
        shape = (x.size, self.outputs)
        if x.dtype not in ("bit", "u8", "i8"):
            raise self.error(f"input {x.name} is {x.dtype}, expected bit, u8 or i8")
        if len(self.ins) != 1 + (self.frozen is None) + self.bias:
            raise self.error(f"reads {len(self.ins)} tensors, expected x, weight, bias")
        if self.frozen is None:
            self.expect_learned(self.ins[1], bounds, "i16", shape)
        elif self.frozen.shape != shape:
            raise self.error(f"frozen has shape {self.frozen.shape}, expected {shape}")
        low, high = (end.reshape(-1).astype(np.int64) for end in bounds[x.name])
        size = np.maximum(np.abs(low), np.abs(high))
        codes = np.full(shape, 1 << CODE >> 1) if self.frozen is None else self.frozen
        most = size @ np.abs(codes.astype(np.int64))
        if self.bias:
            self.expect_learned(self.ins[-1], bounds, "i32", (self.outputs,))
            most = most + ((self.largest(self.ins[-1], bounds) + HALF) >> CODE) + 1
        dtype = pick_int(-int(most.max()), int(most.max()))
        if dtype is None or most.max() > INT32_MAX:
            raise self.error("a sum may reach beyond 32 bits")
        bounds[self.name] = interval((self.outputs,), -int(most.max()), int(most.max()))
        return Inferred([Tensor(self.name, dtype, (self.outputs,))])

    def golden(self, env: dict[str, Array], t: int) -> None:
        x = env[self.inputs[0]]
        codes = code_of(env[self.inputs[1]]) if self.frozen is None else self.frozen
        sums = x.reshape(len(x), -1).astype(np.float64) @ codes.astype(np.float64)
        total = sums.astype(np.int64)  # exact: no sum leaves 32 bits
        if self.bias:
            total = total + ((env[self.inputs[-1]].astype(np.int64) + HALF) >> CODE)
        env[self.name] = total.astype(self.outs[0].numpy_dtype)

    def tensor_roles(self) -> dict[str, Role]:
        return {self.inputs[0]: Role.WEIGHTED}

    def cost(self) -> Cost:
        size = self.ins[0].size * self.outputs
        if self.ins[0].dtype == "bit":
            return Cost(synaptic_ops=size, weight_bits=8)
        return Cost(macs=size, weight_bits=8)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("learn/spiking.h")
        config = em.config(
            self.name,
            "spk_spiking_dense",
            {
                "inputs": self.ins[0].size,
                "outputs": self.outputs,
                "learned": self.frozen is None,
                "wide": self.outs[0].dtype == "i32",
            },
        )
        if self.frozen is None:
            codes: Value = em.tensor(self.inputs[1])
        else:
            codes = em.const(f"{self.name}_frozen", self.frozen, f"{self.frozen.shape}")
        bias: Value = em.tensor(self.inputs[-1]) if self.bias else 0
        call = f"spk_spiking_dense_{self.ins[0].dtype}"
        x, sums = em.tensor(self.inputs[0]), em.tensor(self.name)
        if self.ins[0].dtype != "bit":
            return [c.run(call, config, x, codes, bias, sums)]
        spiked = c.cast("uint16_t *", em.scratch(self.name, 4 * -(-self.ins[0].size // 2)))
        return [c.run(call, config, x, codes, bias, spiked, sums)]

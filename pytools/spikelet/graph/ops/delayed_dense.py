"""Fully connected layer on spikes with a delay a synapse. C twin: kernels/delayed_dense.h."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Fields, Statement, Value
from spikelet.graph.declared import Held
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval, Operator, Phase, Role
from spikelet.graph.tensor import Array, Tensor

WORD = 32
I16 = (1 << 15) - 1
# Instructions on RV32, about, as `tools/delay_bench.py --choice` counts them: of a synapse whose
# neuron spiked; of one that looks for a spike, in one word or in several; of a word of a history;
# of a sum.
SCATTER, GATHER, GATHER_WORDS, KEPT, TAKEN = 15.6, 15.0, 18.3, 12, 8


def kept_bytes(shape: tuple[int, ...], longest: int, gather: bool, sum_bytes: int = 4) -> int:
    """Of RAM from step to step.

    Args:
        shape: (m, n) of the weights.
        longest: delay, steps.
        gather: spikes are kept, and not sums to come.
        sum_bytes: of a sum, 2 or 4.
    """
    m, n = shape
    if gather:
        return n * (longest // WORD + 1) * WORD // 8
    return (longest + 1) * m * sum_bytes + 4


@dataclass(kw_only=True)
class DelayedDense(Operator):
    """`sum[o] = bias[o] + sum over i of weight[o, i] * input[i] of delays[o, i] steps ago`.

    Reads n spikes, bit, 0 before there were any; writes sums (m,), i16 where they are proved to
    fit, else i32, in units of the weight's step. With D the longest delay it keeps, from step to
    step, either

    - `name.ring` (D + 1, m), sums that are to come, as wide as they are, and `name.at` (1,) i32,
      the row of now: a spike is added where it will arrive, the work is the spikes (scatter);
    - or with `gather` `name.history` bit (n, 32 * words), of each input its spikes of the last D
      steps and of now, the newest first: every synapse of an input with a spike there looks at its
      own. That takes as long as if all neurons spiked, and less memory where D is long. `tune`
      chooses it where memory is short.

    After Hammouamri, Khalfaoui-Hassani, Masquelier, "Learning delays in spiking neural networks
    using dilated convolutions with learnable spacings", ICLR 2024: one tap a synapse.

    Attributes:
        weight: (m, n) int8.
        delays: (m, n) uint8, steps.
        bias: (m,) int32 in the units of the sum, or None.
        gather: which of the two is kept.
    """

    KIND: ClassVar[str] = "delayed_dense"
    KEPT: ClassVar[bool] = True

    weight: Annotated[Array, Held("int8", 2)]
    delays: Annotated[Array, Held("uint8", 2)]
    bias: Annotated[Array, Held("int32", 1)] | None = None
    gather: bool = False

    @property
    def longest(self) -> int:
        """D, steps."""
        return int(self.delays.max())

    @property
    def _words(self) -> int:
        return self.longest // WORD + 1

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        x = self.ins[0]
        m, n = self.weight.shape
        if x.dtype != "bit" or x.size != n:
            raise self.error(f"input {x.name} is {x.dtype} {x.shape}, expected {n} bits")
        if self.delays.shape != self.weight.shape:
            raise self.error(f"delays {self.delays.shape} of weights {self.weight.shape}")
        if self.bias is not None and self.bias.shape != (m,):
            raise self.error(f"bias has shape {self.bias.shape}, expected ({m},)")
        weight = self.weight.astype(np.int64)
        low, high = np.minimum(weight, 0).sum(axis=1), np.maximum(weight, 0).sum(axis=1)
        bias = 0 if self.bias is None else self.bias.astype(np.int64)
        most = int(np.maximum(*np.abs(np.stack([low + bias, high + bias]))).max())
        most = max(most, -int(low.min()), int(high.max()))
        if most >= 1 << 31:
            raise self.error(f"a sum may reach {most}, beyond 32 bits")
        dtype = "i16" if most <= I16 else "i32"
        bounds[self.name] = low + bias, high + bias
        written = Tensor(self.name, dtype, (m,))
        if self.gather:
            history = Tensor(
                f"{self.name}.history", "bit", (n, WORD * self._words), kind="state",
                persistent=True,
            )  # fmt: skip
            bounds[history.name] = history.interval()
            return Inferred([written, history])
        rows = self.longest + 1
        ring = Tensor(f"{self.name}.ring", dtype, (rows, m), kind="state", persistent=True)
        at = Tensor(f"{self.name}.at", "i32", (1,), kind="state", persistent=True)
        bounds[ring.name] = tuple(np.broadcast_to(end, (rows, m)) for end in (low, high))  # type: ignore[assignment]
        bounds[at.name] = np.zeros(1, np.int64), np.full(1, rows - 1, np.int64)
        return Inferred([written, ring, at])

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.STEP

    def start(self, env: dict[str, Array], samples: int) -> None:
        for tensor in self.outs[1:]:
            env[tensor.name] = np.zeros((samples, *tensor.shape), tensor.numpy_dtype)

    def golden(self, env: dict[str, Array], t: int) -> None:
        x = env[self.inputs[0]].reshape(len(env[self.inputs[0]]), -1)
        bias = 0 if self.bias is None else self.bias
        sums = self._gathered(env, x) if self.gather else self._scattered(env, x)
        env[self.name] = (sums + bias).astype(self.outs[0].numpy_dtype)

    def _scattered(self, env: dict[str, Array], x: Array) -> Array:
        """Adds each sample's spikes to rows to come; takes out the row of now."""
        ring, at = env[f"{self.name}.ring"].astype(np.int64), env[f"{self.name}.at"][:, 0]
        rows, m = ring.shape[1:]
        outputs = np.arange(m)
        for sample, neuron in zip(*np.nonzero(x), strict=True):
            arrives = (at[sample] + self.delays[:, neuron].astype(np.int64)) % rows
            ring[sample, arrives, outputs] += self.weight[:, neuron]
        each = np.arange(len(x))
        sums: Array = ring[each, at].astype(np.int64)
        ring[each, at] = 0
        env[f"{self.name}.ring"] = ring.astype(self.outs[0].numpy_dtype)
        env[f"{self.name}.at"] = ((at + 1) % rows).astype(np.int32)[:, None]
        return sums

    def _gathered(self, env: dict[str, Array], x: Array) -> Array:
        """Looks up each synapse's spike."""
        seen = np.concatenate([x[:, :, None], env[f"{self.name}.history"][:, :, :-1]], axis=2)
        env[f"{self.name}.history"] = seen
        late = np.take_along_axis(seen, self.delays.T[None].astype(np.int64), axis=2)  # (N, n, m)
        sums: Array = np.einsum("snm,mn->sm", late.astype(np.int64), self.weight.astype(np.int64))
        return sums

    def tensor_roles(self) -> dict[str, Role]:
        return {self.inputs[0]: Role.WEIGHTED}

    def exercised_weights(self, moved: Mapping[str, Array]) -> tuple[int, int]:
        return len(self.weight) * int(moved[self.inputs[0]].sum()), self.weight.size

    def synapses(self) -> dict[str, Array]:
        met = np.count_nonzero(self.weight, axis=0)
        return {self.inputs[0]: met.reshape(self.ins[0].shape)}

    def cost(self) -> Cost:
        _, wide, _ = self._table()
        return Cost(synaptic_ops=self.weight.size, weight_bits=16 if wide else 8)

    def expected(self, spikes: Array, gather: bool) -> float:
        """Instructions of a step on RV32, about.

        Args:
            spikes: (T, N, n) of 0 and 1, that the inputs had.
            gather: as the attribute.
        """
        m, n = map(int, self.weight.shape)
        if not gather:
            return SCATTER * m * n * float(np.mean(spikes)) + TAKEN * m
        before = np.cumsum(spikes, axis=0, dtype=np.int32)
        rows = self.longest + 1
        before[rows:] -= before[:-rows].copy()
        seen = float(np.mean(before > 0))  # of the inputs: a spike that a synapse may look at
        look = GATHER if self._words == 1 else GATHER_WORDS
        return look * m * n * seen + KEPT * n * self._words + TAKEN * m

    def kept_bytes(self, gather: bool) -> int:
        """Of RAM from step to step; of an operator that is part of a graph."""
        return kept_bytes(
            self.weight.shape, self.longest, gather, self.outs[0].numpy_dtype.itemsize
        )

    def emit_start(self, em: Emitter) -> list[Statement]:
        em.include("kernels/delayed_dense.h")
        return [c.run("spk_clear", em.tensor(t.name), t.nbytes) for t in self.outs[1:]]

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("kernels/delayed_dense.h")
        m, n = self.weight.shape
        weight_bits, wide, table = self._table()
        note = f"(inputs {n}, outputs {m}): a weight in the lower {weight_bits} bits, its delay"
        bias: Value = 0
        if self.bias is not None:
            bias = em.const(f"{self.name}_bias", self.bias, f"({m},) int32")
        fields: Fields = {
            "synapses": em.const(f"{self.name}_synapses", table, note),
            "bias": bias,
            "inputs": n,
            "outputs": m,
            "rows": self.longest + 1,
            "weight_bits": weight_bits,
            "long_synapses": wide,
            "wide": self.outs[0].dtype == "i32",
        }
        config = em.config(self.name, "spk_delayed_dense", fields)
        source, sums = em.tensor(self.inputs[0]), em.tensor(self.name)
        kept = [em.tensor(tensor.name) for tensor in self.outs[1:]]
        kernel = "gather" if self.gather else "scatter"
        return [c.run(f"spk_delayed_dense_{kernel}", config, source, *kept, sums)]

    def _table(self) -> tuple[int, bool, Array]:
        """Bits of a weight, whether a synapse takes 16 bits, not 8, and (n, m) synapses."""
        low, high = int(self.weight.min()), int(self.weight.max())
        bits = next(b for b in range(1, 9) if -(1 << b - 1) <= low and high < 1 << b - 1)
        wide = bits + self.longest.bit_length() > 8
        bits = 8 if wide else bits
        words = (self.delays.astype(np.int64) << bits) | (
            self.weight.astype(np.int64) & ((1 << bits) - 1)
        )
        return bits, wide, np.ascontiguousarray(words.T.astype("<u2" if wide else "<u1"))

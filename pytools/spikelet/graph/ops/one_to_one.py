"""A weight for each spike of a layer. C twin: firmware/kernels/sums.h."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Statement
from spikelet.graph.declared import Held
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval, Operator, Role
from spikelet.graph.tensor import Array, Tensor


@dataclass(kw_only=True)
class OneToOne(Operator):
    """`current[i] = weight[i mod k] * spikes[i]`. Writes currents, i16.

    Reads spikes (..., k) bit, or u8 where a neuron spikes several times in a step.

    Attributes:
        weight: (k,) int16; k divides the number of spikes.
    """

    KIND: ClassVar[str] = "one_to_one"

    weight: Annotated[Array, Held("int16", 1)]

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        x = self.ins[0]
        if x.dtype not in ("bit", "u8") or x.size % len(self.weight):
            raise self.error(
                f"input {x.name} is {x.dtype} {x.shape}, expected spikes, {len(self.weight)} or a "
                "multiple of that"
            )
        most = self._each().astype(np.int64) * bounds[x.name][1]
        if int(most.min()) < -(1 << 15) or int(most.max()) >= 1 << 15:
            raise self.error(
                f"weights of {int(self.weight.min())} to {int(self.weight.max())} and "
                f"{int(bounds[x.name][1].max())} spikes a step: a current is beyond 16 bits"
            )
        bounds[self.name] = np.minimum(most, 0), np.maximum(most, 0)
        return Inferred([Tensor(self.name, "i16", x.shape)])

    def _each(self) -> Array:
        x = self.ins[0]
        return np.resize(self.weight, x.size).reshape(x.shape)

    def golden(self, env: dict[str, Array], t: int) -> None:
        env[self.name] = (env[self.inputs[0]] * self._each()).astype(np.int16)

    def tensor_roles(self) -> dict[str, Role]:
        return {self.inputs[0]: Role.WEIGHTED}

    def exercised_weights(self, moved: Mapping[str, Array]) -> tuple[int, int]:
        met = moved[self.inputs[0]].reshape(-1, len(self.weight)).any(axis=0)
        return int(met.sum()), len(self.weight)

    def synapses(self) -> dict[str, Array]:
        return {self.inputs[0]: (self._each() != 0).astype(np.int64)}

    def cost(self) -> Cost:
        return Cost(synaptic_ops=self.ins[0].size, weight_bits=16)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("kernels/sums.h")
        k = len(self.weight)
        weight = em.const(f"{self.name}_weight", self.weight, f"({k},)")
        source, to = em.tensor(self.inputs[0]), em.tensor(self.name)
        bits = self.ins[0].dtype == "bit"
        run = "spk_one_to_one" if bits else "spk_one_to_one_counts"
        return [c.run(run, source, self.ins[0].size, weight, k, to)]

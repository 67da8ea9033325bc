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
    """`current[i] = weight[i mod k] * spike[i]`. Reads spikes (..., k) bit; writes currents, i16.

    Attributes:
        weight: (k,) int16; k divides the number of spikes.
    """

    KIND: ClassVar[str] = "one_to_one"

    weight: Annotated[Array, Held("int16", 1)]

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        x = self.ins[0]
        if x.dtype != "bit" or x.size % len(self.weight):
            raise self.error(
                f"input {x.name} is {x.dtype} {x.shape}, expected bits, {len(self.weight)} or a "
                "multiple of that"
            )
        each = self._each().astype(np.int64)
        bounds[self.name] = np.minimum(each, 0), np.maximum(each, 0)
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
        return [c.run("spk_one_to_one", source, self.ins[0].size, weight, k, to)]

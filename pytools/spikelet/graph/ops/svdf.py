"""Rank-constrained filter over time (SVDF) of int8 frames. C twin: firmware/kernels/svdf.h."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Fields, Statement
from spikelet.graph.declared import Held, Natural, within
from spikelet.graph.int8 import Int8Operator
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval, Phase, Role
from spikelet.graph.requantise import requantise
from spikelet.graph.tensor import Array, Tensor


@dataclass(kw_only=True)
class Svdf(Int8Operator):
    """One frame in, one vector of U units out; the filters' past is a state.

    The state moves one place to the left, `state[f, M - 1] = requantise(sum over i of weight[f, i]
    * x[i])`, and `sum[u] = bias[u] + sum over r and m of time[u * R + r, m] * state[u * R + r, m]`.
    Source: Nakkiran et al., "Compressing deep
    neural networks using a rank-constrained topology", and TensorFlow Lite's reference svdf.h.

    Attributes:
        weight: (F, I) int8, the filters over one frame, R of them a unit.
        time: (F, M) int16, the filters over the last M frames, the oldest first.
        bias: (U,) int32.
        state_factor: multiplier and shift from a frame's sum to the state.
        output_factor: from a unit's sum to the output.
    """

    KIND: ClassVar[str] = "svdf"

    weight: Annotated[Array, Held("int8", 2)]
    time: Annotated[Array, Held("int16", 2)]
    bias: Annotated[Array, Held("int32", 1)]
    state_factor: tuple[Natural, Annotated[int, within(-31, 30)]]
    output_factor: tuple[Natural, Annotated[int, within(-31, 30)]]

    @property
    def state(self) -> str:
        """The state's name."""
        return f"{self.name}.state"

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        self.activation_input(ins[0])
        filters, units = len(self.weight), len(self.bias)
        if self.weight.shape[1] != ins[0].size or len(self.time) != filters or filters % units:
            raise self.error(
                f"weight {self.weight.shape}, time {self.time.shape} and bias {self.bias.shape} "
                f"do not fit input {ins[0].shape}"
            )
        frame = np.abs(self.weight.astype(np.int64)).sum(axis=1) * (128 + abs(ins[0].zero_point))
        self._check(frame, self.state_factor, "a frame")
        reach = np.minimum(requantise(frame, *self.state_factor) + 1, 1 << 15)
        sums = (np.abs(self.time.astype(np.int64)).sum(axis=1) * reach).reshape(units, -1)
        self._check(
            sums.sum(axis=1) + np.abs(self.bias.astype(np.int64)), self.output_factor, "a unit"
        )
        shape = (filters, self.time.shape[1])
        low, high = -reach, np.minimum(reach, (1 << 15) - 1)
        bounds[self.state] = (
            np.repeat(low[:, None], shape[1], axis=1),
            np.repeat(high[:, None], shape[1], axis=1),
        )
        state = Tensor(self.state, "i16", shape, kind="state", persistent=True)
        return Inferred([*self.output((units,), bounds), state])

    def _check(self, sums: Array, factor: tuple[int, int], what: str) -> None:
        largest = int(sums.max()) << max(factor[1], 0)
        if largest >= 1 << 31:
            raise self.error(f"the sum of {what} may reach {largest}, beyond 32 bits")

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.STEP

    def start(self, env: dict[str, Array], samples: int) -> None:
        env[self.state] = np.zeros((samples, *self.time.shape), np.int16)

    def golden(self, env: dict[str, Array], t: int) -> None:
        x = env[self.inputs[0]].astype(np.int64)
        frame = (x.reshape(len(x), -1) - self.ins[0].zero_point) @ self.weight.T.astype(np.int64)
        state = np.roll(env[self.state], -1, axis=2).astype(np.int64)
        limit = 1 << 15
        state[:, :, -1] = np.clip(requantise(frame, *self.state_factor), -limit, limit - 1)
        sums = (state * self.time).sum(axis=2).reshape(len(x), len(self.bias), -1).sum(axis=2)
        codes = requantise(sums + self.bias, *self.output_factor) + self.output_zero_point
        env[self.name] = np.clip(codes, -128, 127).astype(np.int8)
        env[self.state] = state.astype(np.int16)

    def tensor_roles(self) -> dict[str, Role]:
        return {self.inputs[0]: Role.WEIGHTED}

    def exercised_weights(self, moved: Mapping[str, Array]) -> tuple[int, int]:
        frame = len(self.weight) * int(moved[self.inputs[0]].sum())
        past = int(moved[self.state].sum())
        return frame + past, self.weight.size + self.time.size

    def cost(self) -> Cost:
        return Cost(macs=self.weight.size + self.time.size, weight_bits=8)

    def emit_start(self, em: Emitter) -> list[Statement]:
        return [c.run("spk_clear", em.tensor(self.state), 2 * self.time.size)]

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("kernels/svdf.h")
        filters, inputs = self.weight.shape
        sums = self.weight.astype(np.int64).sum(axis=1) * -self.ins[0].zero_point
        names = ("multiplier", "shift")
        fields: Fields = {
            "weights": em.const(f"{self.name}_weight", self.weight, f"({filters}, {inputs})"),
            "offset": em.const(
                f"{self.name}_offset", sums.astype(np.int32), "-zero point * sum of weights"
            ),
            "time": em.const(f"{self.name}_time", self.time, f"({filters}, memory)"),
            "bias": em.const(f"{self.name}_bias", self.bias, f"({len(self.bias)},)"),
            "inputs": inputs,
            "units": len(self.bias),
            "rank": filters // len(self.bias),
            "memory": self.time.shape[1],
            **{f"state_{n}": v for n, v in zip(names, self.state_factor, strict=True)},
            **{f"out_{n}": v for n, v in zip(names, self.output_factor, strict=True)},
            "zero_point": self.output_zero_point,
        }
        config = em.config(self.name, "spk_svdf", fields)
        source, to = em.tensor(self.inputs[0]), em.tensor(self.name)
        return [c.run("spk_svdf_s8", config, source, em.tensor(self.state), to)]

"""Long short-term memory over a sequence of int8 frames. C twin: firmware/kernels/lstm.h."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Fields, Statement
from spikelet.graph.declared import Held, Natural, within
from spikelet.graph.fixed16 import logistic, saturate, tanh
from spikelet.graph.int8 import Int8Operator, interval
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval, Phase, Role
from spikelet.graph.requantise import requantise, rounding_divide_by_pot
from spikelet.graph.tensor import Array, Tensor

GATES = ("input", "forget", "cell", "output")


@dataclass(kw_only=True)
class Lstm(Int8Operator):
    """`c = f * c + i * g`, `h = o * tanh(c)` for each frame in turn; h is the output.

    A gate is `act(requantise(W x + bias) + requantise(R h))`, act being logistic for i, f and o,
    tanh for g; its sums are int16 with 3 integer bits. h and c are states: they start at real 0
    and live on after the sequence. Source: TensorFlow Lite's integer LSTM, lstm_eval.cc.

    Attributes:
        weight: (G, C, I) int8, gates in the order of `GATES`; G is 3 where the input gate is
            1 - f (a coupled gate, CIFG).
        recurrent: (G, C, C) int8.
        bias: (G, C) int32.
        multiplier: (2, G) int32, of W x and of R h.
        shift: (2, G) int32.
        cell_bits: integer bits of the cell state, 0 to 6.
        cell_clip: largest cell state, 0 for none.
        hidden_factor: multiplier and shift of `o * tanh(c)`, Q0.30, to the output.
    """

    KIND: ClassVar[str] = "lstm"

    weight: Annotated[Array, Held("int8", 3)]
    recurrent: Annotated[Array, Held("int8", 3)]
    bias: Annotated[Array, Held("int32", 2)]
    multiplier: Annotated[Array, Held("int32", 2, 0)]
    shift: Annotated[Array, Held("int32", 2, -30, 30)]
    cell_bits: Annotated[int, within(0, 6)]
    cell_clip: Annotated[int, within(0, (1 << 15) - 1)]
    hidden_factor: tuple[Natural, Annotated[int, within(-31, 0)]]

    @property
    def _shape(self) -> tuple[int, int]:
        """Frames, and the size of each."""
        size = self.weight.shape[2]
        return self.ins[0].size // size, size

    @property
    def hidden(self) -> str:
        """The name of h."""
        return f"{self.name}.hidden"

    @property
    def cell(self) -> str:
        """The name of c."""
        return f"{self.name}.cell"

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        self.activation_input(ins[0])
        gates, cells, inputs = self.weight.shape
        if gates not in (3, 4) or ins[0].shape[-1] != inputs:
            raise self.error(f"weight {self.weight.shape} does not fit input {ins[0].shape}")
        for name, shape in (
            ("recurrent", (gates, cells, cells)),
            ("bias", (gates, cells)),
            ("multiplier", (2, gates)),
            ("shift", (2, gates)),
        ):
            if (actual := getattr(self, name).shape) != shape:
                raise self.error(f"{name} has shape {actual}, expected {shape}")
        zeros = (ins[0].zero_point, self.output_zero_point)
        biases = np.abs(self.bias.astype(np.int64)), 0
        for rows, zero, bias, shift in zip(
            (self.weight, self.recurrent), zeros, biases, self.shift, strict=True
        ):
            sums = np.abs(rows.astype(np.int64)).sum(axis=2) * (128 + abs(zero)) + bias
            left = np.maximum(shift, 0).astype(np.int64)[:, None]
            if np.any(sums << left >= 1 << 31):
                raise self.error(f"the sum of a gate may reach {sums.max()}, beyond 32 bits")
        frames = self._shape[0]
        bounds[self.hidden] = interval((cells,))
        bounds[self.cell] = interval((cells,), -(1 << 15), (1 << 15) - 1)
        states = [
            Tensor(
                self.hidden, "i8", (cells,), kind="state", persistent=True,
                scale=self.output_scale, zero_point=self.output_zero_point,
            ),
            Tensor(self.cell, "i16", (cells,), kind="state", persistent=True),
        ]  # fmt: skip
        return Inferred([*self.output((frames, cells), bounds), *states])

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.STEP

    def start(self, env: dict[str, Array], samples: int) -> None:
        cells = self.weight.shape[1]
        env[self.hidden] = np.full((samples, cells), self.output_zero_point, np.int8)
        env[self.cell] = np.zeros((samples, cells), np.int16)

    def golden(self, env: dict[str, Array], t: int) -> None:
        frames = env[self.inputs[0]].astype(np.int64)
        frames = frames.reshape(len(frames), *self._shape) - self.ins[0].zero_point
        hidden, cell = env[self.hidden].astype(np.int64), env[self.cell].astype(np.int64)
        out = np.empty((len(frames), self._shape[0], self.weight.shape[1]), np.int8)
        for i in range(self._shape[0]):
            hidden, cell = self._frame(frames[:, i], hidden, cell)
            out[:, i] = hidden
        env[self.name], env[self.hidden] = out, hidden.astype(np.int8)
        env[self.cell] = cell.astype(np.int16)

    def _frame(self, x: Array, hidden: Array, cell: Array) -> tuple[Array, Array]:
        *coupled, forget, gate, output = (
            self._gate(g, x, hidden - self.output_zero_point) for g in range(len(self.weight))
        )
        forget, output, gate = logistic(forget), logistic(output), tanh(gate, 3)
        enter = logistic(coupled[0]) if coupled else (1 << 15) - 1 - forget
        kept = _divide(forget * cell, 15)
        new = _divide(enter * gate, 15 + self.cell_bits)
        cell = saturate(kept + new.astype(np.int16))
        if self.cell_clip:
            cell = np.clip(cell, -self.cell_clip, self.cell_clip)
        product = output * tanh(cell, self.cell_bits)
        codes = requantise(product, *self.hidden_factor) + self.output_zero_point
        return np.clip(codes, -128, 127), cell

    def _gate(self, g: int, x: Array, hidden: Array) -> Array:
        seen = x @ self.weight[g].T.astype(np.int64) + self.bias[g]
        seen = saturate(requantise(seen, self.multiplier[0, g], self.shift[0, g]))
        past = hidden @ self.recurrent[g].T.astype(np.int64)
        return saturate(seen + requantise(past, self.multiplier[1, g], self.shift[1, g]))

    def tensor_roles(self) -> dict[str, Role]:
        return {self.inputs[0]: Role.WEIGHTED}

    def exercised_weights(self, moved: Mapping[str, Array]) -> tuple[int, int]:
        gates, cells, inputs = self.weight.shape
        taps = moved[self.inputs[0]].reshape(-1, inputs).any(axis=0)
        met = int(taps.sum()) + int(moved[self.hidden].sum())
        return gates * cells * met, self.weight.size + self.recurrent.size

    def cost(self) -> Cost:
        return Cost(
            macs=self._shape[0] * (self.weight.size + self.recurrent.size),
            updates=self._shape[0] * self.weight.shape[1],
            weight_bits=8,
        )

    def emit_start(self, em: Emitter) -> list[Statement]:
        cells = self.weight.shape[1]
        em.include("kernels/lstm.h")
        hidden, cell = em.tensor(self.hidden), em.tensor(self.cell)
        return [c.run("spk_lstm_start", hidden, cell, cells, self.output_zero_point)]

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("kernels/lstm.h")
        gates, cells, inputs = self.weight.shape
        folded = self.bias - self.weight.astype(np.int64).sum(axis=2) * self.ins[0].zero_point
        past = self.recurrent.astype(np.int64).sum(axis=2) * -self.output_zero_point
        arrays = {
            "weights": (self.weight, f"({gates}, {cells}, {inputs})"),
            "recurrent": (self.recurrent, f"({gates}, {cells}, {cells})"),
            "bias": (folded.astype(np.int32), f"({gates}, {cells})"),
            "recurrent_bias": (past.astype(np.int32), f"({gates}, {cells})"),
            "multiplier": (self.multiplier, f"(2, {gates})"),
            "shift": (self.shift.astype(np.int8), f"(2, {gates})"),
        }
        fields: Fields = {
            name: em.const(f"{self.name}_{name}", values, note)
            for name, (values, note) in arrays.items()
        }
        fields |= {
            "frames": self._shape[0],
            "inputs": inputs,
            "cells": cells,
            "gates": gates,
            "cell_bits": self.cell_bits,
            "cell_clip": self.cell_clip,
            "out_multiplier": self.hidden_factor[0],
            "out_shift": self.hidden_factor[1],
            "zero_point": self.output_zero_point,
        }
        config = em.config(self.name, "spk_lstm", fields)
        tensors = (self.inputs[0], self.hidden, self.cell, self.name)
        return [c.run("spk_lstm_s8", config, *map(em.tensor, tensors))]


def _divide(x: Array, exponent: int) -> Array:
    return rounding_divide_by_pot(x, np.asarray(exponent, np.int64))

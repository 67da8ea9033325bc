"""One of several tensors, as a condition says. Its C is a copy."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Statement
from spikelet.graph.declared import Int32
from spikelet.graph.operator import Emitter, Inferred, Interval, Operator
from spikelet.graph.tensor import Array


@dataclass(kw_only=True)
class Select(Operator):
    """The tensor behind the condition whose value the condition holds; the last one otherwise.

    Reads the condition, u8 or i32 (1,), then tensors of one type, shape and code, which may be
    written only when the condition has their value. Writes one like them.

    Attributes:
        values: of the condition, one for each tensor.
    """

    KIND: ClassVar[str] = "select"

    values: tuple[Int32, ...]

    def chosen(self) -> dict[str, int]:
        return dict(zip(self.inputs[1:], self.values, strict=False))

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        condition, *given = self.ins
        if condition.dtype not in ("u8", "i32") or condition.size != 1:
            raise self.error(f"its condition is {condition}, expected one u8 or i32")
        if not given or len(given) != len(self.values) or len(set(self.values)) != len(given):
            raise self.error(f"{len(given)} tensors for values {self.values}")
        low, high = condition.limits
        if not all(low <= value <= high for value in self.values):
            raise self.error(f"values {self.values} that {condition.dtype} does not hold")
        first = given[0]
        for tensor in given:
            same = (tensor.dtype, tensor.shape, tensor.scale, tensor.zero_point)
            if same != (first.dtype, first.shape, first.scale, first.zero_point):
                raise self.error(f"{tensor} is not as {first}: expected one type, shape and code")
        ends = [bounds[tensor.name] for tensor in given]
        lowest = np.minimum.reduce([least for least, _ in ends])
        bounds[self.name] = lowest, np.maximum.reduce([most for _, most in ends])
        return Inferred([dataclasses.replace(first, name=self.name, kind="activation")])

    def golden(self, env: dict[str, Array], t: int) -> None:
        condition = env[self.inputs[0]].reshape(-1)
        *others, last = (env[name] for name in self.inputs[1:])
        out = last.copy()
        for value, tensor in zip(self.values, others, strict=False):
            out[condition == value] = tensor[condition == value]
        env[self.name] = out

    def emit(self, em: Emitter) -> list[Statement]:
        size, to = self.outs[0].nbytes, em.tensor(self.name)
        condition = em.tensor(self.inputs[0]).at(0)
        *others, last = (em.tensor(name) for name in self.inputs[1:])
        chosen = [c.run("__builtin_memcpy", to, last, size)]
        for value, tensor in zip(self.values, others, strict=False):
            copy = c.run("__builtin_memcpy", to, tensor, size)
            chosen.append(c.when(condition.compare("==", value), copy))
        return chosen

"""A learning rate that falls along a task. C twin: firmware/learn/schedule.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Statement
from spikelet.graph.declared import Q15, within
from spikelet.graph.int8 import interval
from spikelet.graph.operator import Emitter, Inferred, Interval, Operator, Phase
from spikelet.graph.tensor import Array, Learned, Tensor

FULL = 1 << 15  # Q15: the whole learning rate


@dataclass(kw_only=True)
class Schedule(Operator):
    """`rate = 2^15 - floor(count * slope / 2^16)`: linear from 1.0 to `floor`, then constant.

    `slope = floor((2^15 - floor) * 2^16 / samples)`. Reads and changes the learned count (1,) i32,
    0 to `samples`; writes (1,) i32, Q15, the factor of the learning rates of this sample.

    Attributes:
        samples: of a task, 1 to 2^31 - 1.
        floor: the last factor, Q15.
    """

    KIND: ClassVar[str] = "schedule"

    samples: Annotated[int, within(1, (1 << 31) - 1)]
    floor: Q15 = 0

    @property
    def _slope(self) -> int:
        return ((FULL - self.floor) << 16) // self.samples

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        if not 1 <= self.samples < 1 << 31 or not 0 <= self.floor <= FULL:
            raise self.error(f"{self.samples} samples or floor {self.floor} out of range")
        _check_count(self, self.ins[0], self.samples, bounds)
        bounds[self.name] = interval((1,), 0, FULL)
        return Inferred([Tensor(self.name, "i32", (1,), scale=1 / FULL)])

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.LEARN

    def golden(self, env: dict[str, Array], t: int) -> None:
        count = env[self.inputs[0]]
        at = int(count[0])
        env[self.name] = np.array([[FULL - (at * self._slope >> 16)]], np.int32)
        count[0] = min(at + 1, self.samples)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("learn/schedule.h")
        count, rate = em.tensor(self.inputs[0]), em.tensor(self.name)
        samples, slope = c.unsigned(self.samples), c.unsigned(self._slope)
        return [c.run("spk_schedule", samples, slope, count, rate)]


@dataclass(kw_only=True)
class Restart(Operator):
    """On commit, a schedule begins anew: changes its learned count (1,) i32 to 0."""

    KIND: ClassVar[str] = "schedule_restart"

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        _check_count(self, self.ins[0], (1 << 31) - 1, bounds)
        return Inferred([])

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.COMMIT

    def golden(self, env: dict[str, Array], t: int) -> None:
        env[self.inputs[0]][0] = 0

    def emit(self, em: Emitter) -> list[Statement]:
        return [c.assign(em.tensor(self.inputs[0]).at(0), 0)]


def _check_count(node: Operator, count: Tensor, samples: int, bounds: dict[str, Interval]) -> None:
    if (count.kind, count.dtype, count.shape) != ("learned", "i32", (1,)):
        raise node.error(f"input {count.name} is no learned count of type i32, shape (1,)")
    low, high = bounds[count.name]
    if int(low[0]) < 0 or int(high[0]) > samples:
        raise node.error(
            f"count {count.name} may be {int(low[0])} to {int(high[0])}, expected 0 to {samples}"
        )


def restarting_schedule(
    name: str, samples: int, floor: float = 0.0
) -> tuple[list[Learned], list[Operator]]:
    """The count and the operators of a schedule that restarts at each commit; its rate is `name`.

    Args:
        name: of the schedule.
        samples: that a task has.
        floor: the last factor, 0 to 1.
    """
    count = f"{name}.count"
    return (
        [Learned.of(count, "i32", (1,), low=0, high=samples)],
        [
            Schedule(name=name, inputs=(count,), samples=samples, floor=round(floor * FULL)),
            Restart(name=f"{name}_restart", inputs=(count,)),
        ],
    )

"""A gate: a figure that a bar asks for, and how it is taken from what was measured."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

COMPARE = {">=": operator.ge, "<=": operator.le, ">": operator.gt}


@dataclass(frozen=True)
class Gate:
    """What it is of, in which unit, and where it must lie.

    Attributes:
        what: in words; "points" are of accuracy, in percent.
        sense: of the comparison.
        bar: it is compared with.
        of: the figure, of what `measure` returned.
    """

    what: str
    sense: Literal[">=", "<=", ">"]
    bar: float
    of: Callable[[Mapping[str, Any]], Any]

    def __str__(self) -> str:
        return f"{self.what} {self.sense} {self.bar:g}"

    def value(self, results: Mapping[str, Any]) -> float | None:
        """None where a run has no such figure."""
        try:
            return float(self.of(results))
        except KeyError:
            return None

    def is_met(self, value: float | None) -> bool:
        """What was not measured is not met."""
        return value is not None and bool(COMPARE[self.sense](value, self.bar))


def points(more: Any, less: Any) -> float:
    """How much more one accuracy is, on average, than another one, in percent."""
    return 100 * float(np.mean(more) - np.mean(less))

"""What differs between neurons: n values, or k that are repeated. C twin: fixed.h."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from spikelet.graph.c import Fields
from spikelet.graph.operator import Emitter
from spikelet.graph.tensor import Array, GraphError


class Named(Protocol):
    """A layer, for errors."""

    def error(self, text: str) -> GraphError:
        """An error that names the layer."""


class Leaky(Named, Protocol):
    """Something with a leak."""

    @property
    def name(self) -> str:
        """Of the layer."""

    @property
    def leak(self) -> int:
        """What is kept in a step."""

    @property
    def leaks(self) -> Array | None:
        """(n,) or (k,) in its place."""

    @property
    def leak_bits(self) -> int:
        """Fraction bits of both."""


@dataclass(frozen=True)
class Leaks:
    """The leak of another state of a layer than its membrane."""

    name: str
    leak: int
    leaks: Array | None
    leak_bits: int
    error: Callable[[str], GraphError]


def repeated(values: Array, shape: tuple[int, ...]) -> Array:
    """(k,) values of all neurons, int64, in the neurons' shape; k divides their number."""
    if len(values) == 1:
        return np.broadcast_to(np.int64(values[0]), shape)
    each: Array = np.resize(values.astype(np.int64), int(np.prod(shape))).reshape(shape)
    return each


def check_length(layer: Named, name: str, values: Array | None, n: int) -> None:
    """Refuse as many values as do not divide n."""
    if values is not None and n % len(values):
        raise layer.error(
            f"{name} has {len(values)} values, expected {n}, or as many as divide that"
        )


def check_leaks(layer: Leaky, n: int) -> None:
    """Refuse leaks of more than all, or for another number of neurons."""
    check_length(layer, "leaks", layer.leaks, n)
    most = layer.leak if layer.leaks is None else int(layer.leaks.max())
    if most > 1 << layer.leak_bits:
        raise layer.error(f"leak {most} is not in 0..2^{layer.leak_bits} (leak_bits)")


def leak_fields(layer: Leaky, em: Emitter) -> Fields:
    """Fields of a kernel's configuration: `leak`, or `leaks` and `leaks_each`.

    Leaks of 15 bits are also read by the word.
    """
    leaks = layer.leaks
    if leaks is None or np.ptp(leaks) == 0:
        return {"leak": layer.leak if leaks is None else int(leaks[0])}
    values, note = leaks.astype(np.uint32), f"({len(leaks)},)"
    if layer.leak_bits == 15:
        pairs = np.zeros(2 * -(-len(leaks) // 2), "<u2")
        pairs[: len(leaks)] = leaks
        values, note = pairs.view("<u4"), f"{note} uint16, two to a word"
    placed = em.const(f"{layer.name}_leaks", values, note)
    return {"leaks": placed, "leaks_each": len(leaks)}

"""Dropout at inference: the same tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spikelet.graph import Array
from spikelet.quantise.fold import Folding
from spikelet.quantise.function import Function
from spikelet.quantise.network import Node

if TYPE_CHECKING:
    from torch import Tensor


class Dropout(Function):
    """`x`."""

    OP = "Dropout"

    def value(self, x: Array, **ignored: Any) -> Array:
        return x

    def value_in_torch(self, x: Tensor, **ignored: Any) -> Tensor:
        return x

    def idle(self, folding: Folding, node: Node) -> bool:
        return True

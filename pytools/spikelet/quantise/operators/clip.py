"""Clamps between two limits, either of which may be missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spikelet.graph import Array
from spikelet.quantise.fold import Folding
from spikelet.quantise.function import Clamp
from spikelet.quantise.network import Node
from spikelet.quantise.operator import Attributes

if TYPE_CHECKING:
    from torch import Tensor


class Clip(Clamp):
    """`min(max(x, min), max)`: the upper limit wins."""

    OP = "Clip"

    def value(self, x: Array, min: float | None = None, max: float | None = None) -> Array:
        low = x if min is None else np.maximum(x, np.asarray(min, x.dtype))
        return low if max is None else np.minimum(low, np.asarray(max, x.dtype))

    def value_in_torch(
        self, x: Tensor, min: float | None = None, max: float | None = None
    ) -> Tensor:
        import torch

        return x if min is None and max is None else torch.clamp(x, min, max)

    def limits(self, attributes: Attributes) -> tuple[float | None, float | None] | None:
        return attributes.get("min"), attributes.get("max")

    def fold(self, folding: Folding, node: Node) -> bool:
        """From 0 on it is Relu."""
        if self.limits(node.attributes) == (0, None):
            return folding.replace(node, node.replace(op="Relu", attributes={}))
        return super().fold(folding, node)

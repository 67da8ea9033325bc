"""The maximum of tensors, element by element."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelet.graph import Array
from spikelet.graph.ops.maximum import Maximum
from spikelet.quantise.arithmetic import Arithmetic, lower_elementwise, swapped
from spikelet.quantise.fold import Folding
from spikelet.quantise.layers import Layer, Value
from spikelet.quantise.network import Node
from spikelet.quantise.operator import Attributes

if TYPE_CHECKING:
    from torch import Tensor


class Max(Arithmetic):
    """`max(a, b, ...)`."""

    OP = "Max"
    clamped = True
    joins_codes = True

    def meaning(self, inputs: list[Any], attributes: Attributes) -> Array:
        return np.asarray(functools.reduce(np.maximum, inputs))

    def in_torch(self, inputs: list[Any], attributes: Attributes) -> Tensor:
        import torch

        result: Tensor = functools.reduce(torch.maximum, inputs)
        return result

    def constant_first(self, folding: Folding, node: Node, values: Array) -> bool:
        return swapped(folding, node)

    def constant_second(self, folding: Folding, node: Node, values: Array) -> bool:
        """Clip, where it is one number."""
        if values.size != 1 or not np.all(np.isfinite(values)):
            return False
        attributes = {"min": float(values.reshape(()))}
        clip = node.replace(op="Clip", inputs=node.inputs[:1], attributes=attributes)
        return folding.replace(node, clip)

    def lower(self, layer: Layer) -> Value:
        return lower_elementwise(layer, Maximum)

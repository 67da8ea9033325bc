"""Running sums along one axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spikelet.graph import Array
from spikelet.graph.ops.cumsum import Cumsum as IntegerCumsum
from spikelet.quantise.layers import Layer, Value, like
from spikelet.quantise.operator import Attributes, NetworkOperator

if TYPE_CHECKING:
    from torch import Tensor


class CumSum(NetworkOperator):
    """Sums of what is before each element along `axis`: the element itself counts, unless
    `exclusive`; with `reverse`, of what is behind it."""

    OP = "CumSum"

    def meaning(self, inputs: list[Any], attributes: Attributes) -> Array:
        x, axis = inputs[0], int(attributes["axis"])
        turned = np.flip(x, axis) if attributes.get("reverse", 0) else x
        sums = np.cumsum(turned, axis=axis)
        if attributes.get("exclusive", 0):
            sums = sums - turned
        y: Array = np.flip(sums, axis) if attributes.get("reverse", 0) else sums
        return y

    def in_torch(self, inputs: list[Any], attributes: Attributes) -> Tensor:
        import torch

        x, axis = inputs[0], int(attributes["axis"])
        turned = x.flip(axis) if attributes.get("reverse", 0) else x
        sums = torch.cumsum(turned, axis)
        if attributes.get("exclusive", 0):
            sums = sums - turned
        result: Tensor = sums.flip(axis) if attributes.get("reverse", 0) else sums
        return result

    def lower(self, layer: Layer) -> Value:
        attributes, layout = layer.node.attributes, layer.input_as_is().layout
        axis = int(attributes["axis"]) % len(layer.shape)
        if axis == 0:
            raise layer.refuse("sums over samples of a batch")
        source = layer.input(layout)
        made = IntegerCumsum(
            name=layer.name,
            inputs=(source.name,),
            axis=len(source.shape) - len(layout) + layout.index(axis),
            exclusive=bool(attributes.get("exclusive", 0)),
            reverse=bool(attributes.get("reverse", 0)),
            **like(layer.code),
        )
        return layer.finish(layer.add(made), layout)

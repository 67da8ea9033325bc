"""Elements along one axis, by their indices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spikelet.graph import Array
from spikelet.graph.ops.gather import Gather as IntegerGather
from spikelet.quantise.layers import Layer, Value, code_of, like
from spikelet.quantise.operator import Attributes, NetworkOperator

if TYPE_CHECKING:
    from torch import Tensor


class Gather(NetworkOperator):
    """`indices` of x along `axis`."""

    OP = "Gather"
    keeps_code = True

    def meaning(self, inputs: list[Any], attributes: Attributes) -> Array:
        indices = np.asarray(attributes["indices"], np.int64)
        return np.take(inputs[0], indices, axis=int(attributes["axis"]))

    def in_torch(self, inputs: list[Any], attributes: Attributes) -> Tensor:
        import torch

        x: Tensor = inputs[0]
        return x.index_select(attributes["axis"], torch.tensor(attributes["indices"]))

    def lower(self, layer: Layer) -> Value:
        axis, layout = int(layer.node.attributes["axis"]), layer.input_as_is().layout
        if axis == 0:
            raise layer.refuse("samples of a batch")
        source = layer.input(layout)
        made = IntegerGather(
            name=layer.name,
            inputs=(source.name,),
            axis=len(source.shape) - len(layout) + layout.index(axis),
            indices=np.asarray(layer.node.attributes["indices"], np.uint16),
            **like(code_of(source)),
        )
        return layer.finish(layer.add(made), layout)

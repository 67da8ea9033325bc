"""Nearest neighbours along the spatial axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spikelet.graph import Array
from spikelet.graph.ops.resize_nearest import ResizeNearest
from spikelet.quantise.layers import Layer, Value, channels_last, code_of, like
from spikelet.quantise.operator import Attributes, NetworkOperator

if TYPE_CHECKING:
    from torch import Tensor


class Resize(NetworkOperator):
    """`rows` and, of an image, `columns` are what each row and column of the output copies."""

    OP = "Resize"
    keeps_code = True

    def meaning(self, inputs: list[Any], attributes: Attributes) -> Array:
        x = np.take(inputs[0], np.asarray(attributes["rows"], np.int64), axis=2)
        columns = attributes.get("columns")
        return x if columns is None else np.take(x, np.asarray(columns, np.int64), axis=3)

    def in_torch(self, inputs: list[Any], attributes: Attributes) -> Tensor:
        import torch

        x: Tensor = inputs[0].index_select(2, torch.tensor(attributes["rows"]))
        columns = attributes.get("columns")
        return x if columns is None else x.index_select(3, torch.tensor(columns))

    def lower(self, layer: Layer) -> Value:
        source, _ = layer.image()
        rows, columns = layer.node.attributes["rows"], layer.node.attributes.get("columns")
        if len(layer.source_shape) == 3:
            rows, columns = [0], rows
        elif columns is None:
            columns = range(source.shape[1])
        made = ResizeNearest(
            name=layer.name,
            inputs=(source.name,),
            rows=np.asarray(rows, np.uint16),
            columns=np.asarray(columns, np.uint16),
            **like(code_of(source)),
        )
        return layer.finish(layer.add(made), channels_last(len(layer.shape)))

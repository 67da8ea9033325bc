"""Base of operators that make one value of all along some axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from spikelet.graph import Array
from spikelet.graph.ops.mean import Mean
from spikelet.graph.reduction import Reduction
from spikelet.quantise.layers import Layer, Value, code_of, like
from spikelet.quantise.operator import Attributes, NetworkOperator

if TYPE_CHECKING:
    from torch import Tensor


class Reduce(NetworkOperator):
    """A reduction over `axes`, which stay as axes of 1 where `keepdims` says so.

    Attributes:
        NUMPY: the function of numpy.
        TORCH: the function of `torch`.
        INTEGER: the graph's operator.
    """

    NUMPY: ClassVar[str] = ""
    TORCH: ClassVar[str] = ""
    INTEGER: ClassVar[type[Reduction]]

    def axes(self, rank: int, attributes: Attributes) -> tuple[int, ...] | None:
        """What it reduces of an input of `rank` axes; None for all."""
        axes = attributes.get("axes")
        return None if axes is None else tuple(int(a) for a in axes)

    def meaning(self, inputs: list[Any], attributes: Attributes) -> Array:
        x, keep = inputs[0], bool(attributes.get("keepdims", 1))
        axes = self.axes(x.ndim, attributes)
        return np.asarray(getattr(np, self.NUMPY)(x, axis=axes, keepdims=keep))

    def in_torch(self, inputs: list[Any], attributes: Attributes) -> Tensor:
        import torch

        x, keep = inputs[0], bool(attributes.get("keepdims", 1))
        axes = self.axes(x.dim(), attributes)
        dim = list(range(x.dim()) if axes is None else axes)
        result: Tensor = getattr(torch, self.TORCH)(x, dim=dim, keepdim=keep)
        return result

    def lower(self, layer: Layer) -> Value:
        rank = len(layer.source_shape)
        gone = set(self.axes(rank, layer.node.attributes) or range(rank))
        if 0 in gone:
            raise layer.refuse("a reduction over the batch axis")
        layout = layer.input_as_is().layout
        places = [i for i, axis in enumerate(layout) if axis in gone]
        if places != list(range(places[0], places[0] + len(places))):
            layout = (*sorted(gone), *(axis for axis in layout if axis not in gone))
            places = list(range(len(gone)))
        source = layer.input(layout)
        lead = len(source.shape) - len(layout)
        made = self.INTEGER(
            name=layer.name,
            inputs=(source.name,),
            axes=tuple(lead + i for i in places),
            keep_dims=True,
            **like(layer.code if self.INTEGER is Mean else code_of(source)),
        )
        if len(layer.shape) == rank:
            return layer.finish(layer.add(made), layout)
        kept = [axis for axis in range(rank) if axis not in gone]
        rest = tuple(kept.index(axis) for axis in layout if axis not in gone)
        return layer.finish(layer.add(made), rest)

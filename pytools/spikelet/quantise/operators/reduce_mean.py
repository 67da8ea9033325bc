"""Means along some axes."""

from __future__ import annotations

from spikelet.graph.ops.mean import Mean
from spikelet.quantise.fold import Folding
from spikelet.quantise.network import Node
from spikelet.quantise.reduction import Reduce


class ReduceMean(Reduce):
    """The mean of all elements along `axes`."""

    OP = "ReduceMean"
    NUMPY = "mean"
    TORCH = "mean"
    INTEGER = Mean

    def fold(self, folding: Folding, node: Node) -> bool:
        """Over all spatial axes: GlobalAveragePool, and a Reshape where axes go."""
        rank = len(folding.shapes[node.inputs[0]])
        axes = node.attributes.get("axes")
        if rank < 3 or axes is None or sorted(axes) != list(range(2, rank)):
            return False
        pool = node.replace(op="GlobalAveragePool", attributes={})
        if node.attributes.get("keepdims", 1):
            return folding.replace(node, pool)
        pooled, shape = folding.fresh(node.name), folding.shapes[node.name]
        reshape = node.replace(op="Reshape", inputs=(pooled,), attributes={"shape": list(shape)})
        folding.replace(node, pool.replace(name=pooled), reshape)
        folding.shapes[pooled] = (*shape, *(1,) * (rank - 2))
        return True

"""Base of functions of one value. In the integer graph, a row of them is one table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from spikelet.graph import Array
from spikelet.graph.ops.table import Table, function_table
from spikelet.quantise.fold import Folding
from spikelet.quantise.layers import Layer, Value, like
from spikelet.quantise.meaning import evaluate
from spikelet.quantise.network import Node
from spikelet.quantise.operator import Attributes, NetworkOperator, network_operators

if TYPE_CHECKING:
    from torch import Tensor


class Function(NetworkOperator):
    """A function of one value.

    Attributes:
        TORCH: the function of `torch` with the same name and meaning of each argument, where there
            is one; others override `value_in_torch`.
    """

    TORCH: ClassVar[str] = ""

    def value(self, *x: Any, **attributes: Any) -> Array:
        """What it makes of an array, element by element; attributes are keyword arguments."""
        raise NotImplementedError

    def value_in_torch(self, *x: Any, **attributes: Any) -> Tensor:
        """The same in PyTorch."""
        import torch

        result: Tensor = attrgetter(self.TORCH)(torch)(*x, **attributes)
        return result

    def meaning(self, inputs: list[Any], attributes: Attributes) -> Array:
        return self.value(inputs[0], **attributes)

    def in_torch(self, inputs: list[Any], attributes: Attributes) -> Tensor:
        return self.value_in_torch(inputs[0], **attributes)

    def is_pointwise(self, sizes: list[int]) -> bool:
        return True

    def is_function(self, node: Node, constants: Mapping[str, Array]) -> bool:
        return node.inputs[0] not in constants

    def lower(self, layer: Layer) -> Value:
        return lower_function(layer)


class Clamp(Function):
    """A function with `limits`."""

    def fold(self, folding: Folding, node: Node) -> bool:
        """MaxPool, then a clamp, is the clamp first, where the pool's input is fused with it."""
        pool = folding.inner(node.inputs[0])
        if pool is None or pool.op not in ("MaxPool", "GlobalMaxPool"):
            return False
        writer = folding.inner(pool.inputs[0])
        if writer is None or writer.op not in ("Conv", "Gemm", "Add", "Sub", "Mul"):
            return False
        name = folding.fresh(pool.name)
        folding.shapes[name] = folding.shapes[pool.inputs[0]]
        before = node.replace(name=name, inputs=pool.inputs)
        nodes = folding.network.nodes
        nodes[nodes.index(pool)] = before
        nodes[nodes.index(node)] = pool.replace(name=node.name, inputs=(name,))
        return True


def functions() -> dict[str, Function]:
    """The functions of one value by name."""
    return {k: v for k, v in network_operators().items() if isinstance(v, Function)}


def lower_function(layer: Layer) -> Value:
    """A row of functions of one value: one table."""
    network = layer.lowering.network
    read = next(i for i, name in enumerate(layer.node.inputs) if name not in network.constants)
    source = layer.input_as_is(read)
    if math.prod(layer.shape) != source.tensor.size:
        raise layer.refuse("a constant that changes the shape")

    def compute(x: Array) -> Array:
        for node in layer.group.nodes:
            inputs = [
                network.constants[name].astype(np.float32).reshape(())
                if name in network.constants
                else x
                for name in node.inputs
            ]
            x = evaluate(node, inputs)
        return x

    code = layer.code
    table = function_table(source.tensor, float(code.scale), code.zero_point, compute, code.even)
    names = "+".join(node.op.lower() for node in layer.group.nodes)
    made = Table(
        name=layer.name, inputs=(source.tensor.name,), table=table, function=names, **like(code)
    )
    return Value(layer.add(made), source.layout, source.order)

"""Powers. With one exponent, which then is an attribute, it is a function of one value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelet.graph import Array
from spikelet.quantise.arithmetic import Arithmetic
from spikelet.quantise.fold import Folding
from spikelet.quantise.formula import Formula, row
from spikelet.quantise.layers import Layer, Value
from spikelet.quantise.network import Node
from spikelet.quantise.operator import Attributes

if TYPE_CHECKING:
    from torch import Tensor


class Pow(Arithmetic):
    """`a ** b`, or `a ** exponent`."""

    OP = "Pow"

    def meaning(self, inputs: list[Any], attributes: Attributes) -> Array:
        exponent = inputs[1] if len(inputs) > 1 else np.float32(attributes["exponent"])
        return np.asarray(np.power(inputs[0], exponent)).astype(inputs[0].dtype)

    def in_torch(self, inputs: list[Any], attributes: Attributes) -> Tensor:
        import torch

        return torch.pow(inputs[0], inputs[1] if len(inputs) > 1 else attributes["exponent"])

    def formula(self, attributes: Attributes, parts: list[Formula]) -> Formula:
        if len(parts) == 2 and isinstance(parts[1], float):
            attributes, parts = {"exponent": parts[1]}, parts[:1]
        if attributes.get("exponent") in (2, 3):
            return row("Mul", parts * int(attributes["exponent"]))
        return super().formula(attributes, parts)

    def constant_second(self, folding: Folding, node: Node, values: Array) -> bool:
        if values.size != 1:
            return False
        attributes = {"exponent": float(values.reshape(()))}
        return folding.replace(node, node.replace(inputs=node.inputs[:1], attributes=attributes))

    def is_function(self, node: Node, constants: Mapping[str, Array]) -> bool:
        if len(node.inputs) == 1:
            return node.inputs[0] not in constants
        return super().is_function(node, constants)

    def lower(self, layer: Layer) -> Value:
        raise layer.refuse("several exponents", "one constant exponent")

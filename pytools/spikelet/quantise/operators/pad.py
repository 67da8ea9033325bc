"""Margins of one value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spikelet.graph import Array
from spikelet.graph.ops.pad import Pad as IntegerPad
from spikelet.quantise.calibrate import integers
from spikelet.quantise.fold import Folding
from spikelet.quantise.layers import Layer, Value, code_of, like
from spikelet.quantise.network import Node
from spikelet.quantise.operator import Attributes, NetworkOperator
from spikelet.quantise.spatial import pad, padded_in_torch

if TYPE_CHECKING:
    from torch import Tensor


class Pad(NetworkOperator):
    """`pads` elements of `value` before each axis, then behind each; negative ones cut."""

    OP = "Pad"
    keeps_code = True
    adds_values = True

    def meaning(self, inputs: list[Any], attributes: Attributes) -> Array:
        if attributes.get("mode", "constant") != "constant":
            raise ValueError("only the mode constant is supported")
        return pad(inputs[0], [int(p) for p in attributes["pads"]], attributes.get("value", 0.0))

    def in_torch(self, inputs: list[Any], attributes: Attributes) -> Tensor:
        value = float(attributes.get("value", 0.0))
        return padded_in_torch(inputs[0], list(attributes["pads"]), value)

    def idle(self, folding: Folding, node: Node) -> bool:
        return not any(node.attributes["pads"])

    def lower(self, layer: Layer) -> Value:
        pads, layout = [int(p) for p in layer.node.attributes["pads"]], layer.input_as_is().layout
        rank = len(pads) // 2
        if pads[0] or pads[rank] or min(pads) < 0:
            raise layer.refuse("negative pads, or pads of the batch axis", "pads from 0 on")
        source = layer.input(layout)
        lead, code = len(source.shape) - len(layout), code_of(source)
        value = np.float32(layer.node.attributes.get("value", 0.0))
        made = IntegerPad(
            name=layer.name,
            inputs=(source.name,),
            before=(*(0,) * lead, *(pads[axis] for axis in layout)),
            after=(*(0,) * lead, *(pads[rank + axis] for axis in layout)),
            value=int(integers(np.asarray(value), code)),
            **like(code),
        )
        return layer.finish(layer.add(made), layout)

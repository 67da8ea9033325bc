"""Some elements along some axes, in equal steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spikelet.graph import Array
from spikelet.graph.ops.slice import Slice as IntegerSlice
from spikelet.quantise.fold import Folding
from spikelet.quantise.layers import Layer, Value, code_of, like
from spikelet.quantise.network import Node
from spikelet.quantise.operator import Attributes, NetworkOperator

if TYPE_CHECKING:
    from torch import Tensor


class Slice(NetworkOperator):
    """From `starts` to before `ends` along `axes`, in `steps`."""

    OP = "Slice"
    keeps_code = True

    def meaning(self, inputs: list[Any], attributes: Attributes) -> Array:
        return np.ascontiguousarray(inputs[0][_slices(inputs[0].ndim, attributes)])

    def in_torch(self, inputs: list[Any], attributes: Attributes) -> Tensor:
        import torch

        x: Tensor = inputs[0]
        for axis, part in enumerate(_slices(x.dim(), attributes)):
            chosen = range(x.shape[axis])[part]  # PyTorch has no negative steps
            if len(chosen) < x.shape[axis] or chosen.step != 1:
                x = x.index_select(axis, torch.tensor(list(chosen), dtype=torch.int64))
        return x

    def idle(self, folding: Folding, node: Node) -> bool:
        forward = all(step == 1 for step in node.attributes.get("steps") or ())
        return forward and folding.shapes[node.name] == folding.shapes[node.inputs[0]]

    def lower(self, layer: Layer) -> Value:
        shape, layout = layer.source_shape, layer.input_as_is().layout
        cuts = [
            range(length)[part]
            for length, part in zip(shape, _slices(len(shape), layer.node.attributes), strict=True)
        ]
        if len(cuts[0]) != 1 or any(len(part) == 0 for part in cuts):
            raise layer.refuse(f"nothing, or no sample, is left of {shape}")
        source = layer.input(layout)
        lead = len(source.shape) - len(layout)
        picked = [*[range(1)] * lead, *(cuts[axis] for axis in layout)]
        made = IntegerSlice(
            name=layer.name,
            inputs=(source.name,),
            begin=tuple(part.start for part in picked),
            size=tuple(len(part) for part in picked),
            stride=tuple(part.step for part in picked),
            **like(code_of(source)),
        )
        return layer.finish(layer.add(made), layout)


def _slices(rank: int, attributes: Attributes) -> tuple[slice, ...]:
    """Python's slices, one an axis."""
    starts, ends = attributes["starts"], attributes["ends"]
    axes = attributes.get("axes") or range(len(starts))
    steps = attributes.get("steps") or [1] * len(starts)
    cuts = [slice(None)] * rank
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        # Backwards to before the first element is None in Python.
        last = None if step < 0 and end < -(1 << 30) else int(end)
        cuts[int(axis)] = slice(int(start), last, int(step))
    return tuple(cuts)

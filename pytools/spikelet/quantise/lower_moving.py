"""What moves codes and computes nothing: to the integer graph.

A Reshape that tears channels apart is free where only Gemms read it: their weights are permuted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import permutations

import numpy as np

from spikelet.graph import Array
from spikelet.graph.ops.concatenate import Concatenate
from spikelet.graph.ops.gather import Gather
from spikelet.graph.ops.pad import Pad
from spikelet.graph.ops.resize_nearest import ResizeNearest
from spikelet.graph.ops.slice import Slice
from spikelet.quantise.calibrate import integers
from spikelet.quantise.fuse import is_function
from spikelet.quantise.layers import (
    MOST_DIMENSIONS,
    Layer,
    Lowering,
    Value,
    channels_last,
    code_of,
    like,
    lowers,
)
from spikelet.quantise.meaning import slices


def _places(shape: Sequence[int], layout: tuple[int, ...]) -> Array:
    """Which element of the network's tensor is at each place of the graph's."""
    return np.arange(math.prod(shape)).reshape(shape).transpose(0, *layout).reshape(-1)


def _only_gemms(lowering: Lowering, name: str) -> bool:
    """Whether a flat tensor is only read by Gemms, be it through functions of one value."""
    readers = lowering.readers.get(name, [])
    return (
        name not in lowering.network.outputs
        and bool(readers)
        and all(
            group.head.op == "Gemm"
            or (is_function(lowering.network, group.head) and _only_gemms(lowering, group.name))
            for group in readers
        )
    )


@lowers("Reshape")
def _reshape(layer: Layer) -> Value:
    shape, source_shape, value = layer.shape, layer.source_shape, layer.own()
    if source_shape[0] != 1 or not 2 <= len(shape) <= MOST_DIMENSIONS + 1:
        raise layer.refuse(
            f"from shape {source_shape} to {shape}",
            f"a batch axis of 1 that stays, and one to {MOST_DIMENSIONS} axes behind it",
        )
    if value.order is not None:
        raise layer.refuse("a flat tensor whose elements are in another order")
    places = _places(source_shape, value.layout)
    rank = len(shape)
    for layout in dict.fromkeys([channels_last(rank), *permutations(range(1, rank))]):
        if np.array_equal(places, _places(shape, layout)):
            return layer.done(value.tensor, layout)
    if rank == 2 and _only_gemms(layer.lowering, layer.group.name):
        flat = layer.lowering.shaped(value.tensor, (shape[1],))
        return Value(layer.lowering.recoded(flat, layer.code), (1,), places)
    wanted = _places(shape, channels_last(rank))
    for layout in permutations(range(1, len(source_shape))):
        if np.array_equal(_places(source_shape, layout), wanted):
            return layer.done(layer.input(layout), channels_last(rank))
    return layer.done(layer.input(tuple(range(1, len(source_shape)))), tuple(range(1, rank)))


@lowers("Transpose")
def _transpose(layer: Layer) -> Value:
    perm, value = [int(axis) for axis in layer.node.attributes["perm"]], layer.own()
    if perm[0] != 0 or value.order is not None:
        raise layer.refuse("it moves the batch axis", "a batch axis that stays")
    return layer.done(value.tensor, tuple(perm.index(axis) for axis in value.layout))


@lowers("Concat")
def _concat(layer: Layer) -> Value:
    axis = int(layer.node.attributes["axis"])
    if axis == 0:
        raise layer.refuse("tensors one behind the other along the batch axis")
    layout = layer.own().layout
    parts = [
        layer.lowering.recoded(layer.input(layout, i), layer.code).name
        for i in range(len(layer.node.inputs))
    ]
    lead = int(len(layout) == 2)
    made = Concatenate(
        name=layer.name, inputs=tuple(parts), axis=lead + layout.index(axis), **like(layer.code)
    )
    return layer.done(layer.add(made), layout)


@lowers("Slice")
def _slice(layer: Layer) -> Value:
    shape, layout = layer.source_shape, layer.own().layout
    found = [
        range(length)[part]
        for length, part in zip(shape, slices(len(shape), layer.node.attributes), strict=True)
    ]
    if len(found[0]) != 1 or any(len(part) == 0 for part in found):
        raise layer.refuse(f"nothing, or no sample, is left of {shape}")
    source = layer.input(layout)
    lead = len(source.shape) - len(layout)
    picked = [*[range(1)] * lead, *(found[axis] for axis in layout)]
    made = Slice(
        name=layer.name,
        inputs=(source.name,),
        begin=tuple(part.start for part in picked),
        size=tuple(len(part) for part in picked),
        stride=tuple(part.step for part in picked),
        **like(code_of(source)),
    )
    return layer.done(layer.add(made), layout)


@lowers("Gather")
def _gather(layer: Layer) -> Value:
    axis, layout = int(layer.node.attributes["axis"]), layer.own().layout
    if axis == 0:
        raise layer.refuse("samples of a batch")
    source = layer.input(layout)
    made = Gather(
        name=layer.name,
        inputs=(source.name,),
        axis=len(source.shape) - len(layout) + layout.index(axis),
        indices=np.asarray(layer.node.attributes["indices"], np.uint16),
        **like(code_of(source)),
    )
    return layer.done(layer.add(made), layout)


@lowers("Pad")
def _pad(layer: Layer) -> Value:
    pads, layout = [int(p) for p in layer.node.attributes["pads"]], layer.own().layout
    rank = len(pads) // 2
    if pads[0] or pads[rank] or min(pads) < 0:
        raise layer.refuse("negative pads, or pads of the batch axis", "pads from 0 on")
    source = layer.input(layout)
    lead, code = len(source.shape) - len(layout), code_of(source)
    value = np.float32(layer.node.attributes.get("value", 0.0))
    made = Pad(
        name=layer.name,
        inputs=(source.name,),
        before=(*(0,) * lead, *(pads[axis] for axis in layout)),
        after=(*(0,) * lead, *(pads[rank + axis] for axis in layout)),
        value=int(integers(np.asarray(value), code)),
        **like(code),
    )
    return layer.done(layer.add(made), layout)


@lowers("Resize")
def _resize(layer: Layer) -> Value:
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
    return layer.done(layer.add(made), channels_last(len(layer.shape)))

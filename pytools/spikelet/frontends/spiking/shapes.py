"""Shapes of a spiking network's tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import singledispatch

from spikelet.frontends.spiking.network import (
    Activation,
    Add,
    Conv2d,
    Delay,
    Flatten,
    Layer,
    Linear,
    Neurons,
    OneToOne,
    Pool2d,
    Previous,
    SpikingNetwork,
)
from spikelet.refusal import ImportRefused

Shape = tuple[int, ...]


def shapes(network: SpikingNetwork) -> dict[str, Shape]:
    """Shape of every tensor by name; raises ImportRefused as `infer_shapes`."""
    sources = {layer.name: layer.inputs for layer in network.layers}
    sources |= {layer.name: (layer.of,) for layer in network.layers if isinstance(layer, Previous)}
    return infer_shapes(network.inputs, {each.name: each for each in network.layers}, sources)


def infer_shapes(
    inputs: Mapping[str, Shape], layers: Mapping[str, Layer], sources: Mapping[str, Sequence[str]]
) -> dict[str, Shape]:
    """Shape of every tensor by name; a loop has those of what flows into it.

    Args:
        inputs: of the network.
        layers: by name.
        sources: of each layer, what it reads, in this step or in the step before.

    Raises:
        ImportRefused: names the layer whose inputs do not fit it, or one another.
    """
    known = dict(inputs)
    waiting = dict(layers)
    while waiting:
        left = {}
        for name, layer in waiting.items():
            there = [known[source] for source in sources[name] if source in known]
            if there:
                known[name] = output_shape(layer, there[0])
            else:
                left[name] = layer
        if len(left) == len(waiting):
            stuck = next(iter(left.values()))
            raise ImportRefused(f"layer {stuck.called}: nothing says what shape it has")
        waiting = left
    for name, layer in layers.items():
        for source in sources[name]:
            if known[source] != known[sources[name][0]]:
                raise ImportRefused(
                    f"layer {layer.called}: it adds {known[sources[name][0]]} and {known[source]}",
                    next="what is added has one shape",
                )
            output_shape(layer, known[source])
    return known


@singledispatch
def output_shape(layer: Layer, shape: Shape) -> Shape:
    """Shape of what a layer makes of an input; raises ImportRefused."""
    raise NotImplementedError(type(layer).__name__)


def _refuse(layer: Layer, shape: Shape, expected: str) -> ImportRefused:
    return ImportRefused(f"layer {layer.called}: it reads {shape}, expected {expected}")


@output_shape.register(Neurons)
@output_shape.register(Activation)
@output_shape.register(Add)
@output_shape.register(Previous)
def _(layer: Layer, shape: Shape) -> Shape:
    return shape


@output_shape.register
def _(layer: Linear, shape: Shape) -> Shape:
    rows, columns = layer.weight.shape
    if shape != (columns,):
        raise _refuse(layer, shape, f"({columns},)")
    return (rows,)


@output_shape.register
def _(layer: Delay, shape: Shape) -> Shape:
    if layer.steps.size not in (1, math.prod(shape)):
        raise _refuse(layer, shape, f"{layer.steps.size} elements")
    return shape


@output_shape.register
def _(layer: OneToOne, shape: Shape) -> Shape:
    if layer.weight.size not in (1, shape[0], math.prod(shape)):
        raise _refuse(layer, shape, f"{layer.weight.size} elements or channels")
    return shape


@output_shape.register
def _(layer: Flatten, shape: Shape) -> Shape:
    return (math.prod(shape),)


@output_shape.register
def _(layer: Conv2d, shape: Shape) -> Shape:
    out, channels, *kernel = layer.weight.shape
    if len(shape) != 3 or shape[0] != channels * layer.groups:
        raise _refuse(layer, shape, f"({channels * layer.groups}, height, width)")
    reach = [d * (k - 1) + 1 for d, k in zip(layer.dilation, kernel, strict=True)]
    return (out, *_places(layer, shape, reach, layer.stride, layer.padding))


@output_shape.register
def _(layer: Pool2d, shape: Shape) -> Shape:
    if len(shape) != 3:
        raise _refuse(layer, shape, "(channels, height, width)")
    return (shape[0], *_places(layer, shape, layer.window, layer.stride, layer.padding))


def _places(
    layer: Layer,
    shape: Shape,
    reach: Sequence[int],
    stride: Sequence[int],
    padding: tuple[int, int, int, int],
) -> tuple[int, int]:
    """How many windows there are, down and to the right."""
    top, left, bottom, right = padding
    sizes = (shape[1] + top + bottom, shape[2] + left + right)
    down, along = ((size - r) // s + 1 for size, r, s in zip(sizes, reach, stride, strict=True))
    if down < 1 or along < 1:
        raise _refuse(layer, shape, f"{reach[0]} x {reach[1]} or more, padding included")
    return down, along

"""The numbers of the integer graph, for training: grids of weights, and what `lower` makes of them.

A grid is chosen once, from the float weights, and stays: weights that are trained on it are the
codes of the graph. What neurons become is asked of the lowering itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from spikelet.errors import UsageError
from spikelet.frontends.spiking.encoders import Encoder
from spikelet.frontends.spiking.held import Held
from spikelet.frontends.spiking.lower import Lowered, Readout, lower
from spikelet.frontends.spiking.network import (
    Add,
    Conv2d,
    Flatten,
    Layer,
    Linear,
    Neurons,
    OneToOne,
    Pool2d,
    SpikingNetwork,
)
from spikelet.graph import Array
from spikelet.train.recipe import Bits

MOST: dict[Bits, int] = {8: 127, 4: 7, 2: 3, "ternary": 1, 1: 1}  # the largest code
ODD: tuple[Bits, ...] = (2, 1)  # widths without a zero: codes are odd
TRIED = np.linspace(1.0, 0.2, 33)  # of the widest grid, steps that are tried


@dataclass(frozen=True)
class Grid:
    """What is fixed while a network is trained with rounding.

    Attributes:
        bits: of each layer of weights.
        units: of each layer of weights, (C,) or (1,): real value of one unit of its sums.
        fraction_bits: of each layer of neurons.
        held: the graph's tensors, by layer.
    """

    bits: dict[str, Bits]
    units: dict[str, Array]
    fraction_bits: dict[str, int]
    held: dict[str, Held]

    def step(self, layer: Layer) -> Array:
        """(O,) or (1,): real value of one code of a layer's weights."""
        step: Array = self.units[layer.name] / self.held[layer.inputs[0]].unit[0]
        return step


def choose(
    network: SpikingNetwork,
    steps: int,
    encoder: Encoder,
    readout: Readout,
    bits: Bits | Mapping[str, Bits],
) -> Grid:
    """The grid for a network as it stands.

    Raises:
        UsageError: bits of a layer that is not there, or that differ where sums flow together.
        ImportRefused: names the layer that the graph cannot hold.
    """
    weighted = [layer for layer in network.layers if isinstance(layer, Linear | Conv2d)]
    widths = _widths(weighted, bits)
    first = lower(network, steps, encoder, readout, narrow=True)
    units = {layer.name: first.held[layer.name].unit for layer in network.layers
             if isinstance(layer, Linear | Conv2d | OneToOne)}  # fmt: skip
    for together, compared in _flowing_together(network):
        few = {widths[part.name] for part in together if part.name in widths}
        if len(few) > 1:
            names = ", ".join(part.called for part in together)
            raise UsageError(
                f"layers {names} have weights of {', '.join(sorted(map(str, few)))} bits",
                "their sums flow into the same neurons, which count in one unit",
                "give them the same bits",
            )
        if few and few != {8}:
            (width,) = few
            finer = _finer(together, units, first.held, width, compared)
            for part in together:
                units[part.name] = units[part.name] * finer
    made = lower(network, steps, encoder, readout, narrow=True, units=units)
    return Grid(widths, units, fraction_bits(made, network), made.held)


def fraction_bits(lowered: Lowered, network: SpikingNetwork) -> dict[str, int]:
    """Of each layer of neurons, as a graph has them."""
    nodes = {node.name: node for node in lowered.graph.nodes}
    return {
        layer.name: int(
            nodes.get(f"{layer.name}_current", nodes[layer.name]).attributes()["input_shift"]
        )
        for layer in network.layers
        if isinstance(layer, Neurons)
    }


def snapped(weight: Tensor, step: Tensor, bits: Bits) -> Tensor:
    """Codes (O, ...) of weights on a grid, float; halves away from zero.

    Args:
        weight: (O, ...).
        step: (O,) or (1,) real value of one code.
        bits: 8, 4, 2, "ternary" or 1.
    """
    ratio = weight / step.reshape(-1, *(1,) * (weight.dim() - 1))
    most = MOST[bits]
    if bits in ODD:
        return (2 * torch.floor(ratio / 2) + 1).clamp(-most, most)
    return (torch.sign(ratio) * torch.floor(ratio.abs() + 0.5)).clamp(-most, most)


def _widths(weighted: list[Linear | Conv2d], bits: Bits | Mapping[str, Bits]) -> dict[str, Bits]:
    """Bits of every layer of weights."""
    if not isinstance(bits, Mapping):
        return {layer.name: bits for layer in weighted}
    known = [name for layer in weighted for name in (layer.name, layer.source) if name]
    for name in bits:
        if name not in known:
            raise UsageError(
                f"bits of layer {name!r}, which is not there",
                next=f"layers of weights are {', '.join(known)}",
            )
    return {layer.name: bits.get(layer.name, bits.get(layer.source, 8)) for layer in weighted}


def _flowing_together(network: SpikingNetwork) -> Iterator[tuple[list[Layer], bool]]:
    """Layers of weights whose sums flow into the same neurons, or are read out.

    With each, whether channels are compared with each other: then they have one unit.
    """

    def parts(name: str) -> Iterator[Layer]:
        if name in network.inputs:
            return
        layer = network.layer(name)
        if isinstance(layer, Linear | Conv2d | OneToOne):
            yield layer
        elif isinstance(layer, Add | Flatten | Pool2d):
            for source in layer.inputs:
                yield from parts(source)

    for layer in network.layers:
        if isinstance(layer, Neurons):
            yield list(parts(layer.inputs[0])), layer.rule.threshold is None
    if not isinstance(network.layer(network.output), Neurons):
        yield list(parts(network.output)), True


def _finer(
    together: list[Layer],
    units: Mapping[str, Array],
    held: Mapping[str, Held],
    bits: Bits,
    compared: bool,
) -> Array:
    """(C,) or (1,): by what a unit for 127 steps is multiplied to hold so few bits best.

    One for all channels that are `compared`.
    """
    coarse = 127 / MOST[bits]
    rows = [part for part in together if isinstance(part, Linear | Conv2d)]
    best, least = np.ones(1), np.full(1, np.inf)
    for tried in TRIED * coarse:
        errors = np.zeros(1)
        for part in rows:
            weight = torch.from_numpy(np.asarray(part.weight, np.float64))
            step = torch.from_numpy(units[part.name] / held[part.inputs[0]].unit[0] * tried)
            codes = snapped(weight, step, bits)
            apart = codes * step.reshape(-1, *(1,) * (weight.dim() - 1)) - weight
            each = (apart**2).reshape(len(weight), -1).sum(dim=1).numpy()
            own = units[part.name].size > 1 and not compared
            errors = errors + (each if own else each.sum(keepdims=True))
        better = errors < least
        best, least = np.where(better, tried, best), np.where(better, errors, least)
    return best

"""The weights of a layer as the graph holds them: int8 codes, biases in units of the sums."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from spikelet.frontends.spiking import rounding
from spikelet.frontends.spiking.held import Held
from spikelet.frontends.spiking.network import Conv2d, Linear
from spikelet.frontends.spiking.neurons import MOST_SUM
from spikelet.graph import Array
from spikelet.refusal import ImportRefused


@dataclass(frozen=True)
class WeightCodes:
    """A layer of weights as the graph holds it.

    Attributes:
        weight: (O, I / groups, ...) int8.
        bias: (O,) int32 in units of the sums, what the input's zero point takes off included; None
            where it is 0.
        exact: whether weights and bias are the layer's, but for the rounding of float32.
    """

    weight: Array
    bias: Array | None
    exact: bool


def weight_codes(layer: Linear | Conv2d, source: Held, unit: Array) -> WeightCodes:
    """The codes of a layer.

    Args:
        layer: of weights.
        source: what it reads.
        unit: (O,) or (1,), real value of one unit of its sums.

    Raises:
        ImportRefused: a bias beyond 32 bits.
    """
    weight = torch.from_numpy(np.asarray(layer.weight, np.float64))
    rows = weight.reshape(len(weight), -1)
    step = torch.from_numpy(np.broadcast_to(unit / source.unit[0], (len(rows),)).copy())
    codes = rounding.weight_codes(rows, step)
    exact = rounding.is_exact(rows, codes, step[:, None])
    whole = torch.from_numpy(np.broadcast_to(unit, (len(rows),)).copy())
    bias = -source.zero * codes.sum(dim=1)
    if layer.bias is not None:
        real = torch.from_numpy(np.asarray(layer.bias, np.float64))
        rounded = rounding.bias_codes(real, whole)
        exact = exact and rounding.is_exact(real, rounded, whole)
        bias = bias + rounded
    if bool((bias.abs() > MOST_SUM).any()):
        channel = int(bias.abs().argmax())
        raise ImportRefused(
            f"layer {layer.called}: the bias of channel {channel} is "
            f"{float(bias[channel]):g} weight steps, beyond 32 bits",
            next="give the channel larger weights or a smaller bias",
        )
    given = layer.bias is not None or source.zero
    made = codes.numpy().reshape(layer.weight.shape).astype(np.int8)
    return WeightCodes(
        made, bias.numpy().astype(np.int64).astype(np.int32) if given else None, exact
    )

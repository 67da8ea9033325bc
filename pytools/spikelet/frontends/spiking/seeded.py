"""Layers whose weights are made of a seed: as a PyTorch module, and as the graph's operators."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from spikelet.frontends.spiking.held import Held
from spikelet.frontends.spiking.network import Seeded
from spikelet.graph import Array
from spikelet.graph.ops.seeded_dense import MOST_SIZE, SeededDense
from spikelet.refusal import ImportRefused

SIZE = 127  # steps of a weight where other sums flow into the same neurons


class SeededLinear(nn.Module):
    """`size * signs @ x`: fixed random weights, which a device makes of the seed: no memory.

    Args:
        inputs: n.
        outputs: m.
        seed: of the signs, below 2^32.
        size: of every weight; gain / sqrt(n) for a recurrence whose radius is about `gain`.
        fan_out: how many outputs each input goes into; None for all.
    """

    weight: Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        seed: int,
        size: float = 1.0,
        fan_out: int | None = None,
    ) -> None:
        super().__init__()
        self.seed, self.fan_out = seed, fan_out
        self.size = float(torch.tensor(size))  # as the weights have it
        made = Seeded.of("SeededLinear", "x", (outputs, inputs), seed, self.size, fan_out)
        weight = torch.from_numpy(made.weight).to(torch.get_default_dtype())
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, m) of (N, n)."""
        return functional.linear(x, self.weight)


def seeded_step(layer: Seeded, alone: bool) -> Array:
    """(1,): real value of a step of its weights, which is one of them where it is alone."""
    return np.array([layer.size if alone else layer.size / SIZE])


def seeded_operator(layer: Seeded, source: Held, unit: Array) -> tuple[SeededDense, bool]:
    """The operator, and whether its weights are the layer's.

    Args:
        layer: of the network.
        source: what it reads.
        unit: (1,), real value of one unit of its sums.

    Raises:
        ImportRefused: an image that was flattened, or weights that no whole number of units is.
    """
    if source.image is not None or len(source.shape) > 1:
        raise ImportRefused(
            f"layer {layer.called}: it reads an image, which lies in another order on a device",
            "weights of a seed cannot be put in that order",
            "read vectors, or put a layer of weights between",
        )
    real = layer.size * float(source.unit[0]) / float(unit[0])
    size = round(real)
    if not 1 <= size <= MOST_SIZE:
        raise ImportRefused(
            f"layer {layer.called}: its weights of {layer.size:g} are {real:.3g} units of the sums "
            f"that they flow into, expected 1 to {MOST_SIZE}",
            "other weights on the same neurons are far larger or smaller",
            "bring both nearer to each other",
        )
    node = SeededDense(
        name=layer.name, inputs=(source.name,), outputs=len(layer.weight), seed=layer.seed,
        fan_out=layer.fan_out, size=size, zero=source.zero,
    )  # fmt: skip
    return node, bool(np.isclose(size, real, rtol=2.0**-22, atol=0))

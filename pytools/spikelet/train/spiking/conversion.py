"""Pretraining without time: each neuron answers with its rate, a clipped ReLU.

A neuron without a leak that is reset by subtraction, gets a constant current x and starts at half
its threshold, spikes floor(T x / threshold + 1/2) times in T steps, between 0 and T. Trained with
that staircase (Bu et al., "Optimal ANN-SNN conversion for high-accuracy and ultra-low-latency
spiking neural networks", ICLR 2022) the first layer of such neurons computes the same over time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from spikelet.errors import UsageError
from spikelet.frontends.spiking.network import (
    Conv2d,
    Delay,
    Layer,
    Linear,
    Neurons,
    OneToOne,
    Previous,
    SpikingNetwork,
)
from spikelet.train.spiking.executor import Executor
from spikelet.train.spiking.parts import NeuronPart, OneToOnePart, WeightPart

LEAST_SHARE = 0.05  # of a threshold, that balancing may leave of it


def check(network: SpikingNetwork) -> None:
    """Refuse what means nothing without time."""
    for layer in network.layers:
        late = isinstance(layer, Linear) and layer.delays is not None
        if late or isinstance(layer, Previous | Delay):
            what = "delay" if late else type(layer).__name__.lower()
            raise UsageError(
                f"layer {layer.called}: a {what} in pretraining, which is without time",
                next="leave [pretrain] out, or train a network without loops and delays",
            )


def values(executor: Executor, x: Tensor, levels: int | None = None) -> dict[str, Tensor]:
    """Every tensor by name, (1, N, *shape): rates where neurons spike; of inputs (1, N, *shape).

    Args:
        executor: of the network.
        x: real inputs.
        levels: rates are multiples of 1 / levels; None for any.
    """
    (name,) = executor.source.inputs
    made = {name: x}
    for layer in executor.source.layers:
        if isinstance(layer, Neurons):
            made[layer.name] = made[layer.inputs[0]]
            if layer.rule.threshold is not None:
                share = relative(executor, layer, made)
                made[layer.name] = _staircase(share.clamp(0, 1), levels)
        else:
            made[layer.name] = executor._whole(layer, made)
    return made


def scores(executor: Executor, x: Tensor, levels: int | None = None) -> Tensor:
    """(N, classes), as large as those of so many steps."""
    made = values(executor, x, levels)[executor.source.output]
    return made[0].flatten(1) * executor.steps


def relative(executor: Executor, layer: Neurons, made: dict[str, Tensor]) -> Tensor:
    """The input of neurons by their threshold."""
    part = executor.parts[layer.name]
    x = made[layer.inputs[0]]
    assert isinstance(part, NeuronPart)
    numbers = part.numbers(tuple(x.shape[2:]), None)
    assert numbers.threshold is not None
    return (x * numbers.gain + numbers.drift) / numbers.threshold


def convert(
    executor: Executor, batches: Iterable[Tensor], percentile: float | None, half: bool
) -> None:
    """Make neurons of rates: thresholds balanced, membranes begun at half of them.

    Args:
        executor: as it was pretrained; batch norms are folded for good.
        batches: real inputs (1, N, *shape).
        percentile: of a layer's rates, 0 to 100, that its neurons spike in every step at: their
            thresholds are lowered to it, and weights behind them by as much. None leaves them.
        half: whether membranes begin at half a threshold.
    """
    executor.fold()
    executor.eval()
    spiking = [
        layer
        for layer in executor.source.layers
        if isinstance(layer, Neurons) and layer.rule.threshold is not None
    ]
    given = list(batches)
    with torch.no_grad():
        for layer in spiking:
            part = executor.parts[layer.name]
            assert isinstance(part, NeuronPart)
            assert part.threshold is not None
            if percentile is not None:
                seen = [relative(executor, layer, values(executor, x)).flatten() for x in given]
                share = float(np.percentile(torch.cat(seen).clamp(0, 1).numpy(), percentile))
                share = max(share, LEAST_SHARE)
                part.threshold.mul_(share)
                for behind in _weights_behind(executor.source, layer):
                    weights = executor.parts[behind.name]
                    assert isinstance(weights, WeightPart | OneToOnePart)
                    weights.weight.mul_(share)
            if half:
                part.initial = float(part.threshold.mean()) / 2


def _weights_behind(network: SpikingNetwork, layer: Layer) -> Iterator[Layer]:
    """Layers of weights that read a layer, through pools and the like."""
    for reader in network.readers(layer.name):
        if isinstance(reader, Linear | Conv2d | OneToOne):
            yield reader
        else:
            yield from _weights_behind(network, reader)


def _staircase(share: Tensor, levels: int | None) -> Tensor:
    """Rates rounded to levels, with the gradient passed through."""
    if levels is None:
        return share
    steps = torch.floor(share * levels + 0.5) / levels
    return share + (steps - share).detach()

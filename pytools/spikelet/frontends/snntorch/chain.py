"""A chain of snnTorch's layers as a spiking network, which is compared with the chain itself."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from spikelet.frontends.snntorch.layers import NEURON_STATES, Readout, Stage, leaves
from spikelet.frontends.spiking.network import Layer, Linear, Neurons, Rule, SpikingNetwork
from spikelet.frontends.spiking.program import replay
from spikelet.graph import Array


def chain_network(chain: Sequence[Stage], name: str, readout: Readout) -> SpikingNetwork:
    """The network of a chain that was read."""
    layers: list[Layer] = []
    source = "x"
    for stage in chain:
        linear = stage.linear
        weight = linear.weight.detach().cpu().double().numpy()
        bias = None if linear.bias is None else linear.bias.detach().cpu().double().numpy()
        layers.append(
            Linear(name=stage.name, inputs=(source,), source=stage.path, weight=weight, bias=bias)
        )
        source = stage.name
        if stage.neurons is None:
            continue
        silent = stage is chain[-1] and readout == "membrane"
        layers.append(
            Neurons(
                name=stage.neurons_name,
                inputs=(source,),
                source=stage.neurons_path,
                rule=_rule(stage, silent),
            )
        )
        source = stage.neurons_name
    return SpikingNetwork(name, {"x": (chain[0].linear.in_features,)}, tuple(layers), source)


def _rule(stage: Stage, silent: bool) -> Rule:
    """What a stage's neurons do in a step; `silent` ones are read out and do not spike."""
    neurons = stage.neurons
    assert neurons is not None
    return Rule(
        kept=np.array([neurons.beta]),
        kept_current=None if neurons.alpha is None else np.array([neurons.alpha]),
        threshold=None if silent else neurons.threshold.numpy(),
        compare=neurons.compare,
        reset=neurons.reset,
        timing=neurons.timing,
    )


def check_spikes(
    network: nn.Module | Mapping[str, nn.Module],
    made: SpikingNetwork,
    x: Array,
    steps: int,
) -> None:
    """Refuse a network of a chain that spikes otherwise than the chain, in float64.

    `x` is what the first layer gets: spikes (T, N, n), or a constant current (N, n).

    Raises:
        ImportRefused: names the layer.
    """
    values = torch.from_numpy(np.asarray(x, np.float64))
    if values.dim() == 2:
        values = values.expand(steps, *values.shape)
    names = iter([layer.name for layer in made.layers if isinstance(layer, Neurons)])
    firing = {
        layer.name
        for layer in made.layers
        if isinstance(layer, Neurons) and layer.rule.threshold is not None
    }
    spikes = {}
    with torch.no_grad():
        for _, layer in leaves(network):
            own = copy.deepcopy(layer).double().cpu()
            if type(own) not in NEURON_STATES:
                values = own(values)
                continue
            values, _ = unroll(own, values)
            if (name := next(names)) in firing:
                spikes[name] = values.numpy()
    replay(made, np.asarray(x, np.float64), spikes, steps, per_step=x.ndim == 3)


def unroll(layer: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """One layer of neurons over all steps: spikes (T, N, n) and the last membrane (N, n)."""
    states = NEURON_STATES[type(layer)]
    for name in states:
        setattr(layer, name, torch.zeros_like(x[0]))
    spikes = []
    for current in x:
        fired = layer(current)
        spikes.append(fired[0] if isinstance(fired, tuple) else fired)
    membrane: Tensor = layer.get_buffer("mem")
    for name in states:
        setattr(layer, name, layer.get_buffer(name).detach()[:0])
    return torch.stack(spikes).to(x.dtype), membrane

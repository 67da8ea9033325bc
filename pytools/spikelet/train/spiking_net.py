"""The network in float, as it is trained: snnTorch's own layers, unrolled over time."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from spikelet.frontends.snntorch.chain import unroll
from spikelet.frontends.snntorch.layers import NEURON_STATES, Readout, stages
from spikelet.frontends.spiking import rounding
from spikelet.frontends.spiking.encoders import Encoder
from spikelet.graph import Graph


class SpikingNet(nn.Module):
    """A chain of layers over T steps, from membranes at 0.

    `forward` takes what `encode` gives and returns scores (N, classes): spike counts, membranes
    after the last step, or sums over time.
    """

    def __init__(self, layers: nn.Sequential, steps: int, readout: Readout) -> None:
        super().__init__()
        self.layers = layers
        self.steps = steps
        self.readout = readout

    def forward(self, x: Tensor) -> Tensor:
        """Scores (N, classes)."""
        membrane = x
        for layer in self.layers.modules():
            if isinstance(layer, nn.Sequential | nn.Flatten):
                continue
            if type(layer) not in NEURON_STATES:
                x = layer(x)
                continue
            if x.dim() == 2:  # a constant current
                x = x.expand(self.steps, *x.shape)
            x, membrane = unroll(layer, x)
        if self.readout == "membrane":
            return membrane
        return x.sum(dim=0)


def deployed_parameters(net: SpikingNet, encoder: Encoder, graph: Graph) -> dict[str, Tensor]:
    """The parameters of `net`, by name, as they will be exported, for torch.func.functional_call.

    Gradients pass straight through the rounding (Bengio, Leonard, Courville, "Estimating or
    propagating gradients through stochastic neurons", 2013). `graph` is a recent export: its
    fraction bits are used.
    """
    parameters: dict[str, Tensor] = {}
    nodes = {node.name: node for node in graph.nodes}
    chain = stages(net.layers, net.readout)
    for i, stage in enumerate(chain):
        linear, neurons = stage.linear, stage.neurons
        shared = i == len(chain) - 1 and net.readout != "spike_count"
        spiking = neurons is not None and not shared
        amplitude, scale = (encoder.amplitude, encoder.scale) if i == 0 else (1.0, 1.0)
        firing = neurons.threshold if neurons is not None and spiking else None
        step = rounding.weight_step(linear.weight, firing, amplitude, shared)
        codes = rounding.weight_codes(linear.weight, step)
        path = f"layers.{stage.path}"
        parameters[f"{path}.weight"] = _through(linear.weight, codes * step[:, None])
        unit = step * scale
        if linear.bias is not None:
            rounded = rounding.bias_codes(linear.bias, unit) * unit
            parameters[f"{path}.bias"] = _through(linear.bias, rounded)
        if neurons is None:
            continue
        layer = net.get_submodule(f"layers.{stage.neurons_path}")
        path = f"layers.{stage.neurons_path}"
        for decay, name in (("alpha", stage.current), ("beta", stage.neurons_name)):
            if not name:  # neurons without a synaptic current
                continue
            attributes = nodes[name].attributes()
            kept = attributes["leak"] / (1 << attributes["leak_bits"])
            real = cast(Tensor, getattr(layer, decay))
            parameters[f"{path}.{decay}"] = _through(real, torch.full_like(real, kept))
        if spiking:
            threshold = cast(Tensor, layer.threshold)
            # The operator that reads the layer's sums has the fraction bits.
            bits = nodes[stage.current or stage.neurons_name].attributes()["input_shift"]
            rounded = rounding.threshold_codes(
                neurons.threshold, unit, bits, neurons.compare == ">", neurons.reset == "subtract"
            )
            rounded = rounded * unit / (1 << bits)
            parameters[f"{path}.threshold"] = _through(threshold, rounded)
    return parameters


def _through(value: Tensor, rounded: Tensor) -> Tensor:
    """`rounded` forward, the gradient of `value` backward."""
    return value + (rounded.to(value.dtype) - value).detach()

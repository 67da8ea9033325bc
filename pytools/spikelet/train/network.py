"""The network in float, as it is trained: snnTorch's own layers, unrolled over time."""

from __future__ import annotations

from typing import cast

import numpy as np
import snntorch as snn
import torch
from torch import Tensor, nn

from spikelet.frontends import quantise
from spikelet.frontends.snntorch import (
    DirectCurrent,
    Encoder,
    Latency,
    Poisson,
    Readout,
)
from spikelet.frontends.snntorch_layers import stages
from spikelet.graph import Array, Graph, Operator
from spikelet.graph import Tensor as GraphTensor
from spikelet.graph.ops.latency import Latency as LatencyOperator
from spikelet.graph.ops.poisson import Poisson as PoissonOperator


def encode(x: Array, encoder: Encoder, steps: int, seeds: Array | None = None) -> Tensor:
    """What the first layer gets: spikes (T, N, n), or a constant current (N, n); float32.

    Spikes come from the graph's own operator, so they are those of the device. `x` is (N, n) u8,
    `seeds` (N, 1) u32, for Poisson only.
    """
    if isinstance(encoder, DirectCurrent):
        current = (x.astype(np.float64) - encoder.zero_point) * encoder.scale
        return torch.from_numpy(current.astype(np.float32))
    inputs = [GraphTensor("x", "u8", x.shape[1:], kind="input")]
    values = {"x": x}
    node: Operator
    if isinstance(encoder, Poisson):
        if seeds is None:
            raise ValueError("Poisson coding needs a seed for each sample")
        inputs.append(GraphTensor("seed", "u32", (1,), kind="input"))
        values["seed"] = seeds
        node, spikes = PoissonOperator(name="e", inputs=("x", "seed")), "e.spikes"
    elif isinstance(encoder, Latency):
        node, spikes = LatencyOperator(name="e", inputs=("x",)), "e"
    graph = Graph("encoder", steps, inputs, [node], [spikes])
    return torch.from_numpy(graph.run(values, trace=True).trace[spikes].astype(np.float32))


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
            if not isinstance(layer, snn.Leaky):
                x = layer(x)
                continue
            if x.dim() == 2:  # a constant current
                x = x.expand(self.steps, *x.shape)
            x, membrane = unroll(layer, x)
        if self.readout == "membrane":
            return membrane
        return x.sum(dim=0)


def unroll(layer: snn.Leaky, x: Tensor) -> tuple[Tensor, Tensor]:
    """One layer of neurons over all steps: spikes (T, N, n) and the last membrane (N, n)."""
    layer.mem = torch.zeros_like(x[0])
    spikes = []
    for current in x:
        fired = layer(current)
        spikes.append(fired[0] if isinstance(fired, tuple) else fired)
    membrane: Tensor = layer.mem
    layer.mem = membrane.detach()[:0]
    return torch.stack(spikes).to(x.dtype), membrane


def deployed(net: SpikingNet, encoder: Encoder, graph: Graph) -> dict[str, Tensor]:
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
        step = quantise.weight_step(linear.weight, firing, amplitude, shared)
        codes = quantise.weight_codes(linear.weight, step)
        path = f"layers.{stage.path}"
        parameters[f"{path}.weight"] = _through(linear.weight, codes * step[:, None])
        unit = step * scale
        if linear.bias is not None:
            rounded = quantise.bias_codes(linear.bias, unit) * unit
            parameters[f"{path}.bias"] = _through(linear.bias, rounded)
        if neurons is None:
            continue
        layer = net.get_submodule(f"layers.{stage.neurons_path}")
        path = f"layers.{stage.neurons_path}"
        kept = quantise.leak_factor(neurons.beta) / (1 << 15)
        beta, threshold = cast(Tensor, layer.beta), cast(Tensor, layer.threshold)
        parameters[f"{path}.beta"] = _through(beta, torch.full_like(beta, kept))
        if spiking:
            bits = int(nodes[stage.neurons_name].attributes()["input_shift"])
            rounded = quantise.threshold_codes(
                neurons.threshold, unit, bits, neurons.compare == ">", neurons.reset == "subtract"
            )
            rounded = rounded * unit / (1 << bits)
            parameters[f"{path}.threshold"] = _through(threshold, rounded)
    return parameters


def _through(value: Tensor, rounded: Tensor) -> Tensor:
    """`rounded` forward, the gradient of `value` backward."""
    return value + (rounded.to(value.dtype) - value).detach()

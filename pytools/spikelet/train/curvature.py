"""How a network's loss bends along the weights of each layer: what rounding them would cost.

The trace of the Hessian is estimated by Hutchinson's method: the mean of v'Hv over random signs v.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from spikelet.errors import UsageError
from spikelet.frontends.onnx import parse
from spikelet.frontends.onnx.export import export
from spikelet.graph import Array, Graph
from spikelet.quantise.calibrate import integers, reals, weight_code
from spikelet.quantise.narrow import narrowable
from spikelet.quantise.operator import operator_of
from spikelet.train.qat import QatNetwork
from spikelet.train.trainer import reproducible

PROBES = 8
SAMPLES = 128


def hessian_errors(
    graph: Graph, inputs: Mapping[str, Array], labels: Array | None, widths: Sequence[int]
) -> dict[str, dict[int, float]]:
    """By layer that can be narrowed and width: mean curvature times squared error of the weights.

    Args:
        graph: a classifier with int8 weights.
        inputs: codes (N, *shape) by name.
        labels: (N,) classes; None for what the network says itself.
        widths: of weights.

    Raises:
        UsageError: a network that PyTorch does not compute here.
    """
    network = parse(export(graph)).network
    (name, shape), *more = network.inputs.items()
    if more:
        raise UsageError(f"graph {graph.name}: several inputs, the Hessian takes one")
    code, given = network.codes[name], next(iter(inputs.values()))[:SAMPLES]
    real = (given.astype(np.float32) - code.zero_point) * code.scale
    real = np.moveaxis(real, -1, 1) if real.ndim > 2 else real
    x = np.ascontiguousarray(real.reshape(len(real), *shape[1:]), np.float32)
    net = QatNetwork(network, {name: x})
    net.rounding = False
    nodes = [n for n in net.network.nodes if operator_of(n).weighted]
    layers = [n for n in graph.order if "weight" in n.arrays()]
    if len(nodes) != len(layers):
        raise UsageError(f"graph {graph.name}: layers that ONNX does not have")
    weights = {
        layer.name: node.inputs[1]
        for node, layer in zip(nodes, layers, strict=True)
        if layer in narrowable(graph)
    }
    traces = _traces(net, list(weights.values()), torch.from_numpy(x), labels)
    found: dict[str, dict[int, float]] = {}
    for (layer, key), trace in zip(weights.items(), traces, strict=True):
        values = net.network.constants[key]
        lost = {8: 0.0}
        for width in widths:
            if width < 8:
                coarse = weight_code(values, bits=width, odd=True)
                lost[width] = float(((reals(integers(values, coarse), coarse) - values) ** 2).sum())
        found[layer] = {w: max(trace, 0.0) / values.size * lost[w] for w in widths}
    return found


def _traces(net: QatNetwork, keys: list[str], x: torch.Tensor, labels: Array | None) -> list[float]:
    """Of the Hessian of the mean loss, by weight."""
    with reproducible(0):
        scores = net(x).flatten(1)
        wanted = scores.argmax(dim=1) if labels is None else torch.from_numpy(labels[: len(x)])
        weights = [net.constants[net.keys[key]] for key in keys]
        slopes = torch.autograd.grad(cross_entropy(scores, wanted), weights, create_graph=True)
        traces = [0.0] * len(keys)
        for _ in range(PROBES):
            signs = [2.0 * torch.randint(0, 2, w.shape) - 1 for w in weights]
            along = torch.stack([(s * v).sum() for s, v in zip(slopes, signs, strict=True)]).sum()
            bent = torch.autograd.grad(along, weights, retain_graph=True)
            for i, (v, b) in enumerate(zip(signs, bent, strict=True)):
                traces[i] += float((v * b).sum()) / PROBES
    return traces

"""The whole of an int8 network fine-tuned on the host: what adapters are compared with."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from spikelet.graph import Array, Graph
from spikelet.graph.ops.depthwise_conv2d import DepthwiseConv2d
from spikelet.graph.quantised import Quantised
from spikelet.train.adapt import BATCH, meaning, padded, rounded


class Whole(nn.Module):
    """All weights and biases in real numbers, activations rounded as the graph rounds them."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph, self.real = graph, nn.ParameterDict()
        for node in graph.nodes:
            if isinstance(node, Quantised):
                factor = np.ldexp(node.multiplier.astype(np.float64), node.shift - 31)
                scale = factor * node.output_scale
                axes = (1,) * (node.levels.ndim - 1)
                shape = (*axes, -1) if isinstance(node, DepthwiseConv2d) else (-1, *axes)
                weight = node.levels * (scale / node.ins[0].scale).reshape(shape)
                self.real[f"{node.name}_weight"] = nn.Parameter(torch.from_numpy(weight).float())
                self.real[f"{node.name}_bias"] = nn.Parameter(
                    torch.from_numpy(node.bias * scale).float()
                )

    def forward(self, x: Tensor) -> Tensor:
        """(N, classes) real scores of codes (N, *shape)."""
        made = {self.graph.inputs[0].name: x}
        for node in self.graph.nodes:
            given = [made[name] for name in node.inputs]
            last = node.name == self.graph.outputs[0]
            if not isinstance(node, Quantised):
                made[node.name] = meaning(node)(node, *given)
                continue
            code = rounded(self._sums(node, given[0]) / node.output_scale + node.output_zero_point)
            made[node.name] = code if last else code.clamp(*node.activation)
        output = self.graph.tensors[self.graph.outputs[0]]
        scores = made[output.name].reshape(len(x), -1)
        return (scores - output.zero_point) * output.scale

    def _sums(self, node: Quantised, codes: Tensor) -> Tensor:
        x = (codes - node.ins[0].zero_point) * node.ins[0].scale
        weight, bias = self.real[f"{node.name}_weight"], self.real[f"{node.name}_bias"]
        if weight.ndim == 2:
            return x.reshape(len(x), -1) @ weight.T + bias
        image, groups = padded(x, node.padding), 1  # type: ignore[attr-defined]
        weight = (
            weight.permute(0, 3, 1, 2) if weight.ndim == 4 else weight.permute(2, 0, 1)[:, None]
        )
        if isinstance(node, DepthwiseConv2d):
            groups = len(weight)
        stride = node.stride  # type: ignore[attr-defined]
        made = functional.conv2d(image, weight, stride=stride, groups=groups)
        return made.permute(0, 2, 3, 1) + bias


def fine_tune(graph: Graph, x: Array, labels: Array, epochs: int, rate: float, seed: int) -> Whole:
    """Adam with a cosine schedule; a fifth of the samples is held out and chooses the epoch."""
    torch.manual_seed(seed)
    model = Whole(graph)
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    order = np.random.default_rng(seed).permutation(len(x))
    held, kept = np.split(order, [max(1, round(0.2 * len(x)))])
    best, most = {n: v.clone() for n, v in model.state_dict().items()}, -1.0
    for _ in range(epochs):
        shuffled = kept[torch.randperm(len(kept)).numpy()]
        for at in range(0, len(kept), BATCH):
            batch = shuffled[at : at + BATCH]
            optimiser.zero_grad()
            scores = model(torch.from_numpy(x[batch].astype(np.float32)))
            loss = functional.cross_entropy(scores, torch.from_numpy(labels[batch]).long())
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        falling.step()
        now = float((named(model, x[held]) == labels[held]).mean())
        if now >= most:
            best, most = {n: v.clone() for n, v in model.state_dict().items()}, now
    model.load_state_dict(best)
    return model


def named(model: nn.Module, x: Array) -> Array:
    """(N,) the classes that a model names."""
    with torch.no_grad():
        parts = [
            model(torch.from_numpy(x[at : at + 500].astype(np.float32))).argmax(1).numpy()
            for at in range(0, len(x), 500)
        ]
    whole: Array = np.concatenate(parts)
    return whole

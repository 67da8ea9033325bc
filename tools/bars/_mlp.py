"""An int8 multilayer perceptron, trained here and now on images, as a backbone."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

import spikelet
from spikelet.graph import Array, Graph
from spikelet.train.data import DataSet

FEATURES = "linear_0"  # the hidden layer, after its ReLU


def train_perceptron(
    data: DataSet, classes: int, hidden: int, seed: int, epochs: int, batch: int = 64
) -> Graph:
    """The int8 graph of a perceptron of one hidden layer, of the training part's first classes.

    Args:
        data: images.
        classes: it learns labels 0 to classes - 1 and sees no sample of others.
        hidden: units of the hidden layer.
        seed: of weights and order.
        epochs: of Adam with a rate of 1e-3.
        batch: samples a step.
    """
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    rows = data.y_train < classes
    x = torch.from_numpy(real(data, data.x_train[rows]))
    y = torch.from_numpy(data.y_train[rows])
    net = nn.Sequential(nn.Linear(x.shape[1], hidden), nn.ReLU(), nn.Linear(hidden, classes))
    optimiser = torch.optim.Adam(net.parameters(), 1e-3)
    order = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for part in torch.randperm(len(x), generator=order).split(batch):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(x[part]), y[part]).backward()
            optimiser.step()
    return spikelet.export(net, x[:1], x[:500], name="mlp").graph


def real(data: DataSet, x: Array) -> Array:
    """Samples as the network takes them, (N, n) float32."""
    return data.real(x).reshape(len(x), -1)


def codes(graph: Graph, values: Array) -> Array:
    """Real values (N, n) as int8 codes of the graph's input."""
    tensor = graph.inputs[0]
    rounded = np.round(values / tensor.scale) + tensor.zero_point
    return np.clip(rounded, -128, 127).astype(np.int8)

"""Forward-Forward, for comparison: in PyTorch and floats, for a device is not to run it.

Each layer tells samples with their own label from samples with another one by its goodness, the sum
of its squared outputs; layers read inputs of unit length, and nothing goes back. A prediction takes
a pass for each class. Source: Hinton, "The Forward-Forward Algorithm", 2022.
"""

from __future__ import annotations

import itertools

import torch
from torch import nn

from spikelet.train.data import DataSet

THRESHOLD = 2.0  # of the goodness


def accuracy(
    data: DataSet, hidden: list[int], seed: int, epochs: int = 40, rate: float = 0.003
) -> float:
    """On the test part, after batches of 32 with Adam; images as (N, n) u8."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    x = torch.tensor(data.x_train / 255, dtype=torch.float32)
    y = torch.tensor(data.y_train)
    sizes = [x.shape[1] + data.classes, *hidden]
    layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
    optimisers = [torch.optim.Adam(layer.parameters(), rate) for layer in layers]

    def with_label(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return torch.cat([images, nn.functional.one_hot(labels, data.classes).float()], dim=1)

    def outputs(layer: nn.Module, h: torch.Tensor) -> torch.Tensor:
        unit: torch.Tensor = h / (h.norm(dim=1, keepdim=True) + 1e-4)
        values: torch.Tensor = torch.relu(layer(unit))
        return values

    for _ in range(epochs):
        for part in torch.randperm(len(x)).split(32):
            other = (y[part] + torch.randint(1, data.classes, (len(part),))) % data.classes
            own, wrong = with_label(x[part], y[part]), with_label(x[part], other)
            for layer, optimiser in zip(layers, optimisers, strict=True):
                above = [outputs(layer, h) for h in (own, wrong)]
                goodness = [h.pow(2).sum(dim=1) - THRESHOLD for h in above]
                loss = nn.functional.softplus(-goodness[0]).mean()
                loss = loss + nn.functional.softplus(goodness[1]).mean()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                own, wrong = (h.detach() for h in above)
    images = torch.tensor(data.x_test / 255, dtype=torch.float32)
    scores = []
    with torch.no_grad():
        for label in range(data.classes):
            h = with_label(images, torch.full((len(images),), label))
            total = torch.zeros(len(images))
            for layer in layers:
                h = outputs(layer, h)
                total = total + h.pow(2).sum(dim=1)
            scores.append(total)
    predicted = torch.stack(scores, dim=1).argmax(dim=1).numpy()
    return float((predicted == data.y_test).mean())

"""Which weights a sparse adapter changes: drawn by chance, or those with the largest gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from _full import named
from _gate import Gate
from _shifts import EPOCHS, Shift
from _turned_clothing import network, shift
from torch.nn import functional

from spikelet.graph import Array, Graph
from spikelet.graph.adapted import Adapter, with_places
from spikelet.train.adapt import SAMPLES, Through, Training, trained

TITLE = "Support of a sparse adapter, fashion_cnn turned and inverted: drawn, or a stored list"
WHERE = "PyTorch in units of codes: a device has no stored list"
DRAWN = Adapter("sparse", 12, 8)  # a byte a weight; its place comes from the seed
LISTED = Adapter("sparse", 4, 8)  # three bytes: a place of 16 bits, too
GATES = (
    Gate(
        "points that a stored list of the same bytes is above", "<=", 0,
        lambda f: 100 * (np.mean(f["listed"]) - np.mean(f["drawn"])),
    ),
)  # fmt: skip
TUNED_ON = "nothing: defaults"


def measure(seeds: Sequence[int]) -> dict[str, Any]:
    """Accuracy with 12 weights an output by chance, with 12 chosen, and with 4 chosen."""
    graph = network()
    data = shift(graph)
    found: dict[str, list[float]] = {"drawn": [], "chosen": [], "listed": []}
    for seed in seeds:
        for name, form in (("drawn", DRAWN), ("chosen", DRAWN), ("listed", LISTED)):
            found[name].append(_trained(graph, form, data, seed, by_gradient=name != "drawn"))
    mean = {name: np.mean(values) for name, values in found.items()}
    text = (
        f"12 weights an output: drawn {mean['drawn']:.3f}, chosen {mean['chosen']:.3f}; 4 chosen, "
        f"of the same bytes with their places, {mean['listed']:.3f}"
    )
    return {"figure": text, **found}


def _trained(graph: Graph, form: Adapter, data: Shift, seed: int, by_gradient: bool) -> float:
    """Accuracy on the test part, of the epoch that a held-out fifth chooses."""
    torch.manual_seed(seed)
    order = np.random.default_rng(seed).permutation(len(data.x))
    held, kept = np.split(order, [len(order) // 5])
    model = Through(with_places(graph, form), data.x[kept[:SAMPLES]], seed)
    if by_gradient:
        _choose(graph, model, data.x[kept[:SAMPLES]], data.y[kept[:SAMPLES]], seed)
    best = most = -1.0
    training = Training(epochs=EPOCHS, seed=seed)
    for _ in trained(model, data.x[kept], data.y[kept], training):
        model.eval()
        now = float(np.mean(named(model, data.x[held]) == data.y[held]))
        if now >= most:
            most, best = now, float(np.mean(named(model, data.x_test) == data.y_test))
        model.train()
    return best


def _choose(graph: Graph, model: Through, x: Array, labels: Array, seed: int) -> None:
    """Let each row of `model` have the taps where a whole matrix has the largest gradients."""
    whole = Through(with_places(graph, Adapter("sparse", 128, 8)), x, seed)
    for layer in whole.layers.values():
        layer.places = torch.arange(layer.node.taps).expand(len(layer.down), -1)
        layer.down = torch.nn.Parameter(torch.zeros(len(layer.down), layer.node.taps))
    scores = whole(torch.from_numpy(x.astype(np.float32)))
    functional.cross_entropy(scores, torch.from_numpy(labels).long()).backward()  # type: ignore[no-untyped-call]
    for name, layer in model.layers.items():
        steep = whole.layers[name].down.grad.abs()
        layer.places = steep.topk(layer.node.kept, dim=1).indices

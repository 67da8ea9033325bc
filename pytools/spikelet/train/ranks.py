"""Ranks of a low-rank adapter, layer by layer, that fit a number of bytes.

The criterion is the gradient of the loss by each layer's weights on the samples to adapt to. To
first order, a further rank can do for the loss what the next singular value of that matrix says,
in units in which a step of any layer moves its outputs by as much as they vary. Each rank goes
where the square of it is largest for a byte.
"""

from __future__ import annotations

import dataclasses
from functools import cache, partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.grad import conv2d_weight

from spikelet.graph import Array, Graph, GraphError
from spikelet.graph.adapted import HEAD, Adapter, with_places
from spikelet.graph.ops.add_delta import MOST_RANK, AddDelta
from spikelet.train.adapt import BATCH, Through, Values, padded

SAMPLES = 256  # that gradients are taken of
TAG_BYTES = 4  # of what says which base a delta is for


def ranks_for(
    base: Graph, adapter: Adapter, x: Array, labels: Array, nbytes: int, seed: int = 0
) -> Adapter:
    """The adapter with the ranks that fit.

    Args:
        base: as `adapt` takes it.
        adapter: of kind low_rank; its rank does not count.
        x: (N, *shape) int8 codes of the input.
        labels: (N,) classes.
        nbytes: of a delta in all, but for a whole matrix of the last layer.
        seed: which samples, and what is drawn.

    Raises:
        GraphError: another kind, or bytes that hold no rank.
    """
    if adapter.kind != "low_rank":
        raise GraphError(f"an adapter of kind {adapter.kind}: bytes choose ranks of low_rank only")
    one = dataclasses.replace(adapter, rank=1, ranks=())
    graph = with_places(base, one)
    gains = _gains(graph, x, labels, seed)
    ranks = [0] * len(gains)

    @cache
    def of_layer(layer: int, rank: int) -> int:
        alone = tuple(rank * (at == layer) for at in range(len(gains)))
        learned = with_places(base, dataclasses.replace(adapter, rank=0, ranks=alone)).learned
        return sum(k.tensor.nbytes for k in learned if f"_{HEAD}." not in k.tensor.name) - TAG_BYTES

    def taken(ranks: list[int]) -> int:
        each = [of_layer(layer, rank) for layer, rank in enumerate(ranks) if rank]
        return sum(each) + TAG_BYTES if each else 0

    while True:
        now, best, chosen = taken(ranks), 0.0, None
        for layer, values in enumerate(gains):
            more = [r + (at == layer) for at, r in enumerate(ranks)]
            if ranks[layer] < len(values) and (cost := taken(more)) <= nbytes:
                worth = values[ranks[layer]] ** 2 / (cost - now)
                if worth > best:
                    best, chosen = worth, more
        if chosen is None:
            break
        ranks = chosen
    if not any(ranks):
        raise GraphError(f"graph {base.name}: {nbytes} bytes hold no rank of any layer")
    return dataclasses.replace(adapter, rank=0, ranks=tuple(ranks))


def _gains(graph: Graph, x: Array, labels: Array, seed: int) -> list[Array]:
    """Of each adapted layer, the singular values of its gradient, as far as ranks go."""
    order = np.random.default_rng(seed).permutation(len(x))[:SAMPLES]
    model = Through(graph, x[order], seed)
    places = [n for n in graph.nodes if isinstance(n, AddDelta) and n.rank]
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    for node in places:
        model.layers[node.name].register_forward_pre_hook(partial(_with_nothing, seen, node.name))
    total: dict[str, Tensor] = {}
    codes, wanted = torch.from_numpy(x.astype(np.float32)), torch.from_numpy(labels).long()
    for at in range(0, len(order), BATCH):
        batch = torch.from_numpy(order[at : at + BATCH])
        loss = functional.cross_entropy(model(codes[batch]), wanted[batch], reduction="sum")
        slopes = torch.autograd.grad(loss, [seen[node.name][0] for node in places])
        for node, slope in zip(places, slopes, strict=True):
            product = gradient(node, seen[node.name][1], slope)
            total[node.name] = total.get(node.name, torch.zeros(())) + product
    made = []
    for node in places:
        layer = model.layers[node.name]
        assert isinstance(layer, Values)
        values = torch.linalg.svdvals(total[node.name] * (layer.seen * layer.size))
        made.append(values[:MOST_RANK].double().numpy() / (1 + node.halved))
    return made


def _with_nothing(
    seen: dict[str, tuple[Tensor, Tensor]], name: str, _: nn.Module, given: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """A layer's y and x, and an addend of y whose gradient is asked for."""
    y, x = given
    nothing = torch.zeros_like(y, requires_grad=True)
    seen[name] = nothing, x.detach()
    return y + nothing, x


def gradient(node: AddDelta, x: Tensor, slope: Tensor) -> Tensor:
    """(outputs, taps) gradient by the weights that a matrix without a middle would have."""
    centred = x - node.ins[1].zero_point
    if node.kernel is None:
        return slope.reshape(len(x), -1).T @ centred.reshape(len(x), -1)
    image, outputs = padded(centred, node.padding), slope.shape[-1]
    shape = (outputs, image.shape[1], *node.kernel)
    made: Tensor = conv2d_weight(  # type: ignore[no-untyped-call]
        image, shape, slope.permute(0, 3, 1, 2), stride=node.stride, dilation=node.dilation
    )
    return made.permute(0, 2, 3, 1).flatten(1)

"""Ranks of layers that fit a number of bytes, and training in front of an activation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

import graphs
from int8_classifier import CLASSES, classifier
from spikelet.graph import Array, Graph, GraphError
from spikelet.graph.adapted import Adapter, with_places
from spikelet.graph.ops.add_delta import AddDelta
from spikelet.learn.delta import Delta
from spikelet.train.adapt import Through
from spikelet.train.ranks import gradient, ranks_for


@pytest.fixture(scope="module")
def task() -> tuple[Graph, Array, Array]:
    """A network without its softmax, and drawn samples."""
    torch.set_num_threads(1)
    whole = classifier()
    graph = replace(whole, nodes=whole.nodes[:-1], outputs=["head"])
    rng = np.random.default_rng(4)
    x = graphs.random_inputs(graph, 60, rng)["x"]
    return graph, x, rng.integers(0, CLASSES, 60)


def bytes_of(graph: Graph, adapter: Adapter) -> int:
    places = with_places(graph, adapter)
    return Delta.of(graph, adapter, places.initial()).nbytes["delta"]


@pytest.mark.parametrize("head", [False, True])
def test_ranks_fill_the_bytes(head: bool, task: tuple[Graph, Array, Array]) -> None:
    graph, x, labels = task
    layers = 3 if head else 4
    for limit in (60, 100, 200):
        made = ranks_for(graph, Adapter("low_rank", 1, 1, head), x, labels, limit)
        assert len(made.ranks) == layers and bytes_of(graph, made) <= limit
        more = [
            replace(made, ranks=tuple(r + (i == at) for i, r in enumerate(made.ranks)))
            for at in range(layers)
        ]
        open_ends = [m for m, r in zip(more, made.ranks, strict=True) if r < 4]  # of few channels
        assert all(bytes_of(graph, m) > limit for m in open_ends), limit


def test_what_holds_no_rank_is_refused(task: tuple[Graph, Array, Array]) -> None:
    graph, x, labels = task
    with pytest.raises(GraphError, match="12 bytes hold no rank"):
        ranks_for(graph, Adapter("low_rank", 1, 1), x, labels, 12)
    with pytest.raises(GraphError, match="low_rank only"):
        ranks_for(graph, Adapter("sparse", 1, 1), x, labels, 600)


def test_the_gradient_is_that_of_a_convolution(task: tuple[Graph, Array, Array]) -> None:
    graph, x, _ = task
    place = with_places(graph, Adapter("low_rank", 1, 1))
    node = next(n for n in place.nodes if isinstance(n, AddDelta))
    weight = torch.zeros(5, 3, 3, 3, requires_grad=True)
    top, left, bottom, right = node.padding
    centred = torch.from_numpy(x.astype(np.float32)).permute(0, 3, 1, 2) - node.ins[1].zero_point
    image = functional.pad(centred, (left, right, top, bottom))
    y = functional.conv2d(image, weight, stride=node.stride).permute(0, 2, 3, 1)
    slope = torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    (y * slope).sum().backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    expected = weight.grad.permute(0, 2, 3, 1).reshape(5, -1)
    given = torch.from_numpy(x.astype(np.float32))
    assert torch.allclose(gradient(node, given, slope), expected, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("form", [Adapter("low_rank", 3, 1), Adapter("sparse", 4, 8)], ids=str)
def test_pytorch_adds_in_front_of_the_activation(
    form: Adapter, task: tuple[Graph, Array, Array]
) -> None:
    """Codes of golden, most of them to the bit, and some that an activation behind would lose."""
    graph, x, _ = task
    places = with_places(graph, form)
    model = Through(places, x, 0).eval()
    for layer in model.layers.values():
        for value in filter(lambda v: not v.any(), layer.parameters()):
            torch.nn.init.normal_(value, std=0.2)
    values = model.values()
    made: list[torch.Tensor] = []
    model.layers["first"].register_forward_hook(lambda *given: made.append(given[-1].detach()))
    model(torch.from_numpy(x.astype(np.float32)))
    golden = places.run({"x": x}, learned=values, trace=True)
    apart = np.abs(made[0].numpy() - golden.trace["first"][0])
    assert apart.max() <= 2 and (apart > 0).mean() < 0.02  # a code of half the resolution
    negative = golden.trace["first_base"][0] < 0  # of half the resolution, less the zero point
    assert negative.mean() > 0.1 and values["first_delta.half"].tolist() == [1]
    plain = graph.run({"x": x}, trace=True).trace["first"][0]
    assert (golden.trace["first"][0] != plain).mean() > 0.2

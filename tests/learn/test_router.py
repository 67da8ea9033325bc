"""A router of deltas: it tells domains apart, whatever delta is in, and devices route the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import every_learner
import spikelet
from adapter_graphs import drawn_values
from int8_classifier import classifier
from spikelet.errors import UsageError
from spikelet.graph import Array, Graph
from spikelet.graph.adapted import Adapter, with_places
from spikelet.learn.delta import Delta, prepared
from spikelet.learn.router import ROUTE, routed
from spikelet.package import Package
from spikelet.run.learner import device_learner
from spikelet.train.adapt import Training, accuracy, adapt
from spikelet.train.data import load

LEARNED = 400


def base(images: Array, labels: Array) -> Package:
    """A network of two layers that reads upright digits."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))
    optimiser, real = torch.optim.Adam(net.parameters(), lr=0.01), images / np.float32(16)
    for _ in range(100):
        optimiser.zero_grad()
        scores = net(torch.from_numpy(real[:LEARNED]))
        nn.functional.cross_entropy(scores, torch.from_numpy(labels[:LEARNED])).backward()
        optimiser.step()
    return spikelet.export(net, real[:1], real[:LEARNED], name="digits")


def test_each_input_gets_the_delta_of_its_domain(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    data = load("digits")
    square, labels = data.x_train[..., 0].astype(np.int16), data.y_train
    turned = 16 - np.rot90(square, axes=(1, 2))
    upright = base(square.reshape(-1, 64), labels)
    graph, form = upright.graph, Adapter("low_rank", 8, 1)
    lit = square[:, :, ::-1] // 2 + 6  # by stray light, and mirrored
    domains = [codes(graph, images) for images in (square, turned, lit)]
    (x,), (scores,) = graph.inputs, graph.outputs
    made = [
        adapt(graph, form, d[:LEARNED], labels[:LEARNED], Training(epochs=20)) for d in domains[1:]
    ]
    known = [domain[:LEARNED] for domain in domains]
    package = routed(prepared(upright, form), known[1:], known[0])
    values = [package.graph.initial(), *(each.values for each in made)]
    alone = accuracy(graph, {}, {x.name: domains[0][LEARNED:]}, labels[LEARNED:])
    oracle, right = [], []
    for number, domain in enumerate(domains):
        given = {x.name: domain[LEARNED:]}
        runs = [package.graph.run(given, learned=held).outputs for held in values]
        routes = [run[ROUTE] for run in runs]
        assert all(np.array_equal(route, routes[0]) for route in routes)
        said = np.stack([run[scores].argmax(axis=1) for run in runs])
        chosen = said[routes[0][:, 0], np.arange(said.shape[1])]
        oracle.append((said[number] == labels[LEARNED:]).mean())
        right.append((chosen == labels[LEARNED:]).mean())
    assert alone - right[0] <= 0.005 and np.mean(oracle) - np.mean(right) <= 0.02

    few = np.concatenate([domain[-3:] for domain in domains])
    with device_learner(package, folder=tmp_path) as device:
        routes = device.predict({x.name: few})[ROUTE]
        expected = package.graph.run({x.name: few}).outputs
        assert np.array_equal(routes, expected[ROUTE]) and len(set(routes[:, 0])) == 3
        for sample, route in zip(few, routes[:, 0], strict=True):
            device.restore(values[route])
            said = device.predict({x.name: sample[None]})[scores]
            golden = package.graph.run({x.name: sample[None]}, learned=values[route]).outputs
            assert np.array_equal(said, golden[scores])
    delta = Delta.of(graph, form, made[0].values)
    assert delta.places(package) is package
    assert with_places(graph, form).outputs == [scores]


@pytest.mark.parametrize("form", [
    Adapter("head"), Adapter("low_rank", 2, 1), Adapter("scale_bias"),
], ids=str)  # fmt: skip
def test_an_image_is_averaged_to_a_few_places(form: Adapter, tmp_path: Path) -> None:
    graph = classifier()
    (x,) = graph.inputs
    images = np.random.default_rng(0).integers(-128, 128, (40, *x.shape)).astype(np.int8)
    package = routed(prepared(Package(graph, {}, {}), form), [images // 4], images)
    few = {x.name: np.concatenate([images[:3], images[:3] // 4])}
    expected = package.graph.run(few).outputs
    values = drawn_values(package.graph, np.random.default_rng(1), None)
    with device_learner(package, folder=tmp_path) as device:
        made = device.predict(few)
        device.restore(values)
        again = device.predict(few)
    assert all(np.array_equal(made[name], given) for name, given in expected.items())
    assert np.array_equal(again[ROUTE], made[ROUTE])  # which no delta changes
    assert not np.array_equal(again[graph.outputs[0]], made[graph.outputs[0]])
    assert expected[ROUTE][:, 0].tolist() == [0, 0, 0, 1, 1, 1]


def codes(graph: Graph, images: Array) -> Array:
    """What the network reads of (N, 8, 8) values of 0 to 16."""
    (x,) = graph.inputs
    held = np.rint(images.reshape(-1, 64) / (16 * x.scale) + x.zero_point)
    return np.clip(held, -128, 127).astype(np.int8)


def test_only_a_package_with_places_is_routed() -> None:
    graph = every_learner.backbone()
    with pytest.raises(UsageError, match="no places"):
        routed(Package(graph, {}, {}), [], np.zeros((1, 64), np.int8))

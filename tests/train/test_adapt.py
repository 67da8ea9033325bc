"""Training of adapters: an integer network of digits learns to read them turned and inverted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import every_learner
from spikelet.graph import Array, Graph, GraphError
from spikelet.graph.adapted import Adapter, with_places
from spikelet.learn.delta import Delta
from spikelet.package import Package
from spikelet.train.adapt import Through, Training, accuracy, adapt

CODES = "features"


@pytest.fixture(scope="module")
def shifted() -> tuple[Graph, Array, Array]:
    """A head of class means on upright digits; the digits turned by 90 degrees and inverted."""
    torch.set_num_threads(1)
    images, labels = every_learner.digits()
    turned = np.rot90(images.reshape(-1, 8, 8), axes=(1, 2)).reshape(len(images), -1)
    return every_learner.backbone(), np.ascontiguousarray(~turned), labels


@pytest.mark.parametrize(("form", "bar"), [
    (Adapter("low_rank", 8, 1), 0.6), (Adapter("head"), 0.83),
    (Adapter("sparse", 32, 1), 0.4), (Adapter("scale_bias"), 0.16),
], ids=str)  # fmt: skip
def test_a_delta_reads_shifted_digits(
    form: Adapter, bar: float, shifted: tuple[Graph, Array, Array], tmp_path: Path
) -> None:
    graph, x, labels = shifted
    name = graph.inputs[0].name
    made = adapt(graph, form, x[:400], labels[:400], Training(epochs=20))
    before = accuracy(graph, {}, {name: x[400:]}, labels[400:])
    after = accuracy(with_places(graph, form), made.values, {name: x[400:]}, labels[400:])
    assert before < 0.2 and after > bar, (before, after)
    package = Package(graph, {name: x[:2]}, {})
    delta = Delta.of(graph, form, made.values)
    delta.save(tmp_path / "a.spkd")
    put = Delta.load(tmp_path / "a.spkd", package).put(package).graph
    assert accuracy(put, put.initial(), {name: x[400:]}, labels[400:]) == after


def test_pytorch_computes_the_integer_graphs_codes(shifted: tuple[Graph, Array, Array]) -> None:
    graph, x, _ = shifted
    for form in (Adapter("low_rank", 3, 1), Adapter("low_rank", 3, 8), Adapter("scale_bias")):
        places = with_places(graph, form)
        model = Through(places, x[:100], 0)
        for layer in model.layers.values():
            for value in filter(lambda v: not v.any(), layer.parameters()):
                torch.nn.init.normal_(value, std=0.2)
        scores = model(torch.from_numpy(x[:100].astype(np.float32))).detach().numpy()
        name = places.outputs[0]
        tensor = places.tensors[name]
        golden = places.run({graph.inputs[0].name: x[:100]}, learned=model.values()).outputs[name]
        codes = np.rint(scores / tensor.scale + tensor.zero_point)
        apart = np.abs(codes - golden)
        assert apart.max() <= 2 and (apart > 0).mean() < 0.05
        assert len(places.learned) > 1


def test_what_cannot_be_trained_through_is_refused(shifted: tuple[Graph, Array, Array]) -> None:
    graph, x, labels = shifted
    two = replace(graph, steps=2)
    with pytest.raises(GraphError, match="time"):
        adapt(two, Adapter("head"), x[:40], labels[:40], Training(epochs=1))

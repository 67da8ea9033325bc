"""Test-time adaptation: what it makes of a drift, when it starts anew, and on devices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learning import USUAL, device_equals_twin
from spikelet.errors import UsageError
from spikelet.graph import Array, Graph
from spikelet.learn import Setting, Twin, identity
from spikelet.learn.learners.adaptation import UNIT, Adaptation
from spikelet.learn.numbers.fixed import ONE
from spikelet.train.data import load

SHAPE, CLASSES = (5, 4, 3), 4
KINDS: list[tuple[str, dict[str, Any]]] = [
    ("i8", {"statistics": "channel", "collapse": 20}),
    ("u8", {"statistics": "element"}),
    ("i8", {}),
    ("u8", {"statistics": "channel", "memory": 3}),
]


def blobs(samples: int, dtype: str, seed: int = 0) -> tuple[Array, Array]:
    """Samples whose classes are contrasts of one pattern, of either sign; labels."""
    rng = np.random.default_rng(seed)
    contrasts = np.linspace(-1.2, 1.2, CLASSES).reshape(-1, 1, 1, 1)
    patterns = contrasts * np.random.default_rng(1).normal(0, 25, SHAPE)
    y = rng.integers(0, CLASSES, samples)
    x = patterns[y] + rng.normal(0, 10, (samples, *SHAPE))
    low, high = (0, 255) if dtype == "u8" else (-128, 127)
    codes = np.clip(x + (128 if dtype == "u8" else 0), low, high)
    return codes.astype(np.uint8 if dtype == "u8" else np.int8), y


def graph_of(dtype: str = "i8", **options: Any) -> Graph:
    x, y = blobs(400, dtype, 7)
    setting = Setting("features", CLASSES, calibration={"x": x}, labels=y)
    return Adaptation(**options).attach(identity(SHAPE, dtype), setting)


def accuracy(graph: Graph, outputs: dict[str, Array], y: Array) -> float:
    return float((graph.predicted(outputs[graph.outputs[0]]) == y).mean())


@pytest.mark.parametrize(("target", "kind"), list(zip(USUAL, KINDS, strict=True)))
def test_device_equals_twin(target: str, kind: tuple[str, dict[str, Any]], tmp_path: Path) -> None:
    x, _ = blobs(500, kind[0])
    rng = np.random.default_rng(2)
    x[200:] = rng.integers(*((0, 256) if kind[0] == "u8" else (-128, 128)), x[200:].shape)
    twin = device_equals_twin(target, graph_of(kind[0], **kind[1]), {"x": x}, None, tmp_path)
    if "collapse" in kind[1]:
        assert Adaptation().health(twin.learned)["resets"] > 0


@pytest.mark.parametrize("statistics", ["all", "channel", "element"])
@pytest.mark.parametrize("dtype", ["u8", "i8"])
def test_at_first_the_input_is_what_it_was(dtype: str, statistics: str) -> None:
    x, _ = blobs(50, dtype)
    x.reshape(-1)[:256] = np.arange(256).astype(x.dtype)
    graph = graph_of(dtype, statistics=statistics)
    assert np.array_equal(graph.run({"x": x}, trace=True).trace["adaptation_input"][0], x)


@given(contrast=st.floats(0.3, 1.5), offset=st.integers(-40, 40))
@settings(max_examples=10, deadline=None)
def test_an_affine_drift_is_undone(contrast: float, offset: int) -> None:
    x, _ = blobs(600, "i8")
    moved = np.clip(np.round(x * contrast + offset), -128, 127).astype(np.int8)
    graph = graph_of("i8", collapse=100)
    twin = Twin(graph)
    twin.observe({"x": moved})
    back = twin.predict({"x": moved[-50:]})
    adapted = graph.run({"x": moved[-50:]}, trace=True, learned=twin.learned)
    found = adapted.trace["adaptation_input"][0].astype(float)
    assert back.outputs[graph.outputs[0]].shape == (50, CLASSES)
    inside = np.abs(moved[-50:].astype(int)) < 120  # what was not clipped
    assert np.abs(found - x[-50:])[inside].mean() <= 4
    assert twin.learned["adaptation.gain"][0] / UNIT == pytest.approx(1 / contrast, rel=0.1)


@given(memory=st.integers(0, 15), value=st.integers(0, 255))
@settings(max_examples=25, deadline=None)
def test_statistics_stay_within_their_range(memory: int, value: int) -> None:
    graph = graph_of("u8", memory=memory, statistics="channel")
    twin = Twin(graph)
    twin.observe({"x": np.full((30, *SHAPE), value, np.uint8)})
    assert (np.abs(twin.learned["adaptation.mean"]) <= 255 * ONE).all()
    assert (twin.learned["adaptation.deviation"] >= 0).all()
    assert (twin.learned["adaptation.gain"] <= 8 * UNIT).all()


def test_a_drift_is_followed_and_clean_samples_lose_nothing() -> None:
    x, y = blobs(1500, "u8")
    by = np.minimum(1, np.arange(1500) / 750).reshape(-1, 1, 1, 1)
    noise = np.random.default_rng(0).normal(0, 3, x.shape)
    moved = (x * (1 - 0.6 * by) + by * (50 + noise)).clip(0, 255).astype(np.uint8)
    graph = graph_of("u8")
    last = slice(750, None)
    none = accuracy(graph, graph.run({"x": moved[last]}).outputs, y[last])
    outputs = Twin(graph).observe({"x": moved})
    adapted = accuracy(graph, {k: v[last] for k, v in outputs.items()}, y[last])
    clean = accuracy(graph, graph.run({"x": x}).outputs, y)
    kept = accuracy(graph, Twin(graph).observe({"x": x}), y)
    assert none <= 0.7
    assert adapted >= 0.95
    assert kept >= clean - 0.005


def test_collapsed_margins_start_anew() -> None:
    graph = graph_of("i8")
    twin = Twin(graph)
    flat = np.full((300, *SHAPE), 90, np.int8)
    twin.observe({"x": flat})
    health = Adaptation().health(twin.learned)
    assert health["resets"] >= 1
    never = Twin(graph_of("i8", collapse=100))
    never.observe({"x": flat})
    assert Adaptation().health(never.learned)["resets"] == 0
    assert never.learned["adaptation.mean"][0] == pytest.approx(90 * ONE, rel=0.02)
    # From the first reset on, the path is that of a fresh device.
    fresh, once = Twin(graph), Twin(graph)
    steps = 0
    while not once.learned["adaptation.health"][0]:
        once.observe({"x": flat[:1]})
        steps += 1
    assert steps < 300
    first = fresh.state()
    assert all(
        np.array_equal(values, first[name])
        for name, values in once.state().items()
        if name != "adaptation.health"
    )


def test_prototypes_drift_and_are_pulled_back() -> None:
    graph = graph_of("i8")
    start = graph.initial()["adaptation.weight"].astype(int)
    twin = Twin(graph)
    x, y = blobs(300, "i8")
    twin.observe({"x": x})
    weight = twin.learned["adaptation.weight"].astype(int)
    assert (np.abs(weight - start).max(axis=1) > 0).all()
    biases = -(weight**2).sum(axis=1) / 2 / 128
    assert np.abs(twin.learned["adaptation.bias"] - biases).max() <= 1
    assert accuracy(graph, twin.predict({"x": x}).outputs, y) >= 0.98


def test_the_network_s_own_head_is_kept() -> None:
    data = load("digits").flat()
    backbone = identity((10,), "u8")  # ten "scores" of raw pixels
    x = data.x_train[:100, 20:30]
    learner = Adaptation(head="network")
    graph = learner.attach(backbone, Setting("features", 10, calibration={"x": x}))
    assert graph.outputs == ["features"]
    assert graph.classes == 0
    assert np.array_equal(Twin(graph).observe({"x": x})["features"][:1], x[:1])


@pytest.mark.parametrize(
    ("setting", "head", "message"),
    [
        (Setting("features", CLASSES), "auto", "no source data"),
        (Setting("features", CLASSES, calibration={"x": blobs(9, "i8")[0]}), "auto", "no labels"),
        (Setting("features", CLASSES), "network", "no output of raw has one score"),
    ],
)
def test_refuses_what_it_cannot_adapt(setting: Setting, head: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Adaptation(head=head).attach(identity(SHAPE), setting)

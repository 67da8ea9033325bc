"""Personalisation: one expert is executed, both networks learn, and device and twin agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learning import USUAL, device_equals_twin
from spikelet.errors import UsageError
from spikelet.graph import Array, Graph, GraphError, Tensor
from spikelet.graph.ops.argmax import Argmax
from spikelet.graph.ops.fully_connected import FullyConnected
from spikelet.learn import Setting, Twin, identity
from spikelet.learn.learners.personal import Personal, PersonalExemplar
from spikelet.run.learner import device_learner

INPUTS, CLASSES = 24, 3
CENTRES = np.random.default_rng(1).integers(-90, 90, (CLASSES, INPUTS))


def samples(count: int, seed: int = 0, user: bool = False) -> tuple[Array, Array]:
    """Around a centre a class; the user's have their elements in the opposite order."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, CLASSES, count)
    x = np.clip(CENTRES[y] + rng.normal(0, 30, (count, INPUTS)), -128, 127).astype(np.int8)
    return (x[:, ::-1].copy() if user else x), y


def backbone(hidden: int = 400) -> Graph:
    """A global expert that compares with the centres, in many more steps than it takes."""
    rng = np.random.default_rng(2)
    x = Tensor("x", "i8", (INPUTS,), kind="input", scale=1 / 64)

    def connect(name: str, source: str, weight: Array, shift: int) -> FullyConnected:
        n = len(weight)
        return FullyConnected(
            name=name,
            inputs=(source,),
            weight=weight.astype(np.int8),
            bias=np.zeros(n, np.int32),
            multiplier=np.full(n, 1 << 30, np.int32),
            shift=np.full(n, shift, np.int32),
            output_scale=1 / 64,
            output_zero_point=0,
        )

    spread = rng.permutation(np.repeat(np.arange(CLASSES), hidden // CLASSES + 1))[:hidden]
    gather = (spread == np.arange(CLASSES)[:, None]) * 16
    nodes = [
        connect("wide", "x", CENTRES[spread], -9),
        connect("global", "wide", gather, -10),
    ]
    return Graph("world", 1, [x], nodes, ["global"])


def personal(features: str = "x", **options: Any) -> Graph:
    generic = {"x": samples(150, 7)[0]}
    setting = Setting(features, CLASSES, seed=5, calibration=generic)
    return Personal(**options).attach(backbone(), setting)


@pytest.mark.parametrize("target", USUAL)
def test_device_equals_twin(target: str, tmp_path: Path) -> None:
    graph = personal(hidden=5, gate=4, exemplars=20)
    count = 200 if target.startswith("native") else 80
    x, y = samples(count, user=True)
    twin = device_equals_twin(target, graph, {"x": x}, y, tmp_path, block=40)
    chosen = twin.predict({"x": np.concatenate([x, samples(50)[0]])}).outputs["is_user"]
    assert 0 < chosen.mean() < 1  # both experts were executed


def test_only_one_expert_is_executed_and_the_gate_learns_whose_sample_it_is() -> None:
    graph = personal()
    twin = Twin(graph)
    x, y = samples(200, user=True)
    generic, label = samples(200, 3)
    mine, own = samples(200, 4, user=True)
    world = backbone()
    alone = [world.predicted(world.run({"x": v}).outputs["global"]) for v in (generic, mine)]
    assert (alone[0] == label).mean() > 0.95
    assert (alone[1] == own).mean() < 0.6
    with device_learner(graph, "virt-rv32") as device:
        for _ in range(2):
            device.observe({"x": x}, y)
            twin.observe({"x": x}, y)
        device.agree(twin)
        ticks = []
        for values, expected in ((generic, label), (mine, own)):
            found = twin.predict({"x": values}).outputs
            assert (graph.predicted(found["scores"]) == expected).mean() > 0.95
            some = np.flatnonzero(found["is_user"][:, 0] == (expected is own))[:1]
            said = device.predict({"x": values[some]})
            np.testing.assert_array_equal(said["scores"], found["scores"][some])
            assert device.ran is not None
            ticks.append(device.ran.ticks)
    assert ticks[1] < ticks[0] / 3  # the user's sample does without the global expert


def test_features_that_the_backbone_computes_are_computed_always() -> None:
    graph = personal("wide", hidden=4, gate=3)
    when = {node.name: node.when for node in graph.nodes}
    assert when["wide"] is None
    assert when["global"] == ("is_user", 0)
    assert when["local_1"] == ("is_user", 1)
    x, y = samples(10, user=True)
    Twin(graph).observe({"x": x}, y)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 2**32 - 1))
def test_exemplars_are_drawn_evenly(count: int, seed: int) -> None:
    draw = PersonalExemplar(
        name="draw", inputs=("random", "x"), exemplars=np.arange(count, dtype=np.uint8)[:, None]
    )
    env: dict[str, Array] = {"random": np.array([seed], np.uint32)}
    found = np.zeros(count)
    for _ in range(60 * count):
        draw.golden(env, 0)
        found[env["draw"][0, 0]] += 1
    assert (env["draw.user"], env["draw.generic"]) == (1, 0)
    # Chi-squared with count - 1 degrees of freedom; its tail at 5.5 deviations.
    excess = ((found - 60) ** 2 / 60).sum() - (count - 1)
    assert excess < 5.5 * np.sqrt(2 * max(count - 1, 1)) + 10


def test_what_does_not_fit_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"gate = 0 is not in 1\.\.4096"):
        Personal(gate=0)
    with pytest.raises(UsageError, match=r"outputs are i8 features \(24,\)(.|\n)*whole classifier"):
        Personal().attach(identity((INPUTS,)), Setting("features", CLASSES))
    with pytest.raises(UsageError, match=r"no generic samples"):
        Personal().attach(backbone(), Setting("x", CLASSES))
    with pytest.raises(GraphError, match=r"layer best .* reads local_1, which is written when"):
        graph = personal()
        best = Argmax(name="best", inputs=("local_1",))
        Graph("g", 1, graph.inputs, [*graph.nodes, best], ["best"], graph.learned, CLASSES)

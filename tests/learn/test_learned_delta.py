"""What a device learns by fine-tuning, as a delta of the base."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import graphs
from int8_classifier import CLASSES, FEATURES, classifier
from spikelet.graph import Array, Graph
from spikelet.graph.adapted import Adapter
from spikelet.learn import Setting, Twin
from spikelet.learn.backbone import readable
from spikelet.learn.delta import Delta
from spikelet.learn.learned_delta import learned_delta
from spikelet.learn.learners.finetune import FineTune
from spikelet.learn.learners.nearest_mean import NearestMean
from spikelet.learn.state import StateError
from spikelet.package import Package
from spikelet.run.learner import device_learner

BIASED = "first:bias+point:bias"


def samples(base: Graph, count: int, seed: int) -> tuple[dict[str, Array], Array]:
    rng = np.random.default_rng(seed)
    return graphs.random_inputs(base, count, rng), rng.integers(0, CLASSES, count)


def taught(base: Graph, update: str, precision: str = "f32") -> Graph:
    inputs, _ = samples(base, 8, 1)
    learner = FineTune(update=update, precision=precision, learning_rate=0.05)
    return learner.build(base, Setting(FEATURES, CLASSES, calibration=inputs))


def learned(base: Graph, update: str, precision: str = "f32") -> tuple[Twin, dict[str, Array]]:
    """A twin that learned, and other inputs."""
    twin = Twin(taught(base, update, precision))
    for seed in range(3):
        twin.observe(*samples(base, 24, seed))
    return twin, samples(base, 24, 9)[0]


@pytest.mark.parametrize(("update", "precision", "form"), [
    ("head", "f32", Adapter("head")), ("head:3", "f32", Adapter("head")),
    (BIASED, "i16", Adapter("scale_bias")), ("head:bias", "f32", Adapter("scale_bias")),
    (f"head+{BIASED}", "f32", Adapter("scale_bias", head=True)),
], ids=str)  # fmt: skip
def test_the_delta_scores_as_what_was_learned(
    update: str, precision: str, form: Adapter, tmp_path: Path
) -> None:
    base = classifier()
    twin, inputs = learned(base, update, precision)
    made = learned_delta(base, twin.graph, twin.learned)
    assert made.adapter == form
    made.save(tmp_path / "a.spkd")
    put = Delta.load(tmp_path / "a.spkd", Package(base, inputs, {})).put(Package(base, inputs, {}))
    scores = put.graph.run(inputs, trace=True).trace["head"][0]
    before = base.run(inputs, trace=True).trace["head"][0]
    wanted = twin.predict(inputs).outputs[twin.graph.outputs[0]].reshape(scores.shape)
    step = base.tensors["head"].scale
    real = twin.graph.tensors[twin.graph.outputs[0]].real(wanted) / step
    zero = base.tensors["head"].zero_point
    assert np.abs(before - zero - real).mean() > 5
    assert np.abs(scores - zero - real).max() <= 2.01  # of the output's codes


def test_scores_beyond_the_codes_become_smaller() -> None:
    base = classifier()
    twin, inputs = learned(base, "head")
    twin.learned["head.weight"] *= np.float32(8)
    twin.learned["head.bias"] *= np.float32(8)
    wanted = twin.predict(inputs).outputs[twin.graph.outputs[0]].reshape(24, -1)
    step = base.tensors["head"].scale
    assert np.abs(wanted / step).max() > 200
    put = learned_delta(base, twin.graph, twin.learned).put(Package(base, inputs, {})).graph
    scores = put.run(inputs, trace=True).trace["head"][0].reshape(24, -1)
    assert scores.max() < 127
    assert (scores.argmax(1) == wanted.argmax(1)).mean() > 0.9


def test_a_device_s_delta_is_its_twin_s(tmp_path: Path) -> None:
    base = classifier()
    graph = taught(base, f"head+{BIASED}")
    inputs, labels = samples(base, 24, 2)
    twin = Twin(graph)
    twin.observe(inputs, labels)
    with device_learner(graph, folder=tmp_path) as device:
        device.observe(inputs, labels)
        made = learned_delta(base, graph, device.state())
    assert made.sha256 == learned_delta(base, graph, twin.learned).sha256
    assert made.tensors["head_head.down"].any() and made.tensors["first_delta.bias"].any()


@pytest.mark.parametrize(("update", "match"), [
    ("point", "layer point has no place"), ("deep:bias", "layer deep has no place"),
])  # fmt: skip
def test_what_has_no_place_is_refused(update: str, match: str) -> None:
    base = classifier()
    graph = taught(base, update)
    with pytest.raises(StateError, match=match):
        learned_delta(base, graph, graph.initial())


def test_another_learner_gives_no_delta() -> None:
    base = classifier()
    cut, features = readable(base, FEATURES)
    graph = NearestMean().build(cut, Setting(features, CLASSES))
    with pytest.raises(StateError, match="no layer of the base learns"):
        learned_delta(base, graph, graph.initial())

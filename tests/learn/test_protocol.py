"""The protocol on twins, its baselines, and the two-phase rule."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from learning_package import CLASSES, KNOWN, backbone, pool
from spikelet.errors import UsageError
from spikelet.learn.backbone import identity, until
from spikelet.learn.continual.baselines import BASELINES, baseline
from spikelet.learn.continual.metrics import Evaluation, Training, continual, lifelong
from spikelet.learn.continual.protocol import (
    Tuned,
    TuningData,
    attach,
    evaluate,
    experts,
    learner,
    rehearse,
    score,
    setting,
    tune,
)
from spikelet.learn.continual.streams import Pool, stream
from spikelet.learn.learner import Setting, learners
from spikelet.learn.twin import Twin
from spikelet.train.data import load

STREAM = "class-incremental,tasks=4"
TRAIN, TEST, OTHER = pool(120, 0), pool(60, 1), pool(60, 5)
CLOUDS = TuningData(TRAIN, TEST, "clouds")
WHERE = Setting("hidden", CLASSES)


def test_a_rehearsal_is_what_a_twin_does_by_hand() -> None:
    graph = attach(backbone(), learner("nearest_mean"), WHERE)
    course = stream(STREAM).play(TRAIN, TEST)
    log = rehearse(graph, course)
    twin, by_hand = Twin(graph), []
    for block in course.blocks:
        right = []
        for i, label in enumerate(block.samples.labels):
            rows = {"x": block.samples.values["x"][i : i + 1]}
            scores = twin.observe(rows, [label])[graph.outputs[0]]
            right.append(int(np.argmax(scores)) == label)
        by_hand.append(right)
    assert [b.correct.tolist() for b in log if isinstance(b, Training)] == by_hand
    last = log[-1]
    assert isinstance(last, Evaluation)
    assert last.accuracy.tolist() == evaluate(twin, course.evaluation)[0].accuracy.tolist()
    assert continual(log)["acc"] > 0.8


def test_experts_learn_one_task_from_the_start() -> None:
    graph = attach(backbone(), learner("nearest_mean"), WHERE)
    course = stream(STREAM).play(TRAIN, TEST)
    curves = experts(graph, course)
    # A nearest mean that knows one class never errs, but before its first sample.
    assert all(curve[1:].all() and len(curve) == 30 for curve in curves.values())
    found = lifelong(rehearse(graph, course), curves)
    assert 0.5 < found["relative_performance"] < 1


def test_margins_are_of_the_two_largest_scores() -> None:
    graph = until(backbone(), "head")
    outputs = {"head": np.array([[3, -4], [7, 7]], np.int8)}
    predictions, margins = score(graph, outputs)
    assert (predictions.tolist(), margins.tolist()) == ([0, 0], [7, 0])


def test_calibration_is_of_the_classes_that_the_backbone_knows() -> None:
    where = setting(backbone(), "hidden", CLASSES, TRAIN, range(KNOWN))
    assert where.labels is not None
    assert sorted(set(where.labels.tolist())) == [0, 1] and len(where.labels) == 60
    assert where.calibration["x"].shape == (60, 8)


def test_baselines_forget_or_do_not() -> None:
    course = stream(STREAM).play(TRAIN, TEST)
    found = {name: baseline(name, backbone(), WHERE, course) for name in BASELINES}
    assert found["naive"].acc < 0.6 and (found["naive"].bwt or 0) < -0.4
    assert found["joint"].acc > 0.85 and found["joint"].bwt is None
    graph = attach(backbone(), learner("nearest_mean"), WHERE)
    assert found["nearest_mean"].acc == continual(rehearse(graph, course))["acc"]


def test_naive_learning_of_permuted_digits_forgets() -> None:
    digits = load("digits").flat()
    graph = identity((64,), "u8", 1 / 255)
    inputs = {t.name: t for t in graph.inputs}
    train = Pool(inputs, {"x": digits.x_train}, digits.y_train)
    test = Pool(inputs, {"x": digits.x_test}, digits.y_test)
    course = stream("permuted,tasks=5").play(train, test)
    where = Setting("features", 10, calibration={"x": digits.x_train})
    naive = baseline("naive", graph, where, course)
    assert (naive.performance_maintenance or 0) < -30
    assert (naive.bwt or 0) < -0.3 and naive.acc < 0.6


def tuned() -> Tuned:
    grid = {"metric": ["cosine", "euclid"]}
    return tune(backbone(), "nearest_mean", {}, grid, STREAM, WHERE, CLOUDS)


def test_tuning_chooses_the_best_trial() -> None:
    found = tuned()
    by_metric = {trial["options"]["metric"]: trial["acc"] for trial in found.trials}
    assert set(by_metric) == {"cosine", "euclid"}
    assert found.chosen["metric"] == max(by_metric, key=lambda metric: by_metric[metric])
    assert found.acc == max(by_metric.values())
    assert learner(found.text) == learner(f"nearest_mean,metric={found.chosen['metric']}")


def test_no_figure_on_data_that_tuning_saw(tmp_path: Path) -> None:
    found = tuned()
    found.save(tmp_path / "tuned.json")
    loaded = Tuned.load(tmp_path / "tuned.json")
    assert loaded == found
    loaded.admit(OTHER, "others")
    for seen in (TEST, TRAIN):  # what was evaluated, and what was learned
        with pytest.raises(UsageError, match=f"{len(seen)} of the {len(seen)} evaluation samples"):
            loaded.admit(seen, "the same")


def test_one_sample_is_enough_and_a_label_hides_none() -> None:
    both = {"x": np.concatenate([OTHER.values["x"], TEST.values["x"][7:8]])}
    mixed = type(OTHER)(OTHER.inputs, both, np.zeros(61, np.int64))
    with pytest.raises(UsageError, match="1 of the 61 evaluation samples"):
        tuned().admit(mixed, "a mixture")


def test_an_edited_record_of_tuning_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tuned.json"
    tuned().save(path)
    data = json.loads(path.read_text())
    data["samples"] = data["samples"][1:]
    path.write_text(json.dumps(data))
    with pytest.raises(UsageError, match="not those that its hash is of"):
        Tuned.load(path)
    path.write_text("{}")
    with pytest.raises(UsageError, match="cannot be read"):
        Tuned.load(path)


def test_learners_are_named_with_their_options() -> None:
    assert "nearest_mean" in learners()
    for text, expected in (
        ("nearest_meen", "nearest_mean is meant"),
        ("nearest_mean,metrik=euclid", "has no option 'metrik'"),
        ("nearest_mean,metric=city", "metric=city is not one of euclid, cosine"),
    ):
        with pytest.raises(UsageError) as error:
            learner(text)
        assert expected in str(error.value)
    with pytest.raises(UsageError, match="has no option 'metrik'"):
        tune(backbone(), "nearest_mean", {}, {"metrik": ["1"]}, STREAM, WHERE, CLOUDS)

"""Fine-tuning: PyTorch's update for every subset of layers, its losses, and the device's bits."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as f

from int8_classifier import CLASSES, WEIGHTED, Reference, classifier, samples, setting
from learning import USUAL, device_equals_twin
from spikelet.errors import UsageError
from spikelet.graph import Array, Graph, Phase
from spikelet.learn import Setting, Twin, identity
from spikelet.learn.backbone import until
from spikelet.learn.learners.finetune import FineTune

RATE = 0.05
PARAMETERS = [f"{layer}.{part}" for layer in WEIGHTED for part in ("weight", "bias")]
SUBSETS = [
    "+".join(names)
    for size in range(1, len(WEIGHTED) + 1)
    for names in itertools.combinations(WEIGHTED, size)
]
PARTS = [
    "biases",
    "biases+head",
    "first:2+head:bias",
    "deep:1+wide:bias",
    "wide:4+point:3",
    "head:3",
    "point:bias",
]


def fine_tune(graph: Graph, **options: object) -> Graph:
    return FineTune(**{"learning_rate": RATE, **options}).attach(graph, setting(graph))  # type: ignore[arg-type]


def moved_by(model: Reference, codes: Array, label: int, first: str) -> dict[str, Array]:
    """What one step of PyTorch adds to each parameter from layer `first` on."""
    model.zero_grad()
    f.cross_entropy(model(codes, first), torch.tensor([label])).backward()
    start = {name: model.stored_layout(name).copy() for name in PARAMETERS}
    with torch.no_grad():
        for values in model.parameters():
            if values.grad is not None:
                values -= RATE * values.grad
    moved = {name: model.stored_layout(name) - start[name] for name in PARAMETERS}
    for name, values in start.items():
        model.store(name, values)
    return moved


def learns(update: str, name: str, channels: int) -> int:
    """How many channels of learned tensor `name` an update mask moves; -1 for none of it."""
    layer, part = name.split(".")
    found = -1
    for term in update.split("+"):
        named, _, of = term.partition(":")
        if term == "biases" and part == "bias":
            found = channels
        elif named == layer and (part == "bias" or of != "bias"):
            found = max(found, int(of) if of.isdecimal() and part == "weight" else channels)
    return found


@pytest.mark.parametrize("after_add", [False, True])
def test_every_update_mask_moves_what_pytorch_moves_and_nothing_else(after_add: bool) -> None:
    graph = classifier(after_add)
    inputs, labels = samples(1, 3)
    model = Reference(graph)
    for update in SUBSETS + PARTS:
        twin = Twin(fine_tune(graph, update=update))
        start = twin.state()
        twin.observe(inputs, labels)
        layers = [name for name in WEIGHTED if learns(update, f"{name}.bias", 1) > 0]
        moved = moved_by(model, inputs["x"], labels[0], layers[0])
        expected = {}
        for name, values in moved.items():
            first_axis = name.startswith("head.")
            channels = values.shape[0 if first_axis else -1]
            n = learns(update, name, channels)
            if n > 0:
                part = np.s_[:n] if first_axis else np.s_[..., :n]
                np.testing.assert_allclose(start[name], model.stored_layout(name)[part], 1e-6, 1e-7)
                expected[name] = values[part]
        assert {name for name in start if not name.endswith(".health")} == set(expected), update
        for name, wanted in expected.items():
            largest = np.abs(wanted).max()
            assert largest > 1e-6, f"{update}: {name} has no gradient here"
            error = np.abs(twin.learned[name] - start[name] - wanted).max()
            assert error < 2e-5 * largest + 1e-7, f"{update}: {name}"


@pytest.mark.parametrize(
    ("options", "steps"), [({}, 200), ({"momentum": 0.9, "weight_decay": 0.01}, 70)]
)
def test_losses_and_steps_are_those_of_pytorch(options: dict[str, float], steps: int) -> None:
    graph = classifier(True)
    inputs, labels = samples(steps, 4)
    model = Reference(graph)
    groups = [
        {
            "params": [p for n, p in model.named_parameters() if n.endswith(part)],
            "weight_decay": decay,
        }
        for part, decay in (("weight", options.get("weight_decay", 0.0)), ("bias", 0.0))
    ]
    rate = RATE / (10 if "momentum" in options else 1)
    descent = torch.optim.SGD(groups, rate, momentum=options.get("momentum", 0.0))
    twin = Twin(fine_tune(graph, update="all", **{**options, "learning_rate": rate}))
    losses, exact = [], 0
    for x, label in zip(inputs["x"], labels, strict=True):
        for name in PARAMETERS:
            model.store(name, twin.learned[name].astype(np.float64))
        start = {name: values.copy() for name, values in twin.learned.items()}
        descent.zero_grad()
        loss = f.cross_entropy(model(x[None]), torch.tensor([label]))
        loss.backward()
        descent.step()
        scores = torch.tensor(twin.observe({"x": x[None]}, [label])["head"])
        losses.append(float(f.cross_entropy(scores, torch.tensor([label]))))
        # Float32 and float64 may be on either side of half a code, seldom.
        moved = [
            (twin.learned[n] - start[n], model.stored_layout(n) - start[n]) for n in PARAMETERS
        ]
        exact += abs(losses[-1] - float(loss.detach())) < 1e-5 and all(
            np.allclose(a, b, rtol=2e-3, atol=2e-4 * np.abs(b).max() + 1e-7) for a, b in moved
        )
    assert exact >= 0.9 * steps
    if steps == 200:
        assert np.mean(losses[-50:]) < 0.8 * np.mean(losses[:50])  # it learned


def test_what_is_computed_again_changes_nothing_but_memory() -> None:
    graph = classifier()
    inputs, labels = samples(5, 6)
    kept = Twin(fine_tune(graph, update="all"))
    again = Twin(fine_tune(graph, update="all", recompute="depthwise+wide"))
    assert kept.observe(inputs, labels).keys() == again.observe(inputs, labels).keys()
    assert kept.crc() == again.crc()
    names = {n.name for n in again.graph.order if again.graph.phase(n) is Phase.LEARN}
    assert {"deep_again", "wide_again"} <= names


def test_nothing_goes_below_the_first_layer_that_learns() -> None:
    graph = fine_tune(classifier(), update="point")
    kinds = {node.name: node.KIND for node in graph.nodes}
    assert kinds["wide"] == "conv2d"  # int8, as it was
    assert (kinds["point_sum"], kinds["point"]) == ("conv2d_forward", "as_codes")
    below = {"first_back", "deep_back", "wide_back", "point_back"}
    assert not below & set(kinds)


@pytest.mark.parametrize(
    ("precision", "update"), [("i16", "all"), pytest.param("f16", "all", marks=pytest.mark.long)]
)
def test_integers_learn_what_floats_learn(precision: str, update: str) -> None:
    graph = classifier(True)
    train, labels = samples(300, 7)
    test, truth = samples(200, 8)
    accuracy = {}
    for used in ("f32", precision):
        twin = Twin(fine_tune(graph, update=update, precision=used, learning_rate=0.02))
        before = np.mean(twin.predict(test).outputs["head"].argmax(1) == truth)
        twin.observe(train, labels)
        accuracy[used] = np.mean(twin.predict(test).outputs["head"].argmax(1) == truth)
        assert accuracy[used] > before + 0.3
    assert accuracy[precision] > accuracy["f32"] - 0.05


DEVICES = [
    ("native-gcc-sanitized", {"precision": "f32", "recompute": "depthwise", "momentum": 0.9}),
    pytest.param(
        "native-gcc-sanitized", {"precision": "i16", "weight_decay": 0.01, "batch": 3},
        marks=pytest.mark.long,
    ),
    ("rv32-gcc-qemu", {"precision": "i8", "update": "point", "momentum": 0.5}),
    ("rv32f-gcc-qemu", {"precision": "f16", "update": "first:2+biases+head"}),
    ("m4-gcc-qemu", {"precision": "i16", "rounding": "nearest"}),
]  # fmt: skip


@pytest.mark.parametrize(("target", "options"), DEVICES)
def test_device_equals_twin(target: str, options: dict[str, object], tmp_path: Path) -> None:
    assert target in USUAL
    graph = fine_tune(classifier(True), **{"update": "all", **options})
    inputs, labels = samples(30, 1)
    device_equals_twin(target, graph, inputs, labels, tmp_path, block=10)


def test_a_cut_backbone_gets_a_head() -> None:
    whole = classifier()
    graph = fine_tune(until(whole, "flat"), update="head", learning_rate=0.3)
    inputs, labels = samples(200, 2)
    scores = torch.tensor(Twin(graph).observe(inputs, labels)["head"])
    losses = f.cross_entropy(scores, torch.tensor(labels), reduction="none")
    assert losses[0] == pytest.approx(np.log(CLASSES))  # it knows nothing
    assert losses[-50:].mean() < 0.95 * losses[:50].mean()
    assert FineTune().attach(identity((8,)), Setting("features", 3)).outputs == ["head"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"update": "middle"}, "names 'middle'"),
        ({"update": "deep:6"}, "asks for '6' of deep"),
        ({"update": ""}, "nothing that learns"),
        ({"recompute": "average"}, "recompute=average names 'average'"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(options: dict[str, object], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        fine_tune(classifier(), **options)


def test_other_refusals() -> None:
    graph = classifier()
    with pytest.raises(UsageError, match="4 scores for 5 classes"):
        FineTune().attach(graph, Setting("flat", 5))
    with pytest.raises(UsageError, match="calibration"):
        FineTune(precision="i16").attach(graph, Setting("flat", CLASSES))
    with pytest.raises(ValueError, match=r"learning_rate = -1\.0 is not in"):
        FineTune(learning_rate=-1.0)

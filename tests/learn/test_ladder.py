"""The ladder: PyTorch's losses, the device's bits, and what it does not keep."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as f

from int8_classifier import CLASSES, classifier, samples, setting
from learning import device_equals_twin
from spikelet.codegen import plan
from spikelet.errors import UsageError
from spikelet.graph import Graph, Phase
from spikelet.learn import Setting, Twin, identity, needs
from spikelet.learn.backbone import until
from spikelet.learn.learners.finetune import FineTune
from spikelet.learn.learners.ladder import Ladder

WIDTH, MU, RATE = 7, 0.7, 0.05
RUNGS = ("first", "wide", "flat")


def attach(graph: Graph, **options: object) -> Graph:
    chosen: dict[str, object] = {"width": WIDTH, "mu": MU, "learning_rate": RATE, **options}
    return Ladder(**chosen).attach(graph, setting(graph))  # type: ignore[arg-type]


def test_scores_and_losses_over_200_steps_are_those_of_pytorch() -> None:
    whole = classifier()
    graph = attach(whole)
    inputs, labels = samples(200, 4)
    trace = graph.run(inputs, trace=True, learned=graph.initial()).trace
    head = graph.tensors["head"]
    frozen = torch.tensor((trace["head"][0].astype(float) - head.zero_point) * head.scale)
    read = [torch.tensor(trace[f"{name}_standard"][0].astype(float)) for name in RUNGS]
    values = {
        name: torch.nn.Parameter(torch.tensor(start.astype(float)))
        for name, start in graph.initial().items()
        if not name.endswith(".health")
    }
    descent = torch.optim.SGD(values.values(), RATE)
    expected = []
    for i, label in enumerate(labels):
        side = None
        for rung, h in enumerate(read):
            layer = f"ladder{rung}_down" if rung else "ladder0"
            down = values[f"{layer}.weight"] @ h[i] + values[f"{layer}.bias"]
            side = f.relu(down if side is None else MU * side + (1 - MU) * down)
        scores = frozen[i] + values["ladder_head.weight"] @ side + values["ladder_head.bias"]
        loss = f.cross_entropy(scores[None], torch.tensor([label]))
        descent.zero_grad()
        loss.backward()
        descent.step()
        expected.append(float(loss.detach()))
    said = Twin(graph).observe(inputs, labels)["ladder"]
    losses = f.cross_entropy(torch.tensor(said), torch.tensor(labels), reduction="none").numpy()
    np.testing.assert_allclose(losses, expected, rtol=1e-3, atol=1e-4)
    assert np.mean(expected[-50:]) < 0.8 * np.mean(expected[:50])  # it learned


def test_before_it_learned_it_says_what_the_network_says() -> None:
    whole = classifier()
    inputs, _ = samples(20)
    said = Twin(attach(whole)).predict(inputs).outputs["ladder"]
    logits = until(whole, "head").run(inputs).outputs["head"].astype(np.float32)
    tensor = whole.tensors["head"]
    np.testing.assert_array_equal(said, (logits - tensor.zero_point) * np.float32(tensor.scale))


def test_what_it_read_is_not_kept() -> None:
    graph = attach(classifier())
    first = next(i for i, n in enumerate(graph.order) if graph.phase(n) is Phase.LEARN)
    slots = plan(graph).slots
    last = {name: slots[name].last for name in ("first", "deep", "wide", "point", "sum")}
    assert max(last.values()) < first
    assert all(slots[f"{name}_standard"].last >= first for name in RUNGS)


def test_it_takes_less_memory_than_the_whole_network_does() -> None:
    whole = classifier()
    full = FineTune(update="all").attach(whole, setting(whole))
    assert needs(attach(whole)).work_bytes < 0.35 * needs(full).work_bytes


@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("native-gcc-sanitized", {"precision": "f32", "momentum": 0.9}),
        ("rv32-zig-unicorn", {"precision": "i8"}),
        ("rv32-gcc-qemu", {"precision": "i16", "weight_decay": 0.01}),
        ("rv32f-gcc-qemu", {"precision": "f16"}),
        ("m4-gcc-qemu", {"precision": "f32", "layers": "deep+flat"}),
    ],
)
def test_device_equals_twin(target: str, options: dict[str, object], tmp_path: Path) -> None:
    inputs, labels = samples(30, 1)
    device_equals_twin(target, attach(classifier(), **options), inputs, labels, tmp_path)


@pytest.mark.parametrize("precision", ["i8", pytest.param("i16", marks=pytest.mark.long)])
def test_integers_learn_what_floats_learn(precision: str) -> None:
    whole = classifier()
    train, labels = samples(600, 7)
    test, truth = samples(200, 8)
    accuracy = {}
    for used in ("f32", precision):
        twin = Twin(attach(whole, precision=used))
        before = np.mean(twin.predict(test).outputs["ladder"].argmax(1) == truth)
        twin.observe(train, labels)
        accuracy[used] = np.mean(twin.predict(test).outputs["ladder"].argmax(1) == truth)
        assert accuracy[used] > before + 0.15
    assert accuracy[precision] > accuracy["f32"] - 0.06


def test_without_a_head_or_an_image_it_has_one_of_its_own() -> None:
    cut = attach(until(classifier(), "flat"))
    assert cut.outputs == ["ladder"]
    assert cut.tensors["ladder"].shape == (CLASSES,)
    assert Ladder().attach(identity((9,)), Setting("features", 3)).outputs == ["ladder"]


def test_refusals() -> None:
    with pytest.raises(UsageError, match="layers=middle names 'middle'"):
        attach(classifier(), layers="middle")
    with pytest.raises(UsageError, match="calibration"):
        Ladder(precision="i8").attach(classifier(), Setting("flat", CLASSES))
    for options in ({"width": 0}, {"mu": 1.0}, {"learning_rate": 0.0}):
        with pytest.raises(ValueError, match=next(iter(options)).split("_")[-1]):
            Ladder(**options)  # type: ignore[arg-type]

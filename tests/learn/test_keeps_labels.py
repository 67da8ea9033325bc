"""A learner that takes over a network says what the network says, until it has learned."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import every_learner
import spikelet
import spiking_graphs
from learning import device_equals_twin
from spikelet.errors import UsageError
from spikelet.frontends import tflite
from spikelet.graph import Array, Graph, Tensor
from spikelet.graph.ops.dense import Dense
from spikelet.learn import Setting, Twin, until
from spikelet.learn.learner import learners
from spikelet.learn.learners.finetune import FineTune
from spikelet.package import Package

CLASSES = 6
MODELS = Path(os.environ.get("SPIKELET_MODELS", "nowhere"))
SHIPPED = Path(__file__).parents[2] / "models"


def clamping_network(activation: nn.Module, samples: int = 300) -> tuple[Graph, Array]:
    """An int8 network of layers that are often at their clamps, and codes that it reads."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(20, 32), activation, nn.Linear(32, 32), activation, nn.Linear(32, CLASSES)
    )
    with torch.no_grad():
        for layer in (net[0], net[2]):
            layer.weight.mul_(6)
    x = torch.rand(samples, 20) * 2 - 1
    graph = spikelet.export(net, x[:1], x[:200], name="clamped").graph
    return graph, codes(graph, x.numpy())


def codes(graph: Graph, real: Array) -> Array:
    x = graph.inputs[0]
    return np.clip(np.rint(real / x.scale) + x.zero_point, -128, 127).astype(np.int8)


def noise(graph: Graph, samples: int, seed: int = 0) -> Array:
    """Codes of any network's input, each sample of another size and mean."""
    rng = np.random.default_rng(seed)
    shape = (samples, *graph.inputs[0].shape)
    one = (samples, *(1,) * (len(shape) - 1))
    found = rng.normal(0, 50, shape) + rng.normal(0, 40, one)
    return np.clip(np.rint(found), -128, 127).astype(np.int8)


def predictions(graph: Graph, x: Array) -> Array:
    found = graph.run({graph.inputs[0].name: x}).outputs[graph.outputs[0]]
    return graph.predicted(found)


def setting(graph: Graph, x: Array) -> Setting:
    name = graph.inputs[0].name
    classes = graph.tensors[graph.outputs[0]].size
    return Setting(name, classes, calibration={name: x})


@pytest.mark.parametrize(
    "activation",
    [nn.ReLU6(), nn.Hardtanh(-0.5, 3.0), nn.Identity()],
    ids=str,
)
@pytest.mark.parametrize(("precision", "may_differ"), [("f32", 0.0), ("f16", 0.01), ("i16", 0.01)])
def test_clamps_are_carried(activation: nn.Module, precision: str, may_differ: float) -> None:
    graph, x = clamping_network(activation)
    last = graph.nodes[-1].name
    for update in ("all", last):
        learner = FineTune(update=update, precision=precision)  # type: ignore[arg-type]
        learns = learner.attach(graph, setting(graph, x))
        assert np.mean(predictions(learns, x) != predictions(graph, x)) <= may_differ, update


def test_a_float_network_is_the_int8_one_in_every_code() -> None:
    graph, x = clamping_network(nn.ReLU6())
    learns = FineTune(update="all").attach(graph, setting(graph, x))
    given = {graph.inputs[0].name: x}
    before, after = graph.run(given, trace=True).trace, learns.run(given, trace=True).trace
    for node in graph.nodes[:-1]:  # scores may be beyond int8
        tensor = graph.tensors[node.name]
        real = (before[node.name][-1].astype(np.float64) - tensor.zero_point) * tensor.scale
        same = np.abs(after[node.name][-1].reshape(real.shape) - real) < tensor.scale / 2
        assert same.mean() > 0.999, node.name


@pytest.mark.parametrize("precision", ["f32", "i16"])
def test_no_gradient_passes_a_clamp(precision: str) -> None:
    """One hidden unit at each end of its clamp, and one between: only that one's weights move."""
    net = nn.Sequential(nn.Linear(3, 3), nn.Hardtanh(-0.5, 2.0), nn.Linear(3, 3))
    with torch.no_grad():
        net[0].weight.copy_(4 * torch.eye(3))
        net[0].bias.zero_()
        net[2].weight.copy_(torch.tensor([[1.0, -1, 1], [-1, 1, 1], [1, 1, -1]]))
    x = torch.tensor([[1.0, -1.0, 0.2], [0.2, 1.0, -1.0], [-1.0, 0.3, 1.0]]).repeat(8, 1)
    graph = spikelet.export(net, x[:1], x, name="ends").graph
    given = codes(graph, x.numpy())
    learner = FineTune(update="all", precision=precision, learning_rate=0.5, rounding="nearest")  # type: ignore[arg-type]
    learns = learner.attach(graph, setting(graph, given))
    twin = Twin(learns)
    weight = next(name for name in twin.learned if name.endswith(".weight"))
    bias = weight.replace("weight", "bias")
    before = twin.state()
    twin.observe({graph.inputs[0].name: given[:1]}, [1])
    moved = np.abs(twin.learned[weight] - before[weight]).sum(axis=1)
    moved_bias = twin.learned[bias] - before[bias]
    np.testing.assert_array_equal(moved[:2], 0)
    np.testing.assert_array_equal(moved_bias[:2], 0)
    assert moved[2] > 0
    assert moved_bias[2] != 0


@pytest.mark.parametrize(
    ("target", "precision"),
    [("native-gcc-sanitized", "f32"), ("rv32-gcc-qemu", "i16")],
)
def test_clamped_layers_learn_the_same_bits_on_a_device(
    target: str, precision: str, tmp_path: Path
) -> None:
    graph, x = clamping_network(nn.Hardtanh(-0.5, 3.0), 40)
    learner = FineTune(update="all", precision=precision, learning_rate=0.05)  # type: ignore[arg-type]
    learns = learner.attach(graph, setting(graph, x))
    labels = np.arange(40) % CLASSES
    device_equals_twin(target, learns, {graph.inputs[0].name: x}, labels, tmp_path)


@pytest.mark.parametrize("name", sorted(n for n, cls in learners().items() if cls.WHOLE))
def test_every_learner_of_whole_networks_begins_as_the_network(name: str) -> None:
    graph = every_learner.backbone()
    images, _ = every_learner.digits()
    learns = every_learner.graph_of(name)
    np.testing.assert_array_equal(
        predictions(learns, images[:300]), predictions(graph, images[:300])
    )


@pytest.mark.parametrize("name", sorted(n for n, cls in learners().items() if cls.WHOLE))
def test_a_learner_that_begins_as_something_else_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it builds: here over a network of other weights."""
    cls = learners()[name]
    build = cls.build

    def other(self: object, backbone: Graph, where: Setting) -> Graph:
        head = backbone.nodes[-1]
        turned = replace(head, weight=-head.weight)  # type: ignore[attr-defined, call-arg]
        changed = replace(backbone, nodes=[*backbone.nodes[:-1], turned])
        return build(self, changed, where)  # type: ignore[arg-type]

    monkeypatch.setattr(cls, "build", other)
    with pytest.raises(UsageError, match=r"\d+ of 300 calibration samples \(\d+\.\d %\)"):
        every_learner.graph_of(name)


def test_spiking_layers_that_cannot_learn_are_refused_by_name() -> None:
    x = Tensor("x", "bit", (16,), kind="input")
    weight = np.random.default_rng(0).integers(-9, 10, (5, 16)).astype(np.int8)
    hidden = Dense(name="hidden", inputs=("x",), weight=weight)
    graph = Graph("spiking", 4, [x], [hidden], ["hidden"])
    where = Setting("hidden", 5)
    said = {
        "all": r"hidden \(dense\) depends on what learns, and has no backward pass",
        "hidden": r"hidden \(dense\) depends on what learns, and has no backward pass",
        "hidden:2": "a spiking layer learns whole, or its biases",
    }
    for update, words in said.items():
        with pytest.raises(UsageError, match=words):
            FineTune(update=update).attach(graph, where)
    graph = spiking_graphs.spiking_convolutions()
    name = next(node.name for node in graph.nodes if node.KIND == "conv2d_sums")
    with pytest.raises(UsageError, match=rf"{name} \(conv2d_sums\), which cannot learn"):
        FineTune(update=name).attach(graph, Setting(graph.outputs[0], 5))


PUBLIC = [
    ("kws_ref_model.tflite", ("head", "all")),
    ("ad01_int8.tflite", ("head", "all")),
    ("pretrainedResnet_quant.tflite", ("head",)),
    ("vww_96_int8.tflite", ("head",)),
]


@pytest.mark.parametrize(("file", "updates"), PUBLIC, ids=[file for file, _ in PUBLIC])
def test_public_models_are_kept(file: str, updates: tuple[str, ...]) -> None:
    if not (MODELS / file).is_file():
        pytest.skip("SPIKELET_MODELS names no folder of reference models")
    graph = tflite.load(MODELS / file).graph
    x = noise(graph, 12)
    for update in updates:
        learns = FineTune(update=update).attach(graph, setting(graph, x))
        np.testing.assert_array_equal(predictions(learns, x), predictions(graph, x), update)


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "updates"),
    [("har_cnn", ("head", "all")), ("fashion_cnn", ("head",))],
)
def test_shipped_models_are_kept(name: str, updates: tuple[str, ...]) -> None:
    graph = Package.load(SHIPPED / name / f"{name}.spk").graph
    x = noise(graph, 60)
    for update in updates:
        learns = FineTune(update=update).attach(graph, setting(graph, x))
        np.testing.assert_array_equal(predictions(learns, x), predictions(graph, x), update)


def test_a_shipped_model_that_cannot_learn_whole_is_refused() -> None:
    graph = Package.load(SHIPPED / "fashion_cnn" / "fashion_cnn.spk").graph
    with pytest.raises(UsageError, match=r"max_pool2d.* has no backward pass"):
        FineTune(update="all").attach(graph, setting(graph, noise(graph, 60)))


def test_scores_that_int8_cannot_tell_apart_are_told() -> None:
    """Noise drives two scores of ecg_cnn to 127 in one sample: floats still tell them apart."""
    graph = Package.load(SHIPPED / "ecg_cnn" / "ecg_cnn.spk").graph
    x = noise(graph, 60)
    scores = graph.run({graph.inputs[0].name: x}).outputs[graph.outputs[0]]
    tied = ((scores == 127).sum(axis=1) > 1).sum()
    assert tied == 1
    with pytest.raises(UsageError, match=r"1 of 60 calibration samples.*\n.*beyond int8"):
        FineTune(update="all").attach(graph, setting(graph, x))


def test_a_cut_network_has_nothing_to_be_compared_with() -> None:
    graph, x = clamping_network(nn.ReLU())
    cut = until(graph, graph.nodes[-1].inputs[0])
    given = {graph.inputs[0].name: x}
    learns = FineTune().attach(cut, Setting(cut.outputs[0], CLASSES, calibration=given))
    assert learns.outputs == ["head"]


def test_class_means_need_not_say_what_the_head_says() -> None:
    """Prototypes are another head by choice: here beside a network whose own head is turned."""
    images, labels = every_learner.digits()
    graph = every_learner.backbone()
    head = graph.nodes[-1]
    turned = replace(head, weight=-head.weight)  # type: ignore[attr-defined, call-arg]
    graph = replace(graph, nodes=[*graph.nodes[:-1], turned])
    where = Setting("features", 10, calibration={"x": images[:300]}, labels=labels[:300])
    network, prototypes = (
        predictions(learners()["adaptation"](head=kind).attach(graph, where), images)  # type: ignore[call-arg]
        for kind in ("network", "prototypes")
    )
    np.testing.assert_array_equal(network, predictions(graph, images))
    assert (prototypes == labels).mean() > 0.75

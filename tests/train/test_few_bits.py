"""How networks of few bits are trained: normalised, held, by their sine, on signs, by a teacher."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from int8_recipe import RECIPE, recipe
from spikelet.errors import UsageError
from spikelet.frontends.torch import from_torch
from spikelet.graph.ops.binary_conv2d import BinaryConv2d
from spikelet.quantise import Node, Options, decode, encode, fold, quantise
from spikelet.quantise.calibrate import integers
from spikelet.quantise.operator import operator_of
from spikelet.train import EpochProgress, teacher, train
from spikelet.train.copies import drawn
from spikelet.train.data import load
from spikelet.train.deform import deform
from spikelet.train.qat import OMEGA, Grids, QatNetwork
from spikelet.train.recipe import (
    DataSection,
    DeformSection,
    RecipeError,
    TeacherSection,
    load_recipe,
)
from spikelet.train.signs import Sign
from targets import check_package
from torch_modules import with_random_statistics

BINARY = """
from torch import nn

from spikelet.train.signs import Sign


def build(shape, classes):
    return nn.Sequential(
        nn.Conv2d(shape[-1], 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), Sign(),
        nn.Conv2d(32, 32, 3, bias=False), nn.BatchNorm2d(32), Sign(),
        nn.Conv2d(32, 32, 2, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Flatten(), nn.Linear(32, classes),
    )
"""
FEW_BITS = RECIPE.replace("epochs = 8", "epochs = 3").replace(
    "epochs = 2\nlearning_rate = 1e-3",
    """epochs = 5
learning_rate = 5e-3
bits = {conv2d_3 = 1, conv2d_6 = 1, linear_10 = 4}
normalise = true
hold_epochs = 1

[deform]
shift = 0.05
copies = 2

[teacher]
epochs = 2
channels = 8
learning_rate = 1e-2""",
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def layers(activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    torch.manual_seed(0)
    return with_random_statistics(
        nn.Sequential(
            nn.Conv2d(1, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), activation(),
            nn.Conv2d(32, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Flatten(), nn.Linear(8 * 4, 5),
        )
    )  # fmt: skip


def trained(
    bits: int, activation: Callable[[], nn.Module] = nn.ReLU, steps: int = 3, sine: bool = False
) -> tuple[QatNetwork, Tensor]:
    """A network after some steps, and what it was trained on."""
    net = layers(activation)
    x = torch.rand(64, 1, 8, 8)
    network = from_torch(net, x)
    asked = Options(bits=bits).bits_of(fold(network))
    grids = Grids(asked, normalise=True, sine=sine)
    qat = QatNetwork(network, {"x": x.numpy()}, grids=grids)
    qat.match(x)
    step(qat, x, steps)
    return qat, x


def step(qat: QatNetwork, x: Tensor, steps: int) -> None:
    optimiser = torch.optim.AdamW(qat.parameter_groups(), 1e-2)
    for _ in range(steps):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(qat.train()(x), torch.arange(len(x)) % 5)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    qat.eval()


def codes(qat: QatNetwork) -> dict[str, np.ndarray]:
    network = qat.to_network()
    return {name: integers(network.constants[name], network.codes[name]) for name in qat.weights}


@pytest.mark.parametrize("bits", [8, 2, 1])
@pytest.mark.parametrize("activation", [nn.ReLU, Sign])
def test_what_is_exported_is_what_was_trained(
    bits: int, activation: Callable[[], nn.Module]
) -> None:
    qat, x = trained(bits, activation)
    with torch.no_grad():
        wanted = qat(x).numpy()
    quantised = quantise(qat.to_network(), None)
    graph = quantised.graph
    made = graph.run({graph.inputs[0].name: encode(quantised, x.numpy())}).outputs
    got = decode(quantised, made[graph.outputs[0]])
    apart = np.abs(got.reshape(wanted.shape) - wanted) / graph.tensors[graph.outputs[0]].scale
    # Codes: the device rounds twice, so sums that are nearly halfway differ, layer by layer.
    assert apart.mean() < 1 and apart.max() < 8
    assert np.ptp(wanted) / graph.tensors[graph.outputs[0]].scale > 100
    binary = [n for n in quantised.graph.nodes if isinstance(n, BinaryConv2d)]
    assert len(binary) == (bits == 1 and activation is Sign)


def test_a_normalised_layer_forgets_the_scale_of_its_weights() -> None:
    qat, x = trained(2, steps=0)
    name = next(iter(qat.weights))
    with torch.no_grad():
        before = qat.train()(x)
        qat.constants[qat.keys[name]].mul_(7)
        after = qat(x)
    assert torch.allclose(before, after, atol=0.02 * float(before.abs().max()))


def test_weights_that_are_held_keep_their_codes() -> None:
    qat, x = trained(2)
    qat.hold()
    before, near = codes(qat), {n: ~stays.numpy() for n, (stays, _, _) in qat.held.items()}
    scales = {n: scale.clone() for n, (_, _, scale) in qat.held.items()}
    step(qat, x, 5)
    changed = {name: before[name] != after for name, after in codes(qat).items()}
    assert all(np.all(near[name][where]) for name, where in changed.items())
    assert all(torch.equal(scales[n], scale) for n, (_, _, scale) in qat.held.items())
    free, _ = trained(2, steps=8)
    assert any(np.any(before[name] != after) for name, after in codes(free).items())


def test_the_exported_bit_of_a_sine_is_its_sign() -> None:
    start, _ = trained(1, steps=0, sine=True)
    plain, _ = trained(1, steps=0)
    assert all(np.array_equal(codes(start)[name], held) for name, held in codes(plain).items())
    qat, _ = trained(1, sine=True)
    with torch.no_grad():
        for name in qat.weights:
            qat.constants[qat.keys[name]].mul_(3)  # past the first maximum
    latent = {name: qat.constants[qat.keys[name]].detach().numpy() for name in qat.weights}
    for name, held in codes(qat).items():
        assert np.array_equal(held, np.where(np.sin(OMEGA * latent[name]) < 0, -1, 0))
    flipped = [np.mean((w < 0) != (codes(qat)[name] < 0)) for name, w in latent.items()]
    assert max(flipped) > 0.02  # the sign of the weight itself is another


@pytest.mark.parametrize("step", [1.0, 0.25])
def test_the_gradient_of_a_sign_is_that_of_a_rounded_step(step: float) -> None:
    x = torch.tensor([-3.0, -1.0, -0.25, -0.0, 0.0, 0.5, 1.0, 2.0], requires_grad=True)
    signs = operator_of(Node("Trunc", "sign", ("x",))).in_torch(
        [x], {"mode": "SIGN", "output_scale": step}
    )
    np.testing.assert_array_equal(signs.detach() / step, [-1, -1, -1, 1, 1, 1, 1, 1])
    (slope,) = torch.autograd.grad(signs.sum(), x)
    np.testing.assert_array_equal(slope / step, [0, 0, 1.5, 2, 2, 1, 0, 0])


def test_a_deformed_image_is_moved_and_no_more_than_asked() -> None:
    x = torch.zeros(50, 1, 16, 16)
    x[:, :, 7:9, 7:9] = 1
    assert torch.allclose(deform(x, DeformSection()), x, atol=1e-5)
    moved = deform(x, DeformSection(shift=0.125))
    rows = moved.sum(dim=(1, 3)) @ torch.arange(16.0) / moved.sum(dim=(1, 2, 3))
    assert 0.8 < float((rows - 7.5).abs().max()) <= 2.01  # an eighth of 16 pixels
    assert not torch.equal(moved[0], moved[1])
    bent = deform(x, DeformSection(elastic=0.05, rotate=20, zoom=0.1, shear=0.1))
    assert float((bent - x).abs().max()) > 0.2 and 0.6 < float(bent.sum() / x.sum()) < 1.5


def test_copies_are_deformed_first_and_made_smaller_then() -> None:
    whole = load("digits")
    whole = dataclasses.replace(whole, x_train=whole.x_train[:40], y_train=whole.y_train[:40])
    section = DataSection(name="digits", crop=6, size=3)
    sized = section.sized(whole)
    still = drawn(whole, section, DeformSection(copies=2))
    assert still.shape == (2, 40, 3, 3, 1) and still.dtype == np.uint8
    assert all(np.array_equal(copy, sized.x_train) for copy in still)
    how = DeformSection(shift=0.25, rotate=30, copies=2, seed=5)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        x = torch.from_numpy(whole.real(whole.x_train).transpose(0, 3, 1, 2).copy())
        bent = deform(x, how).mul(255).round()
    means = bent[:, :, 1:7, 1:7].unflatten(2, (3, 2)).unflatten(4, (3, 2)).mean(dim=(3, 5))
    torch.rand(3)  # draws of the training do not matter
    copies = drawn(whole, section, how)
    assert np.abs(copies[0].transpose(0, 3, 1, 2) - means.numpy()).max() <= 0.51
    assert np.mean(copies[0] != copies[1]) > 0.5
    signals = dataclasses.replace(whole, x_train=whole.x_train.astype(np.int16))
    with pytest.raises(RecipeError, match="copies is for images of u8 codes"):
        drawn(signals, section, how)


def test_the_similarity_of_samples_needs_no_scale() -> None:
    x = torch.randn(6, 3, 2)
    assert torch.allclose(teacher.gram(5 * x), teacher.gram(x), atol=1e-6)
    turned = torch.linalg.qr(torch.randn(6, 6))[0]
    assert torch.allclose(teacher.gram(x.flatten(1) @ turned), teacher.gram(x), atol=1e-5)
    assert not torch.allclose(teacher.gram(x.flip(0)), teacher.gram(x), atol=1e-2)


def test_a_pupil_that_agrees_with_its_teacher_loses_nothing() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    lesson = teacher.Lesson(net, TeacherSection(epochs=1, learning_rate=1, share=1, gram=1))
    x = torch.randn(5, 2, 2)
    given = lesson.given(x, 0, torch.arange(5))
    assert float(lesson.loss(given, given, torch.tensor(7.0))) == pytest.approx(0, abs=1e-5)
    other = teacher.Watched(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)))(x)
    assert float(lesson.loss(other, given, torch.tensor(0.0)).detach()) > 0.01


def test_a_recipe_of_signs_with_a_teacher_runs_on_a_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPIKELET_CACHE", str(tmp_path))
    folder = recipe(tmp_path / "digits_cnn", FEW_BITS, BINARY)
    seen: list[EpochProgress] = []
    package = train(folder, progress=seen.append)
    assert [p.phase for p in seen] == ["teacher"] * 2 + ["float"] * 3 + ["quantised"] * 5
    assert package.manifest["integer_accuracy"] > 0.9
    assert [n.KIND for n in package.graph.nodes].count("binary_conv2d") == 2
    monkeypatch.undo()
    check_package("rv32-gcc-qemu", package, tmp_path)
    monkeypatch.setenv("SPIKELET_CACHE", str(tmp_path))
    seen.clear()
    assert train(folder, progress=seen.append).sha256 == package.sha256  # the teacher was kept
    assert [p.phase for p in seen] == ["float"] * 3 + ["quantised"] * 5
    scores = torch.load(next((tmp_path / "teachers").glob("*.scores.pt")), weights_only=True)
    right = scores["scores"].argmax(dim=2) == torch.from_numpy(load("digits").y_train)
    assert right.shape == (2, 1437) and float(right.float().mean()) > 0.9  # to each copy


def test_a_teacher_that_was_asked_before_is_not_asked_again() -> None:
    x, chosen = torch.randn(3, 2, 2), torch.tensor([4, 0, 1])
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    scores = torch.randn(2, 5, 3)
    lesson = teacher.Lesson(net, TeacherSection(epochs=1, learning_rate=1), scores)
    assert torch.equal(lesson.given(x, 1, chosen)[0], scores[1][chosen])


def test_layers_are_named_as_the_module_names_them() -> None:
    network = fold(from_torch(layers(), torch.rand(1, 1, 8, 8)))
    assert Options(bits={"conv2d_0": 2}).bits_of(network) == {"batch_norm_1": 2}
    with pytest.raises(UsageError, match="layers with weights are conv2d_0, conv2d_3, linear_7"):
        Options(bits={"relu_2": 2}).bits_of(network)


def test_a_recipe_says_what_a_deformation_may_be(tmp_path: Path) -> None:
    folder = recipe(tmp_path / "digits_cnn", FEW_BITS.replace("shift = 0.05", "shift = 2"))
    with pytest.raises(UsageError, match=r"deform\.shift = 2"):
        load_recipe(folder)

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import snntorch as snn
import torch
from torch.func import functional_call

from spikelet.errors import UsageError
from spikelet.frontends.snntorch import State, export
from spikelet.frontends.spiking.encoders import DirectCurrent, Encoder, Latency, Poisson, encode
from spikelet.graph import Array
from spikelet.package import Package
from spikelet.paths import models_dir
from spikelet.seeds import sample_seeds
from spikelet.train import EpochProgress, train, trainer
from spikelet.train.data import load
from spikelet.train.recipe import load_model
from spikelet.train.recipe_figures import main, markdown, measure, row_of
from spikelet.train.spiking_net import SpikingNet, deployed_parameters


def quick(folder: Path, name: str = "digits_snn", epochs: int = 6, quantise: int = 2) -> Path:
    """A recipe of the house, with fewer epochs."""
    source = models_dir() / name
    lines = (source / "recipe.toml").read_text().split("\n")
    section = ""
    for i, line in enumerate(lines):
        section = line if line.startswith("[") else section
        if line.startswith("epochs"):
            lines[i] = f"epochs = {epochs if section == '[train]' else quantise}"
    folder.mkdir(exist_ok=True)
    (folder / "recipe.toml").write_text("\n".join(lines))
    (folder / "model.py").write_bytes((source / "model.py").read_bytes())
    return folder


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return train(quick(tmp_path_factory.mktemp("quick")))


def test_the_same_seed_gives_the_same_package(tmp_path: Path) -> None:
    folder = quick(tmp_path / "again", epochs=1, quantise=1)
    package = train(folder)
    random.seed(99)
    torch.manual_seed(99)
    np.random.seed(99)
    again = train(folder)
    assert again.sha256 == package.sha256
    assert train(folder, seed=1).sha256 != package.sha256
    path = tmp_path / "a.spk"
    again.save(path)
    assert Package.load(path).sha256 == package.sha256


def test_coding_in_parts_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = quick(tmp_path / "m", epochs=1, quantise=0)
    whole = train(folder)
    monkeypatch.setattr(trainer, "CODED_ELEMENTS", 16 * 64 * 100)
    assert train(folder).sha256 == whole.sha256


def test_training_leaves_the_callers_generators_alone(tmp_path: Path) -> None:
    folder = quick(tmp_path / "m", epochs=1, quantise=0)
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    expected = (torch.rand(1).item(), np.random.rand(), random.random())
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    threads = torch.get_num_threads()
    train(folder)
    assert (torch.rand(1).item(), np.random.rand(), random.random()) == expected
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_package_says_how_it_was_made(package: Package) -> None:
    manifest = package.manifest
    assert manifest["name"] == "digits_snn"
    assert manifest["seed"] == 0
    assert manifest["data"] == "digits"
    assert manifest["part"] == "test"
    assert manifest["samples"] == 360
    for layer in manifest["spike_agreement"]:
        assert 0 < layer["share"] <= 1.2 * layer["weights_share"] < 0.3
    assert [row["layer"] for row in manifest["state"]] == ["lif1", "lif2"]
    assert set(manifest["versions"]) == {"python", "torch", "snntorch", "numpy", "spikelet"}
    assert manifest["recipe"]["train"]["epochs"] == 6
    assert manifest["created_by"].startswith("spikelet ")
    labels = package.vectors["golden.label"][:, 0]
    correct = float((labels == package.vectors["y"]).mean())
    assert manifest["integer_accuracy"] == correct
    assert manifest["drift"] == pytest.approx(correct - manifest["float_accuracy"])
    np.testing.assert_array_equal(package.vectors["x"], load("digits").flat().x_test)
    if "seed" in package.inputs:
        np.testing.assert_array_equal(package.inputs["seed"], sample_seeds(0, 360))


def test_a_short_training_learns_and_drifts_little(package: Package) -> None:
    assert package.manifest["integer_accuracy"] >= 0.93
    assert abs(package.manifest["drift"]) <= 0.015


def test_progress_counts_both_phases(tmp_path: Path) -> None:
    seen: list[EpochProgress] = []
    train(quick(tmp_path / "m", epochs=3, quantise=1), progress=seen.append)
    assert [(p.phase, p.epoch, p.epochs) for p in seen] == [
        ("float", 1, 4),
        ("float", 2, 4),
        ("float", 3, 4),
        ("quantised", 4, 4),
    ]
    assert seen[-1].loss < seen[0].loss
    assert seen[-1].accuracy > 0.85


def test_tuning_does_not_see_the_test_part(tmp_path: Path) -> None:
    tuned = train(quick(tmp_path / "m", epochs=1, quantise=0), part="validation")
    test = {row.tobytes() for row in load("digits").flat().x_test}
    assert not any(row.tobytes() in test for row in tuned.vectors["x"])
    assert tuned.manifest["part"] == "validation"
    assert tuned.manifest["samples"] == 288


def test_a_diverged_training_is_refused_by_layer(tmp_path: Path) -> None:
    folder = quick(tmp_path / "m", epochs=1, quantise=0)
    text = (folder / "model.py").read_text()
    (folder / "model.py").write_text(
        text + "\n_build = build\n\n\ndef build(inputs, classes):\n"
        "    layers = _build(inputs, classes)\n"
        "    layers[0].weight.data[0, 0] = float('nan')\n    return layers\n"
    )
    with pytest.raises(UsageError, match=r"layer 0 \(Linear\): weight holds NaN"):
        train(folder)


def synaptic(layer: snn.Leaky) -> snn.Synaptic:
    reset = layer.reset_mechanism
    return snn.Synaptic(alpha=1.0, beta=1.0, threshold=layer.threshold, reset_mechanism=reset)


@pytest.mark.parametrize("current", [False, True])
@pytest.mark.parametrize("encoder", [DirectCurrent(), Poisson(), Latency()])
def test_training_sees_the_spikes_and_numbers_of_the_device(
    encoder: Encoder, current: bool
) -> None:
    """The deployed parameters, run in float by snnTorch, give golden's spike counts."""
    torch.manual_seed(2)
    layers = load_model(models_dir() / "digits_bernoulli")(64, 10)
    for i in (0, 2):
        layers[i].weight.data.mul_(3)
    for i in (1, 3):  # 1.0 is exact in Q15: no rounding of membranes
        layers[i].beta.fill_(1.0)
        if current:
            layers[i] = synaptic(layers[i])
    net = SpikingNet(layers, 8, "spike_count").double()
    graph = export(layers, steps=8, encoder=encoder)
    x = load("digits").flat().x_train[:40]
    inputs: dict[str, Array] = {"x": x}
    if isinstance(encoder, Poisson):
        inputs["seed"] = sample_seeds(0, 40)
    coded = encode(x, encoder, 8, inputs.get("seed")).double()
    if isinstance(encoder, DirectCurrent):
        coded = torch.from_numpy(x.astype(np.float64)) * encoder.scale
    # Half a step above: a float sum that should equal the threshold may lie on either side of it.
    parameters = deployed_parameters(net, encoder, graph)
    for name in ("layers.1.threshold", "layers.3.threshold"):
        parameters[name] = parameters[name].double() * (1 + 1e-9)
    with torch.no_grad():
        counts = functional_call(net, parameters, (coded,)).numpy()
    golden = graph.run(inputs).outputs["counts"]
    assert golden.sum() > 100
    np.testing.assert_array_equal(counts, golden)


@pytest.mark.quick
def test_gradients_pass_through_the_rounding() -> None:
    layers = load_model(models_dir() / "digits_bernoulli")(64, 10)
    net = SpikingNet(layers, 4, "spike_count")
    graph = export(layers, steps=4, encoder=Poisson())
    parameters = deployed_parameters(net, Poisson(), graph)
    weight = parameters["layers.0.weight"]
    step = layers[0].weight.detach().abs().amax(dim=1) / 127
    codes = weight.detach() / step[:, None]
    assert float((codes - codes.round()).abs().max()) < 1e-3
    assert float((weight - layers[0].weight).detach().abs().max()) > 0
    torch.autograd.backward(weight.sum())
    assert torch.equal(layers[0].weight.grad, torch.ones_like(weight))


@pytest.mark.parametrize("state", ["exact", "narrow"])
def test_training_sees_decays_and_thresholds_as_they_are_exported(state: State) -> None:
    layers = torch.nn.Sequential(torch.nn.Linear(6, 4), snn.Synaptic(alpha=0.83, beta=0.91))
    graph = export(layers, steps=9, encoder=Poisson(), state=state)
    parameters = deployed_parameters(SpikingNet(layers, 9, "spike_count"), Poisson(), graph)
    nodes = {node.name: node.attributes() for node in graph.nodes}
    bits = {"exact": 31, "narrow": 15}[state]
    for decay, node in (("alpha", "lif1_current"), ("beta", "lif1")):
        assert nodes[node]["leak_bits"] == bits
        kept = torch.tensor(nodes[node]["leak"] / 2**bits)
        assert torch.equal(parameters[f"layers.1.{decay}"], kept)
    assert nodes["lif1"]["input_shift"] == 0 < nodes["lif1_current"]["input_shift"]
    # In units of the weights' steps and of the current's fraction bits.
    assert float((parameters["layers.1.threshold"] - 1).abs().max()) < 1e-3


def test_report_has_a_line_a_seed_and_the_means(
    tmp_path: Path, package: Package, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = quick(tmp_path / "m", epochs=1, quantise=1)
    rows = measure(folder, [3, 4])
    assert [row.seed for row in rows] == [3, 4]
    assert rows[0].sha256 != rows[1].sha256
    lines = markdown(rows).split("\n")
    assert lines[2].startswith(f"| 3 | {rows[0].float_accuracy:.4f} | ")
    mean = (rows[0].integer_accuracy + rows[1].integer_accuracy) / 2
    assert lines[4].startswith("| mean | ")
    assert f"| {mean:.4f} |" in lines[4]
    assert f"torch {torch.__version__}" in lines[6]
    row = row_of(package)
    assert row.integer_accuracy == package.manifest["integer_accuracy"]
    weights = [v.size for k, v in package.graph.constants().items() if k.endswith(".weight")]
    assert row.weight_bytes == sum(weights)
    assert main([str(tmp_path / "nowhere")]) == 2
    captured = capsys.readouterr()
    assert "no such file" in captured.err
    assert captured.out == ""

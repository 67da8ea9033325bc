"""Recipes of int8 networks: a small one on the digits, trained in seconds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from int8_recipe import AUGMENT, MODEL, RECIPE, recipe
from spikelet.errors import UsageError
from spikelet.package import Package
from spikelet.train import EpochProgress, train
from spikelet.train.data import load
from spikelet.train.int8 import spread
from spikelet.train.recipe import Int8Recipe, RecipeError, load_recipe
from spikelet.train.recipe_figures import main


def short(text: str = RECIPE, epochs: int = 1, quantise: int = 1) -> str:
    return text.replace("epochs = 8", f"epochs = {epochs}").replace(
        "epochs = 2", f"epochs = {quantise}"
    )


@pytest.fixture(scope="module")
def progress() -> list[EpochProgress]:
    return []


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory, progress: list[EpochProgress]) -> Package:
    return train(recipe(tmp_path_factory.mktemp("int8")), progress=progress.append)


def test_an_int8_network_learns_and_drifts_little(package: Package) -> None:
    assert package.manifest["float_accuracy"] >= 0.97
    assert package.manifest["integer_accuracy"] >= 0.97
    assert abs(package.manifest["drift"]) <= 0.005


def test_progress_counts_both_phases(package: Package, progress: list[EpochProgress]) -> None:
    assert [p.phase for p in progress] == ["float"] * 8 + ["quantised"] * 2
    assert [(p.epoch, p.epochs) for p in progress] == [(i, 10) for i in range(1, 11)]
    assert progress[7].loss < progress[0].loss
    assert progress[-1].accuracy > 0.98


def test_its_package_says_how_it_was_made(package: Package, tmp_path: Path) -> None:
    manifest = package.manifest
    assert manifest["name"] == "digits_cnn"
    assert manifest["samples"] == 360
    assert manifest["image_shape"] == [8, 8]
    assert manifest["vectors"].startswith("60 of 360 test samples")
    assert set(manifest["recall"]) == set(manifest["macro_f1"]) == {"float", "integer"}
    assert len(manifest["recall"]["integer"]) == 10
    assert np.mean(manifest["recall"]["integer"]) == pytest.approx(
        manifest["integer_accuracy"], abs=0.005
    )
    rows = manifest["layer_drift"]
    assert rows[0]["layer"] == "x" and rows[0]["snr_db"] is None  # u8 pixels are held exactly
    assert all(row["cosine"] > 0.99 for row in rows)
    json.dumps(manifest, allow_nan=False)
    path = tmp_path / "a.spk"
    package.save(path)
    assert Package.load(path).sha256 == package.sha256


def test_its_vectors_are_test_samples_of_all_classes(package: Package) -> None:
    assert np.bincount(package.vectors["y"]).tolist() == [6, 6, 6, 6, 6, 7, 6, 6, 5, 6]
    tensor = package.graph.inputs[0]
    assert (tensor.dtype, tensor.shape) == ("i8", (8, 8, 1))
    assert tensor.scale == pytest.approx(1 / 255)
    test = {(row - 128).astype(np.int8).tobytes() for row in load("digits").x_test.astype(np.int16)}
    assert all(row.tobytes() in test for row in package.vectors["x"])
    scores = package.vectors[f"golden.{package.graph.outputs[0]}"]
    assert np.mean(scores.argmax(axis=1) == package.vectors["y"]) > 0.9


def test_the_same_seed_gives_the_same_package(tmp_path: Path) -> None:
    folder = recipe(tmp_path / "a", short(), MODEL + AUGMENT)
    first = train(folder)
    torch.manual_seed(7)
    assert train(folder).sha256 == first.sha256
    other = train(folder, seed=1)
    assert other.sha256 != first.sha256
    assert other.manifest["recipe"]["seed"] == 1
    plain = train(recipe(tmp_path / "b", short()))
    assert plain.sha256 != first.sha256  # it was augmented


def test_without_epochs_of_rounding_ranges_come_from_samples(tmp_path: Path) -> None:
    found = train(recipe(tmp_path / "a", short(epochs=4, quantise=0)), part="validation")
    assert found.manifest["part"] == "validation"
    assert found.manifest["samples"] == 288
    assert abs(found.manifest["drift"]) <= 0.02


def test_rare_classes_may_count_more(tmp_path: Path) -> None:
    text = short(epochs=1, quantise=0)
    weighted = text.replace("weight_decay", "class_weights = 1.0\nweight_decay")
    loaded = load_recipe(recipe(tmp_path / "a", weighted))
    assert isinstance(loaded, Int8Recipe)
    assert loaded.train.class_weights == 1.0
    first = train(tmp_path / "a").sha256
    assert first != train(recipe(tmp_path / "b", text)).sha256


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("nn.Linear(32, classes)", "nn.Linear(32, 3)", "forward() gives (2, 3) for (2, 1, 8, 8)"),
        ("nn.Linear(32, classes)", "nn.Linear(31, classes)", "forward() failed on (2, 1, 8, 8)"),
        ("nn.Linear(32, classes)", "nn.Linear(32, shape)", "build((8, 8, 1), 10) failed"),
        ("nn.Flatten(),", "nn.Flatten(), 3,", "build((8, 8, 1), 10) failed, TypeError: int"),
        (
            "def build(shape, classes):",
            "def build(shape, classes):\n    return 3",
            "returned a int",
        ),
        ("def build", "def make", "it has no function build"),
    ],
)
def test_faults_of_its_model_are_named(tmp_path: Path, old: str, new: str, what: str) -> None:
    assert old in MODEL
    with pytest.raises(RecipeError) as caught:
        train(recipe(tmp_path / "a", short(), MODEL.replace(old, new)))
    assert what in caught.value.what
    assert "model.py" in caught.value.what


def test_what_the_graph_cannot_carry_is_refused_by_layer(tmp_path: Path) -> None:
    model = MODEL.replace("nn.Flatten(),", "nn.Flatten(), nn.LayerNorm(32),")
    epochs: list[EpochProgress] = []
    with pytest.raises(UsageError, match=r"node '5' \(aten.layer_norm"):
        train(recipe(tmp_path / "a", short(), model), progress=epochs.append)
    assert epochs == []  # before the first one


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("epochs = 8", "epochs = 0", "train.epochs = 0"),
        ("label_smoothing = 0.05", "score_scale = 1.0", "train.score_scale is not a known key"),
        ("vectors = 60", "vectors = 0", "package.vectors = 0"),
        ("[quantise]", "[quantise]\nmethod = 'best'", "quantise.method = 'best'"),
    ],
)
def test_faults_of_its_recipe_are_named(tmp_path: Path, old: str, new: str, what: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(recipe(tmp_path / "a", RECIPE.replace(old, new)))
    assert what in caught.value.what


def test_vectors_are_spread_over_the_classes() -> None:
    labels = np.array([0] * 90 + [1] * 9 + [2])
    chosen = spread(labels, 10)
    assert len(set(chosen)) == 10
    assert np.bincount(labels[chosen]).tolist() == [9, 1]
    assert spread(labels, 1000).tolist() == list(range(100))


def test_the_report_shows_a_package_and_trainings_alike(
    package: Package, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.spk"
    package.save(path)
    folder = recipe(tmp_path / "m", short())
    assert main([str(folder), "--package", str(path)]) == 0
    lines = capsys.readouterr().out.split("\n")
    assert lines[0].startswith("| seed | float accuracy | integer accuracy | drift, points |")
    manifest = package.manifest
    row = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert row[0] == "0"
    assert row[1] == f"{manifest['float_accuracy']:.4f}"
    assert row[2] == f"{manifest['integer_accuracy']:.4f}"  # executed again
    weights = [v.size for k, v in package.graph.constants().items() if k.endswith(".weight")]
    assert row[4] == str(sum(weights))
    # 64 pixels of 9 taps, 16 of 9 x 16, 4 of 9 x 24, means of 4, 32 to 10
    assert row[5] == str(64 * 16 * 9 + 16 * 24 * 144 + 4 * 32 * 216 + 4 * 32 + 320)
    assert row[7] == f"{manifest['macro_f1']['integer']:.4f}"
    assert "saturations" not in lines[4]
    assert lines[6].startswith("Recall by class, integer: ")
    assert main([str(folder), "--seeds", "1", "2"]) == 0
    trained = capsys.readouterr().out.split("\n")
    assert [line.split("|")[1].strip() for line in trained[2:5]] == ["1", "2", "mean"]
    assert trained[0] == f"{lines[0]} training, s |"

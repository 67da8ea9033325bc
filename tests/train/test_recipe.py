from __future__ import annotations

from pathlib import Path

import pytest

from spikelet.paths import models_dir
from spikelet.train import train
from spikelet.train.data import DATA_SETS
from spikelet.train.recipe import Recipe, RecipeError, SpikingRecipe, load_model, load_recipe

GOOD = (models_dir() / "digits_snn" / "recipe.toml").read_text()


def recipe(folder: Path, text: str) -> Path:
    (folder / "recipe.toml").write_text(text)
    return folder


def model(folder: Path, text: str) -> Path:
    (folder / "model.py").write_text(text)
    return folder


@pytest.mark.parametrize(
    "folder",
    sorted(path.parent for path in models_dir().glob("*/recipe.toml")),
    ids=lambda f: f.name,
)
def test_the_recipes_that_come_with_it_load(folder: Path) -> None:
    loaded = load_recipe(folder)
    assert loaded.name == folder.name
    assert loaded.data.name in DATA_SETS
    text = (folder / "recipe.toml").read_text()
    assert isinstance(loaded, Recipe) == ("[network]" in text)
    assert isinstance(loaded, SpikingRecipe) == ("[spiking]" in text)


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("[train]\n", "[train]\nepoch = 3\n", "train.epoch is not a known key"),
        ("seed = 0", 'seed = "none"', "seed = 'none': Input should be a valid integer"),
        ("seed = 0", "seed = -1", "seed = -1: Input should be greater than or equal to 0"),
        ('[data]\nname = "digits"\n', "", "data is missing"),
        ('encoder = "poisson"', 'encoder = "rate"', "network.encoder = 'rate': Input should be"),
        ('name = "digits_snn"', 'name = "9 lives"', "name = '9 lives': String should match"),
        ("[data]", "[data", "not TOML"),
    ],
)
def test_every_fault_of_a_recipe_is_named(tmp_path: Path, old: str, new: str, text: str) -> None:
    assert old in GOOD
    with pytest.raises(RecipeError) as caught:
        load_recipe(recipe(tmp_path, GOOD.replace(old, new, 1)))
    assert text in caught.value.what
    assert str(tmp_path / "recipe.toml") in caught.value.what
    assert caught.value.exit_code == 2


def test_several_faults_are_named_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("seed = 0", "seed = -1").replace("[train]\n", "[train]\nepoch = 3\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe(recipe(tmp_path, text))
    assert "seed = -1" in caught.value.what
    assert "train.epoch" in caught.value.what


def test_a_folder_without_a_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no such file") as caught:
        train(tmp_path / "nowhere")
    assert "is not a folder" in caught.value.cause
    with pytest.raises(RecipeError, match=r"recipe\.toml: no such file"):
        train(tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "it has no function build"),
        ("import nothing_of_that_name", "ModuleNotFoundError: No module named"),
        ("def build(:", "SyntaxError"),
        ("def build(inputs, classes):\n    return 3", "build returned a int"),
        ("def build(inputs, classes):\n    return 1 / 0", "failed, ZeroDivisionError"),
        ("def build():\n    return 1", "failed, TypeError"),
    ],
)
def test_faults_in_model_py_are_named(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_model(model(tmp_path, text))(64, 10)
    assert expected in caught.value.what
    assert "model.py" in caught.value.what


def test_a_missing_model_py_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"model\.py: no such file"):
        train(recipe(tmp_path, GOOD))

"""What a recipe takes from another model: weights, a module, an augmentation."""

from __future__ import annotations

from pathlib import Path

import pytest

from int8_recipe import MODEL, RECIPE, recipe
from spikelet.errors import UsageError
from spikelet.graph.quantised import Quantised
from spikelet.package import Package
from spikelet.train import start, train
from spikelet.train.recipe import RecipeError, load_recipe

STARTED = RECIPE.replace("epochs = 8\n", 'start = "first.spk"\nepochs = 0\n').replace(
    "epochs = 2\nlearning_rate = 1e-3", "epochs = 1\nlearning_rate = 1e-3\nbits = 4\ndistil = 0.5"
)


def test_a_package_goes_on_with_fewer_bits(tmp_path: Path) -> None:
    first = train(recipe(tmp_path / "first"))
    folder = recipe(tmp_path / "second", STARTED)
    first.save(folder / "first.spk")
    package = train(folder)
    assert {n.bits for n in package.graph.nodes if isinstance(n, Quantised)} == {4}
    began, ended = (p.manifest["integer_accuracy"] for p in (first, package))
    assert began > 0.93 and ended > began - 0.03
    # The network that it starts from, not a new one, is what it is compared with.
    assert abs(package.manifest["float_accuracy"] - began) < 0.02
    other = recipe(tmp_path / "other", STARTED, MODEL.replace("24", "20"))
    first.save(other / "first.spk")
    with pytest.raises(UsageError, match="layer 1 with weights has shapes"):
        train(other)


def test_a_start_takes_the_place_of_the_float_phase(tmp_path: Path) -> None:
    for wrong in (
        STARTED.replace("epochs = 0", "epochs = 3"),
        RECIPE.replace("epochs = 8", "epochs = 0"),
    ):
        with pytest.raises(RecipeError, match="either epochs"):
            load_recipe(recipe(tmp_path / "wrong", wrong))


def test_the_layers_of_a_shipped_model_come_from_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = RECIPE.replace("epochs = 8", "epochs = 1").replace("epochs = 2", "epochs = 0")
    shipped = recipe(tmp_path / "models" / "first", quick)
    monkeypatch.setattr(start, "models_dir", lambda: tmp_path / "models")
    first = train(shipped)
    first.save(shipped / "first.spk")
    folder = recipe(tmp_path / "second", STARTED.replace("first.spk", "first"))
    (folder / "model.py").unlink()
    package = train(folder)
    assert [n.KIND for n in package.graph.nodes] == [n.KIND for n in first.graph.nodes]
    (folder / "model.py").write_text(MODEL.replace("24", "20"))
    with pytest.raises(UsageError, match="layer 1 with weights has shapes"):
        train(folder)  # its own module comes first
    (folder / "model.py").unlink()
    (shipped / "model.py").unlink()
    with pytest.raises(RecipeError, match=r"second.model\.py: no such file"):
        train(folder)


SPIKING = """name = "spiking"
[data]
name = "digits"
[spiking]
steps = 3
[train]
epochs = 2
batch = 64
learning_rate = 1e-2
[quantise]
epochs = 0
"""
LAYERS = """from spikelet.train.spiking import Builder

def build(shape, classes, hidden=16):
    net = Builder(shape)
    return net.network(net.linear(net.lif(net.linear(net.input, hidden)), classes))

def wide(shape, classes):
    return build(shape, classes, 24)
"""


def _weights(package: Package) -> list[list[int]]:
    nodes = [n.arrays()["weight"] for n in package.graph.nodes if "weight" in n.arrays()]
    return [weight.tolist() for weight in nodes]


def test_a_recipe_names_the_module_of_another(tmp_path: Path) -> None:
    first = recipe(tmp_path / "first", SPIKING, LAYERS)
    second = recipe(tmp_path / "second", 'model = "../first"\n' + SPIKING)
    with pytest.raises(RecipeError, match=r"model = '../first', but there is a model.py beside"):
        train(second)
    (second / "model.py").unlink()
    made, same = train(first), train(second)
    assert _weights(same) == _weights(made)
    (second / "recipe.toml").write_text('model = "../first"\nbuild = "wide"\n' + SPIKING)
    assert [len(codes) for codes in _weights(train(second))] == [24, 10]
    (second / "recipe.toml").write_text('model = "../first"\nbuild = "deep"\n' + SPIKING)
    with pytest.raises(RecipeError, match="it has no function deep"):
        train(second)
    (second / "recipe.toml").write_text('model = "../third"\n' + SPIKING)
    with pytest.raises(RecipeError, match=r"no model '../third' with a model.py"):
        train(second)


@pytest.mark.parametrize("spiking", [True, False])
def test_a_recipe_names_the_augmentation_of_another(tmp_path: Path, spiking: bool) -> None:
    """Which says that all samples are zeros: nothing can be learned."""
    recipe(tmp_path / "other", model="def augment(x, y):\n    return 0 * x, y\n")
    text, layers = (SPIKING, LAYERS) if spiking else (RECIPE, MODEL)
    folder = recipe(tmp_path / "own", 'augment = "../other"\n' + text, layers)
    assert train(folder).manifest["integer_accuracy"] < 0.2
    assert start.module_files(folder) == [folder / "model.py", folder / "../other/model.py"]
    (folder / "../other/model.py").write_text(LAYERS)
    with pytest.raises(RecipeError, match="it has no function augment"):
        train(folder)

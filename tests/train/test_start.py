"""A recipe that starts from a package's weights, and one that learns from the float network."""

from __future__ import annotations

from pathlib import Path

import pytest

from int8_recipe import MODEL, RECIPE, recipe
from spikelet.errors import UsageError
from spikelet.graph.quantised import Quantised
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

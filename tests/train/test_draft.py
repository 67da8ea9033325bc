"""Drafts: the threshold, the networks it chooses between, and a recipe that makes one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from int8_recipe import RECIPE, recipe
from spikelet.graph import GraphError
from spikelet.graph.quantised import Quantised
from spikelet.graph.widths import EFFORT, at_width
from spikelet.package import Package
from spikelet.train import train
from spikelet.train.draft import calibrate, drafted, judge
from spikelet.train.recipe import RecipeError, load_recipe
from targets import check_package
from width_graphs import inputs_of, nested, plain

DRAFT = RECIPE.replace("epochs = 2\nlearning_rate = 1e-3", """epochs = 3
learning_rate = 2e-3
widths = [8, 1]
draft = 0.9""").replace('name = "digits"', 'name = "digits"\nheld_out = 0.2')  # fmt: skip


def scores() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of a draft, of a better network, and labels."""
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 5, 600)
    sure = 20.0 * np.eye(5)[labels]
    draft, whole = (
        np.rint(sure + rng.normal(0, noise, (600, 5))).astype(np.int64) for noise in (9, 6)
    )
    return draft, whole, labels


def test_the_smallest_lead_that_keeps_the_gain_is_found() -> None:
    draft, whole, labels = scores()
    found = calibrate(draft, whole, labels, 0.9)
    assert found.whole > found.draft + 0.05 and found.gain >= 0.9 and 0 < found.unsure < 0.6
    below = [judge(draft, whole, labels, lead).gain for lead in range(found.lead)]
    assert max(below) < 0.9
    nothing = calibrate(whole, draft, labels, 0.9)
    assert (nothing.lead, nothing.unsure) == (0, 0.0)


def test_a_width_is_taken_out_as_it_was_put_in() -> None:
    graph = nested()
    given = {k: v for k, v in inputs_of(graph, 6).items() if k != EFFORT}
    for width in (8, 4, 2, 1):
        one = at_width(graph, width)
        assert [n.name for n in one.order] == [n.name for n in plain().order]
        assert np.array_equal(
            one.run(given).outputs["scores"], plain(width).run(given).outputs["scores"]
        )
    with pytest.raises(GraphError, match=r"no width of 3 bits, there are \[1, 2, 4, 8\]"):
        at_width(graph, 3)


def test_a_package_of_widths_answers_in_one_bit_where_that_is_sure(tmp_path: Path) -> None:
    graph = nested((8, 1))
    given = inputs_of(graph, 60)
    x = {"x": given["x"]}
    whole = plain(8).run(x).outputs["scores"]
    package = Package(graph, given, {"name": "nested"}).with_golden()
    made = drafted(package, x, whole.argmax(axis=1), 0.9)
    told = made.manifest["draft"]
    outputs = made.graph.run(x).outputs
    unsure = outputs["unsure"][:, 0] == 1
    assert 0 < told["unsure"] == unsure.mean() < 1
    draft = plain(1).run(x).outputs["scores"]
    assert np.array_equal(outputs["scores"], np.where(unsure[:, None], whole, draft))
    few = {name: values[:8] for name, values in made.vectors.items()}
    check_package("rv32-gcc-qemu", Package(made.graph, few, {}).with_golden(), tmp_path)


def test_a_recipe_with_a_draft(tmp_path: Path) -> None:
    package = train(recipe(tmp_path / "digits_cnn", DRAFT))
    told = package.manifest["draft"]
    assert told["joined"] >= told["draft"] and package.manifest["integer_accuracy"] > 0.85
    assert package.graph.outputs[1] == "unsure" and EFFORT not in package.inputs
    layers = [node for node in package.graph.nodes if isinstance(node, Quantised)]
    assert [node.bits for node in layers] == [1] * 4 + [8] * 4  # planes of their own
    draft, whole = layers[:4], layers[4:]
    assert all(np.array_equal(a.weight, b.weight >> 7) for a, b in zip(draft, whole, strict=True))
    for wrong, said in (("[8, 4]", "1 and 8"), ("[4, 1]", "1 and 8")):
        folder = recipe(tmp_path / "wrong", DRAFT.replace("[8, 1]", wrong))
        with pytest.raises(RecipeError, match=said):
            load_recipe(folder)
    folder = recipe(tmp_path / "none", DRAFT.replace("held_out = 0.2", ""))
    with pytest.raises(RecipeError, match="held out"):
        load_recipe(folder)

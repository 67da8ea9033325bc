"""A recipe of one store of weights at several widths: trained on digits, run on devices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from int8_recipe import RECIPE, recipe
from spikelet.graph.quantised import Quantised
from spikelet.graph.widths import EFFORT, at_width
from spikelet.package import Package
from spikelet.train import train
from spikelet.train.recipe import RecipeError, load_recipe
from spikelet.train.recipe_figures import markdown, measure_package
from spikelet.train.widths import drawn
from targets import check_package

JOINT = RECIPE.replace("epochs = 2\nlearning_rate = 1e-3", """epochs = 3
learning_rate = 2e-3
widths = [8, 4, 2, 1]""")  # fmt: skip


def test_one_store_serves_all_widths(tmp_path: Path) -> None:
    package = train(recipe(tmp_path / "digits_cnn", JOINT))
    by_bits = package.manifest["accuracy_by_bits"]
    assert list(by_bits) == ["8", "4", "2", "1"] and min(by_bits.values()) > 0.85
    assert package.manifest["integer_accuracy"] == by_bits["8"] > 0.93
    layers: dict[str, list[Quantised]] = {}
    for node in package.graph.nodes:
        if isinstance(node, Quantised):
            layers.setdefault(node.name.rpartition("_")[0], []).append(node)
    for own in layers.values():
        assert [node.upper for node in own] == [8, 4, 2, 1]
        assert all(np.array_equal(node.weight, own[0].weight) for node in own)
    package.save(tmp_path / "widths.spk")
    row = measure_package(Package.load(tmp_path / "widths.spk"))  # the README's figures
    assert row.weight_bytes == sum(own[0].weight.size for own in layers.values())
    assert (row.integer_accuracy, row.manifest["accuracy_by_bits"]) == (by_bits["8"], by_bits)
    assert row.macs == sum(node.cost().macs for node in at_width(package.graph, 8).nodes)
    assert f"8 bit {by_bits['8']:.4f}" in markdown([row])
    assert np.unique(package.inputs[EFFORT]).tolist() == [1, 2, 4, 8]
    few = {name: values[:8] for name, values in package.vectors.items()}
    small = Package(package.graph, few, {}).with_golden()
    check_package("rv32-gcc-qemu", small, tmp_path)


@pytest.mark.parametrize(("narrowest", "share"), [(None, 1 / 2), (2, 2 / 5), (1, 1 / 4)])
def test_the_narrowest_width_is_drawn_as_often_as_asked(
    narrowest: int | None, share: float
) -> None:
    torch.manual_seed(0)
    nets = [nn.Identity() for _ in range(4)]
    counts = np.zeros(4)
    for _ in range(2000):
        (net,) = drawn(nets, narrowest)
        counts[nets.index(net)] += 1
    wanted = [(1 - share) / 3] * 3 + [share]
    np.testing.assert_allclose(counts / 2000, wanted, atol=0.04)


def test_a_width_that_there_is_not_is_refused(tmp_path: Path) -> None:
    folder = recipe(tmp_path / "digits_cnn", JOINT.replace("[8, 4, 2, 1]", "[8, 3]"))
    with pytest.raises(RecipeError, match="widths"):
        load_recipe(folder)

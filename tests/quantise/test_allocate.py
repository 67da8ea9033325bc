"""Bits a layer under a budget: the search, the criteria, and a package that runs."""

from __future__ import annotations

import dataclasses
import itertools
import operator
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from spikelet.errors import UsageError
from spikelet.graph.quantised import Quantised
from spikelet.package import Package
from spikelet.paths import models_dir
from spikelet.quantise.allocate import Choice, least_error, random_widths
from spikelet.quantise.narrow import input_means, narrow, narrowable
from spikelet.run.allocation import Allocation, Budget, allocate
from spikelet.streams import package_stream
from targets import check_package

WIDTHS = (8, 4, 2, 1)


def package() -> Package:
    """A trained network of signals whose pointwise and dense layers can be narrowed."""
    return Package.load(models_dir() / "har_cnn" / "har_cnn.spk")


@pytest.mark.parametrize("join", [operator.add, max])
def test_no_other_widths_within_the_budget_err_less(join: Callable[[int, int], int]) -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        layers = [
            [Choice(w, int(rng.integers(1, 60)), float(rng.random())) for w in WIDTHS]
            for _ in range(4)
        ]
        budget = int(rng.integers(20, 160))
        found = least_error(layers, budget, join)
        best = None
        for way in itertools.product(*layers):
            cost = 0
            for choice in way:
                cost = join(cost, choice.cost)
            error = sum(c.error for c in way)
            if cost <= budget and (best is None or error < best[0]):
                best = error, tuple(c.bits for c in way)
        assert found == (best and best[1])


def test_random_widths_leave_no_layer_room_for_more() -> None:
    rng = np.random.default_rng(4)
    layers = [[Choice(w, 10 * w, 0.0) for w in WIDTHS] for _ in range(5)]
    drawn = {random_widths(layers, 205, operator.add, rng) for _ in range(20)}
    assert len(drawn) > 5
    for bits in drawn:
        spent = 10 * sum(bits)
        rises = [2 * b - b for b in bits if b < 8]
        assert spent <= 205 and all(spent + 10 * rise > 205 for rise in rises)


def test_a_narrow_layer_says_nearly_the_same_and_a_silent_channel_stays_silent() -> None:
    graph = package().graph
    inputs = {name: values[:40] for name, values in package().inputs.items()}
    node = next(n for n in graph.nodes if n.name == "conv1d_2_1_0")
    assert isinstance(node, Quantised)
    weight = node.weight.copy()
    weight[3] = 0
    nodes = list(graph.nodes)
    nodes[nodes.index(node)] = dataclasses.replace(node, weight=weight)
    graph = dataclasses.replace(graph, nodes=nodes)
    means = input_means(graph, inputs)
    before = graph.run(inputs, trace=True).trace[node.name].astype(int)
    noises = []
    for bits in (4, 2, 1):
        made = narrow(graph, {node.name: bits}, means)
        after = made.run(inputs, trace=True).trace[node.name].astype(int)
        assert np.abs(after - before)[..., 3].max() <= 1
        # The bias takes the mean error; ReLU behind it lets a rest through.
        assert abs((after - before).mean()) < {4: 0.5, 2: 2, 1: 6}[bits]
        noises.append(float(((after - before) ** 2).mean() / before.var()))
    assert noises == sorted(noises) and noises[0] < 0.02


@pytest.fixture(scope="module")
def found() -> Allocation:
    whole = package()
    return allocate(whole, Budget.of("flash=62%"), package_stream(whole))


def test_a_budget_of_flash_is_kept_and_beats_chance(found: Allocation) -> None:
    whole, *chosen, control = found.ways
    assert found.measured <= found.limit == int(0.62 * whole.cost)
    assert [way.criterion for way in chosen] == ["error", "hessian", "information"]
    assert found.chosen.noise == min(way.noise for way in chosen) < control.noise / 3
    assert found.chosen.weight_bits < 0.6 * whole.weight_bits
    assert whole.accuracy is not None and found.chosen.accuracy is not None
    assert found.chosen.accuracy > whole.accuracy - 0.04
    rows = {row["name"]: row for row in found.layers}
    assert set(rows) == {node.name for node in narrowable(package().graph)}
    nodes = {node.name: node for node in found.package.graph.nodes}
    for name, row in rows.items():
        node = nodes[name]
        assert isinstance(node, Quantised) and node.bits == row["bits"]
        assert row["cost"][8] > row["cost"][4] > row["cost"][2] > row["cost"][1]


def test_layers_of_several_widths_run(found: Allocation, tmp_path: Path) -> None:
    made = found.package
    assert len(set(made.manifest["allocation"]["bits"].values())) > 1
    few = {name: values[:4] for name, values in made.vectors.items()}
    check_package("rv32-gcc-qemu", Package(made.graph, few, {}).with_golden(), tmp_path)


def test_what_cannot_be_had_is_said() -> None:
    whole = package()
    for text in ("flash", "rom=3k", "flash=0", "flash=x", "instructions=-2M"):
        with pytest.raises(UsageError, match="flash, ram or instructions"):
            Budget.of(text)
    assert Budget.of("instructions=2.5M").within(9) == 2_500_000
    samples = package_stream(whole)
    with pytest.raises(UsageError, match="no widths take 100 bytes of constants"):
        allocate(whole, Budget.of("flash=100"), samples, criterion="information")
    with pytest.raises(UsageError, match="without a board"):
        allocate(whole, Budget.of("instructions=90%"), samples)

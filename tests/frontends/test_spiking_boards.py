"""Every class of neurons with every convention behind every kind of synapses, on each target.

An image holds few networks: it compiles quickly, and a sample takes a fraction of a second, however
busy the machine is.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import spiking_combinations as made

import spikelet.frontends.spiking
from once import Once
from spikelet.frontends.spiking import network
from spikelet.frontends.spiking.network import Layer, Rule
from spikelet.graph import Graph, Operator
from spikelet.graph.ops.leaky_readout import LeakyReadout
from spikelet.graph.ops.lif import Lif
from spikelet.graph.ops.one_to_one import OneToOne
from spikelet.package import Package
from targets import EVERY, check_package, make_package

SAMPLES = 3
# Networks of an image: what is compiled for a core takes more than twice as long for twice as many,
# to link sanitisers takes half a second.
AT_ONCE, SANITISED_AT_ONCE = 10, 21
CONVENTIONS, PROGRAMS = "all conventions", "all programs"
TARGETS = ["native-gcc-sanitized", "rv32-zig-unicorn", "m4-gcc-qemu"]
# These compile slowly: of synapses a few kinds.
MORE_TARGETS = ["rv32-gcc-qemu", "m0-gcc-qemu"]
MORE_KINDS = ["dense", "values"]
on_each_target = pytest.mark.parametrize("target", [*TARGETS, *MORE_TARGETS])


def packages(graphs: list[Graph], at_once: int) -> list[Package]:
    """Few graphs in each, with golden's results."""
    images = -(-len(graphs) // at_once)
    return [
        make_package(made.joined(graphs[number::images], "combinations"), SAMPLES)
        for number in range(images)
    ]


def check(target: str, graphs: list[Graph], folder: Path) -> None:
    sanitised = EVERY[target][3]
    for number, package in enumerate(packages(graphs, SANITISED_AT_ONCE if sanitised else AT_ONCE)):
        check_package(target, package, folder / str(number))


@pytest.fixture(scope="session")
def graphs_of(once: Once) -> Callable[[str], list[Graph]]:
    """Graphs of a kind of synapses, of all conventions or of all programs, made once for all."""

    every = {
        CONVENTIONS: lambda: made.convention_graphs()[0],
        PROGRAMS: made.program_graphs,
        **{kind: functools.partial(made.class_graphs, kind) for kind in made.SYNAPSES},
    }
    return lambda what: once(f"spiking-{what}", lambda _: list(every[what]().values()))


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "target"),
    [*itertools.product(made.SYNAPSES, TARGETS), *itertools.product(MORE_KINDS, MORE_TARGETS)],
)
def test_every_class_behind_every_synapse(
    kind: str, target: str, graphs_of: Callable[[str], list[Graph]], tmp_path: Path
) -> None:
    check(target, graphs_of(kind), tmp_path)


@pytest.mark.long
@on_each_target
def test_every_convention(
    target: str, graphs_of: Callable[[str], list[Graph]], tmp_path: Path
) -> None:
    check(target, graphs_of(CONVENTIONS), tmp_path)


@pytest.mark.long
@on_each_target
def test_every_program(
    target: str, graphs_of: Callable[[str], list[Graph]], tmp_path: Path
) -> None:
    check(target, graphs_of(PROGRAMS), tmp_path)


def test_programs_keep_the_weights_of_neurons_to_themselves() -> None:
    """Beside weights on values of 8 bits: a spike weighs as much as the threshold."""
    graph = made.program_graphs()["rleaky_loop, exact"]
    nodes = {node.name: node for node in graph.order}
    own, shifted, neurons = nodes["lif1_own"], nodes["lif1_all_1"], nodes["lif1"]
    assert isinstance(own, OneToOne)
    assert isinstance(shifted, LeakyReadout)
    assert isinstance(neurons, Lif)
    weight = own.weight.astype(np.int64) << shifted.input_shift
    assert weight.min() > 1 << 15
    np.testing.assert_allclose(weight << neurons.input_shift, neurons.threshold, rtol=2.0**-13)


def subclasses(base: type) -> Iterator[type]:
    for each in base.__subclasses__():
        yield each
        yield from subclasses(each)


def lowered_to() -> set[type[Operator]]:
    """Operators that the modules of `frontends.spiking` know."""
    package = spikelet.frontends.spiking
    names = [info.name for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")]
    return {
        value
        for name in names
        for value in vars(importlib.import_module(name)).values()
        if isinstance(value, type) and issubclass(value, Operator) and value is not Operator
    }


@pytest.mark.long
def test_all_that_exists_is_among_them() -> None:
    first = next(iter(made.classes().values()))
    some = {kind: made.with_synapse(first, kind, 1.0) for kind in made.SYNAPSES}
    layers = {type(layer) for each in some.values() for layer in each.layers}
    assert layers == {each for each in subclasses(Layer) if each.__module__ == network.__name__}
    graphs = [
        made.lowered(each, made.SYNAPSES[kind].encoder, False, made.SYNAPSES[kind].gather)
        for kind, each in some.items()
    ]
    conventions, refused = made.convention_graphs()
    # Several spikes a step need a subtracting reset in it, adapting thresholds any reset in it.
    assert all("several" in name or "adapts threshold" in name for name in refused)
    assert not any("subtract same_step" in name for name in refused)
    graphs += [*made.class_graphs("dense").values(), *conventions.values()]
    assert {type(node) for graph in graphs for node in graph.nodes} >= lowered_to()
    late = [n for graph in graphs for n in graph.nodes if isinstance(n, made.DelayedDense)]
    assert {node.gather for node in late} == {False, True}


def test_conventions_are_all_that_a_rule_can_say() -> None:
    rules = list(made.conventions().values())
    for name, known in (
        ("compare", network.Compare), ("reset", network.Reset), ("timing", network.Timing),
        ("adapts", network.Adapts),
    ):  # fmt: skip
        assert {getattr(rule, name) for rule in rules} == set(get_args(known))
    for field in fields(Rule):
        said = {str(getattr(rule, field.name)) for rule in rules}
        assert len(said) > 1, field.name

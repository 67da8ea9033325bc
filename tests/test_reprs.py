"""What is shown of a thing that holds arrays: one short line, whatever it holds."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from cli_support import small_graph, small_package
from spikelet.graph import Graph, Learned, Operator
from spikelet.graph.operator import operators
from spikelet.quantise import Network, Node
from spikelet.streams import package_stream
from spikelet.text import BRIEF, brief


def test_graph_and_package_say_what_goes_in_and_comes_out() -> None:
    package = small_package()
    said = "small: x u8 (12,) -> label i32 (1,), counts i16 (4,); 6 operators, 6 time steps"
    assert repr(package.graph) == f"<Graph {said}>"
    assert repr(package) == f"<Package {said}; 24 samples>"


def test_an_operator_shows_its_fields_and_no_weights() -> None:
    fc1 = small_graph().nodes[0]
    assert repr(fc1).startswith("Dense(name='fc1', inputs=('x',), weight=<int8 (10, 12)>")
    assert "\n" not in repr(fc1)


@pytest.mark.parametrize("kind", sorted(operators()))
def test_no_operator_prints_its_arrays(kind: str) -> None:
    assert operators()[kind].__repr__ is Operator.__repr__


def test_other_holders_of_arrays_are_brief() -> None:
    package = small_package()
    many = np.zeros((300, 300), np.float32)
    network = Network("n", {"x": (1, 300)}, ["y"], [Node("Gemm", "y", ("x", "w"))], {"w": many})
    shown = [
        package_stream(package),
        package.graph.run(package.inputs, trace=True),
        Learned.of("learned", "f32", (300, 300), many),
        network,
    ]
    for thing in shown:
        fields = len(dataclasses.fields(thing))
        assert "\n" not in repr(thing) and len(repr(thing)) < fields * (BRIEF + 20)
    assert "<float32 (300, 300)>" in repr(shown[2]) and "'w': <float32" in repr(network)


def test_brief_cuts_what_is_long() -> None:
    assert brief("a" * 300) == "'" + "a" * (BRIEF - 4) + "..."
    assert brief([np.zeros(3, np.int8)]) == "[<int8 (3,)>]"
    assert brief(Graph) == repr(Graph)

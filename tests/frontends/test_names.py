"""Names of layers: the module's own where C and the link can carry them."""

from __future__ import annotations

from collections import OrderedDict

import pytest

torch = pytest.importorskip("torch")
snn = pytest.importorskip("snntorch")

from spikelet.frontends.snntorch import export  # noqa: E402


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("fc1", "lif1"), ("fc1", "lif1")),
        (("t", "arena"), ("t", "arena")),
        (("head__weights", "w" * 60), ("head_weights", "lif1")),
        (("x", "counts"), ("x_2", "counts_2")),
    ],
)
def test_names_are_kept_where_they_can_be(
    names: tuple[str, str], expected: tuple[str, str]
) -> None:
    layers = OrderedDict(zip(names, (torch.nn.Linear(4, 3), snn.Leaky(beta=0.9)), strict=True))
    graph = export(torch.nn.Sequential(layers), steps=2)
    found = [node.name for node in graph.nodes]
    assert tuple(found[:2]) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("out", ("out_current", "out")),
        ("w" * 26, ("lif1_current", "lif1")),
        ("syn", ("syn_current", "syn")),
    ],
)
def test_a_synaptic_current_has_a_name_of_its_own(name: str, expected: tuple[str, str]) -> None:
    layers = OrderedDict(fc=torch.nn.Linear(4, 3))
    layers[name] = snn.Synaptic(alpha=0.8, beta=0.9)
    graph = export(torch.nn.Sequential(layers), steps=2)
    assert tuple(node.name for node in graph.nodes[1:3]) == expected

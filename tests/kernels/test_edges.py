"""Kernels at the ends of what operators admit, sanitised: no shift or index leaves its range."""

from __future__ import annotations

from pathlib import Path

import pytest

import edge_graphs
from spikelet.graph.operator import operators
from spikelet.package import Package
from targets import ARM_TARGETS, RV32E_TARGETS, TARGETS, check_package


def test_every_kind_has_a_case() -> None:
    covered = {node.KIND for name in edge_graphs.GROUPS for node in edge_graphs.edges(name).nodes}
    kinds = {k for k, v in operators().items() if v.__module__.startswith("spikelet.graph.ops.")}
    assert kinds - covered == {"previous"}  # which is none without a later operator


def equal_at_the_edges(target: str, name: str, folder: Path) -> None:
    for number, graph in enumerate(edge_graphs.edges(name).graphs(name)):
        package = Package(graph, edge_graphs.end_inputs(graph), {}).with_golden()
        check_package(target, package, folder / str(number))


@pytest.mark.parametrize("steps", [1, 3])
def test_some_of_each_are_exact_at_their_edges(steps: int, tmp_path: Path) -> None:
    graph = edge_graphs.some(steps)
    package = Package(graph, edge_graphs.end_inputs(graph), {}).with_golden()
    check_package("native-gcc-sanitized", package, tmp_path)


# Each core of Arm and each RV32E with one of its two compilers, from group to group the other.
PAIRS = list(zip(*[iter([*ARM_TARGETS, *RV32E_TARGETS])] * 2, strict=True))
EDGES = [
    (target, name)
    for number, name in enumerate(edge_graphs.GROUPS)
    for target in [*TARGETS, *(pair[(i + number) % 2] for i, pair in enumerate(PAIRS))]
]


@pytest.mark.long
@pytest.mark.parametrize(("target", "name"), EDGES)
def test_kernels_are_exact_at_their_edges_everywhere(
    target: str, name: str, tmp_path: Path
) -> None:
    equal_at_the_edges(target, name, tmp_path)

"""`--arena` on the command line: bands where they are needed, refusal with figures."""

from __future__ import annotations

from pathlib import Path

import plan_graphs
from cli_support import Spikelet
from spikelet.codegen import plan
from spikelet.graph import Graph
from spikelet.graph.target import Target
from support import need
from targets import make_package


def model(folder: Path) -> tuple[Path, Graph]:
    graph = plan_graphs.two_convolutions()
    path = folder / "two.spk"
    make_package(graph, 2).save(path)
    return path, graph


def test_run_stays_within_the_arena_bit_for_bit(spikelet: Spikelet, tmp_path: Path) -> None:
    need("gcc")
    path, graph = model(tmp_path)
    whole = plan(graph).size
    words = ("-b", "native", "--toolchain", "gcc", "--layers", "--session", tmp_path / "s")
    result = spikelet("run", path, *words, "--arena", whole * 4 // 5, "--json")
    assert result.code == 0
    assert result.json["mismatches"] == 0
    assert result.json["build"]["arena_bytes"] <= whole * 4 // 5
    assert "bands of rows" in result.err and "more multiply-accumulates" in result.err


def test_an_arena_that_is_too_small_is_refused(spikelet: Spikelet, tmp_path: Path) -> None:
    path, graph = model(tmp_path)
    result = spikelet("build", path, "-b", "native", "--arena", 100, "--json")
    assert result.code == 2
    what = result.json["error"]["what"]
    assert f"an arena of 100 bytes is too small: it takes {plan(graph).size}" in what


def test_inspect_shows_the_plan_of_a_board(spikelet: Spikelet, tmp_path: Path) -> None:
    path, graph = model(tmp_path)
    result = spikelet("inspect", path, "--board", "mps3-an547", "--json")
    wanted = plan(graph, Target.parse("armv8.1-m.main+mve"))
    found = result.json["arena_bytes"], result.json["arena_bound_bytes"]
    assert found == (wanted.size, wanted.bound)

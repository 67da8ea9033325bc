"""`spikelet compare`: real sessions and packages, and every bar that can be met or missed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from cli_support import HIDDEN, INPUTS, Spikelet, serve, small_package, wrong_image
from spikelet.errors import UsageError
from spikelet.graph import Graph
from spikelet.graph.ops.dense import Dense
from spikelet.package import Package
from spikelet.run.compare_sides import _KNOWN, FIGURES, Bar, Side, compare_sides
from support import need


def side(name: str, **figures: float) -> Side:
    return Side(name, "session", {}, {**dict.fromkeys(FIGURES), **figures})


@pytest.mark.quick
@pytest.mark.parametrize(
    ("bar", "before", "limit", "missed"),
    [
        ("ram>+5%", 1000, 1050, {1050: False, 1051: True, 900: False}),
        ("ram>=+5%", 1000, 1050, {1050: True, 1049: False}),
        (" ram > +50 ", 1000, 1050, {1050: False, 1051: True}),
        ("ram<-10%", 1000, 900, {900: False, 899: True}),
        ("ram>1050", None, 1050, {1050: False, 1051: True}),
        ("mismatches>+5%", 0, 0, {0: False, 1: True}),
        ("accuracy<-0.5", 95.3, 94.8, {94.8: False, 94.79: True, 96: False}),
        ("accuracy<-0.5%", 95.3, 94.8, {94.8: False, 94.79: True}),
        ("accuracy<=95%", None, 95, {95: True, 95.1: False}),
        ("flash>=.5", None, 0.5, {0: False, 1: True}),
    ],
)
def test_a_bar(bar: str, before: float | None, limit: float, missed: dict[float, bool]) -> None:
    parsed = Bar.parse(bar)
    a = side("A") if before is None else side("A", **{parsed.figure: before})
    for value, is_missed in missed.items():
        judged = parsed.judge(a, side("B", **{parsed.figure: value}))
        assert judged["missed"] is is_missed and judged["limit"] == pytest.approx(limit)


def test_a_difference_below_the_step_of_a_count_is_none() -> None:
    def ran(instructions: float, step: float) -> Side:
        return dataclasses.replace(
            side("S", instructions=instructions), known={"instructions_per_tick": step}
        )

    bar = Bar.parse("instructions>+0")
    for after, step, missed in ((4600, 40, False), (4619.5, 40, False), (4620, 40, True)):
        assert bar.judge(ran(4580, 1), ran(after, step))["missed"] is missed
        assert bar.judge(ran(4580, step), ran(after, 1))["missed"] is missed
    assert bar.judge(ran(4580, 1), ran(4581, 1))["missed"]
    assert Bar.parse("instructions>4600").judge(ran(4580, 40), ran(4601, 40))["missed"]


@pytest.mark.parametrize(
    ("bar", "why"),
    [
        ("ram", "not FIGURE>NUMBER"),
        ("ram>+5%>", "not FIGURE>NUMBER"),
        ("ram==5", "not FIGURE>NUMBER"),
        ("ram>+1e9", "not FIGURE>NUMBER"),
        ("ram>nan", "not FIGURE>NUMBER"),
        ("rom>5", "no figure is called rom"),
        ("ram>5%", "5 % of what"),
    ],
)
def test_what_is_no_bar(bar: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        Bar.parse(bar)
    assert caught.value.next


def test_an_unknown_figure_is_no_met_bar() -> None:
    with pytest.raises(UsageError, match="cycles is not known of A") as caught:
        Bar.parse("cycles>+5%").judge(side("A", ram=1), side("B", cycles=5, ram=2))
    assert caught.value.next == "known of both: ram"
    with pytest.raises(UsageError, match="cycles is not known of B"):
        Bar.parse("cycles>5").judge(side("A"), side("B"))


def wider(package: Package) -> Package:
    """The same network with twice the hidden neurons, under other names of layers."""
    graph = package.graph
    rng = np.random.default_rng(8)
    nodes = []
    for node in graph.nodes:
        if isinstance(node, Dense):
            rows = 2 * HIDDEN if node.name == "fc1" else node.weight.shape[0]
            columns = INPUTS if node.name == "fc1" else 2 * HIDDEN
            weight = rng.integers(-90, 100, (rows, columns)).astype(np.int8)
            node = dataclasses.replace(node, weight=weight)
        nodes.append(node)
    made = Graph(graph.name, graph.steps, graph.inputs, nodes, graph.outputs)
    vectors = {"x": package.vectors["x"], "y": package.vectors["y"]}
    return Package(made, vectors, {**package.manifest, "integer_accuracy": 0.5}).with_golden()


def test_two_benches(spikelet: Spikelet, package: Path) -> None:
    need("zig")
    wider(small_package()).save(Path("wider.spk"))
    bench = ("-b", "virt-rv32", "--limit", 3, "--json")
    a = spikelet("bench", package, *bench, "--session", "a").json
    b = spikelet("bench", "wider.spk", *bench, "--session", "b").json
    bars = ("--fail-if", "ram>+5%", "--fail-if", "flash>+200%", "--fail-if", "mismatches>0")
    result = spikelet("compare", "a", "b", *bars, "--json")
    found = result.json
    assert result.code == 1
    assert [bar["missed"] for bar in found["bars"]] == [True, False, False]
    assert result.err.startswith("missed ram>+5%: ram is ")
    assert found["figures"]["instructions"] == {
        "a": a["instructions_per_inference"],
        "b": b["instructions_per_inference"],
        "change": b["instructions_per_inference"] - a["instructions_per_inference"],
    }
    assert found["figures"]["ram"]["a"] == a["ram_bytes"]
    (layer,) = [row for row in found["layers"] if row["name"] == "fc1"]
    before, after = (r for side in (a, b) for r in side["layers"] if r["name"] == "fc1")
    assert layer["instructions"]["a"] == before["ticks"] < layer["instructions"]["b"]
    assert layer["flash"]["change"] == after["flash_bytes"] - before["flash_bytes"] > 0
    assert layer["in"] == ["a", "b"]
    assert found["differs"] == ["package_sha256"]
    shown = spikelet("compare", "a", "b", "--fail-if", "ram<1")
    assert shown.code == 0 and "layers that differ" in shown.out and "fc1" in shown.out
    same = spikelet("compare", "a", "a")
    assert same.code == 0 and "no figure of a layer differs" in same.out
    again = spikelet("bench", package, *bench, "--session", "a")
    assert again.code == 0
    kept = spikelet("compare", "a.1", "a", "--fail-if", "instructions>+0", "--json")
    assert (kept.code, kept.json["missed"]) == (0, 0)


def test_differences_are_counted_by_layer(spikelet: Spikelet, package: Path) -> None:
    loaded = Package.load(package)
    wrong = wrong_image(
        loaded.graph, loaded.sha256, Path("wrong"), "    spk_lif(&lif1_config,",
        "    struct spk_lif wrong = lif1_config;\n    wrong.leak = 29000;\n    spk_lif(&wrong,",
    )  # fmt: skip
    run = ("run", package, "-b", "native", "--layers", "--limit", 3)
    assert spikelet(*run, "--session", "a").code == 0
    with serve(wrong) as (url, _):
        assert spikelet(*run, "--session", "b", "--port", url).code == 1
    result = spikelet("compare", "a", "b", "--fail-if", "mismatches>0", "--json")
    assert result.code == 1 and "missed mismatches>0: mismatches is" in result.err
    named = {layer["name"]: layer["named"]["b"] for layer in result.json["layers"]}
    assert named["lif1"] > 0 and result.json["figures"]["mismatches"]["a"] == 0
    assert {"port", "machine"} <= set(result.json["differs"])


def test_two_packages(spikelet: Spikelet, package: Path) -> None:
    wider(small_package()).save(Path("wider.spk"))
    bars = ("--fail-if", "accuracy<-1", "--fail-if", "flash>+1000")
    result = spikelet("compare", package, "wider.spk", *bars, "--json")
    found = result.json
    assert (result.code, found["missed"]) == (1, 1)
    assert found["figures"]["accuracy"] == {"a": 87.5, "b": 50.0, "change": -37.5}
    assert found["figures"]["mismatches"]["a"] is None
    assert found["figures"]["bits"] == {"a": 8, "b": 8, "change": 0}
    on = spikelet("compare", package, "wider.spk", "--board", "virt-rv32", "--json").json
    assert on["a"]["board"] == "virt-rv32"
    for bad, why in (
        (("--fail-if", "mismatches>0"), "mismatches is not known"),
        (("--board", "nativ"), "no board is called"),
    ):
        refused = spikelet("compare", package, "wider.spk", *bad, "--json")
        assert refused.code == 2 and why in refused.json["error"]["what"]


def test_other_samples_have_no_difference_in_accuracy() -> None:
    a, b = (
        dataclasses.replace(side(name, accuracy=accuracy), known=dict.fromkeys(_KNOWN))
        for name, accuracy in (("A", 90.0), ("B", 95.0))
    )
    assert compare_sides(a, b, [])["figures"]["accuracy"]["change"] == 5.0
    for key, value in (("samples", 3), ("data_sha256", "0" * 64)):
        other = dataclasses.replace(b, known={**b.known, key: value})
        figures = compare_sides(a, other, [])["figures"]["accuracy"]
        assert figures == {"a": 90.0, "b": 95.0, "change": None}
        with pytest.raises(UsageError, match="ran other samples"):
            compare_sides(a, other, [Bar.parse("accuracy<-0.5")])
        assert compare_sides(a, other, [Bar.parse("accuracy<90")])["missed"] == 0


def test_what_cannot_be_compared(spikelet: Spikelet, package: Path) -> None:
    spikelet("run", package, "-b", "native", "--limit", 2, "--session", "s")
    for words, why in (
        (("s", package), "s is a session"),
        (("s", "gone"), "gone"),
        (("s", "s", "--board", "native"), "is a session, which ran on a board"),
    ):
        refused = spikelet("compare", *words, "--json")
        assert refused.code == 2 and why in refused.json["error"]["what"]
    text = Path("s/session.json").read_text()
    Path("s/session.json").write_text(text.replace('"complete": true', '"complete": false'))
    refused = spikelet("compare", "s", "s", "--json")
    assert refused.code == 2 and "is not complete" in refused.json["error"]["what"]

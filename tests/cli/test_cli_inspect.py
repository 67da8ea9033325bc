"""`spikelet inspect` of networks of few bits: bits, flash and cost by layer and by width."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli_support import Spikelet
from spikelet.package import Package
from support import need
from width_graphs import WIDTHS, inputs_of, nested

MACS = 8 * 30 * 27 + 5 * 240


@pytest.fixture(scope="module")
def widths(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("widths") / "nested.spk"
    graph = nested()
    Package(graph, inputs_of(graph, 4), {}).with_golden().save(path)
    return path


def test_bits_and_flash_by_layer_and_by_width(spikelet: Spikelet, widths: Path) -> None:
    found = spikelet("inspect", widths, "--json").json
    rows = {row["name"]: row for row in found["layers"]}
    for bits in WIDTHS:
        row = rows[f"conv_{bits}"]
        assert (row["width"], row["weight_bits"], row["macs"]) == (bits, bits, 8 * 30 * 27)
        assert (row["flash_bytes"] > 8 * 27) is (bits == 8) and row["reads_bytes"] > 8 * 27
    assert rows["scores"]["width"] == 0
    assert found["totals"]["inference"]["macs"] == MACS
    assert [row["bits"] for row in found["widths"]] == list(WIDTHS)
    assert {row["macs"] for row in found["widths"]} == {MACS}
    eight, *fewer = found["widths"]
    assert eight["flash_bytes"] == eight["reads_bytes"]
    assert sum(row["flash_bytes"] for row in found["widths"]) == found["weight_bytes"]
    assert all(row["flash_bytes"] < 40 and row["ticks"] is None for row in fewer)
    assert found["inputs"][1]["choices"] == sorted(WIDTHS)
    shown = spikelet("inspect", widths).out
    assert "at each width (input effort.bits)" in shown and "1 or 2 or 4 or 8" in shown


def test_what_a_bench_measured(
    spikelet: Spikelet, widths: Path, package: Path, tmp_path: Path
) -> None:
    need("zig")
    need("unicorn")
    session = tmp_path / "bench"
    bench = spikelet("bench", widths, "-b", "virt-rv32", "--session", session, "--json").json
    found = spikelet("inspect", widths, "-b", "virt-rv32", "--bench", session, "--json").json
    assert found["tick"] == "instruction"
    measured = {row["bits"]: row["ticks"] for row in found["widths"]}
    # The release image ran one sample at each width; its slowest and fastest are two of them.
    assert max(measured.values()) == pytest.approx(bench["ticks"]["max"], rel=0.002)
    assert min(measured.values()) == pytest.approx(bench["ticks"]["min"], rel=0.002)
    assert measured[8] < measured[1] == pytest.approx(measured[2], rel=0.002)
    rows = {row["name"]: row["ticks"] for row in found["layers"]}
    assert rows["conv_8"] + rows["scores_8"] == pytest.approx(measured[8], rel=0.002)
    refused = spikelet("inspect", package, "--bench", session)
    assert refused.code == 2 and "has figures of package" in refused.err
    refused = spikelet("inspect", widths, "--bench", tmp_path)
    assert refused.code == 2 and "no figures of layers: bench.json" in refused.err
    (session / "bench.json").write_text(json.dumps({**bench, "layer_measurement": None}))
    refused = spikelet("inspect", widths, "--bench", session)
    assert refused.code == 2 and "whole inferences only" in refused.err

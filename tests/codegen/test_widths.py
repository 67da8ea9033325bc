"""What is declared fits the C that it is written into, by the headers' own declarations."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

from package_edits import apply_edit, at_ends, compiles, instances, outcome
from spikelet.codegen import constants, generate
from spikelet.codegen.parameters import check_calls
from spikelet.graph import Graph, GraphError, c
from spikelet.paths import firmware_dir
from support import need

POINTER = c.name("somewhere")


def test_each_kind_at_some_of_its_ends(tmp_path: Path) -> None:
    """As below, two ends of each kind."""
    need("gcc")
    rng, loaded = random.Random(1), []
    for kind, graph in sorted(instances().items()):
        found = list(at_ends(kind, graph))
        for i, edit in enumerate(rng.sample(found, min(2, len(found)))):
            folder = tmp_path / f"{kind}_{i}"
            if outcome(graph, edit, folder) is not None:
                loaded.append(folder)
    assert len(loaded) > 60
    compiles(loaded, ["gcc"])


@pytest.mark.long
@pytest.mark.parametrize("target", ["portable", "armv7e-m", "armv8.1-m.main+mve", "rv32imac"])
def test_each_kind_at_all_of_its_ends(tmp_path: Path, target: str) -> None:
    """What an end of a declaration admits fits, or is refused by name; never cut by C."""
    need("gcc")
    loaded = []
    for kind, graph in sorted(instances().items()):
        for i, edit in enumerate(at_ends(kind, graph)):
            folder = tmp_path / f"{kind}_{i}"
            if outcome(graph, edit, folder, target) is not None:
                loaded.append(folder)
    assert len(loaded) > 400
    if target == "portable":
        compiles(loaded, ["gcc"])


def test_a_field_that_became_too_narrow_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attribute declared to 65535, in a field that holds 255: refused, and by its name."""
    graph = instances()["depthwise_conv2d"]
    stride = next(e for e in at_ends("depthwise_conv2d", graph) if e[1] == [65535, 65535])
    changed = Graph.from_json(apply_edit(json.loads(json.dumps(graph.to_json())), stride),
                              graph.constants())  # fmt: skip
    generate(changed, "0" * 64, tmp_path / "as_it_is")
    shutil.copytree(firmware_dir(), tmp_path / "firmware")
    for header in (tmp_path / "firmware" / "kernels").rglob("*.h"):
        header.write_text(header.read_text().replace("uint16_t stride_", "uint8_t stride_"))
    firmware = tmp_path / "firmware"
    monkeypatch.setattr(constants, "kernel_dirs", lambda: [firmware, firmware / "include"])
    with pytest.raises(GraphError, match=r"stride_down = 65535 does not fit the 1 bytes"):
        generate(changed, "0" * 64, tmp_path / "narrow")


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (c.run("spk_fill_s8", POINTER, 4, 128), "argument 3 of spk_fill_s8 is 128, int8_t holds"),
        (c.run("spk_fill_s8", POINTER, -1, 0), "argument 2 of spk_fill_s8 is -1, uint32_t holds"),
        (c.when(POINTER, c.run("spk_lookup", POINTER + 1, -2, POINTER, POINTER)), "argument 2"),
        (c.run("spk_dense_forward_i8", POINTER, -1, 0, 0, 0, 0), "argument 2 of spk_dense_forw"),
        (c.run("spk_nothing", 1), "no header of the firmware declares spk_nothing"),
    ],
)
def test_a_number_beyond_its_parameter(call: c.Statement, text: str) -> None:
    with pytest.raises(GraphError, match=text):
        check_calls("layer a", str(call))

"""`spikelet fit`: what it prints, and its exit codes."""

from __future__ import annotations

from pathlib import Path

from cli_support import Spikelet
from support import need


def test_one_part_that_fits_and_one_of_which_nothing_is_known(
    spikelet: Spikelet, package: Path
) -> None:
    need("zig")
    need("unicorn")
    result = spikelet("fit", package, "--part", "ch32v203c8", "--json")
    (row,) = result.json["parts"]
    assert result.code == 0 and row["fits"] and row["needs"]["by"] == "image"
    low, high = (c * row["instructions"] / 144_000 for c in row["cycles_per_instruction"])
    assert row["milliseconds"] == [low, high]
    assert row["ram_free_bytes"] == 20 * 1024 - sum(
        row["needs"][key] for key in ("ram_bytes", "stack_bytes")
    )
    other = spikelet("fit", package, "--part", "ESP32")
    assert other.code == 1 and "perhaps" in other.out and "no board of Spikelet" in other.out
    core = spikelet("fit", package, "--core", "xtensa-lx6", "--json")
    assert core.code == 0 and [row["part"] for row in core.json["parts"]] == ["ESP32"]
    wrong = spikelet("fit", package, "--part", "nRF52841", "--json")
    assert wrong.code == 2 and "nRF52840" in wrong.json["error"]["cause"]

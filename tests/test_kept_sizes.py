"""docs/sizes.csv and what is said of a change from it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

import sizes


def test_the_file_has_five_packages_on_three_boards() -> None:
    kept = sizes.read(sizes.KEPT.read_text(encoding="utf-8"))
    assert list(kept) == [(name, board) for name in sizes.PACKAGES for board in sizes.BOARDS]
    assert len(kept) == 15
    assert all(list(row) == list(sizes.COLUMNS) for row in kept.values())
    assert all(size > 0 for row in kept.values() for size in row.values())
    assert sizes.read(sizes.to_text(kept)) == kept


def test_a_change_says_what_it_moved() -> None:
    kept = sizes.read(sizes.KEPT.read_text(encoding="utf-8"))
    assert sizes.changes(kept, kept) == []
    of = ("har_cnn", "virt-rv32")
    size = kept[of]["code"]
    more = {**kept, of: {**kept[of], "code": size + 12}}
    assert sizes.changes(kept, more) == [
        f"har_cnn on virt-rv32: code {size:,} -> {size + 12:,} (+12)"
    ]
    less = {key: row for key, row in kept.items() if key != of}
    assert sizes.changes(kept, less) == ["har_cnn on virt-rv32 is gone"]
    assert sizes.changes(less, kept) == ["har_cnn on virt-rv32 is new"]

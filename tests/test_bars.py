"""The table of bars: runs of several seeds stand beside each other, one for each set of seeds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

import bars


def run(seeds: list[int], good: bool, date: str = "2026-01-01") -> dict[str, Any]:
    return {"seeds": seeds, "date": date, "figure": f"{len(date)} points", "met": good}


def test_every_bar_says_where_it_runs_and_what_its_options_were_chosen_on() -> None:
    for name in bars.names():
        module = bars.load(name)
        assert module.WHERE, name
        assert module.TUNED_ON, name


def test_runs_are_merged_by_bar_and_seeds() -> None:
    rows = bars.merged([], "rejection", run([3, 4, 5], False))
    rows = bars.merged(rows, "fetril", run([0, 1, 2], True))
    rows = bars.merged(rows, "rejection", run([0, 1, 2], True))
    rows = bars.merged(rows, "rejection", run([0, 1, 2], True, "2026-02-02"))
    assert [row["name"] for row in rows] == ["fetril", "rejection"]
    assert [r["date"] for r in rows[1]["runs"]] == ["2026-02-02", "2026-01-01"]
    assert bars.met(rows[0]) == "yes"
    assert bars.met(rows[1]) == "seeds 0, 1, 2: yes; seeds 3, 4, 5: no"
    assert "seeds 0, 1, 2 (2026-02-02)" in bars.table(rows)

"""The table of bars: what is met and how steady it is, by the gates and from what was measured."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

import bars

FIRST, SECOND = [0, 1, 2], [3, 4, 5]


def run(seeds: list[int], date: str = "2026-01-01", **found: Any) -> dict[str, Any]:
    return {"seeds": seeds, "date": date, "figure": "some points", **found}


def gated_row(seeds: list[int], lost: float) -> dict[str, Any]:
    """Of the sample gate, 70 % of whose updates are left out."""
    return run(seeds, skipped=[0.7], plain=[0.95], gated=[0.95 - lost / 100])


def adapted_row(seeds: list[int], frozen: float) -> dict[str, Any]:
    none = {"affine": [frozen], "clean": [0.97], "recovered": [0.97]}
    return run(seeds, none=none, adapted={"affine": [0.93], "clean": [0.97], "recovered": [0.97]})


def test_every_bar_says_where_it_runs_what_it_was_chosen_on_and_what_it_asks_for() -> None:
    for name in bars.names():
        module = bars.load(name)
        assert module.TITLE and module.WHERE and module.TUNED_ON, name
        asked = [gate.what for gate in module.GATES]
        assert asked and len(set(asked)) == len(asked), name
        assert bars.missed_gates(name, run(FIRST)) == [
            f"{gate}: not measured" for gate in module.GATES
        ]


def test_options_chosen_on_held_out_data_can_be_chosen_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in bars.names():
        module = bars.load(name)
        by_command = "held-out" in module.TUNED_ON and "by hand" not in module.TUNED_ON
        assert by_command == hasattr(module, "tuning"), name
    quick = bars.load("sample_gate")
    monkeypatch.setattr(quick, "TRIED", (0.4,))
    monkeypatch.setattr(quick, "PASSES", 1)
    monkeypatch.setattr(
        sys, "argv", ["bars.py", "sample_gate", "mlp_step", "--tune", "--seeds", "0"]
    )
    assert bars.main() == 0
    lost, left_out, none = capsys.readouterr().out.splitlines()
    assert lost.startswith("sample_gate: points lost with 0.4: ")
    assert 0 < float(left_out.removeprefix("sample_gate: left out with 0.4: ")) < 1
    assert none == "mlp_step tries no options"


def test_runs_are_merged_by_bar_and_seeds() -> None:
    rows = bars.merge([], "sample_gate", gated_row(SECOND, 0.46))
    rows = bars.merge(rows, "adaptation", adapted_row(FIRST, 0.3))
    rows = bars.merge(rows, "sample_gate", gated_row(FIRST, -0.65))
    rows = bars.merge(rows, "sample_gate", {**gated_row(FIRST, -0.64), "date": "2026-02-02"})
    assert [row["name"] for row in rows] == ["adaptation", "sample_gate"]
    assert [r["date"] for r in rows[1]["runs"]] == ["2026-02-02", "2026-01-01"]
    assert bars.verdict_of(rows[0]) == "yes"
    assert bars.verdict_of(rows[1]) == (
        "seeds 0, 1, 2: yes; seeds 3, 4, 5: no<br>seeds 3, 4, 5: points lost 0.46, not <= 0.3"
    )
    assert "seeds 0, 1, 2 (2026-02-02)" in bars.table(rows)


def test_seeds_that_differ_by_more_than_the_margin_are_named() -> None:
    """The margin is what the figure that is closest to the bar has left, or lacks."""

    def unsteady(name: str, *runs: dict[str, Any]) -> list[str]:
        return bars.unsteady({"name": name, "runs": list(runs)})

    assert unsteady("sample_gate", gated_row(FIRST, -0.65), gated_row(SECOND, 0.46)) == [
        "points lost: -0.65 and 0.46"
    ]
    assert unsteady("adaptation", adapted_row(FIRST, 0.399), adapted_row(SECOND, 0.403)) == [
        "frozen network, last half: 0.399 and 0.403"
    ]
    assert unsteady("sample_gate", gated_row(FIRST, -0.25), gated_row(SECOND, -0.35)) == []
    both_miss = gated_row(FIRST, 1.5), gated_row(SECOND, 2.5)
    assert unsteady("sample_gate", *both_miss) == []
    assert unsteady("sample_gate", gated_row(FIRST, -0.65), run(SECOND)) == []
    rows = bars.merge([], "sample_gate", gated_row(FIRST, -0.3))
    rows = bars.merge(rows, "sample_gate", gated_row(SECOND, 0.2))
    said = bars.table(rows)
    assert "| yes<br>seeds differ by more than the margin: points lost: -0.3 and 0.2 |" in said


def test_a_bar_that_fails_or_says_nothing_is_not_met() -> None:
    rows = bars.merge([], "rejection", run(FIRST, error="no data"))
    assert bars.verdict_of(rows[0]).startswith("no<br>seeds 0, 1, 2: AUROC")
    assert bars.unsteady(rows[0]) == []


def test_a_bar_that_was_never_measured_has_a_row() -> None:
    rows = bars.complete(bars.merge([], "sample_gate", gated_row(FIRST, -0.65)))
    assert [row["name"] for row in rows] == bars.names()
    verdicts = {row["name"]: bars.verdict_of(row) for row in rows}
    assert verdicts.pop("sample_gate") == "yes"
    assert set(verdicts.values()) == {"no: not measured"}
    assert bars.table(rows).count("no: not measured |") == len(verdicts)


def test_a_bar_cannot_hide_its_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("hides")
    module.measure = lambda seeds: {"figure": "", "seeds": ["other"]}  # type: ignore[attr-defined]
    monkeypatch.setattr(bars, "load", lambda name: module)
    with pytest.raises(ValueError, match="hides measures seeds"):
        bars.measure("hides", FIRST)


def test_the_command_measures_one_set_of_seeds_beside_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "bars.json"
    for seed in ("0", "1"):
        monkeypatch.setattr(
            sys, "argv", ["bars.py", "mlp_step", "--seeds", seed, "--json", str(kept)]
        )
        assert bars.main() == 0
    (row,) = json.loads(kept.read_text(encoding="utf-8"))["bars"]
    assert [each["seeds"] for each in row["runs"]] == [[0], [1]]
    last = capsys.readouterr().out.splitlines()[-1]
    assert "seeds 0 (" in last and "seeds 1 (" in last and last.endswith("| yes |")

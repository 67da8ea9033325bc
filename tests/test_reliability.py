"""The page of what devices are put through: every table has its place; what is wrong ends it."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from spikelet.paths import firmware_dir

HOUSE = firmware_dir().parent


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(HOUSE / "tools"))
    import reliability

    return reliability


def test_every_part_has_a_place_and_every_suite_is_there(tool: ModuleType) -> None:
    page = tool.PAGE.read_text(encoding="utf-8")
    for name in tool.PARTS:
        assert page.count(f"<!-- {name} -->\n") == page.count(f"<!-- /{name} -->") == 1
    for files in tool.SUITES.values():
        assert all((HOUSE / "tests" / file).exists() for file in files), files
    assert all(target.reads for target in tool.campaign.TARGETS.values())


def test_what_is_wrong_ends_the_table(
    tool: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(tool, "PAGE", tmp_path / "page.md")
    tool.PAGE.write_text("<!-- fuzzing -->\nold\n<!-- /fuzzing -->\n")
    words = ["reliability.py", "fuzzing", "--write", "--fuzz", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", words)
    assert tool.main() == 1
    assert "nothing of delta" in capsys.readouterr().err
    assert "old" in tool.PAGE.read_text()
    counts = {
        name: {"executions": 5000, "seconds": 2.0, "findings": 0} for name in tool.campaign.TARGETS
    }
    (tmp_path / "counts.json").write_text(json.dumps(counts))
    assert tool.main() == 0
    assert "| `spk` | packages | 5,000 | 2,500 | 0 |" in tool.PAGE.read_text()
    counts["spk"]["findings"] = 1
    (tmp_path / "counts.json").write_text(json.dumps(counts))
    assert "| 1 |" in tool.fuzzing(argparse.Namespace(fuzz=tmp_path))


def test_a_number_that_a_checker_does_not_print_is_an_error(tool: ModuleType) -> None:
    line = "cuts 12 kept 10 taken 2 campaigns 3 factory cuts 7 pairs 4\n"
    assert [tool._number(line, name) for name in ("cuts", "factory cuts")] == [12, 7]
    with pytest.raises(tool.Wrong, match="no torn"):
        tool._number(line, "torn")

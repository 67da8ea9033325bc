from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).resolve().parent.parent / "soak_link.py"


def _soak(tmp_path: Path, *options: str) -> list[dict[str, float]]:
    out = tmp_path / "soak.json"
    result = subprocess.run(
        [sys.executable, SOAK, "--json", out, *options], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    rows: list[dict[str, float]] = json.loads(out.read_text())
    return rows


def test_no_wrong_tensor_at_1e_5(tmp_path: Path) -> None:
    (row,) = _soak(tmp_path, "--frames", "20000", "--ber", "1e-5")
    assert row["frames"] >= 20000
    assert row["wrong"] == 0
    assert row["link_deaths"] == 0
    assert row["flipped_bits"] > 50
    assert row["retries"] > 20
    assert row["efficiency"] > 0.8


@pytest.mark.long
def test_curve(tmp_path: Path) -> None:
    picture = tmp_path / "goodput.png"
    rows = _soak(tmp_path, "--curve", "--frames", "150", "--plot", str(picture))
    assert [row["wrong"] for row in rows] == [0] * 8
    assert rows[0]["retries"] == 0
    assert rows[0]["efficiency"] > rows[-1]["efficiency"]
    assert picture.stat().st_size > 5000

"""The campaign's counts: what was stopped goes on, what broke is told."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import campaign  # noqa: E402

# Stands for libFuzzer: runs 70 at most, and breaks or not.
PROGRAM = """
import sys
runs = int(next(a for a in sys.argv if a.startswith("-runs=")).removeprefix("-runs="))
print(f"stat::number_of_executed_units: {min(runs, 70)}", file=sys.stderr)
sys.exit(77 if BROKEN else 0)
"""


# Waits for the other of two that run at once.
MEETING = """
import sys, time
from pathlib import Path
here, other = Path(sys.argv[1]), Path(sys.argv[2])
here.touch()
end = time.monotonic() + 20
while not other.exists() and time.monotonic() < end:
    time.sleep(0.01)
print("stat::number_of_executed_units: 5", file=sys.stderr)
sys.exit(0 if other.exists() else 77)
"""


def stand_in(monkeypatch: pytest.MonkeyPatch, broken: bool = False) -> None:
    text = PROGRAM.replace("BROKEN", str(broken))
    monkeypatch.setattr(campaign, "command", lambda *_: [sys.executable, "-c", text])


def test_a_campaign_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_in(monkeypatch)
    assert campaign.campaign("link", tmp_path, tmp_path, runs=100, seconds=0) == 0
    assert campaign.read_counts(tmp_path)["link"].executions == 100
    assert campaign.campaign("link", tmp_path, tmp_path, runs=150, seconds=0) == 0
    assert campaign.campaign("spk", tmp_path, tmp_path, runs=40, seconds=0) == 0
    counts = campaign.read_counts(tmp_path)
    assert {name: count.executions for name, count in counts.items()} == {"link": 150, "spk": 40}


def test_seconds_run_whatever_ran_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_in(monkeypatch)
    campaign.campaign("link", tmp_path, tmp_path, runs=70, seconds=0)
    campaign.campaign("link", tmp_path, tmp_path, runs=70, seconds=0.55)
    assert campaign.read_counts(tmp_path)["link"].executions >= 140


def test_what_broke_a_target_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(monkeypatch, broken=True)
    assert campaign.campaign("link", tmp_path, tmp_path, runs=1000, seconds=0) == 77
    assert "exit code 77" in capsys.readouterr().out
    line = campaign.summary(["link", "delta"], tmp_path).splitlines()
    assert line[1].split()[:2] == ["link", "70"]
    assert line[1].split()[-1] == "1"
    assert line[2].split() == ["delta", "0", "0", "0", "0"]


def test_targets_run_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def command(name: str, build: Path, out: Path) -> list[str]:
        other = {"link": "spk", "spk": "link"}[name]
        return [sys.executable, "-c", MEETING, str(out / name), str(out / other)]

    monkeypatch.setattr(campaign, "command", command)
    words = ["--jobs", "2", "--runs", "5", "--out", str(tmp_path), "link", "spk"]
    monkeypatch.setattr(sys, "argv", ["campaign.py", *words])
    assert campaign.main() == 0
    counts = campaign.read_counts(tmp_path)
    assert {name: count.executions for name, count in counts.items()} == {"link": 5, "spk": 5}


@pytest.mark.parametrize("name", campaign.TARGETS)
def test_inputs_are_kept_of_every_target(name: str, tmp_path: Path) -> None:
    files = list(campaign.unpack(name, tmp_path).iterdir())
    assert len(files) > 10
    assert campaign.archive(name).stat().st_size < 40_000

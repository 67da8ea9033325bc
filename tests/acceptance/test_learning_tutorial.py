"""docs/learning.md to the letter, on fewer samples."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from spikelet.learn.continual.streams import STREAMS, stream
from spikelet.paths import models_dir
from support import need

TUTORIAL = Path(__file__).resolve().parents[2] / "docs" / "learning.md"
FEWER = ",samples=40,evaluate=10"


def commands() -> list[str]:
    """Every command of the page, in order; with continuation lines joined."""
    blocks = re.findall(r"```\n(.*?)```", TUTORIAL.read_text(encoding="utf-8"), re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith("spikelet ")]


def expected_code(command: str) -> int:
    """The exit code: 2 of what the page says is refused, 3 of a board that is not connected."""
    if "--port /dev/" in command:
        return 3
    return 2 if command.endswith("# refused") else 0


def call(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    words = shlex.split(command, comments=True)
    if "--stream" in words:
        text = words[words.index("--stream") + 1]
        words[words.index("--stream") + 1] = re.sub(",samples=[0-9]+", "", text) + FEWER
    return subprocess.run(
        [sys.executable, "-m", *words], cwd=folder, capture_output=True, text=True
    )


def learning_result(folder: Path, board: str) -> dict[str, Any]:
    path = folder / f"spikelet-sessions/continual_digits-{board}-streaming_lda/session.json"
    found: dict[str, Any] = json.loads(path.read_text())
    assert found["complete"] and found["mismatches"] == 0
    return found["learning"]


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of someone who typed every command."""
    need("snntorch")
    need("zig")
    folder = tmp_path_factory.mktemp("tutorial")
    (folder / "models").symlink_to(models_dir())
    for command in commands():
        done = call(folder, command)
        assert done.returncode == expected_code(command), f"{command}\n{done.stderr}"
        if command.endswith("# refused"):
            assert "no figure is reported" in done.stderr
    return folder


def test_a_new_class_is_learned_and_the_old_ones_stay(walked: Path) -> None:
    found = learning_result(walked, "virt-rv32")
    assert found["tasks"][-1] == "class 9"
    before, *_, last = found["curves"]
    assert before[-1] == 0 and last[-1] >= 0.7  # of 10 samples
    assert found["acc"] > 0.85 and min(last) >= 0.7
    naive = next(row for row in found["baselines"] if row["name"] == "naive")
    assert naive["acc"] < found["acc"] - 0.2


def test_the_figures_are_the_same_on_every_board(walked: Path) -> None:
    assert learning_result(walked, "virt-rv32") == learning_result(walked, "native")


def test_a_report_and_a_state_are_left_behind(walked: Path) -> None:
    session = walked / "spikelet-sessions/continual_digits-virt-rv32-streaming_lda"
    assert "Learning curves" in (session / "report.html").read_text(encoding="utf-8")
    tuned = json.loads(
        (walked / "spikelet-sessions/continual_digits-native-key_value/tuned.json").read_text()
    )
    assert [trial["options"]["books"] for trial in tuned["trials"]] == ["16", "32"]
    assert (walked / "learned.npz").is_file()


def test_every_stream_of_the_page_is_one() -> None:
    rows = re.findall(r"^\| `([^`]+)` \|", TUTORIAL.read_text(encoding="utf-8"), re.MULTILINE)
    texts = [row for row in rows if row.partition(",")[0] in STREAMS]
    assert sorted(text.partition(",")[0] for text in texts) == sorted(STREAMS)
    for text in texts:
        stream(text)

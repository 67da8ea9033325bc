"""docs/learning.md to the letter, on fewer samples."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import pages
from spikelet.learn.continual.streams import STREAMS, stream
from spikelet.paths import models_dir
from support import need

FEWER = ",samples=40,evaluate=10"


def on_fewer_samples(command: str) -> str:
    """The command with a stream of fewer samples."""
    text = re.search(r"(?<=--stream )\S+", command)
    if text is None:
        return command
    return command.replace(text[0], re.sub(",samples=[0-9]+", "", text[0]) + FEWER)


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
    told = pages.execute(pages.blocks("learning.md"), folder, changed=on_fewer_samples)
    assert "no figure is reported" in "".join(told)
    return folder


@pytest.mark.long
def test_a_new_class_is_learned_and_the_old_ones_stay(walked: Path) -> None:
    found = learning_result(walked, "virt-rv32")
    assert found["tasks"][-1] == "class 9"
    before, *_, last = found["curves"]
    assert before[-1] == 0 and last[-1] >= 0.7  # of 10 samples
    assert found["acc"] > 0.85 and min(last) >= 0.7
    naive = next(row for row in found["baselines"] if row["name"] == "naive")
    assert naive["acc"] < found["acc"] - 0.2


@pytest.mark.long
def test_the_figures_are_the_same_on_every_board(walked: Path) -> None:
    assert learning_result(walked, "virt-rv32") == learning_result(walked, "native")


@pytest.mark.long
def test_a_report_and_a_state_are_left_behind(walked: Path) -> None:
    session = walked / "spikelet-sessions/continual_digits-virt-rv32-streaming_lda"
    assert "Learning curves" in (session / "report.html").read_text(encoding="utf-8")
    tuned = json.loads(
        (walked / "spikelet-sessions/continual_digits-native-key_value/tuned.json").read_text()
    )
    assert [trial["options"]["books"] for trial in tuned["trials"]] == ["16", "32"]
    assert (walked / "learned.npz").is_file()


def test_every_stream_of_the_page_is_one() -> None:
    rows = re.findall(
        r"^\| `([^`]+)` \|", pages.PAGES["learning.md"].read_text(encoding="utf-8"), re.MULTILINE
    )
    texts = [row for row in rows if row.partition(",")[0] in STREAMS]
    assert sorted(text.partition(",")[0] for text in texts) == sorted(STREAMS)
    for text in texts:
        stream(text)

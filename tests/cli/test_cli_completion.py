"""What the shell completes, asked for as bash asks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from spikelet.board import boards
from spikelet.cli import completion
from spikelet.cli.app import app
from spikelet.learn.learner import learners
from support import need, on_path

COMPLETE = "_SPIKELET_COMPLETE"


def completed(line: str, folder: Path) -> list[str]:
    """What Tab offers at the end of a command line."""
    words = line.split(" ")
    environment = {COMPLETE: "complete_bash", "COMP_WORDS": line, "COMP_CWORD": f"{len(words) - 1}"}
    ended = subprocess.run(
        [sys.executable, "-m", "spikelet"],
        cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True,
    )  # fmt: skip
    assert ended.stderr == ""
    return ended.stdout.split()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("mine.spk", "text.txt", ".hidden.spk", "deep/other.spk", "my-board/board.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("spikelet fla", ["flash"]),
        ("spikelet run m", ["mine.spk", "my-board/"]),
        ("spikelet run mine.spk --board mi", ["microbit"]),
        ("spikelet learn mine.spk --learner stream", ["streaming_lda"]),
        ("spikelet train digits_s", ["digits_snn"]),
        ("spikelet fit mine.spk --part nrf52840", []),
        ("spikelet fit mine.spk --part nRF5284", ["nRF52840"]),
        ("spikelet export mine.spk --target cortex-m4", ["cortex-m4", "cortex-m4f"]),
        ("spikelet flash mine.spk --tool pro", ["probe-rs"]),
    ],
)
def test_tab_offers_what_there_is(line: str, offered: list[str], folder: Path) -> None:
    assert completed(line, folder) == offered


def test_tab_offers_something_for_each_option_that_takes_a_known_name() -> None:
    """Found in the commands themselves; an option of a new name is asked about here."""
    named = {"board", "machine", "toolchain", "target", "core", "part", "tool", "learn", "learner"}
    seen = set()
    group: Any = typer.main.get_command(app)
    for name in group.commands:
        for option in group.get_command(None, name).params:
            if option.name in named and option.param_type_name == "option":
                seen.add(option.name)
                assert option._custom_shell_complete is not None, (name, option.name)
    assert seen == named


def test_names_are_those_that_commands_take(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert set(boards()) <= set(completion.boards(""))
    assert completion.boards("./my") == ["./my-board"] and completion.boards("my") == ["my-board"]
    assert completion.learners("") == sorted(learners())
    assert completion.packages("") == ["deep/", "mine.spk", "my-board/"]
    assert completion.packages("deep/") == ["deep/other.spk"]
    assert completion.packages(".h") == [".hidden.spk"] and completion.packages("no/") == []
    assert "class-incremental" in completion.learners_and_streams("class")


def test_bash_runs_the_script_that_is_installed(folder: Path) -> None:
    need("bash")
    script = subprocess.run(
        ["spikelet"], env={**on_path(), COMPLETE: "source_bash"}, capture_output=True, text=True
    ).stdout
    ask = "COMP_WORDS=(spikelet run --board mi); COMP_CWORD=3; _spikelet_completion spikelet"
    ended = subprocess.run(
        ["bash", "-c", f'{script}\n{ask}\nprintf "%s\\n" "${{COMPREPLY[@]}}"'],
        cwd=folder, env=on_path(), capture_output=True, text=True,
    )  # fmt: skip
    assert ended.stdout.split() == ["microbit"], ended.stderr

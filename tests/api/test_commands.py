"""What a command does, Python does with the same code: the commands are written on `Package`."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import spikelet
from cli_support import small_package
from learning_package import clouds
from spikelet.api import Package
from spikelet.cli import commands, main
from spikelet.errors import UsageError
from spikelet.run import SampleProgress
from support import need

ROOM = Path(commands.__file__).parent
WRITTEN_ON_IT = ("run", "learn", "bench", "build", "export", "inspect", "compare", "report")
# Of a session, what two of the same say otherwise: when and where it was, and how long it took.
ITS_OWN = {"date", "duration_s", "host", "path", "link", "build", "device"}


@pytest.mark.parametrize("name", WRITTEN_ON_IT)
def test_a_command_does_nothing_that_the_package_object_does_not(name: str) -> None:
    tree = ast.parse((ROOM / f"{name}.py").read_text())
    modules: dict[str, set[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            modules.setdefault(node.module or "", set()).update(a.name for a in node.names)
    assert "Package" in modules.get("spikelet.api", ()) or "spikelet" in modules
    # Requests and where they are kept; what does the work stands behind the object.
    told = {"RunOptions", "LearnOptions", "session_folder", "BENCH", "image_folder"}
    room = {n for m, names in modules.items() if m.startswith("spikelet.run") for n in names}
    assert room <= told


def said(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    """What a command prints as JSON."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([*map(str, words), "--json"])
    assert ended.value.code == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def same(session: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in session.items() if key not in ITS_OWN}


def test_a_run_is_that_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    need("gcc")
    package = Package.of(small_package())
    package.save(tmp_path / "small.spk")
    options = spikelet.RunOptions(
        board="native", toolchain="gcc", limit=5, layers=True, session=tmp_path / "mine"
    )
    mine = package.run(options)
    words = options.command(tmp_path / "small.spk")[1:]
    words[words.index(str(tmp_path / "mine"))] = str(tmp_path / "theirs")
    theirs = said(capsys, *words)
    assert same(mine.result) == same(theirs) and mine.result["samples"] == 5
    pair = (tmp_path / "mine", tmp_path / "theirs")
    found = spikelet.compare(mine, spikelet.Session.load(pair[1]), ["flash>+0"])
    assert found == said(capsys, "compare", *pair, "--fail-if", "flash>+0")
    assert found["missed"] == 0


class Impatient(spikelet.Watch):
    """Ends a session after so many samples, as Ctrl-C does."""

    def __init__(self, most: int) -> None:
        self.most, self.steps = most, list[str]()

    def progress(self, now: SampleProgress) -> None:
        if now.done == self.most:
            raise KeyboardInterrupt

    def step(self, text: str) -> Any:
        self.steps.append(text)
        return super().step(text)


def test_a_session_that_broke_off_is_gone_on_with(tmp_path: Path) -> None:
    need("gcc")
    package = Package.of(small_package())
    options = spikelet.RunOptions(board="native", toolchain="gcc", session=tmp_path / "s")
    watch = Impatient(7)
    with pytest.raises(KeyboardInterrupt):
        package.run(options, watch=watch)
    assert watch.steps == ["building"]
    broken = spikelet.Session.load(tmp_path / "s")
    assert not broken.complete and "mismatches" not in repr(broken)
    with pytest.raises(UsageError, match="is not complete"):
        broken.check()
    assert broken.report(tmp_path / "page.html").shown["samples"] == 7
    done = package.run(spikelet.RunOptions(board="native", toolchain="gcc", resume=True,
                                           session=tmp_path / "s"))  # fmt: skip
    assert done.complete and done.result["samples"] == 24
    assert done.label.tolist() == package.vectors["golden.label"][:, 0].tolist()


def test_learning_is_that_of_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    need("gcc")
    package = Package.of(clouds())
    package.save(tmp_path / "clouds.spk")
    options = spikelet.LearnOptions(
        board="native", toolchain="gcc", learner="nearest_mean", classes=4, baselines=False,
        stream="class-incremental,tasks=2", session=tmp_path / "mine",
    )  # fmt: skip
    mine = package.learn(options)
    words = options.command(tmp_path / "clouds.spk")[1:]
    words[words.index(str(tmp_path / "mine"))] = str(tmp_path / "theirs")
    assert same(mine.result) == same(said(capsys, *words))
    x, y = package.vectors["x"], package.vectors["y"]
    given = package.learn(options, x, y)
    assert given.mismatches == 0 and given.moved is not None
    assert sum(given.result["learning"]["evaluation_samples"]) == sum(
        int(count) // 4 for count in np.bincount(y)
    )

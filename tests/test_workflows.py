"""What the workflows of .github name exists: make's targets, commands, options, files, Pythons."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import need

HOUSE = Path(__file__).parents[1]
WORKFLOWS = sorted((HOUSE / ".github" / "workflows").glob("*.yml"))
PROJECT = tomllib.loads((HOUSE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NOT_OURS = {"brew"}
IMAGES = {"ubuntu-latest", "macos-latest", "windows-latest"}


def jobs(path: Path) -> Iterator[dict[str, Any]]:
    need("yaml")
    import yaml

    yield from yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values()


def commands(path: Path) -> list[list[str]]:
    """What the steps of a workflow run, in words."""
    steps = [step for job in jobs(path) for step in job["steps"] if "run" in step]
    lines = [line for step in steps for line in step["run"].splitlines()]
    return [shlex.split(line.removeprefix("sudo ")) for line in lines]


def fault(words: list[str]) -> str:
    """What a command names that is not there; empty where all is."""
    match words:
        case ["make", *rest]:
            makefile = (HOUSE / "Makefile").read_text(encoding="utf-8")
            targets = [word for word in rest if "=" not in word]
            lost = [t for t in targets if not re.search(rf"^{t}:", makefile, re.MULTILINE)]
            for name in (word.partition("=")[0] for word in rest if "=" in word):
                lost += [] if re.search(rf"^{name} \?=", makefile, re.MULTILINE) else [name]
            return " ".join(lost)
        case ["sh", script]:
            return "" if (HOUSE / script).is_file() else script
        case ["python", "-m", "pip", "install", *rest]:
            extras = set(re.findall(r"\w+", rest[-1]))
            return " ".join(extras - set(PROJECT["optional-dependencies"]))
        case ["python", "-m", "pytest", *rest]:
            there = [w for w in rest if w.startswith("tests/")]
            return " ".join(w for w in there if not (HOUSE / w).exists()) if there else "no tests"
        case ["python", "-c", program]:
            compile(program, "step", "exec")
            files = re.findall(r"'(\w+/[^']*)'", program)
            return " ".join(path for path in files if not (HOUSE / path).is_file())
        case ["spikelet", name, *rest]:
            return _fault_of_spikelet(name, rest)
        case [program, *_] if program in NOT_OURS:
            return ""
        case _:
            return f"not understood: {words}"


def _fault_of_spikelet(name: str, rest: list[str]) -> str:
    import typer

    from spikelet.cli.app import app

    group: Any = typer.main.get_command(app)
    command = group.get_command(None, name)
    if command is None:
        return name
    known = {option for parameter in command.params for option in parameter.opts}
    lost = [word for word in rest if word.startswith("-") and word not in known]
    files = [word for word in rest if word.startswith("models/")]
    return " ".join(lost + [word for word in files if not (HOUSE / word).exists()])


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_what_a_workflow_names_exists(path: Path) -> None:
    assert {job["runs-on"] for job in jobs(path)} <= IMAGES
    for words in commands(path):
        assert fault(words) == "", words


def test_what_does_not_exist_is_found() -> None:
    for line, lost in (
        ("make tset", "tset"),
        ("make test FLAGS=1", "FLAGS"),
        ("sh tools/no.sh", "tools/no.sh"),
        ('python -m pip install -c constraints.txt ".[train,no]"', "no"),
        ("python -m pytest -n 2 tests/no", "tests/no"),
        ("python -m pytest -n 2", "no tests"),
        ("python -c \"open('models/no')\"", "models/no"),
        ("spikelet no", "no"),
        ("spikelet build models/no --no x", "--no models/no"),
        ("rm -rf x", "not understood: ['rm', '-rf', 'x']"),
    ):
        assert fault(shlex.split(line)) == lost


def test_each_python_that_is_stated_is_run() -> None:
    said = {
        c.rpartition(" ")[2]
        for c in PROJECT["classifiers"]
        if re.fullmatch(r"Programming Language :: Python :: 3\.\d+", c)
    }
    (ci,) = [path for path in WORKFLOWS if path.stem == "ci"]
    run = [job["strategy"]["matrix"]["python"] for job in jobs(ci) if "strategy" in job]
    assert run == [sorted(said)] and said
    oldest = PROJECT["requires-python"].removeprefix(">=")
    assert oldest == min(said, key=lambda version: int(version.partition(".")[2]))
    page = (HOUSE / "docs" / "environment.md").read_text(encoding="utf-8")
    assert all(f"| Python {version} |" in page for version in said)

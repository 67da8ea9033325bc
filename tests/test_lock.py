"""requirements.lock: what is installed is what constraints.txt and pyproject.toml name."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

HOUSE = Path(__file__).parents[1]
LINE = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)", re.MULTILINE)
EXTRAS = ("train", "dev", "docs")


def plain(name: str) -> str:
    """As PyPI compares names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def versions(path: Path) -> dict[str, str]:
    """By name."""
    return {plain(name): version for name, version in LINE.findall(path.read_text("utf-8"))}


def test_every_version_is_the_constraint_s() -> None:
    locked, wanted = versions(HOUSE / "requirements.lock"), versions(HOUSE / "constraints.txt")
    shared = locked.keys() & wanted.keys()
    assert len(shared) > 60
    assert {name: locked[name] for name in shared} == {name: wanted[name] for name in shared}


def test_all_that_is_asked_for_is_there_with_its_hash() -> None:
    with (HOUSE / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    asked = [*project["dependencies"]]
    for extra in EXTRAS:
        asked += project["optional-dependencies"][extra]
    names = {plain(re.split(r"[<>=;\[ ]", each)[0]) for each in asked}
    text = (HOUSE / "requirements.lock").read_text("utf-8")
    assert names - versions(HOUSE / "requirements.lock").keys() == {"torch"}
    blocks = re.split(r"\n(?=[A-Za-z])", text.removeprefix("# Written by tools/lock.py.\n"))
    assert len(blocks) > 100
    assert [b for b in blocks if not re.search(r"--hash=sha256:[0-9a-f]{64}", b)] == []

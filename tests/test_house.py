"""The picture of the house in DESIGN.md has the arrows that the imports have, and no circle."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

HOUSE = Path(__file__).parents[1]
PRODUCT = HOUSE / "pytools" / "spikelet"
GROUND = "ground"  # modules at the top that know no room
PACKAGE = "package"  # modules at the top that know the graph
API = "api"  # the module at the top that users import; nothing but the command line does
ENTRIES = {"__init__", "__main__", "pytest_plugin"}  # what users import and start


def imports_of(path: Path) -> Iterator[str]:
    """Modules of ours that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.ImportFrom(module="spikelet", names=names):
                yield from (f"spikelet.{name.name}" for name in names)
            case ast.ImportFrom(module=str(module)):
                yield module
            case ast.Import(names=names):
                yield from (name.name for name in names)


@functools.cache
def top(name: str) -> str:
    """GROUND, PACKAGE or API."""
    if name == API:
        return API
    path = PRODUCT / f"{name}.py"
    knows = path.is_file() and any(
        module.startswith("spikelet.graph") for module in imports_of(path)
    )
    return PACKAGE if knows else GROUND


def room_of(module: str) -> str:
    name = module.split(".")[1]
    return name if (PRODUCT / name).is_dir() else top(name)


@functools.cache
def arrows() -> set[tuple[str, str]]:
    """From each room to those that it imports, without the ground."""
    made = set()
    for path in PRODUCT.rglob("*.py"):
        parts = path.relative_to(PRODUCT.parent).with_suffix("").parts
        if len(parts) == 2 and parts[1] in ENTRIES:
            continue
        here = room_of(".".join(parts))
        there = {room_of(name) for name in imports_of(path) if name.startswith("spikelet.")}
        made |= {(here, room) for room in there - {here, GROUND}}
    return made


def drawn_arrows(page: str) -> set[tuple[str, str]]:
    """Arrows of the first mermaid picture; `graph_` is `graph`, which is a word of mermaid."""
    (picture, *_) = re.findall(r"```mermaid\n(.*?)```", page, re.DOTALL)
    lines = re.findall(r"^ *(\w+) --> ([\w &]+)$", picture, re.MULTILINE)
    pairs = {(here, there) for here, rooms in lines for there in rooms.split(" & ")}
    return {(here.rstrip("_"), there.rstrip("_")) for here, there in pairs}


def test_the_picture_is_what_the_imports_say() -> None:
    page = (HOUSE / "DESIGN.md").read_text(encoding="utf-8")
    assert drawn_arrows(page) == arrows()


def test_no_arrow_leads_back() -> None:
    order: TopologicalSorter[str] = TopologicalSorter()
    for here, there in arrows():
        order.add(here, there)
    assert len(list(order.static_order())) == len({room for pair in arrows() for room in pair})
    assert not [pair for pair in arrows() if pair[0] == GROUND]
    assert {here for here, there in arrows() if there == API} == {"cli"}


def test_contributing_names_files_that_exist() -> None:
    """Paths without NAME; what begins with a room stands in the product or in a room of it."""
    page = (HOUSE / "CONTRIBUTING.md").read_text(encoding="utf-8")
    places = (HOUSE, PRODUCT, PRODUCT / "frontends" / "snntorch", PRODUCT / "frontends" / "onnx")
    words = set(re.findall(r"`([\w./-]+\.(?:py|h|c|md|toml|csv|yml|yaml|txt|spk))`", page))
    named = {word for word in words if not re.search("NAME|X_Y", word)}
    assert len(named) > 30
    assert [word for word in sorted(named) if not any((p / word).is_file() for p in places)] == []

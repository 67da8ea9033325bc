"""Edits of what a package holds, and what may become of one: refused, or C that compiles."""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import json
import math
import os
import subprocess
import sys
import typing
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import UnionType
from typing import IO, Annotated, Any, Union

from every_kind import every_graph
from spikelet.board.build import WARNINGS, zig_environment
from spikelet.codegen import generate
from spikelet.graph import Graph, GraphError, Operator, Phase, Tensor, operators
from spikelet.graph.target import Target
from spikelet.package import MEMBERS
from spikelet.paths import firmware_dir


def _zig_headers() -> str:
    """Where zig keeps the compiler's own headers; nowhere, where it is not installed."""
    found = importlib.util.find_spec("ziglang")
    return str(Path(found.origin or "").parent / "lib" / "include") if found else ""


MARK = "hostile"
HOSTILE = [
    f'0) {{ }} {MARK}(); if (1',
    f'"; {MARK}(); //',
    f"{MARK}\n#include <x>",
    f"{MARK} ??/",
    f"{MARK}\\",
    f"\x1b[2J{MARK}",
    f"{MARK}é",
    MARK + "-" * 5000,
]  # fmt: skip
NUMBERS = [
    0, -1, 1, 2, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 1 << 31, -(1 << 31) - 1, 1 << 63,
    10**30, 0.5, -0.5, 1e300, -1e300, 1e-320, math.nan, math.inf, -math.inf,
]  # fmt: skip
VALUES: list[Any] = [
    None, True, False, "", *NUMBERS, *HOSTILE, [], [1], [[]], ["x"], {}, {"a": 1}, [1, 2, 3, 4, 5],
]  # fmt: skip
# zig's clang itself: `zig cc` wants to keep an object of each file, whose syntax is only checked.
_CLANG = [sys.executable, "-m", "ziglang", "clang", "-nostdlibinc", "-isystem", _zig_headers()]
# Who reads the C: for each target the compilers that check its syntax.
READERS = {
    "portable": (["gcc"], _CLANG),
    "armv7e-m": (["arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb", "-O1"],),
    "armv8.1-m.main+mve": (["arm-none-eabi-gcc", "-mcpu=cortex-m55", "-mfloat-abi=hard", "-O1"],),
}
Edit = tuple[tuple[Any, ...], Any]


def cut_after(graph: Graph, node: Operator) -> Graph:
    """The graph with this operator, what it needs and what the outputs need."""
    made = {t.name: n for n in graph.nodes for t in n.outs}
    outputs = list(graph.outputs)
    if graph.phase(node) <= Phase.END and not graph.learns and node.outs:
        outputs = [node.outs[0].name]
    wanted, pending = set[str](), [node, *(made[name] for name in outputs)]
    while pending:
        found = pending.pop()
        if found.name not in wanted:
            wanted.add(found.name)
            pending += [made[n] for n in (*found.reads, found.carried) if n in made]
    nodes = [n for n in graph.nodes if n.name in wanted]
    read = {name for n in nodes for name in n.reads}
    inputs = [t for t in graph.inputs if t.name in read]
    learned = [k for k in graph.learned if k.tensor.name in read]
    return Graph(
        graph.name, graph.steps, inputs, nodes, outputs, learned, graph.classes, graph.targets
    )


@cache
def instances() -> dict[str, Graph]:
    """By kind, the smallest graph with one."""
    found: dict[str, Graph] = {}
    for graph in every_graph():
        for kind in {n.KIND: n for n in reversed(graph.nodes)}.values():
            made = cut_after(graph, kind)
            if kind.KIND not in found or len(made.nodes) < len(found[kind.KIND].nodes):
                found[kind.KIND] = made
    return found


def places(data: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every value within JSON, by its keys."""
    entries = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in entries:
        yield (*at, key)
        if isinstance(value, dict | list):
            yield from places(value, (*at, key))


def apply_edit(data: dict[str, Any], edit: Edit) -> dict[str, Any]:
    made = copy.deepcopy(data)
    target: Any = made
    for key in edit[0][:-1]:
        target = target[key]
    target[edit[0][-1]] = edit[1]
    return made


def _ends(hint: Any, value: Any) -> list[Any]:
    """Both ends of an annotation's numbers; those of a tuple one by one, and all at once."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        limits = [limit for part in arguments[1:] for limit in getattr(part, "metadata", ())]
        low = next((x.ge for x in limits if hasattr(x, "ge")), None)
        high = next((x.le for x in limits if hasattr(x, "le")), None)
        return _ends(arguments[0], value) if low is None or high is None else [low, high]
    if origin in (Union, UnionType):
        return [end for part in arguments for end in _ends(part, value)]
    if origin is tuple and isinstance(value, list) and value:
        parts = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        found = [_ends(part, v) for part, v in zip(parts, value, strict=False)]
        if not all(found) or len(found) != len(value):
            return []
        one = [[*value[:i], x, *value[i + 1 :]] for i, each in enumerate(found) for x in each]
        return [*one, [each[0] for each in found], [each[-1] for each in found]]
    return [False, True] if hint is bool else []


def at_ends(kind: str, graph: Graph) -> Iterator[Edit]:
    """The ends of every attribute of the kind, and of every tensor that the graph is given."""
    data = json.loads(json.dumps(graph.to_json()))
    number = next(i for i, node in enumerate(data["nodes"]) if node["op"] == kind)
    hints = typing.get_type_hints(operators()[kind], include_extras=True)
    for name, value in data["nodes"][number]["attributes"].items():
        for end in _ends(hints[name], value):
            yield ("nodes", number, "attributes", name), end
    hints = typing.get_type_hints(Tensor, include_extras=True)
    for i, tensor in enumerate(data["inputs"]):
        for name in ("shape", "scale", "zero_point"):
            for end in _ends(hints[name], tensor[name]):
                yield ("inputs", i, name), end


def outcome(graph: Graph, edit: Edit, folder: Path, target: str = "portable") -> Graph | None:
    """What it loads as, its C in `folder`; None where it is refused in the project's words."""
    data = apply_edit(json.loads(json.dumps(graph.to_json())), edit)
    try:
        made = Graph.from_json(data, graph.constants())
        generate(made, "0" * 64, folder, target=Target.parse(target))
    except GraphError:
        return None
    if isinstance(edit[1], str) and MARK in edit[1]:
        assert MARK not in (folder / "model.c").read_text(), edit
    return made


def compiles(folders: list[Path], command: list[str]) -> None:
    """The syntax of the C in all of them, 200 in one call of the compiler."""
    include = [str(firmware_dir()), str(firmware_dir() / "include"), str(firmware_dir() / "learn")]
    flags = ["-std=c11", *WARNINGS, "-fsyntax-only", "-ffreestanding", "-DSPK_LEARN", "-DSPK_TRACE"]
    flags += [word for path in include for word in ("-I", path)]
    environment = {**os.environ, **zig_environment()}
    for at in range(0, len(folders), 200):
        files = [str(folder / "model.c") for folder in folders[at : at + 200]]
        done = subprocess.run(
            [*command, *flags, *files],
            capture_output=True,
            text=True,
            timeout=1200,
            env=environment,
        )
        assert done.returncode == 0, done.stderr[:3000]


def write_package(path: Path | IO[bytes], members: dict[str, bytes]) -> None:
    """A package of these members, its hash right again."""
    total = hashlib.sha256()
    for name in MEMBERS:
        total.update(f"{name}\0{hashlib.sha256(members[name]).hexdigest()}\0".encode())
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**members, "sha256": total.hexdigest().encode()}.items():
            archive.writestr(name, data)

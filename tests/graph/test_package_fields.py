"""Every field of every kind, tensor, learned tensor and graph with what should not stand there.

What is refused is refused in the project's words; what loads gives C that compiles; no text of the
field stands in that C.
"""

from __future__ import annotations

import copy
import json
import math
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from every_kind import every_graph
from spikelet.board.build import WARNINGS
from spikelet.codegen import generate
from spikelet.graph import Graph, GraphError, Operator, Phase, form, operators
from spikelet.graph.target import Target
from spikelet.paths import firmware_dir
from support import need

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
GENERATED = (Target.parse("portable"), Target.parse("armv7e-m"), Target.parse("rv32imac"))
Edit = tuple[tuple[Any, ...], Any]


def cut(graph: Graph, node: Operator) -> Graph:
    """The graph with this operator, what it needs and what the outputs need."""
    made = {t.name: n for n in graph.nodes for t in graph.written(n)}
    outputs = list(graph.outputs)
    if graph.phase(node) <= Phase.END and not graph.learns and graph.written(node):
        outputs = [graph.written(node)[0].name]
    wanted, pending = set[str](), [node, *(made[name] for name in outputs)]
    while pending:
        found = pending.pop()
        if found.name not in wanted:
            wanted.add(found.name)
            pending += [made[name] for name in found.reads if name in made]
    nodes = [n for n in graph.nodes if n.name in wanted]
    read = {name for n in nodes for name in n.reads}
    inputs = [t for t in graph.inputs if t.name in read]
    learned = [k for k in graph.learned if k.tensor.name in read]
    return Graph(
        graph.name, graph.steps, inputs, nodes, outputs, learned, graph.classes, graph.targets
    )


def instances() -> dict[str, Graph]:
    """By kind, the smallest graph with one."""
    found: dict[str, Graph] = {}
    for graph in every_graph():
        for kind in {n.KIND: n for n in reversed(graph.nodes)}.values():
            made = cut(graph, kind)
            if kind.KIND not in found or len(made.nodes) < len(found[kind.KIND].nodes):
                found[kind.KIND] = made
    return found


def test_every_kind_has_an_instance() -> None:
    assert not {k for k in operators() if not k.startswith("test_")} - set(instances())


def places(data: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every value within JSON, by its keys."""
    entries = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in entries:
        yield (*at, key)
        if isinstance(value, dict | list):
            yield from places(value, (*at, key))


def edited(data: dict[str, Any], edit: Edit) -> dict[str, Any]:
    made = copy.deepcopy(data)
    target: Any = made
    for key in edit[0][:-1]:
        target = target[key]
    target[edit[0][-1]] = edit[1]
    return made


def written(graph: Graph) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(json.dumps(graph.to_json()))
    for node in data["nodes"]:
        node.setdefault("when", ["nothing", 0])
    return data


def outcome(graph: Graph, edit: Edit, folder: Path, target: Target) -> bool:
    """Whether it loads; then its C lies in `folder`. Any other error than the project's is one."""
    data = edited(json.loads(json.dumps(graph.to_json())), edit)
    try:
        generate(Graph.from_json(data, graph.constants()), "0" * 64, folder, target=target)
    except GraphError:
        return False
    if isinstance(edit[1], str) and MARK in edit[1]:
        assert MARK not in (folder / "model.c").read_text(), edit
    return True


def compiles(folders: list[Path]) -> None:
    """All in one call of the compiler."""
    include = [str(firmware_dir()), str(firmware_dir() / "include"), str(firmware_dir() / "learn")]
    flags = ["-std=c11", *WARNINGS, "-fsyntax-only", "-DSPK_LEARN", "-DSPK_TRACE"]
    flags += [word for path in include for word in ("-I", path)]
    for at in range(0, len(folders), 200):
        files = [str(folder / "model.c") for folder in folders[at : at + 200]]
        done = subprocess.run(["gcc", *flags, *files], capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr[:3000]


def campaign(edits: int, folder: Path, seed: int) -> int:
    """Edits over all kinds in turn; how many were refused."""
    rng, made = random.Random(seed), sorted(instances().items())
    loaded: list[Path] = []
    for i in range(edits):
        graph = made[i % len(made)][1]
        data = json.loads(json.dumps(graph.to_json()))
        # Half of them in the operators, whose attributes are most of what there is.
        keys = list(places(data["nodes"], ("nodes",)) if i % 2 else places(data))
        place = folder / str(i)
        edit = rng.choice(keys), rng.choice(VALUES)
        try:
            if outcome(graph, edit, place, GENERATED[0]):
                loaded.append(place)
        except Exception as e:
            raise AssertionError(f"{made[i % len(made)][0]}: {edit} ended in {e!r}") from e
    compiles(loaded)
    return edits - len(loaded)


def test_what_loads_compiles_and_what_does_not_is_refused(tmp_path: Path) -> None:
    need("gcc")
    assert campaign(400, tmp_path, 1) > 200


@pytest.mark.long
def test_ten_thousand_edits(tmp_path: Path) -> None:
    need("gcc")
    assert campaign(10_000, tmp_path, 2) > 5000


def test_a_number_field_states_its_range() -> None:
    """Each attribute of each kind refuses a text, a structure and a number beyond 64 bits."""
    for kind, graph in instances().items():
        data = json.loads(json.dumps(graph.to_json()))
        entry = next(node for node in data["nodes"] if node["op"] == kind)
        for name in entry["attributes"]:
            for value in (HOSTILE[0], {"a": 1}, 10**40, 1e300, math.nan, -math.inf):
                if name == "function" and value == HOSTILE[0]:
                    continue  # a note for people
                with pytest.raises(GraphError, match=name):
                    form.node(edited(entry, (("attributes", name), value)), graph.constants())


@pytest.mark.parametrize("seed", [0])
def test_constants_of_another_type_are_refused(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for kind, graph in instances().items():
        constants = graph.constants()
        for name in constants:
            wrong = (
                constants[name].astype(np.complex64), constants[name].astype("<U4"),
                np.full(constants[name].shape, np.nan), np.zeros((0,), constants[name].dtype),
                constants[name][None, None, None, None], np.array(1),
            )  # fmt: skip
            value = wrong[int(rng.integers(len(wrong)))]
            if value.size == constants[name].size and value.dtype == constants[name].dtype:
                value = value[None]
            try:
                Graph.from_json(graph.to_json(), {**constants, name: value})
            except GraphError:
                continue
            except Exception as e:
                raise AssertionError(f"{kind}: {name} {value.dtype} ended in {e!r}") from e


def test_a_condition_is_a_tensor_and_a_number() -> None:
    graph = instances()["argmax"]
    data = json.loads(json.dumps(graph.to_json()))
    for value in (["label", HOSTILE[0]], [HOSTILE[0], 1], ["label", True], "label", ["label"], 3):
        with pytest.raises(GraphError, match="when"):
            Graph.from_json(edited(data, (("nodes", -1, "when"), value)), graph.constants())


def test_what_is_not_declared_is_refused() -> None:
    graph = instances()["argmax"]
    data = json.loads(json.dumps(graph.to_json()))
    for keys in (
        ("more",),
        ("nodes", 0, "more"),
        ("inputs", 0, "more"),
        ("nodes", -1, "attributes", "more"),
    ):
        with pytest.raises(GraphError, match="'more' is no field"):
            Graph.from_json(edited(data, (keys, 1)), graph.constants())
    with pytest.raises(GraphError, match="is no constant of it"):
        Graph.from_json(data, {**graph.constants(), "more": np.zeros(1)})

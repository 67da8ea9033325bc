"""Every field of every kind, tensor, learned tensor and graph with what should not stand there.

What is refused is refused in the project's words; what loads gives C that compiles; no text of the
field stands in that C.
"""

from __future__ import annotations

import json
import math
import random
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from package_edits import HOSTILE, READERS, VALUES, apply_edit, compiles, instances, outcome, places
from spikelet.graph import Graph, GraphError, form, operators
from support import need


def test_every_kind_has_an_instance() -> None:
    assert not {k for k in operators() if not k.startswith("test_")} - set(instances())


def campaign(edits: int, folder: Path, seed: int) -> int:
    """Edits over all kinds in turn; how many were refused."""
    rng, made = random.Random(seed), sorted(instances().items())
    loaded: dict[str, list[Path]] = defaultdict(list)
    for i in range(edits):
        kind, graph = made[i % len(made)]
        data = json.loads(json.dumps(graph.to_json()))
        # Half of them in the operators, whose attributes are most of what there is.
        keys = list(places(data["nodes"], ("nodes",)) if i % 2 else places(data))
        place, target = folder / str(i), rng.choice(sorted(READERS))
        edit = rng.choice(keys), rng.choice(VALUES)
        try:
            if outcome(graph, edit, place, target) is not None:
                loaded[target].append(place)
        except Exception as e:
            raise AssertionError(f"{kind}: {edit} ended in {e!r}") from e
    for target, folders in loaded.items():
        for command in READERS[target]:
            compiles(folders, command)
    return edits - sum(map(len, loaded.values()))


def test_what_loads_compiles_and_what_does_not_is_refused(tmp_path: Path) -> None:
    for tool in ("gcc", "zig", "arm-none-eabi-gcc"):
        need(tool)
    assert campaign(400, tmp_path, 1) > 200


@pytest.mark.long
def test_ten_thousand_edits(tmp_path: Path) -> None:
    for tool in ("gcc", "zig", "arm-none-eabi-gcc"):
        need(tool)
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
                    form.nodes(
                        [apply_edit(entry, (("attributes", name), value))], graph.constants()
                    )


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
            Graph.from_json(apply_edit(data, (("nodes", -1, "when"), value)), graph.constants())


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
            Graph.from_json(apply_edit(data, (keys, 1)), graph.constants())
    with pytest.raises(GraphError, match="is no constant of it"):
        Graph.from_json(data, {**graph.constants(), "more": np.zeros(1)})

"""Options are input, and so is what a learner keeps: at both ends of every option, and of every
tensor that a host may write, a learner stays inside its memory, and equals its twin."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from every_learner import graph_of, stream
from learned_states import check_ends, ends
from spikelet.codegen.emit import generate
from spikelet.errors import UsageError
from spikelet.graph import Graph, GraphError
from spikelet.graph.tensor import FLOATS
from spikelet.learn.choices import Option, options
from spikelet.learn.learner import Learner, learners
from spikelet.run.learner import device_learner
from support import need

# Both ends of options that are texts.
TEXTS = {
    "hidden": ("1", "64-33"),
    "first": ("auto", "1-1"),
    "more": ("auto", "1-1"),
    "update": ("head", "all"),
    "recompute": ("",),
    "layers": (None,),
    "learner": ("nearest_mean", "replay;blocks=1;slots=1"),
}
# Whatever these hold is safe: counters that stop at their end, a random state, a weight whose
# range is not symmetric; sums are proved with it.
ANYTHING = ("health", "random", "weight", "sample_gate.count")
AFFORDABLE = 1 << 19  # bytes of what is learned, for a test


def values(option: Option) -> list[Any]:
    """An option's lowest and highest value, or all that it can be chosen from."""
    choices = [c for kind in typing.get_args(option.type) or () for c in typing.get_args(kind)]
    if typing.get_origin(option.type) is typing.Literal:
        choices = list(typing.get_args(option.type))
    if choices:
        return choices
    if option.within is None:
        return list(TEXTS[option.name])
    kinds = typing.get_args(option.type) or (option.type,)
    return [kinds[0](option.within.low), kinds[0](option.within.high)]


def variations(kind: type[Learner]) -> Iterator[dict[str, Any]]:
    """All options at their low ends, all at their high ones, each alone at either."""
    every = {name: values(option) for name, option in options(kind).items()}
    yield {name: given[0] for name, given in every.items()}
    yield {name: given[-1] for name, given in every.items()}
    for name, given in every.items():
        yield from ({name: value} for value in given)


def affordable(name: str, given: dict[str, Any]) -> Graph | None:
    """The learner with these options, the larger ones less where it keeps too much; or None."""
    limits = {n: o.within for n, o in options(learners()[name]).items() if o.within}
    for _ in range(20):
        try:
            graph = graph_of(name, **given)
        except (UsageError, GraphError, ValueError):
            return None
        if sum(k.tensor.nbytes for k in graph.learned) <= AFFORDABLE:
            return graph
        halves = {n: v // 2 for n, v in given.items() if isinstance(v, int) and n in limits}
        given = {**given, **{n: max(v, int(limits[n].low)) for n, v in halves.items()}}
    return None


@pytest.mark.parametrize("name", learners())
def test_the_ends_of_options_are_declared_and_kept(name: str) -> None:
    kind = learners()[name]
    for option in options(kind).values():
        assert values(option), option.name
        if option.within is not None:
            for wrong in (option.within.low - 1, option.within.high + 1, float("nan")):
                with pytest.raises(ValueError, match=f"{option.name} = {wrong} is not in"):
                    kind(**{option.name: wrong})


@pytest.mark.parametrize("name", learners())
def test_no_range_stands_for_another(name: str, tmp_path: Path) -> None:
    """The device's table holds the ends of every range, also where both are 0."""
    lowest = affordable(name, next(variations(learners()[name])))
    for number, graph in enumerate(filter(None, (lowest, graph_of(name)))):
        source = generate(graph, "0" * 64, tmp_path / str(number)).source.read_text()
        rows = [row for row in source.splitlines() if row.startswith('    {"')]
        for learned in graph.learned:
            tensor = learned.tensor
            its = [row for row in rows if row.startswith(f'    {{"{tensor.name}",')]
            low, high = (tensor.order(end) for end in ends(graph, tensor))
            assert len(its) == 2  # what a state is restored by, and the agent's
            assert all(row.endswith(f", {low}, {high}}},") for row in its)


@pytest.mark.parametrize("name", learners())
def test_a_package_cannot_widen_a_range(name: str) -> None:
    """An operator refuses what could lead it out of its memory; the file's word is not enough."""
    graph = graph_of(name)
    for i, learned in enumerate(graph.learned):
        if learned.tensor.dtype in FLOATS or learned.tensor.name.endswith(ANYTHING):
            continue
        for end, limit in zip(("low", "high"), learned.tensor.limits, strict=True):
            if getattr(learned, end) in (None, limit):
                continue
            wider = list(graph.learned)
            wider[i] = dataclasses.replace(learned, **{end: None})
            with pytest.raises(GraphError):
                dataclasses.replace(graph, learned=wider)


@pytest.mark.parametrize("name", learners())
def test_a_package_cannot_have_more_labels_than_what_they_count(name: str) -> None:
    graph = graph_of(name)
    if graph.classes:
        with pytest.raises(GraphError):
            dataclasses.replace(graph, classes=graph.classes + 1)


CASES = [
    (name, number)
    for name, kind in learners().items()
    for number in range(len(list(variations(kind))))
]


@pytest.mark.long
@pytest.mark.parametrize(("name", "number"), CASES)
def test_learners_at_the_ends_of_their_options_are_safe(
    name: str, number: int, tmp_path: Path
) -> None:
    need("gcc")
    graph = affordable(name, list(variations(learners()[name]))[number])
    if graph is None:
        pytest.skip("these options do not go together, or not with this network")
    inputs, labels = stream(graph, 2)
    with device_learner(graph, toolchain="gcc", sanitize=True, folder=tmp_path / "a") as device:
        check_ends(graph, device, inputs, labels)

"""Every operator that lets its output lie over an input, run with it there, on every kernel.

The registry says which kinds state an overlap; a kind without a case fails. The output lies exactly
where the statement permits it, and each layer is compared with golden.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

import every_learner
import plan_graphs
from learning import LEARN_TARGETS, equals_twin, planned_learner
from overlap_cases import LAYERS, LEARNING, draw, taught, trained_layers
from spikelet.board import boards, build
from spikelet.codegen import generate
from spikelet.graph import Graph, Operator
from spikelet.graph.operator import Overlap
from spikelet.graph.ops.conv2d import Conv2d
from spikelet.graph.ops.pad import Pad
from spikelet.graph.ops.transpose import Transpose
from spikelet.graph.target import ANY
from spikelet.graph.target import Target as Core
from spikelet.learn.numbers.scalar import PRECISIONS
from spikelet.package import Package
from spikelet.run import BuiltImage, SessionFolder, SessionTarget, package_stream, run
from support import need
from targets import EVERY, board_of, make_package
from tight import claiming, pairs, tight

CORES = {board_of(name).target for name, *_ in EVERY.values()}
NEAR = ("native-gcc-sanitized",)
FAR = ("rv32-gcc-qemu", "m4-gcc-qemu", "m55-gcc-qemu", "m33-gcc-qemu")


@functools.cache
def layers(name: str) -> Package:
    """The layers of that name; what golden says of them is the same on every target."""
    return make_package(LAYERS[name](), 3)


@functools.cache
def random_layers(seed: int) -> Package:
    """Six operators of each kind."""
    kinds = tuple(dict.fromkeys(plan_graphs.KINDS))
    return make_package(plan_graphs.singles(kinds, 6, first=6 * seed), 3)


@functools.cache
def learning(number: int) -> Graph:
    """One of ALL_LEARNING."""
    return ALL_LEARNING[number]()


def turns(graph: Graph, core: Core) -> list[int]:
    """The turns that make a plan that none before them makes."""
    plans = [tight(graph, core, turn) for turn in (0, 1)]
    return [turn for turn, plan in enumerate(plans) if plan not in plans[:turn]]


def mismatches(target: str, package: Package, folder: Path, turn: int = 0, more: int = 0) -> int:
    """Elements that differ with the tight plan, every layer compared."""
    name, toolchain, machine, sanitize, tools = EVERY[target]
    for tool in tools:
        need(tool)
    graph, board, out = package.graph, board_of(name), folder / "build"
    places = tight(graph, board.target, turn, more)
    made = generate(graph, package.sha256, out, trace=True, target=board.target, places=places)
    firmware = build(out, board, out, toolchain=toolchain, trace=True, sanitize=sanitize)
    place = SessionTarget(board, BuiltImage(made, firmware), machine)
    session = SessionFolder(folder / "session")
    summary, _ = run(package, place, package_stream(package), session, layers=True)
    return int(summary["mismatches"])


def learns(target: str, graph: Graph, folder: Path, turn: int, steps: int = 40) -> None:
    """Device and twin learn the same, on a tight plan."""
    labels = None
    if graph.inputs[0].shape == every_learner.backbone().inputs[0].shape:
        inputs, labels = every_learner.stream(graph, steps)
    else:
        inputs = draw(graph.inputs, steps)
        if graph.classes:
            labels = np.arange(steps) % graph.classes
    targets = draw(graph.targets, steps)
    planner = functools.partial(tight, turn=turn)
    with planned_learner(target, graph, folder, planner) as device:
        equals_twin(device, inputs, labels, targets=targets, block=steps // 2)


def without_a_case(kinds: Collection[str], graphs: Collection[Graph], core: Core) -> set[str]:
    """Kinds that no graph puts over one of their inputs."""
    return set(kinds) - {node.KIND for graph in graphs for node, _, _ in pairs(graph, core)}


def test_every_kind_that_states_an_overlap_has_a_case() -> None:
    graphs = [make() for make in (*LAYERS.values(), *LEARNING.values())]
    for core in CORES | {ANY}:
        assert without_a_case(claiming(), graphs, core) == set(), core
    assert without_a_case({*claiming(), "of_tomorrow"}, graphs, ANY) == {"of_tomorrow"}


def test_every_boards_instruction_set_is_run() -> None:
    found = [
        board for board in boards().values() if not any(m.rtl for m in board.machines.values())
    ]
    # No kernel asks for atomic instructions.
    asked = {(board.target.core, board.target.extensions - {"a"}) for board in found}
    assert len(found) > 5 and asked <= {(t.core, t.extensions - {"a"}) for t in CORES}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_exact_over_their_input(name: str, tmp_path: Path) -> None:
    assert mismatches(NEAR[0], layers(name), tmp_path) == 0


# The Cortex-M33's kernels are the Cortex-M4's.
@pytest.mark.parametrize("target", [
    pytest.param(target, marks=[pytest.mark.long] * target.startswith("m33")) for target in FAR
])  # fmt: skip
@pytest.mark.parametrize("name", ["convolutions", "depthwise"])
def test_an_instruction_sets_own_kernels_are(target: str, name: str, tmp_path: Path) -> None:
    assert mismatches(target, layers(name), tmp_path) == 0


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=[pytest.mark.long] * (name in ("mse, i16", "hlop", "sample_gate")))
    for name in LEARNING
])  # fmt: skip
def test_learning_is_exact_over_its_input(name: str, tmp_path: Path) -> None:
    learns(NEAR[0], LEARNING[name](), tmp_path, 0)


def by_turns(targets: Collection[str], ways: Sequence[int]) -> list[tuple[str, str, int]]:
    """All layers on all targets: of a layer one target after the other in another of the ways."""
    return [
        (name, target, ways[(i + j) % len(ways)])
        for i, name in enumerate(LAYERS)
        for j, target in enumerate(targets)
    ]


@pytest.mark.long
@pytest.mark.parametrize(("name", "target", "turn"), by_turns(EVERY, (0, 1)))
def test_all_layers_on_all_targets(name: str, target: str, turn: int, tmp_path: Path) -> None:
    assert mismatches(target, layers(name), tmp_path, turn) == 0


@pytest.mark.long
@pytest.mark.parametrize(("name", "target", "more"), by_turns([*NEAR, *FAR], (8, 40)))
def test_more_than_the_lead_is_safe(name: str, target: str, more: int, tmp_path: Path) -> None:
    assert mismatches(target, layers(name), tmp_path, more=more) == 0


@pytest.mark.long
@pytest.mark.parametrize("target", EVERY)
@pytest.mark.parametrize("seed", range(5))
def test_random_layers_on_all_targets(seed: int, target: str, tmp_path: Path) -> None:
    assert mismatches(target, random_layers(seed), tmp_path) == 0


ALL_LEARNING: list[Callable[[], Graph]] = [
    *(functools.partial(trained_layers, p, loss) for p in PRECISIONS
      for loss in ("mse", "softmax_cross_entropy")),
    *(functools.partial(taught, "ladder", precision=p) for p in PRECISIONS),
    functools.partial(taught, "hlop", precision="i8"),
    *LEARNING.values(),
]  # fmt: skip


def test_some_learning_has_more_plans_than_one() -> None:
    """Where a second input dies, the output lies over that one, too."""
    core = board_of("native").target
    found = [turns(make(), core) for make in LEARNING.values()]
    assert [0] in found and [0, 1] in found


@pytest.mark.long
@pytest.mark.parametrize("target", LEARN_TARGETS)
@pytest.mark.parametrize("number", range(len(ALL_LEARNING)))
def test_all_learning_on_all_targets(number: int, target: str, tmp_path: Path) -> None:
    graph, core = learning(number), board_of(LEARN_TARGETS[target][0]).target
    for turn in turns(graph, core):
        learns(target, graph, tmp_path / str(turn), turn)


def test_a_lead_that_is_too_small_is_noticed(tmp_path: Path) -> None:
    graph = plan_graphs.singles(("conv", "wide", "max"), 4)
    assert mismatches(NEAR[0], make_package(graph, 3), tmp_path, more=-16) > 0


class LyingPad(Pad):
    """Writes its border before it reads."""

    KIND: ClassVar[str] = ""

    def overlaps(self, target: Core) -> tuple[Overlap | None, ...]:
        return (Overlap(),)


class LyingTranspose(Transpose):
    """Writes in another order than it reads."""

    KIND: ClassVar[str] = ""

    def overlaps(self, target: Core) -> tuple[Overlap | None, ...]:
        return (Overlap(exact=True),)


class LyingConvolution(Conv2d):
    """Needs a lead, and states none."""

    KIND: ClassVar[str] = ""

    def overlaps(self, target: Core) -> tuple[Overlap | None, ...]:
        return (Overlap(),)


def _lying(kind: str) -> Operator:
    shape, code = (5, 6, 4), plan_graphs.CODE
    if kind == "pad":
        return LyingPad(
            name="lie", inputs=("x",), before=(1, 0, 0), after=(0, 1, 0), value=3, **code
        )
    if kind == "transpose":
        return LyingTranspose(name="lie", inputs=("x",), order=(1, 0, 2), **code)
    made = plan_graphs.conv(
        np.random.default_rng(0), "lie", "x", shape, 9, (3, 3), padding=(1, 1, 1, 1)
    )
    fields = ("weight", "bias", "multiplier", "shift", "output_scale", "output_zero_point")
    return LyingConvolution(
        name="lie", inputs=("x",), padding=made.padding, **{f: getattr(made, f) for f in fields}
    )


@pytest.mark.parametrize("kind", ["pad", "transpose", "convolution"])
def test_an_operator_that_lies_is_found_out(kind: str, tmp_path: Path) -> None:
    node = _lying(kind)
    graph = Graph("lie", 1, [plan_graphs.image("x", (5, 6, 4))], [node], ["lie"])
    assert [n.name for n, _, _ in pairs(graph, ANY)] == ["lie"]
    assert mismatches(NEAR[0], make_package(graph, 3), tmp_path) > 0

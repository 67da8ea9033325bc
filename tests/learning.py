"""Where learners' tests run: a device and its golden twin, the same samples, the same bits."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np

from spikelet.board import build
from spikelet.codegen import Plan, generate
from spikelet.graph import Array, Graph
from spikelet.graph.target import Target as Core
from spikelet.learn import Twin
from spikelet.link import SelfTest
from spikelet.package import Package
from spikelet.run import BuiltImage, SessionTarget, connect
from spikelet.run.learner import DeviceLearner, device_learner, outputs_crc
from support import need
from targets import ARM_TARGETS, RV32_QEMU, RV32E_TARGETS, TARGETS, board_of

LEARN_TARGETS = {
    **TARGETS,
    "rv32f-gcc-qemu": ("virt-rv32f", "gcc", "qemu", False, RV32_QEMU),
    "m4-gcc-qemu": ARM_TARGETS["m4-gcc-qemu"],
    "m55-gcc-qemu": ARM_TARGETS["m55-gcc-qemu"],
    "m0-gcc-qemu": ARM_TARGETS["m0-gcc-qemu"],
    "rv32e-gcc-qemu": RV32E_TARGETS["rv32e-gcc-qemu"],
}
# One sanitised host, a core without FPU, one with, and a Cortex-M4.
USUAL = ("native-gcc-sanitized", "rv32-gcc-qemu", "rv32f-gcc-qemu", "m4-gcc-qemu")


Planner = Callable[[Graph, Core], Plan]


@contextmanager
def planned_learner(
    target: str, graph: Graph, folder: Path, planner: Planner
) -> Iterator[DeviceLearner]:
    """As `learner_on`, with a memory plan of the test's own."""
    name, toolchain, machine, sanitize, tools = LEARN_TARGETS[target]
    for tool in tools:
        need(tool)
    board, package = board_of(name), Package(graph)
    places = planner(graph, board.target)
    made = generate(graph, package.sha256, folder, target=board.target, places=places)
    firmware = build(
        folder, board, folder, toolchain=toolchain, sanitize=sanitize, defines=("SPK_LEARN",)
    )
    built = BuiltImage(made, firmware)
    with connect(SessionTarget(board, built, machine), package) as (device, _):
        yield DeviceLearner(graph, device, built.facts())


def learner_on(target: str, graph: Graph, folder: Path) -> AbstractContextManager[DeviceLearner]:
    """The learner on a target of LEARN_TARGETS; its image is built into `folder`."""
    board, toolchain, machine, sanitize, tools = LEARN_TARGETS[target]
    for tool in tools:
        need(tool)
    return device_learner(
        Package(graph), board_of(board), folder=folder,
        toolchain=toolchain, machine=machine, sanitize=sanitize,
    )  # fmt: skip


def device_equals_twin(
    target: str,
    graph: Graph,
    inputs: Mapping[str, Array],
    labels: Array | None,
    folder: Path,
    *,
    targets: Mapping[str, Array] | None = None,
    block: int = 100,
    commit_after: Collection[int] = (),
) -> Twin:
    """Learn the same samples on a device and its twin, see `equals_twin`.

    Args:
        target: a key of LEARN_TARGETS.
        graph: with a learner.
        inputs: by name, (N, *shape).
        labels: (N,), or None.
        folder: for the image.
        targets: by name, (N, *shape).
        block: samples between two comparisons of what is learned.
        commit_after: numbers of samples after which both commit; ends of blocks.

    Returns:
        the twin, as it is after the last sample.
    """
    with learner_on(target, graph, folder) as device:
        return equals_twin(
            device, inputs, labels, targets=targets, block=block, commit_after=commit_after
        )


def equals_twin(
    device: DeviceLearner,
    inputs: Mapping[str, Array],
    labels: Array | None,
    *,
    targets: Mapping[str, Array] | None = None,
    block: int = 100,
    commit_after: Collection[int] = (),
) -> Twin:
    """Learn the same samples on both; compare all outputs, and all that is learned, by element."""
    twin = Twin(device.graph)
    samples = len(next(iter(inputs.values())))
    first = 0
    assert device.device.hello.self_test in (SelfTest.PASSED, SelfTest.NONE)
    assert device.compare(twin) == []
    for end in sorted({*range(block, samples, block), *commit_after, samples}):
        part = slice(first, end)
        observed = (
            {name: values[part] for name, values in inputs.items()},
            None if labels is None else labels[part],
            {name: values[part] for name, values in (targets or {}).items()},
        )
        said, expected = device.observe(*observed), twin.observe(*observed)
        wrong = np.flatnonzero(said != outputs_crc(device.graph, expected))
        assert not len(wrong), f"outputs of sample {first + wrong[0]} differ"
        assert device.compare(twin) == []
        if end in commit_after:
            device.commit()
            twin.commit()
            assert device.compare(twin) == []
        first = end
    return twin

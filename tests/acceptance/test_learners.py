"""Every learner, after hundreds of steps, or ten thousand: the device holds what its twin holds."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from every_learner import graph_of, stream
from learning import device_equals_twin
from spikelet.learn import Twin
from spikelet.learn.learner import learners

STEPS = {  # by target
    "native-gcc-sanitized": 500,
    "rv32-gcc-qemu": 200,
    "rv32f-gcc-qemu": 200,
    "m4-gcc-qemu": 100,  # whose UART takes bytes one by one
    "rv32e-gcc-qemu": 50,
}


HOST, *EMULATED, SMALL = STEPS
# For every change each learner is on the host and on one emulated core, in turn, and one on the
# smallest core.
CASES = [
    pytest.param(
        name,
        target,
        marks=[pytest.mark.long]
        * (target not in (HOST, emulated) and (name, target) != ("nearest_mean", SMALL)),
    )
    for name, emulated in zip(learners(), itertools.cycle(EMULATED))
    for target in STEPS
]


@pytest.mark.parametrize(("name", "target"), CASES)
def test_the_device_holds_what_its_twin_holds(name: str, target: str, tmp_path: Path) -> None:
    holds(name, target, STEPS[target], tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("name", learners())
def test_after_ten_thousand_steps_too(name: str, tmp_path: Path) -> None:
    holds(name, "native-zig", 10_000, tmp_path)


def holds(name: str, target: str, steps: int, folder: Path) -> None:
    graph = graph_of(name)
    inputs, labels = stream(graph, steps)
    twin = device_equals_twin(
        target, graph, inputs, labels, folder, block=steps // 5, commit_after=(steps // 2, steps)
    )
    assert twin.crc() != Twin(graph).crc()  # it learned something

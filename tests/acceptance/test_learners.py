"""Every learner, after thousands of steps: the device holds what its golden twin holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from every_learner import graph_of, stream
from learning import device_equals_twin
from spikelet.learn import Twin
from spikelet.learn.learner import learners

STEPS = {  # by target
    "native-zig": 10_000,
    "native-gcc-sanitized": 500,
    "rv32-gcc-qemu": 500,
    "rv32f-gcc-qemu": 500,
    "m4-gcc-qemu": 500,
}


@pytest.mark.parametrize("target", STEPS)
@pytest.mark.parametrize("name", learners())
def test_the_device_holds_what_its_twin_holds(name: str, target: str, tmp_path: Path) -> None:
    graph, steps = graph_of(name), STEPS[target]
    inputs, labels = stream(graph, steps)
    twin = device_equals_twin(
        target, graph, inputs, labels, tmp_path, block=steps // 5, commit_after=(steps // 2, steps)
    )
    assert twin.crc() != Twin(graph).crc()  # it learned something

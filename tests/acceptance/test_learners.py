"""Every learner, after thousands of steps: the device holds what its golden twin holds."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from learning import device_equals_twin
from spikelet.graph import Array, Graph
from spikelet.learn import Setting, Twin, identity
from spikelet.learn.learner import learners

CLASSES = 10
STEPS = {  # by target
    "native-zig": 10_000,
    "rv32-gcc-qemu": 500,
    "rv32f-gcc-qemu": 500,
    "m4-gcc-qemu": 500,
}


@functools.cache
def digits() -> tuple[Array, Array]:
    """Images as i8 (N, 64), labels (N,)."""
    bunch = load_digits()
    return (bunch.data * 8 - 64).astype(np.int8), bunch.target.astype(np.int64)


@functools.cache
def graph_of(name: str) -> Graph:
    """The learner with its default options, on raw digits."""
    images, labels = digits()
    setting = Setting(
        "features", CLASSES, seed=7, calibration={"x": images[:300]}, labels=labels[:300]
    )
    return learners()[name]().attach(identity((64,)), setting)


def stream(graph: Graph, steps: int) -> tuple[dict[str, Array], Array | None]:
    """Digits in an order of their own, again and again."""
    images, labels = digits()
    order = np.random.default_rng(3).integers(0, len(images), steps)
    return {"x": images[order]}, labels[order] if graph.classes else None


@pytest.mark.parametrize("target", STEPS)
@pytest.mark.parametrize("name", learners())
def test_the_device_holds_what_its_twin_holds(name: str, target: str, tmp_path: Path) -> None:
    graph, steps = graph_of(name), STEPS[target]
    inputs, labels = stream(graph, steps)
    twin = device_equals_twin(
        target, graph, inputs, labels, tmp_path, block=steps // 5, commit_after=(steps // 2, steps)
    )
    assert twin.crc() != Twin(graph).crc()  # it learned something

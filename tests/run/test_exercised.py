"""The share of the weights that samples exercise, against changing each weight in turn."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cli_support import HIDDEN, INPUTS, small_package
from int8_graphs import scale_fields
from spikelet.graph import Array, Graph, Operator, Role, Tensor
from spikelet.graph.operator import operators
from spikelet.graph.ops.conv2d import Conv2d
from spikelet.graph.ops.dense import Dense
from spikelet.graph.ops.depthwise_conv2d import DepthwiseConv2d
from spikelet.graph.ops.fully_connected import FullyConnected
from spikelet.graph.ops.transpose_conv import TransposeConv
from spikelet.run.exercised import Exercised

ZERO = -7
IMAGE = (6, 5, 2)


def zeros(*shape: int) -> Array:
    return np.zeros(shape, np.int8)


def code_fields(outputs: int, taps: int) -> dict[str, Any]:
    """Without bias, and so that a weight of 100 shows in the output."""
    fields = scale_fields(np.random.default_rng(1), outputs, taps, 0)
    return {**fields, "bias": np.zeros(outputs, np.int32)}


CASES: dict[str, tuple[tuple[int, ...], Callable[[], Operator]]] = {
    "fully_connected": (
        (4, 3),
        lambda: FullyConnected(name="y", inputs=("x",), weight=zeros(2, 3), **code_fields(2, 3)),
    ),
    "conv2d": (
        IMAGE,
        lambda: Conv2d(
            name="y", inputs=("x",), weight=zeros(2, 3, 2, 2), stride=(2, 1), dilation=(1, 2),
            padding=(1, 0, 1, 1), **code_fields(2, 12),
        ),
    ),
    "depthwise_conv2d": (
        IMAGE,
        lambda: DepthwiseConv2d(
            name="y", inputs=("x",), weight=zeros(3, 2, 4), depth_multiplier=2, stride=(2, 2),
            padding=(1, 1, 0, 0), **code_fields(4, 6),
        ),
    ),
    "transpose_conv": (
        IMAGE,
        lambda: TransposeConv(
            name="y", inputs=("x",), weight=zeros(2, 3, 2, 2), size=(11, 6), stride=(2, 1),
            padding=(1, 0), **code_fields(2, 12),
        ),
    ),
}  # fmt: skip


def graph_of(node: Operator, shape: tuple[int, ...]) -> Graph:
    x = Tensor("x", "i8", shape, kind="input", scale=0.05, zero_point=ZERO)
    return Graph("one", 1, [x], [node], ["y"])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", CASES)
def test_a_weight_is_exercised_when_it_can_show(kind: str, seed: int) -> None:
    shape, make = CASES[kind]
    rng = np.random.default_rng(seed)
    x = np.full((2, *shape), ZERO, np.int8)
    moved = rng.random(x.shape) < 0.06
    x[moved] = rng.choice(np.array([-120, 110], np.int8), int(moved.sum()))
    node = make()
    graph = graph_of(node, shape)
    execution = graph.run({"x": x}, trace=True)
    collected = Exercised(graph)
    collected.add(execution, {"x": x})
    weight = node.arrays()["weight"]
    shows = 0
    for at in np.ndindex(weight.shape):
        changed = weight.copy()
        changed[at] = 100
        other = graph_of(dataclasses.replace(node, weight=changed), shape)  # type: ignore[call-arg]
        shows += bool((other.run({"x": x}).outputs["y"] != execution.outputs["y"]).any())
    assert collected.count() == (shows, weight.size)
    assert shows > 0


def test_spikes_and_steps_add_up() -> None:
    package = small_package()
    x = np.zeros((2, INPUTS), np.uint8)
    x[0, 3] = x[1, 5] = 9
    collected = Exercised(package.graph)
    for row in range(2):
        part = {"x": x[row : row + 1]}
        collected.add(package.graph.run(part, trace=True), part)
    fired = collected.moved["lif1.spikes"].sum()
    dense = [node for node in package.graph.nodes if isinstance(node, Dense)]
    assert collected.count()[0] == 2 * HIDDEN + fired * len(dense[1].weight)
    assert collected.count()[1] == sum(node.weight.size for node in dense)


def test_every_operator_with_weights_tells() -> None:
    """`weight` is the field's name in every operator that has constant weights."""
    without = [
        kind
        for kind, operator in operators().items()
        if any(f.name == "weight" and f.type == "Array" for f in dataclasses.fields(operator))
        and operator.__module__.startswith("spikelet.graph")
        and operator.exercised_weights is Operator.exercised_weights
    ]
    assert without == []


def test_a_weighted_role_and_a_count_go_together() -> None:
    for shape, make in CASES.values():
        (node,) = graph_of(make(), shape).nodes
        assert Role.WEIGHTED in node.tensor_roles().values()
        moved = {"x": np.ones(shape, bool)}
        found, every = node.exercised_weights(moved)
        assert 0 < found <= every == node.arrays()["weight"].size
        assert node.exercised_weights({"x": np.zeros(shape, bool)}) == (0, every)

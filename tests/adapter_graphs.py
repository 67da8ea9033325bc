"""Graphs with what adapters add to layers."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from plan_graphs import image
from spikelet.graph import Array, Graph, Operator, Tensor
from spikelet.graph.adapted import BASE
from spikelet.graph.ops.add_delta import AddDelta

# Kernel, stride, dilation, padding; y and x.
PLACES: list[tuple[dict[str, Any], tuple[int, ...], tuple[int, ...]]] = [
    ({}, (1,), (1,)),
    ({}, (5,), (3, 11)),
    ({"kernel": (1, 1)}, (3, 4, 6), (3, 4, 5)),
    ({"kernel": (3, 2), "padding": (1, 0, 2, 1)}, (6, 5, 3), (5, 5, 4)),
    ({"kernel": (2, 3), "stride": (2, 1), "dilation": (1, 2)}, (2, 2, 9), (5, 6, 2)),
]
FORMS: list[dict[str, Any]] = [
    {"rank": 0, "bits": 8}, {"rank": 1, "bits": 1}, {"rank": 9, "bits": 1}, {"rank": 4, "bits": 8},
    {"rank": 0, "bits": 8, "own": True}, {"rank": 0, "bits": 8, "kept": 7},
    {"rank": 0, "bits": 1, "own": True}, {"rank": 3, "bits": 1, "halved": True},
    {"rank": 0, "bits": 8, "kept": 5, "halved": True},
]  # fmt: skip


def add_delta(
    name: str, place: dict[str, Any], y: Tensor, x: Tensor, **fields: Any
) -> tuple[AddDelta, list[Tensor]]:
    """An operator whose values are inputs of the graph, and all its inputs."""
    code = {"output_scale": y.scale, "output_zero_point": y.zero_point}
    node = AddDelta(name=name, inputs=(y.name, x.name), **{**place, **code, **fields})
    node.ins = (y, x)
    values = [
        Tensor(f"{name}_{what}", dtype, shape, kind="input")
        for what, (dtype, shape) in node.values().items()
    ]
    inputs = (*node.inputs, *(tensor.name for tensor in values))
    return replace(node, inputs=inputs), [y, x, *values]


def added_deltas() -> Graph:
    """Every place and form, values from the inputs; then a depthwise one on what it adds to."""
    nodes: list[Operator] = []
    inputs: list[Tensor] = []
    for number, (place, y, x) in enumerate(PLACES):
        for form in FORMS:
            own = form.get("own", False)
            if own and "kernel" not in place:
                continue
            kernel = place.get("kernel")
            if form.get("kept", 0) > prod(kernel + x[2:] if kernel else x):
                continue
            name = f"n{len(nodes)}"
            given = image(f"{name}_x", (*x[:-1], y[-1]) if own else x), image(f"{name}_y", y)
            ends = {"activation": (-100, 90)} if number % 2 else {}
            node, ins = add_delta(name, place, given[1], given[0], **form, **ends)
            nodes.append(node)
            inputs += ins
    y = image("own", (4, 5, 3))
    place = {"kernel": (3, 3), "padding": (1, 1, 1, 1)}
    node, ins = add_delta("own_y", place, y, y, rank=0, bits=8, own=True)
    nodes.append(node)
    inputs += ins[1:]
    return Graph("added_deltas", 1, inputs, nodes, [nodes[-1].name])


def drawn_values(graph: Graph, rng: np.random.Generator, samples: int | None) -> dict[str, Array]:
    """Values of adapters that matter: gains of a few codes; those of a sample, or learned ones."""
    every = [*graph.inputs, *(k.tensor for k in graph.learned)]
    found = {}
    for tensor in every:
        if tensor.name == BASE:
            found[tensor.name] = graph.initial()[BASE]
            continue
        shape = tensor.shape if samples is None else (samples, *tensor.shape)
        low, high = tensor.limits
        if tensor.name.endswith("shift"):
            low, high = 4, 9
        if tensor.name.endswith("bias"):
            low, high = -9, 9
        if tensor.name.endswith("half"):
            low, high = 0, 1
        if samples is None and tensor.kind != "learned":
            continue
        values = rng.integers(low, high, shape, endpoint=True)
        found[tensor.name] = values.astype(tensor.numpy_dtype)
    return found

"""Learned states that no sample leads to, but that a host may write."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from spikelet.graph import Array, Graph
from spikelet.learn import Twin
from spikelet.run.learner import device_learner
from support import need


def any_state(graph: Graph, rng: np.random.Generator, at_end: float) -> dict[str, Array]:
    """Learned tensors anywhere within their limits; a part of the elements at an end of them."""
    state = {}
    for learned in graph.learned:
        tensor = learned.tensor
        low, high = (end.astype(np.int64) for end in learned.interval)
        if tensor.name.endswith(".random"):
            low = np.maximum(low, 1)
        drawn = rng.integers(low, high, tensor.shape, endpoint=True)
        ends = np.choose(rng.integers(0, 3, tensor.shape), [low, high, np.clip(0, low, high)])
        values = np.where(rng.random(tensor.shape) < at_end, ends, drawn)
        state[tensor.name] = values.astype(tensor.numpy_dtype)
    return state


def any_state_is_survived(
    graph: Graph, inputs: Mapping[str, Array], labels: Array | None, folder: Path, states: int = 6
) -> None:
    """From any state, samples and a commit give the twin's bits, and no undefined behaviour."""
    need("gcc")
    rng = np.random.default_rng(5)
    twin = Twin(graph)
    with device_learner(graph, folder=folder, toolchain="gcc", sanitize=True) as device:
        for number in range(states):
            state = any_state(graph, rng, number / max(1, states - 1))
            twin.restore(state)
            device.restore(state)
            device.observe(inputs, labels)
            twin.observe(inputs, labels)
            assert device.compare(twin) == [], f"state {number}"
            if all(_within(graph, name, values) for name, values in twin.learned.items()):
                twin.commit()
                device.commit()
                assert device.compare(twin) == [], f"state {number}, committed"


def _within(graph: Graph, name: str, values: Array) -> bool:
    low, high = next(k for k in graph.learned if k.tensor.name == name).interval
    return bool((values >= low).all() and (values <= high).all())

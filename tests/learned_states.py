"""Learned states that no sample leads to, but that a host may write."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from spikelet.errors import UsageError
from spikelet.graph import Array, Graph, Tensor
from spikelet.graph.tensor import FLOATS
from spikelet.learn import Twin
from spikelet.link import DeviceRefused
from spikelet.link.messages import Status
from spikelet.run.learner import DeviceLearner, device_learner
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


def check_any_state(
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
            try:
                twin.commit()
            except UsageError:
                with pytest.raises(DeviceRefused, match="RANGE"):
                    device.commit()
                continue
            device.commit()
            assert device.compare(twin) == [], f"state {number}, committed"


def check_ends(
    graph: Graph, device: DeviceLearner, inputs: Mapping[str, Array], labels: Array | None
) -> None:
    """Each learned tensor at an end of its range is as with the twin; beyond it is refused."""
    twin = Twin(graph)
    for learned in graph.learned:
        tensor, start = learned.tensor, graph.initial()
        for end in ends(graph, tensor):
            state = {**start, tensor.name: np.full(tensor.shape, end, tensor.numpy_dtype)}
            twin.restore(state)
            device.restore(state)
            with np.errstate(all="ignore"):
                twin.observe(inputs, labels)
            device.observe(inputs, labels)
            assert device.compare(twin) == [], f"{tensor.name} at {end}"
        for value in beyond(graph, tensor):
            state = {**start, tensor.name: start[tensor.name].copy()}
            state[tensor.name].flat[-1] = value
            with pytest.raises(DeviceRefused) as refused:
                device.restore(state)
            assert refused.value.status == Status.RANGE, f"{tensor.name} at {value}"


def ends(graph: Graph, tensor: Tensor) -> list[float]:
    """The lowest and the highest value that a host may write; of floats, finite."""
    most = float(np.finfo(tensor.numpy_dtype).max) if tensor.dtype in FLOATS else np.inf
    return [max(min(end, most), -most) for end in graph.admitted_range(tensor)]


def beyond(graph: Graph, tensor: Tensor) -> list[float]:
    """Values of the type below and above these, and what is no number."""
    low, high = ends(graph, tensor)
    if tensor.dtype in FLOATS:
        kind = tensor.numpy_dtype.type
        with np.errstate(over="ignore"):
            below = np.nextafter(kind(low), kind(-np.inf))
            above = np.nextafter(kind(high), kind(np.inf))
        return [float(below), float(above), np.inf, -np.inf, np.nan]
    lowest, highest = tensor.limits
    around = [low - 1, high + 1, lowest, highest]
    return [v for v in around if lowest <= v <= highest and not low <= v <= high]

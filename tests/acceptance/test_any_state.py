"""Learned tensors are input: whatever a host uploads within their ranges, no learner leaves its
memory, and the device still computes what its twin computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from every_learner import graph_of, stream
from learned_states import beyond, check_ends, ends
from spikelet.errors import UsageError
from spikelet.graph import Array, Graph, Phase
from spikelet.graph.tensor import FLOATS
from spikelet.learn import Twin
from spikelet.learn.learner import learners
from spikelet.run.learner import device_learner, outputs_crc
from support import need

ANYWHERE, AT_THE_ENDS, SMALL = range(3)
SAMPLES = 6


def random_state(graph: Graph, rng: np.random.Generator, kind: int) -> dict[str, Array]:
    """A value for every learned tensor, of which each element alone is allowed."""
    state = {}
    for learned in graph.learned:
        tensor = learned.tensor
        if tensor.dtype in FLOATS and kind != AT_THE_ENDS:
            values = rng.normal(0, 10.0 if kind == ANYWHERE else 1.0, tensor.shape)
        else:
            low, high = ends(graph, tensor)
            if kind == ANYWHERE:
                values = rng.integers(int(low), int(high), tensor.shape, endpoint=True)
            elif kind == AT_THE_ENDS:
                values = np.where(rng.random(tensor.shape) < 0.5, low, high)
            else:
                values = rng.integers(-40, 40, tensor.shape).clip(low, high)
        state[tensor.name] = values.astype(tensor.numpy_dtype).reshape(tensor.shape)
        # What is signed of a state is its arrays' bytes.
        assert tensor.to_bytes(state[tensor.name]) == state[tensor.name].tobytes()
    return state


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {}) for name in learners()),
        # An index that can have one value only.
        ("replay", {"blocks": 1}),
        ("associative", {"rows": 1, "full": "oldest"}),
    ],
)
def test_any_state_within_its_ranges_is_safe(
    name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    need("gcc")
    graph, rng = graph_of(name, **options), np.random.default_rng(5)
    inputs, labels = stream(graph, SAMPLES)
    with device_learner(
        graph, "native", toolchain="gcc", sanitize=True, folder=tmp_path
    ) as device:  # fmt: skip
        for kind in (ANYWHERE, AT_THE_ENDS, SMALL):
            state, twin = random_state(graph, rng, kind), Twin(graph)
            device.restore(state)
            twin.restore(state)
            with np.errstate(all="ignore"):
                expected = twin.observe(inputs, labels)
            assert list(device.observe(inputs, labels)) == list(outputs_crc(graph, expected))
            assert device.compare(twin) == []
            device.commit()  # refused, where a value left its range
            twin.commit()
            assert device.compare(twin) == []
        two = {name: values[:2] for name, values in inputs.items()}
        check_ends(graph, device, two, None if labels is None else labels[:2])


# A commit of theirs reads all that is learned, and is proved for values within their ranges only.
READS_ALL = ("fetril", "streaming_lda")


@pytest.mark.parametrize("name", [name for name in learners() if name not in READS_ALL])
def test_a_twin_commits_nothing_that_a_device_refuses(name: str) -> None:
    graph = graph_of(name)
    twin, start, tried = Twin(graph), graph.initial(), 0
    committing = [node for node in graph.order if graph.phase(node) is Phase.COMMIT]
    read = {tensor for node in committing for tensor in node.inputs}
    for tensor in (k.tensor for k in graph.learned if k.tensor.name not in read):
        for value in beyond(graph, tensor):
            twin.restore(start)
            twin.learned[tensor.name].flat[-1] = value
            before = twin.state()
            with pytest.raises(UsageError, match=f"learned tensor {tensor.name}"):
                twin.commit()
            for each, values in twin.learned.items():  # nothing is consolidated
                assert values.tobytes() == before[each].tobytes()
            tried += 1
    assert tried

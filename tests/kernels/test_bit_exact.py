"""The C kernels against golden: every operator, every convention, on every kind of target.

Each target runs the real firmware behind the real link. A trace build digests what every layer
wrote in every step; all digests must be golden's.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphs
import spiking_graphs
from spikelet.board import find_board, start
from spikelet.graph import Graph, Phase
from spikelet.graph.ops.lif import Lif
from spikelet.link.device import Device
from spikelet.run import make
from support import need
from targets import TARGETS, check_graph, make_package

PARTS = 12
CONVENTIONS = graphs.conventions()
GRAPHS = {
    "operators": graphs.operator_zoo,
    "classifier": graphs.digits_like,
    "leaks": graphs.leak_zoo,
    "recurrence": spiking_graphs.recurrent_spikes,
    "images": spiking_graphs.spiking_convolutions,
    "switches": partial(graphs.neuron_zoo, graphs.switches(), "switches"),
    "few_bits": spiking_graphs.few_bits,
    **{
        f"neurons_{i}": partial(graphs.neuron_zoo, CONVENTIONS[i::PARTS], f"neurons_{i}")
        for i in range(PARTS)
    },
}

# Compiling is what takes time: for every change every convention on one host, a part of them
# emulated and under the sanitisers.
SOME = ("neurons_0",)
EVERY = {"native-zig": 1, "rv32-zig-unicorn": 1, "rv32-gcc-qemu": 2}


def marks(target: str, name: str) -> list[pytest.MarkDecorator]:
    """One sanitised build is enough for every change; one of its graphs is quick."""
    if (target, name) == ("native-gcc-sanitized", "classifier"):
        return [pytest.mark.quick]
    seldom = {
        "native-gcc-sanitized": name in ("neurons_6", "switches"),
        "native-clang-sanitized": True,
        "rv32-zig-unicorn": name not in ("operators", "classifier", "images"),
        "m0-gcc-qemu": name in ("switches", "few_bits"),
        "native-zig": name == "few_bits",
        "rv32-gcc-qemu": name.startswith("neurons") and name not in SOME,
    }.get(target, False)
    return [pytest.mark.long] * seldom


CASES = [
    pytest.param(target, name, marks=marks(target, name))
    for target in TARGETS
    for i, name in enumerate(GRAPHS)
    if i < 7 or (i - 7) % EVERY.get(target, 6) == 0
] + [
    pytest.param(target, name, marks=marks(target, name))
    for target in ("m4-gcc-qemu", "m0-gcc-qemu")
    for name in ("leaks", "recurrence", "images", "switches", "few_bits")
]


@pytest.mark.parametrize(("target", "name"), CASES)
def test_every_layer_in_every_step_equals_golden(target: str, name: str, tmp_path: Path) -> None:
    summary = check_graph(target, GRAPHS[name](), 6, tmp_path)
    if name in ("operators", "leaks"):
        assert summary["saturations"] > 0  # the rare path was taken, and counted alike


QUICK_PARTS = 11  # shares no factor with the numbers of choices, so a part has all of each
QUICK_TARGETS = {
    "rv32-gcc-qemu": (0, 1),
    "m4-gcc-qemu": (1,),
    "m0-gcc-qemu": (2,),
    "rv32-zig-unicorn": (),
    "m4-zig-qemu": (),
    "m0-zig-qemu": (),
    "m55-gcc-qemu": (),
    "native-clang-sanitized": (),
}


@pytest.mark.parametrize(
    ("target", "part"),
    [
        pytest.param(target, part, marks=[] if part in short else [pytest.mark.long])
        for target, short in QUICK_TARGETS.items()
        for part in range(QUICK_PARTS)
    ],
)
def test_neurons_worked_on_by_sixteen_equal_golden(target: str, part: int, tmp_path: Path) -> None:
    graph = spiking_graphs.quick_neurons(slice(part, None, QUICK_PARTS))
    layers = [node for node in graph.order if isinstance(node, Lif)]
    quick = [n for n in layers if n.facts.exact and n.facts.small and n.outs[1].dtype == "i16"]
    assert len(quick) > 0.8 * len(layers)  # in some a late reset may go beyond 16 bits
    check_graph(target, graph, 6, tmp_path)


def poked_zoo(steps: int) -> Graph:
    return graphs.neuron_zoo(CONVENTIONS[0::PARTS], "poked", steps=steps)


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Graph, Device]]:
    need("gcc")
    package = make_package(poked_zoo(3), 1)
    board = find_board("native")
    out = tmp_path_factory.mktemp("poked")
    built = make(package, board, out, toolchain="gcc", trace=True, sanitize=True)
    with start(built.firmware, "native") as machine, Device(machine.transport) as device:
        yield package.graph, device


@given(seed=st.integers(0, 2**32 - 1), extreme=st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_a_step_from_any_state_equals_golden(
    native: tuple[Graph, Device], seed: int, extreme: float
) -> None:
    """States anywhere in their type, the ends included, which no run from rest would reach."""
    graph, device = native
    rng = np.random.default_rng(seed)
    env = graphs.random_inputs(graph, 2, rng)
    env = {k: v[1:] for k, v in env.items()}
    for node in graph.order:
        node.start(env, 1)
        if graph.phase(node) is Phase.ONCE:
            node.golden(env, 0)
    device.run(inputs={t.name: t.to_bytes(env[t.name][0]) for t in graph.inputs}, steps=1)
    states = [t for t in graph.tensors.values() if t.kind == "state"]
    reached = poked_zoo(graph.steps - 1).bounds  # so that the next step is still proved
    poked = {}
    for tensor in states:
        low, high = tensor.limits
        if tensor.name.endswith(".refractory"):
            high = 3
        if tensor.name == "encode.state":
            low = 1
        drawn = rng.integers(low, high, tensor.shape, endpoint=True)
        at_end = rng.random(tensor.shape) < extreme
        drawn = np.where(at_end, rng.choice([low, high], tensor.shape), drawn)
        # A layer that is proved not to saturate promises it for states that it can reach.
        if tensor.name in reached and not tensor.name.endswith((".refractory", ".state")):
            floor, ceiling = reached[tensor.name]
            drawn = np.clip(drawn, floor, ceiling)
        env[tensor.name] = drawn.astype(tensor.numpy_dtype)[None]
        poked[tensor.name] = tensor.to_bytes(env[tensor.name][0])
    device.put_many(poked)
    device.run(restart=False, steps=1)
    for node in graph.order:
        if graph.phase(node) is Phase.STEP:
            node.golden(env, 1)
    received = device.get_many([t.name for t in states])
    for tensor in states:
        assert np.array_equal(tensor.from_bytes(received[tensor.name]), env[tensor.name][0]), (
            tensor.name
        )

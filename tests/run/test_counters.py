"""NeuroBench's metrics from the counters of devices, which are golden's for any input."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphs
from cli_support import serve, wrong_image
from spikelet.early_exit import NEVER, with_exit
from spikelet.errors import Disagreement
from spikelet.graph import Array, Graph, Operator, operators
from spikelet.graph.counters import Counted, counters
from spikelet.link.device import Device
from spikelet.link.transport import open_transport
from spikelet.metrics import neurobench
from spikelet.package import Package
from spikelet.run.bench import effective_work
from spikelet.run.workflow import SessionTarget, connect, make
from spiking_graphs import (
    event_frames,
    event_network,
    recurrent_spikes,
    reservoirs,
    spiking_convolutions,
)
from support import need
from targets import EVERY, board_of, make_package


def sure_events() -> Graph:
    """A network of events that stops where its answer is sure."""
    return with_exit(event_network(), np.array([NEVER, 1, 2, 2, 3, 1, 1, 1], np.int32))


GRAPHS = {
    "recurrence": recurrent_spikes,
    "images": spiking_convolutions,
    "reservoirs": reservoirs,
    "sure": sure_events,
}
SHORT = {  # seconds to compile; of the others one target is enough for every change
    "native-gcc-sanitized": tuple(GRAPHS),
    "rv32-gcc-qemu": ("sure",),
    "m4-gcc-qemu": ("images",),
}


def package_of(name: str, samples: int = 3) -> Package:
    graph = GRAPHS[name]()
    if graph.stream is None:
        return make_package(graph, samples)
    return Package(graph, {"x": event_frames("bit", samples)}, {}).with_golden()


def target_of(name: str, package: Package, folder: Path) -> SessionTarget:
    board_name, toolchain, machine, sanitize, tools = EVERY[name]
    for tool in tools:
        need(tool)
    board = board_of(board_name)
    built = make(package, board, folder, toolchain=toolchain, trace=True, sanitize=sanitize)
    return SessionTarget(board, built, machine)


@pytest.mark.parametrize(
    ("target", "name"),
    [
        pytest.param(target, name, marks=[] if name in short else [pytest.mark.long])
        for target, short in SHORT.items()
        for name in GRAPHS
    ],
)
def test_a_device_counts_what_golden_counts(target: str, name: str, tmp_path: Path) -> None:
    package = package_of(name)
    graph, inputs = package.graph, package.inputs
    with connect(target_of(target, package, tmp_path), package) as (device, _):
        work = effective_work(package, inputs, device).to_json()
    golden = neurobench(graph, graph.run(inputs, trace=True), inputs).to_json()
    assert (work.pop("counted_by"), golden.pop("counted_by")) == ("device", "golden")
    assert work == golden
    assert all(work["layer_operations"].values()) and work["membrane_updates"]


def test_every_operator_with_synapses_is_counted_on_a_device() -> None:
    counted = {
        (type(counter.node).KIND, counter.counted)
        for make_graph in GRAPHS.values()
        for counter in counters(make_graph())
    }
    weighted = {
        kind for kind, cls in operators().items()
        if cls.synapses is not Operator.synapses and cls.__module__.startswith("spikelet.")
    }  # fmt: skip
    assert {kind for kind, how in counted if how is Counted.OPERATIONS} == weighted
    assert len(weighted) >= 5 and {how for _, how in counted} == set(Counted)


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Package, Device]]:
    package = make_package(graphs.digits_like(), 1)
    target = target_of("native-gcc-sanitized", package, tmp_path_factory.mktemp("counters"))
    with connect(target, package) as (device, _):
        yield package, device


@given(seed=st.integers(0, 2**32 - 1), dense=st.sampled_from([0.0, 0.03, 0.5, 1.0]))
@settings(max_examples=25, deadline=None)
def test_counts_of_any_input_are_golden_s(
    native: tuple[Package, Device], seed: int, dense: float
) -> None:
    package, device = native
    rng = np.random.default_rng(seed)
    x = (rng.integers(1, 256, (2, 64)) * (rng.random((2, 64)) < dense)).astype(np.uint8)
    inputs: dict[str, Array] = {"x": x, "seed": np.array([[seed], [1]], np.uint32)}
    work = effective_work(package, inputs, device)
    assert work.counted_by == "device" and (work.effective_acs > 0 or dense < 0.5)


def test_a_device_that_counts_wrong_is_named(tmp_path: Path) -> None:
    need("gcc")
    package = make_package(graphs.digits_like(), 3)
    kept = counters(package.graph)
    spikes = next(i for i, k in enumerate(kept) if k.tensor.name == "lif1.spikes")
    right, wrong = (f".count = counts + {i}, .place" for i in (spikes, spikes - 1))
    image = wrong_image(package.graph, package.sha256, tmp_path, right, wrong)
    text = r"layer fc1: the device counts [0-9,]+ synaptic operations of encode.spikes"
    with (
        serve(image) as (url, _),
        Device(open_transport(url, 0)) as device,
        pytest.raises(Disagreement, match=text),
    ):
        effective_work(package, package.inputs, device)

"""Neurons that go on from one inference to the next: as if both were one, on every executor."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

import numpy as np
import pytest

from link_agent import compilers
from spikelet.board import find_board
from spikelet.errors import UsageError
from spikelet.graph import Array, Graph, Operator, Tensor
from spikelet.graph.operator import operators
from spikelet.graph.ops.argmax import Argmax
from spikelet.graph.ops.direct import Direct
from spikelet.graph.ops.leaky_readout import LeakyReadout
from spikelet.graph.ops.lif import Lif
from spikelet.graph.target import Target
from spikelet.keep_state import keeping_state
from spikelet.link import DeviceRefused
from spikelet.package import Package
from spikelet.run.exported import export_c
from spikelet.run.session import compare
from spikelet.run.session_folder import Recording, SessionFolder
from spikelet.run.workflow import SessionTarget, connect, make
from spikelet.streams import package_stream
from spiking_graphs import event_frames, event_network, recurrent_spikes


def kept(graph: Graph) -> Graph:
    return dataclasses.replace(graph, keeps_state=True)


def test_two_windows_are_one_of_twice_the_steps() -> None:
    x = event_frames("bit", samples=5, steps=16)
    whole = event_network(steps=16).run({"x": x}, trace=True)
    graph = kept(event_network(steps=8))
    first = graph.run({"x": x[:, :8]}, trace=True)
    second = graph.run({"x": x[:, 8:]}, trace=True, states=first.states)
    anew = graph.run({"x": x[:, 8:]}, trace=True)
    for name in ("n1.spikes", "n2.spikes", "n1.membrane", "n2.membrane"):
        np.testing.assert_array_equal(first.trace[name], whole.trace[name][:8])
        np.testing.assert_array_equal(second.trace[name], whole.trace[name][8:])
        assert (anew.trace[name] != second.trace[name]).any()
    # Counts are of a window.
    counts = first.outputs["counts"] + second.outputs["counts"]
    np.testing.assert_array_equal(counts, whole.outputs["counts"])


def test_delays_and_recurrence_go_on() -> None:
    rng = np.random.default_rng(2)
    inputs = {
        "x": rng.integers(0, 256, (3, 40)).astype(np.uint8),
        "seed": rng.integers(1, 1 << 32, (3, 1), dtype=np.uint64).astype(np.uint32),
    }
    graph = kept(recurrent_spikes(steps=6))
    first = graph.run(inputs, trace=True)
    second = graph.run(inputs, trace=True, states=first.states)
    np.testing.assert_array_equal(second.trace["last"][0], first.trace["lif.spikes"][-1])
    slow = np.concatenate([run.trace["slow.spikes"] for run in (first, second)])
    late = np.concatenate([run.trace["later"] for run in (first, second)])
    for neuron, delay in enumerate(np.resize([0, 5, 3, 6], 36)):
        np.testing.assert_array_equal(late[delay:, :, neuron], slow[: 12 - delay, :, neuron])


@pytest.mark.parametrize(("leak", "exact"), [(29491, True), (32768, False)])
def test_no_number_of_steps_bounds_a_membrane(leak: int, exact: bool) -> None:
    """What the proof says holds beyond the steps of one inference."""
    x = Tensor("x", "u8", (3,), kind="input")
    nodes = [
        Direct(name="current", inputs=("x",), gain=100),
        Lif(name="n", inputs=("current",), threshold=np.array([1 << 30], np.int32), leak=leak,
            reset="none"),
        LeakyReadout(name="sum", inputs=("current",), leak=leak),
        Argmax(name="label", inputs=("sum",)),
    ]  # fmt: skip
    once = Graph("bounded", 4, [x], nodes, ["label"])
    graph = kept(once)
    most = [int(g.bounds["n.membrane"][1].max()) for g in (once, graph)]
    assert most[0] == 102_000 if leak == 32768 else most[0] < 102_000
    assert most[1] > 2 * most[0]
    for node in graph.nodes[1:3]:
        assert node.facts.exact is exact
    states = {}
    for _ in range(120):
        run = graph.run({"x": np.full((1, 3), 255, np.uint8)}, states=states)
        states = run.states
        assert states["n.membrane"].max() <= most[1]
        assert states["sum"].max() <= graph.bounds["sum"][1].max()
    assert states["n.membrane"].max() > most[0]


@pytest.mark.parametrize(("board", "layers"), [("native", True), ("virt-rv32", False)])
def test_a_device_goes_on_as_golden_does(tmp_path: Path, board: str, layers: bool) -> None:
    x = event_frames("bit", samples=10)
    base = Package(event_network(), {"x": x}, {"name": "go_on"}).with_golden()
    package, on = keeping_state(base), find_board(board)
    target = SessionTarget(on, make(package, on, tmp_path / "image", trace=layers))
    stream = dataclasses.replace(package_stream(package), golden={})
    with connect(target, package) as (device, _):
        if layers:
            with pytest.raises(DeviceRefused):  # nothing was run whose states it could keep
                device.run(inputs={"x": package.graph.wire(package.graph.inputs[0], x[0])},
                           keep=True)  # fmt: skip
        recording = Recording(SessionFolder(tmp_path / "s"), {}, resume=False)
        outcome = compare(package, device, stream, recording, layers=layers)
    assert outcome.mismatches == 0
    alone = base.graph.run({"x": x}).outputs["label"][:, 0]
    assert [s.device for s in outcome.samples] != alone.tolist()


def test_the_first_difference_is_found_and_the_session_goes_on(tmp_path: Path) -> None:
    """A device whose leak is a little other than golden's."""
    x = event_frames("bit", samples=12)
    package = keeping_state(Package(event_network(), {"x": x}, {"name": "go_on"}).with_golden())
    nodes = [
        dataclasses.replace(node, leak=node.leak - 4)
        if isinstance(node, Lif) and node.name == "n2"
        else node
        for node in package.graph.nodes
    ]
    other = dataclasses.replace(package.graph, nodes=nodes)
    wrong = dataclasses.replace(package, graph=other, vectors={"x": x}).with_golden()
    on = find_board("native")
    target = SessionTarget(on, make(wrong, on, tmp_path / "image", trace=True))
    stream = dataclasses.replace(package_stream(package), golden={})
    with connect(target, wrong) as (device, _):
        recording = Recording(SessionFolder(tmp_path / "s"), {}, resume=False)
        outcome = compare(package, device, stream, recording, layers=True)
    states: list[dict[str, Array]] = [{}, {}]
    first: tuple[int, ...] = ()
    for index in range(12):
        golden, device_ = (
            graph.run({"x": x[index : index + 1]}, trace=True, states=kept)
            for graph, kept in zip((package.graph, other), states, strict=True)
        )
        states = [golden.states, device_.states]
        was, now = (run.trace["n2.membrane"][:, 0] for run in (golden, device_))
        assert (outcome.samples[index].mismatches > 0) == bool((was != now).any())
        if not first and (was != now).any():
            step, element = np.argwhere(was != now)[0]
            first = index, step, element, was[step, element], now[step, element]
    assert first and first[0] > 0
    named = outcome.differences[0]
    assert (named.layer, named.tensor) == ("n2", "n2.membrane")
    assert (named.sample, named.step, named.index, named.golden, named.device) == first


def test_a_library_goes_on_as_golden_does(tmp_path: Path) -> None:
    x = event_frames("bit", samples=8)
    package = keeping_state(Package(event_network(), {"x": x}, {"name": "go_on"}).with_golden())
    export_c(package, tmp_path, Target.of_core("portable"))
    main = (tmp_path / "example" / "main.c").read_text()
    assert "i ? event_bit_resume() : event_bit_start()" in main
    compiler = next(iter(compilers().values()))
    sources = [*(tmp_path / "src").glob("*.c"), tmp_path / "example" / "main.c"]
    command = [*compiler, "-Wall", "-Wextra", "-Werror", "-O1", "-fno-strict-aliasing",
               "-ffp-contract=off", "-DSPIKELET_FLAGS", f"-I{tmp_path / 'include'}",
               *map(str, sources), "-o", str(tmp_path / "t")]  # fmt: skip
    subprocess.run(command, check=True)
    ran = subprocess.run([tmp_path / "t"], capture_output=True, text=True, check=True)
    assert "8 samples, 0 of " in ran.stdout


def test_states_of_every_operator_are_kept_or_known_to_begin_anew() -> None:
    """An encoder's, a count's, a learner's, and what int8 networks keep within one sequence."""
    anew = {
        "dense", "lstm", "poisson", "spike_count", "svdf", "spike_history", "surrogate",
    }  # fmt: skip
    starts = {kind: cls for kind, cls in operators().items() if cls.start is not Operator.start}
    assert {kind for kind, cls in starts.items() if not cls.KEPT} == anew
    assert all(kind in starts for kind, cls in operators().items() if cls.KEPT)


def test_what_has_no_neurons_keeps_nothing() -> None:
    x = Tensor("x", "u8", (3,), kind="input")
    nodes = [Direct(name="c", inputs=("x",)), Argmax(name="label", inputs=("c",))]
    with pytest.raises(UsageError, match="package plain has no neurons"):
        keeping_state(Package(Graph("plain", 1, [x], nodes, ["label"])))
    assert "keeps_state" not in event_network().to_json()
    again = kept(event_network())
    assert Graph.from_json(again.to_json(), again.constants()).keeps_state

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

import graphs
from spikelet.early_exit import NEVER, with_exit
from spikelet.graph import Array, Graph, Operator, Role, Tensor, operators
from spikelet.graph.counters import counters, counts
from spikelet.graph.operator import Inferred
from spikelet.graph.ops.conv2d_sums import Conv2dSums
from spikelet.graph.ops.dense import Dense
from spikelet.graph.ops.leaky_readout import LeakyReadout
from spikelet.graph.ops.lif import Lif
from spikelet.graph.ops.poisson import Poisson
from spikelet.graph.ops.spike_count import SpikeCount
from spikelet.metrics import neurobench, of_counts, scores
from spiking_graphs import event_frames, event_network


def weights(rng: np.random.Generator, shape: tuple[int, int], zeros: float) -> Array:
    codes = rng.integers(1, 128, shape) * rng.choice([-1, 1], shape)
    codes[rng.random(shape) < zeros] = 0
    return codes.astype(np.int8)


def bench(zeros: float = 0.0) -> tuple[Graph, dict[str, Array]]:
    """64-128-10, 25 steps."""
    rng = np.random.default_rng(1)
    graph = Graph(
        "bench",
        25,
        [Tensor("x", "u8", (64,), kind="input"), Tensor("seed", "u32", (1,), kind="input")],
        [
            Poisson(name="encode", inputs=("x", "seed")),
            Dense(
                name="fc1",
                inputs=("encode.spikes",),
                weight=weights(rng, (128, 64), zeros),
                bias=np.ones(128, np.int32),
            ),
            Lif(name="lif1", inputs=("fc1",), threshold=np.array([500], np.int32), leak=29491),
            Dense(name="fc2", inputs=("lif1.spikes",), weight=weights(rng, (10, 128), zeros)),
            Lif(name="lif2", inputs=("fc2",), threshold=np.array([900], np.int32), leak=29491),
            SpikeCount(name="counts", inputs=("lif2.spikes",)),
        ],
        ["counts"],
    )
    inputs: dict[str, Array] = {
        "x": rng.integers(0, 256, (6, 64)).astype(np.uint8),
        "seed": np.arange(6, dtype=np.uint32)[:, None],
    }
    return graph, inputs


def test_accumulates_of_images_equal_a_count_by_hand() -> None:
    rng = np.random.default_rng(2)
    weight = rng.integers(1, 9, (5, 3, 3, 4)).astype(np.int8)
    x = Tensor("x", "bit", (6, 6, 4), kind="input")
    conv = Conv2dSums(name="conv", inputs=("x",), weight=weight, padding=(1, 1, 1, 1))
    graph = Graph("image", 1, [x], [conv], ["conv"])
    spikes = (rng.random((3, 6, 6, 4)) < 0.3).astype(np.uint8)
    found = neurobench(graph, graph.run({"x": spikes}, trace=True), {"x": spikes})
    padded = np.pad(spikes, ((0, 0), (1, 1), (1, 1), (0, 0)))
    met = sum(int(padded[:, i : i + 6, j : j + 6].sum()) for i in range(3) for j in range(3))
    assert found.effective_acs == pytest.approx(met * 5 / 3)


@pytest.mark.parametrize("zeros", [0.0, 0.4])
def test_metrics_equal_a_count_by_hand(zeros: float) -> None:
    graph, inputs = bench(zeros)
    run = graph.run(inputs, trace=True)
    found = neurobench(graph, run, inputs)
    acs = {"fc1": 0, "fc2": 0}
    for fc, source in (("fc1", "encode.spikes"), ("fc2", "lif1.spikes")):
        weight = graph.constants()[f"{fc}.weight"]
        for t in range(25):
            for n in range(6):
                for i in np.flatnonzero(run.trace[source][t, n]):
                    acs[fc] += int((weight[:, i] != 0).sum())
    assert found.effective_acs == pytest.approx(sum(acs.values()) / 6)
    assert found.layer_operations == pytest.approx({k: v / 6 for k, v in acs.items()})
    assert found.effective_macs == 0
    assert found.dense == 25 * (64 * 128 + 128 * 10) == 236_800
    fired = run.trace["lif1.spikes"].sum() + run.trace["lif2.spikes"].sum()
    assert 0 < fired
    assert found.activation_sparsity == pytest.approx(1 - fired / (6 * 25 * 138))
    updates = 6 * 138
    for name in ("lif1.membrane", "lif2.membrane"):
        for t in range(1, 25):
            updates += int((run.trace[name][t] != run.trace[name][t - 1]).sum())
    assert found.membrane_updates == pytest.approx(updates / 6)
    assert found.membrane_updates <= 25 * 138
    constants = 128 * 64 + 10 * 128 + 4 * 128 + 4 + 4
    sizes = {t.name: t.nbytes for t in graph.tensors.values() if t.persistent}
    assert set(sizes) == {"encode.state", "lif1.membrane", "lif2.membrane", "counts"}
    assert found.footprint_bytes == constants + sum(sizes.values())


def test_steps_that_are_not_executed_are_not_counted() -> None:
    """An inference that ends early counts as one that has no more steps."""
    leads = np.array([NEVER, 1, 2, 2, 3, 1, 1, 1], np.int32)
    x = event_frames("bit", samples=12)
    base = event_network()
    graph = with_exit(base, leads)
    run = graph.run({"x": x}, trace=True)
    assert len(set(run.steps.tolist())) > 2
    found = neurobench(graph, run, {"x": x})
    each = []
    for sample, steps in enumerate(run.steps.tolist()):
        short = Graph("short", steps, base.inputs, base.nodes, base.outputs)
        some = {"x": x[sample : sample + 1, :steps]}
        each.append(neurobench(short, short.run(some, trace=True), some))
    for name in ("effective_acs", "dense", "membrane_updates"):
        assert getattr(found, name) == pytest.approx(np.mean([getattr(e, name) for e in each]))
    silent = [e.activation_sparsity for e in each]
    assert found.activation_sparsity == pytest.approx(np.average(silent, weights=run.steps))


def test_a_constant_current_counts_as_macs_once() -> None:
    weight = np.array([[1, 0, 2], [3, 4, 0]], np.int8)
    graph = Graph(
        "direct",
        7,
        [Tensor("x", "u8", (3,), kind="input")],
        [
            Dense(name="fc", inputs=("x",), weight=weight),
            LeakyReadout(name="out", inputs=("fc",)),
        ],
        ["out"],
    )
    inputs: dict[str, Array] = {"x": np.array([[5, 0, 9], [0, 0, 1]], np.uint8)}
    found = neurobench(graph, graph.run(inputs, trace=True), inputs)
    # Sample 0: inputs 0 and 2 meet 2 and 1 weights; sample 1: input 2 meets 1.
    assert found.effective_macs == (3 + 1) / 2
    assert found.effective_acs == 0
    assert found.dense == 6
    assert found.activation_sparsity == 0
    # In sample 1 the second output never leaves 0.
    assert found.membrane_updates == (2 + 2 * 6 + 2 + 1 * 6) / 2


def rename(node: Operator) -> Operator:
    """The same operator as a class of another module would be: derived, with a KIND of its own."""
    kind: Any = dataclasses.dataclass(kw_only=True)(
        type(f"My{type(node).__name__}", (type(node),), {"KIND": f"my_{node.KIND}"})
    )
    fields = {f.name: getattr(node, f.name) for f in dataclasses.fields(node) if f.init}
    made: Operator = kind(**fields)
    return made


def test_statistics_do_not_ask_for_names() -> None:
    made = [graphs.digits_like(), bench()[0], graphs.operator_zoo()]
    for graph in made:
        inputs = graphs.random_inputs(graph, 8, np.random.default_rng(0))
        again = Graph(
            graph.name, graph.steps, graph.inputs, [rename(n) for n in graph.nodes], graph.outputs
        )
        assert {n.KIND for n in again.nodes}.isdisjoint({n.KIND for n in graph.nodes})
        found = neurobench(again, again.run(inputs, trace=True), inputs)
        assert found == neurobench(graph, graph.run(inputs, trace=True), inputs)
        assert 0 < found.activation_sparsity < 1 and found.membrane_updates and found.dense


def test_every_operator_with_constant_weights_says_which_input_meets_them() -> None:
    weighted = {
        kind: cls
        for kind, cls in operators().items()
        if cls.__module__.startswith("spikelet.graph.")
        and "weight" in {f.name for f in dataclasses.fields(cls)}
    }
    assert set(weighted) >= {"conv2d", "dense", "depthwise_conv2d", "fully_connected", "lstm"}
    silent = {k for k, cls in weighted.items() if cls.tensor_roles is Operator.tensor_roles}
    assert silent == set()
    neurons = {
        kind for kind, cls in operators().items()
        if "leak" in {f.name for f in dataclasses.fields(cls)}
    }  # fmt: skip
    assert neurons >= {"lif", "leaky_readout"}
    assert all(operators()[k].tensor_roles is not Operator.tensor_roles for k in neurons)


def test_a_neuron_of_its_own_is_counted_by_its_roles() -> None:
    """An operator that derives from none of ours, with tensors of other names."""

    @dataclasses.dataclass(kw_only=True)
    class Relay(Operator):
        KIND = ""

        def infer(self, bounds: dict[str, Any], steps: int) -> Inferred:
            bounds[f"{self.name}.out"] = bounds[self.inputs[0]]
            return Inferred([Tensor(f"{self.name}.out", "bit", self.ins[0].shape)])

        def golden(self, env: dict[str, Array], t: int) -> None:
            env[f"{self.name}.out"] = env[self.inputs[0]]

        def tensor_roles(self) -> dict[str, Role]:
            return {f"{self.name}.out": Role.SPIKES}

    nodes: list[Operator] = [
        Poisson(name="encode", inputs=("x", "seed")),
        Relay(name="relay", inputs=("encode.spikes",)),
        SpikeCount(name="counts", inputs=("relay.out",)),
    ]
    graph = Graph("relays", 9, bench()[0].inputs, nodes, ["counts"])
    inputs = bench()[1]
    run = graph.run(inputs, trace=True)
    fired = run.trace["relay.out"].mean()
    assert 0.3 < fired < 0.7
    assert neurobench(graph, run, inputs).activation_sparsity == pytest.approx(1 - fired)


def test_scores_by_class() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 2])
    predicted = np.array([0, 0, 0, 1, 1, 0, 1])
    found = scores(predicted, labels, 4)
    assert found.accuracy == pytest.approx(4 / 7)
    assert found.recall == pytest.approx((3 / 4, 1 / 2, 0, 0))
    # precision 3/4, 1/3, nothing, nothing
    assert found.macro_f1 == pytest.approx((3 / 4 + 2 / 5) / 4)


def test_metrics_of_some_at_a_time_are_those_of_all() -> None:
    graph, inputs = bench(0.3)
    kept, found = counters(graph), []
    samples = len(inputs["x"])
    for part in (slice(0, 1), slice(1, samples)):
        some = {name: values[part] for name, values in inputs.items()}
        found.append(counts(graph, kept, graph.run(some, trace=True), some))
    steps = np.full(samples, graph.steps)
    whole = neurobench(graph, graph.run(inputs, trace=True), inputs)
    assert of_counts(graph, kept, np.concatenate(found), steps) == whole

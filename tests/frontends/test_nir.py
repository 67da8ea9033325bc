"""NIR files as networks of steps and back: no spike differs, what a file leaves open is asked."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest

from spikelet.errors import UsageError
from spikelet.frontends.nir import graph_of, read, write
from spikelet.frontends.spiking.network import (
    Add,
    Conv2d,
    Delay,
    Flatten,
    Layer,
    Linear,
    Neurons,
    OneToOne,
    Pool2d,
    Previous,
    Rule,
    SpikingNetwork,
)
from spikelet.frontends.spiking.simulate import Simulation
from spikelet.graph import Array
from spikelet.refusal import ImportRefused

STEPS = 60
SAID = {"dt": 1e-4, "reset": "zero", "timing": "same_step", "compare": ">"}
ONE = np.ones(4)
LIF = {"tau": ONE * 1e-3, "r": ONE * 10, "v_leak": ONE * 0, "v_threshold": ONE}


def spikes(network: SpikingNetwork, x: Array) -> dict[str, Array]:
    """What each layer of neurons writes, (T, N, ...), for inputs (T, N, *shape)."""
    simulation = Simulation(network, x.shape[1])
    (name,) = network.inputs
    steps = [simulation.step({name: now}) for now in x]
    neurons = [each.name for each in network.layers if isinstance(each, Neurons)]
    return {name: np.stack([step[name] for step in steps]) for name in neurons}


def images(rng: np.random.Generator, rules: list[Rule]) -> SpikingNetwork:
    """Convolutions, pools, a recurrence, sums and neurons, all of which NIR has a word for."""
    layers: tuple[Layer, ...] = (
        Conv2d(name="c1", inputs=("image",), weight=rng.normal(size=(6, 2, 3, 3)),
               bias=rng.normal(size=6), padding=(1, 1, 1, 1)),
        Neurons(name="l1", inputs=("c1",), rule=rules[0]),
        Pool2d(name="p1", inputs=("l1",), mode="mean", window=(2, 2), stride=(2, 2)),
        Conv2d(name="c2", inputs=("p1",), weight=rng.normal(size=(8, 3, 2, 2)), groups=2,
               padding=(0, 0, 1, 1)),
        Pool2d(name="p2", inputs=("c2",), mode="sum", window=(2, 2), stride=(2, 2)),
        Neurons(name="l2", inputs=("p2",), rule=rules[1]),
        Flatten(name="flat", inputs=("l2",)),
        Linear(name="fc", inputs=("flat",), weight=rng.normal(size=(20, 32)),
               bias=rng.normal(size=20)),
        Previous(name="before", of="l3", shape=(20,)),
        Linear(name="all", inputs=("before",), weight=rng.normal(size=(20, 20)) / 3),
        OneToOne(name="own", inputs=("before",), weight=rng.normal(size=20)),
        Add(name="both", inputs=("fc", "all", "own")),
        Neurons(name="l3", inputs=("both",), rule=rules[2]),
        Linear(name="out", inputs=("l3",), weight=rng.normal(size=(5, 20))),
        Neurons(name="lo", inputs=("out",), rule=rules[3]),
    )  # fmt: skip
    return SpikingNetwork("images", {"image": (2, 8, 8)}, layers, "lo")


CONVENTIONS = [
    (reset, timing, compare)
    for reset, timing, compare in itertools.product(
        ("none", "zero", "value", "subtract"),
        ("same_step", "next_step", "next_step_input_lost"),
        (">", ">="),
    )
    if reset != "none" or timing == "same_step"
]


@pytest.mark.parametrize(("reset", "timing", "compare"), CONVENTIONS)
def test_no_spike_differs_after_a_round_trip(
    reset: str, timing: str, compare: str, tmp_path: Path
) -> None:
    rng = np.random.default_rng(CONVENTIONS.index((reset, timing, compare)))
    said: dict[str, Any] = {"reset": reset, "timing": timing, "compare": compare}
    rules = [
        Rule(kept=rng.uniform(0.2, 0.99, 6 * 64), value=rng.uniform(-0.5, 0.3, 1), **said),
        Rule(kept=np.array([0.3]), kept_current=rng.uniform(0.1, 0.9, 32), refractory=2,
             threshold=np.array([1.3]), gain=np.array([0.7]), **said),
        Rule(kept=rng.uniform(0.3, 0.95, 20), gain=rng.uniform(0.2, 1, 20), initial=0.3,
             drift=np.array([0.02]), threshold=rng.uniform(0.5, 1.5, 20), **said),
        Rule(kept=np.ones(1), gain=np.array([0.3]), **said),
    ]  # fmt: skip
    network = images(rng, rules)
    write(tmp_path / "net.nir", network)
    back = read(tmp_path / "net.nir")
    assert (back.name, back.inputs, back.output) == (network.name, network.inputs, network.output)
    x = rng.normal(size=(STEPS, 4, 2, 8, 8))
    first, second = spikes(network, x), spikes(back, x)
    assert first.keys() == second.keys()
    for name, fired in first.items():
        assert 0.01 < fired.mean() < 1, name
        assert np.array_equal(fired, second[name]), name


def test_delays_come_back_and_are_times_in_the_file() -> None:
    rng = np.random.default_rng(6)
    fc = Linear(name="fc", inputs=("x",), weight=rng.normal(size=(5, 6)))
    first = Neurons(name="first", inputs=("fc",), rule=Rule(kept=np.array([0.9])))
    late = Delay(name="late", inputs=("first",), steps=np.array([0, 3, 200, 1, 7]))
    on = Linear(name="on", inputs=("late",), weight=rng.normal(size=(3, 5)))
    out = Neurons(name="out", inputs=("on",), rule=Rule(kept=np.array([0.8])))
    network = SpikingNetwork("net", {"x": (6,)}, (fc, first, late, on, out), "out")
    made = graph_of(network)
    assert np.allclose(made.nodes["late"].delay, late.steps * 1e-4)
    back = read(made)
    assert np.array_equal(back.layer("late").steps, late.steps)  # type: ignore[attr-defined]
    x = rng.normal(size=(STEPS, 4, 6))
    assert np.array_equal(spikes(network, x)["out"], spikes(back, x)["out"])


@pytest.mark.quick
def test_integrators_come_back_as_they_were() -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(STEPS, 4, 6))
    for rule in (
        Rule(kept=np.ones(1), gain=np.array([0.3]), threshold=None),
        Rule(kept=np.array([0.3]), drift=np.array([0.1]), threshold=None, initial=0.5),
        Rule(kept=np.array([0.9]), kept_current=rng.uniform(0.2, 0.8, 3), threshold=None),
    ):
        fc = Linear(name="fc", inputs=("x",), weight=rng.normal(size=(3, 6)))
        out = Neurons(name="out", inputs=("fc",), rule=rule)
        network = SpikingNetwork("net", {"x": (6,)}, (fc, out), "out")
        back = read(graph_of(network))
        assert np.array_equal(spikes(network, x)["out"], spikes(back, x)["out"])


def chain(*nodes: nir.NIRNode, **said: Any) -> SpikingNetwork:
    return read(nir.NIRGraph.from_list(*nodes, type_check=False), **{**SAID, **said})


def euler(kind: str, fields: dict[str, Array], x: Array, dt: float) -> Array:
    """Spikes, or membranes, of NIR's own equations in steps of dt, (T, n)."""
    n = x.shape[1]
    v, i, made = np.zeros(n), np.zeros(n), []
    for now in x:
        if "tau_syn" in fields:
            i = i + dt / fields["tau_syn"] * (fields["w_in"] * now - i)
            now = i
        if "tau" in fields or "tau_mem" in fields:
            tau = fields.get("tau", fields.get("tau_mem"))
            v = v + dt / tau * (fields["v_leak"] - v + fields["r"] * now)
        else:
            v = v + dt * fields["r"] * now
        if "v_threshold" not in fields:
            made.append(v.copy())
            continue
        fired = v > fields["v_threshold"]
        v = np.where(fired, fields["v_reset"], v)
        made.append(fired.astype(float))
    return np.stack(made)


KINDS = {
    "IF": ("r", "v_threshold", "v_reset"),
    "I": ("r",),
    "LIF": ("tau", "r", "v_leak", "v_threshold", "v_reset"),
    "LI": ("tau", "r", "v_leak"),
    "CubaLIF": ("tau_syn", "tau_mem", "r", "v_leak", "v_threshold", "v_reset", "w_in"),
    "CubaLI": ("tau_syn", "tau_mem", "r", "v_leak", "w_in"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_neurons_are_their_equations_in_steps(kind: str, tmp_path: Path) -> None:
    rng, n, dt = np.random.default_rng(7), 64, 1e-3
    ends = {"tau": (2e-3, 0.05), "tau_syn": (2e-3, 0.05), "tau_mem": (2e-3, 0.05),
            "r": (300, 2000) if kind in ("IF", "I") else (5, 30), "v_leak": (-0.2, 0.2),
            "v_threshold": (0.5, 1.5), "v_reset": (-0.3, 0.2), "w_in": (1, 5)}  # fmt: skip
    fields = {name: rng.uniform(*ends[name], n) for name in KINDS[kind]}
    node = getattr(nir, kind)(**fields)
    graph = nir.NIRGraph.from_list(nir.Affine(np.eye(n), np.zeros(n)), node)
    nir.write(tmp_path / "one.nir", graph)
    said = {"dt": dt, "reset": "value", "timing": "same_step", "compare": ">", "initial": "zero"}
    network = read(tmp_path / "one.nir", **said)  # type: ignore[arg-type]
    x = rng.normal(0.3, 1, (400, n))
    expected = euler(kind, fields, x, dt)
    ((_, made),) = spikes(network, x[:, None]).items()
    if "v_threshold" in fields:
        assert 0.02 < expected.mean() < 0.9
        assert np.array_equal(made[:, 0], expected)
    else:
        assert np.allclose(made[:, 0], expected, rtol=1e-9, atol=1e-12)


def test_a_threshold_fires_without_a_memory() -> None:
    network = chain(nir.Linear(np.eye(4)), nir.Threshold(np.array([0.5, 1, -1, 2.0])))
    x = np.random.default_rng(1).normal(size=(50, 1, 4))
    assert np.array_equal(spikes(network, x)["threshold"], x > np.array([0.5, 1, -1, 2.0]))


def test_sequences_are_images_of_height_one() -> None:
    import torch

    rng = np.random.default_rng(2)
    weight, bias = rng.normal(size=(4, 1, 3)), rng.normal(size=4)
    for padding, torch_padding in ((2, 2), ("same", "same"), ("valid", 0)):
        node = nir.Conv1d(16, weight, 1, padding, 2, 2, bias)
        nodes = {"in": nir.Input(np.array([2, 16])), "c": node, "out": nir.Output(np.array([4]))}
        graph = nir.NIRGraph(nodes, [("in", "c"), ("c", "out")], type_check=False)
        x = rng.normal(size=(3, 2, 16))
        made = Simulation(read(graph), 3).step({"in": x[:, :, None]})["c"][:, :, 0]
        expected = torch.nn.functional.conv1d(
            torch.from_numpy(x), torch.from_numpy(weight), torch.from_numpy(bias),
            padding=torch_padding, dilation=2, groups=2,
        )  # fmt: skip
        assert np.allclose(made, expected.numpy())


# What is asked for


def test_what_a_file_leaves_open_is_asked_for_at_once() -> None:
    graph = nir.NIRGraph.from_list(nir.Linear(np.eye(4)), nir.LIF(**LIF))
    with pytest.raises(ImportRefused, match="NIR does not say its dt, reset, timing, compare"):
        read(graph)
    with pytest.raises(ImportRefused, match="NIR does not say its timing, on which"):
        read(graph, dt=1e-4, reset="subtract", compare=">")
    read(graph, dt=1e-4, reset="none", compare=">")
    tilted = {**LIF, "v_reset": ONE * 0.1}
    with pytest.raises(ImportRefused, match=r"its v_reset is 0.1, and reset zero"):
        chain(nir.Linear(np.eye(4)), nir.LIF(**tilted))
    with pytest.raises(ImportRefused, match="NIR does not say its initial"):
        chain(nir.Linear(np.eye(4)), nir.LIF(**tilted), reset="value")
    began = chain(nir.Linear(np.eye(4)), nir.LIF(**tilted), reset="value", initial="reset")
    assert began.layers[-1].rule.initial == 0.1  # type: ignore[attr-defined]


def test_the_metadata_of_our_files_is_not_contradicted(tmp_path: Path) -> None:
    fc = Linear(name="fc", inputs=("x",), weight=np.eye(4))
    rule = Rule(kept=np.array([0.9]), reset="subtract", timing="next_step")
    lif = Neurons(name="lif", inputs=("fc",), rule=rule)
    path = tmp_path / "net.nir"
    write(path, SpikingNetwork("net", {"x": (4,)}, (fc, lif), "lif"), dt=1e-3)
    read(path, dt=1e-3, reset="subtract")
    for said in ({"dt": 1e-4}, {"reset": "zero"}, {"timing": "same_step"}, {"compare": ">="}):
        with pytest.raises(ImportRefused, match="was asked for, the file says"):
            read(path, **said)  # type: ignore[arg-type]
    with h5py.File(path, "r+") as file:
        file["node/nodes/lif/tau"][...] = 0.02
    with pytest.raises(ImportRefused, match="kept is not what its time constants say"):
        read(path)


def test_a_missing_package_is_named_with_what_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fc = Linear(name="fc", inputs=("x",), weight=np.eye(4))
    for name, act in (
        ("h5py", lambda: read(tmp_path / "net.nir")),
        ("nir", lambda: graph_of(SpikingNetwork("net", {"x": (4,)}, (fc,), "fc"))),
    ):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(UsageError, match=rf"the package `{name}` is not installed") as raised:
            act()
        assert "pip install 'spikelet[nir]'" in str(raised.value)


# What is refused


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"tau": ONE * np.inf, "r": ONE * np.inf}, "tau is infinite: a decay of 1"),
        ({"tau": ONE * np.nan}, "tau holds nan in element 0"),
        ({"tau": ONE * 0}, "tau is 0 in neuron 0"),
        ({"tau": -ONE}, "tau is -1 in neuron 0"),
        ({"tau": ONE * 1e-5}, "tau of neuron 0 is 1e-05 s, shorter than a step of 0.0001 s"),
        ({"v_threshold": ONE * np.inf}, "v_threshold holds inf"),
        ({"r": ONE * 0}, "r is 0 in neuron 0"),
    ],
)
def test_time_constants_that_are_none_are_refused_by_name(
    values: dict[str, Array], text: str
) -> None:
    with pytest.raises(ImportRefused, match=r"node 'lif' \(LIF\)") as raised:
        chain(nir.Linear(np.eye(4)), nir.LIF(**{**LIF, **values}))
    assert text in str(raised.value)


def graph(nodes: dict[str, nir.NIRNode], *edges: tuple[str, str]) -> nir.NIRGraph:
    ends = {"in": nir.Input(np.array([4])), "out": nir.Output(np.array([4]))}
    return nir.NIRGraph({**ends, **nodes}, list(edges), type_check=False)


W, N = nir.Linear(np.ones((4, 4))), nir.LIF(**LIF)


@pytest.mark.parametrize(
    ("network", "text"),
    [
        (graph({"d": nir.Delay(ONE * 2.5e-4)}, ("in", "d"), ("d", "out")),
         r"'d' \(Delay\): delay of element 0 is 0.00025 s, 2.5 steps of 0.0001 s"),
        (graph({"d": nir.Delay(ONE)}, ("in", "d"), ("d", "out")), r"'d' .*a delay of 10000 steps"),
        (graph({"d": nir.Delay(-ONE)}, ("in", "d"), ("d", "out")), r"'d' .*-10000 steps"),
        (graph({"a": W, "b": W}, ("in", "a"), ("a", "b"), ("b", "a"), ("b", "out")),
         "in a loop, or behind one, without neurons"),
        (graph({"a": W, "b": nir.LI(ONE, ONE, ONE)}, ("in", "a"), ("a", "b"), ("b", "a"),
               ("b", "out")), "a loop carries its membrane"),
        (graph({"a": W, "n": N, "b": W, "m": N}, ("in", "a"), ("a", "n"), ("n", "b"), ("b", "n"),
               ("b", "m"), ("m", "out")), "goes both into a loop and on"),
        (graph({"a": W, "n": N}, ("in", "a"), ("a", "out")), "'n' .*nothing flows into it"),
        (graph({"a": W, "b": W}, ("in", "a"), ("in", "b"), ("a", "out")), "nothing reads it"),
        (graph({"a": W}, ("in", "a")), "nothing flows into it"),
        (graph({"o": nir.Output(np.array([4]))}, ("in", "out"), ("in", "o")), "2 Output nodes"),
        (graph({"a": nir.Linear(np.ones((4, 5)))}, ("in", "a"), ("a", "out")), "it reads .4,."),
        (graph({"a": nir.Linear(np.ones((5, 4)))}, ("in", "a"), ("in", "out"), ("a", "out")),
         "it adds"),
        (graph({"p": nir.AvgPool2d(2, 2, 0)}, ("in", "p"), ("p", "out")), "channels, height"),
        (graph({"n": nir.LIF(**{k: np.ones(3) for k in LIF})}, ("in", "n"), ("n", "out")),
         r"tau of shape \(3,\) for neurons \(4,\)"),
    ],
)  # fmt: skip
def test_what_is_no_network_is_refused_by_name(network: nir.NIRGraph, text: str) -> None:
    with pytest.raises(ImportRefused, match=text):
        read(network, **SAID)  # type: ignore[arg-type]


def test_what_nir_cannot_hold_is_refused_by_name() -> None:
    fc = Linear(name="fc", inputs=("x",), weight=np.ones((4, 4)))
    kept = np.array([0.9])

    def refused(text: str, *layers: Layer, shape: tuple[int, ...] = (4,)) -> None:
        network = SpikingNetwork("net", {"x": shape}, layers, layers[-1].name)
        with pytest.raises(ImportRefused, match=text):
            graph_of(network)

    pool = Pool2d(name="p", inputs=("x",), mode="max", window=(2, 2), stride=(2, 2))
    refused("p .*no maximum of a window", pool, shape=(1, 4, 4))
    wide = Conv2d(name="c", inputs=("x",), weight=np.ones((1, 1, 3, 3)), padding=(0, 0, 1, 1))
    refused("c .*no margins", wide, shape=(1, 4, 4))
    lif = Neurons(name="lif", inputs=("fc",), rule=Rule(kept=kept))
    late = Linear(name="d", inputs=("lif",), weight=np.ones((4, 4)), delays=np.ones((4, 4)))
    refused("d .*NIR has no delay a synapse", fc, lif, late)
    for rule, text in (
        (Rule(kept=np.ones(1), kept_current=kept), "without a leak"),
        (Rule(kept=kept, kept_current=np.ones(1)), "without a decay"),
        (Rule(kept=np.ones(1), drift=kept), "no drift"),
        (Rule(kept=np.array([0.9, 1, 1, 1])), "neuron 1 has no leak"),
        (Rule(kept=kept, adapts="input"), "no adaptation"),
        (Rule(kept=kept, inhibition=True), "no inhibition"),
        (Rule(kept=kept, most=2, reset="subtract"), "no neurons that spike several times"),
        (Rule(kept=kept, height=2.0), "no spikes of another height"),
        (Rule(kept=kept, kept_current=kept, late=True), "no currents that act a step later"),
    ):
        refused(text, fc, Neurons(name="n", inputs=("fc",), rule=rule))
    lif = Neurons(name="n", inputs=("fc",), rule=Rule(kept=kept))
    late = Previous(name="late", of="n", shape=(4,))
    refused("no spikes that arrive a step later", fc, lif, late,
            Linear(name="out", inputs=("late",), weight=np.ones((4, 4))))  # fmt: skip
    refused("two edges", fc, Add(name="s", inputs=("fc", "fc")),
            Neurons(name="n", inputs=("s",), rule=Rule(kept=kept)))  # fmt: skip


# Files from outside


def made_file(path: Path) -> bytes:
    network = images(np.random.default_rng(0), [Rule(kept=np.array([0.9]))] * 4)
    write(path, network)
    return path.read_bytes()


def test_entries_that_lead_out_of_the_file_are_refused(tmp_path: Path) -> None:
    def spoiled(name: str) -> h5py.File:
        made_file(tmp_path / name)
        return h5py.File(tmp_path / name, "r+")

    with spoiled("link.nir") as file:
        file["node/nodes/c1/more"] = h5py.ExternalLink("/etc/hosts", "/")
    with spoiled("soft.nir") as file:
        file["node/more"] = h5py.SoftLink("/node/nodes")
    with spoiled("round.nir") as file:
        file["node/nodes/again"] = file["node"]
    with spoiled("outside.nir") as file:
        file.create_dataset("raw", (4,), "u1", external=[("/etc/hostname", 0, 4)])
    with spoiled("large.nir") as file:
        file.create_dataset("large", (1 << 20, 1 << 20), "f4", compression="gzip")
    with spoiled("objects.nir") as file:
        file["node/metadata/ref"] = np.array([file["node"].ref], dtype=h5py.ref_dtype)
    for name, text in (
        ("link", "a link, ExternalLink"), ("soft", "a link, SoftLink"), ("round", "nest deeper"),
        ("outside", "are not in the file"), ("large", "take more than"),
        ("objects", "expected numbers or text"),
    ):  # fmt: skip
        with pytest.raises(ImportRefused, match=text):
            read(tmp_path / f"{name}.nir")


def test_a_damaged_file_ends_in_an_error(tmp_path: Path) -> None:
    data = made_file(tmp_path / "whole.nir")
    rng, path, refused = np.random.default_rng(0), tmp_path / "bad.nir", 0
    spoiled = [data[:size] for size in (0, 100, len(data) // 2, len(data) - 1)]
    for _ in range(14):
        bad = bytearray(data)
        for at in rng.integers(0, len(data), 8):
            bad[at] = rng.integers(0, 256)
        spoiled.append(bytes(bad))
    for bad in spoiled:
        path.write_bytes(bad)
        try:
            read(path)
        except UsageError:
            refused += 1
    assert refused >= 5
    with pytest.raises(UsageError, match="No such file"):
        read(tmp_path / "nowhere.nir")


def test_a_file_that_is_read_without_an_end_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_file(tmp_path / "net.nir")
    monkeypatch.setattr("spikelet.frontends.nir.file.READ_SECONDS", 0.001)
    with pytest.raises(ImportRefused, match=r"HDF5's library read it for 0\.001 s"):
        read(tmp_path / "net.nir")

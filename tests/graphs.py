"""Graphs that tests of several rooms share, and every convention of a neuron layer."""

from __future__ import annotations

import itertools

import numpy as np

from spikelet.graph import Array, Graph, Operator, Tensor
from spikelet.graph.ops.argmax import Argmax
from spikelet.graph.ops.dense import Dense
from spikelet.graph.ops.direct import Direct
from spikelet.graph.ops.latency import Latency
from spikelet.graph.ops.leaky_readout import LeakyReadout
from spikelet.graph.ops.lif import ADAPTS, COMPARISONS, RESETS, TIMINGS, Lif
from spikelet.graph.ops.one_to_one import OneToOne
from spikelet.graph.ops.poisson import Poisson
from spikelet.graph.ops.spike_count import SpikeCount

ROUNDINGS = ("floor", "zero", "nearest")


def values(n: int) -> Tensor:
    return Tensor("x", "u8", (n,), kind="input")


def seed() -> Tensor:
    return Tensor("seed", "u32", (1,), kind="input")


def weights(rng: np.random.Generator, m: int, n: int, spread: float = 40.0) -> Array:
    return np.clip(rng.normal(0, spread, (m, n)), -127, 127).astype(np.int8)


def digits_like(hidden: int = 24, inputs: int = 64, steps: int = 6, name: str = "tiny") -> Graph:
    """A small spiking classifier with every kind of result: bits, i16, i32, states, counts."""
    rng = np.random.default_rng(7)
    nodes: list[Operator] = [
        Poisson(name="encode", inputs=("x", "seed")),
        Dense(name="fc1", inputs=("encode.spikes",), weight=weights(rng, hidden, inputs)),
        Lif(
            name="lif1",
            inputs=("fc1",),
            threshold=rng.integers(80, 160, hidden).astype(np.int32),
            leak=29491,
        ),
        Dense(
            name="fc2",
            inputs=("lif1.spikes",),
            weight=weights(rng, 10, hidden),
            bias=rng.integers(-20, 20, 10).astype(np.int32),
        ),
        Lif(
            name="lif2",
            inputs=("fc2",),
            threshold=rng.integers(60, 90, 10).astype(np.int32),
            leak=29491,
            reset="subtract",
            timing="next_step",
        ),
        SpikeCount(name="counts", inputs=("lif2.spikes",)),
        Argmax(name="label", inputs=("counts",)),
    ]
    return Graph(name, steps, [values(inputs), seed()], nodes, ["label", "counts"])


def conventions() -> list[dict[str, object]]:
    """Every combination of reset, timing, comparison, rounding, refractory time and width."""
    found = []
    product = itertools.product(RESETS, TIMINGS, COMPARISONS, ROUNDINGS, (0, 3), ("i16", "i32"))
    for reset, timing, compare, rounding, refractory, membrane in product:
        if reset == "none" and timing != "same_step":
            continue
        if timing == "both_steps" and rounding != ROUNDINGS[len(found) % 3]:
            continue  # of the roundings, which are the same code, some
        found.append(
            {
                "reset": reset,
                "timing": timing,
                "compare": compare,
                "leak_round": rounding,
                "refractory": refractory,
                "membrane": membrane,
            }
        )
    return found


def switches() -> list[dict[str, object]]:
    """Every kind of adaptation with every way to spike, of several conventions each."""
    found: list[dict[str, object]] = []
    ways: list[dict[str, object]] = [{}, {"inhibition": True}, {"most": 4}]
    kept = [c for c in conventions() if c["leak_round"] == "nearest" or c["refractory"] == 3]
    for adapts, way in itertools.product(ADAPTS, ways):
        fits = [
            convention
            for convention in kept
            if (adapts != "threshold" or convention["timing"] == "same_step")
            and ("most" not in way or (convention["reset"], convention["timing"])
                 == ("subtract", "same_step"))
        ]  # fmt: skip
        if adapts != "nothing" or way:
            few = fits[len(found) % 3 :: max(1, len(fits) // 3)]
            found += [{**convention, **way, "adapts": adapts} for convention in few]
    return found


def adaptation(rng: np.random.Generator, size: int, bits: int) -> dict[str, object]:
    """Fields of an adaptation: one leak or several, jumps and couplings of both signs."""
    leaks = rng.integers(1 << (bits - 1), 1 << bits, size).astype(np.uint32)
    return {
        "adaptation_leak": int(leaks[0]),
        "adaptation_leaks": leaks if size > 1 else None,
        "jump": rng.integers(-20, 120, size).astype(np.int32),
        "coupling": rng.integers(-90, 90, size).astype(np.int32) if rng.integers(2) else None,
        "coupling_bits": int(rng.integers(8, 10)),
    }


def neuron_zoo(
    part: list[dict[str, object]], name: str, neurons: int = 37, steps: int = 9
) -> Graph:
    """One layer of every convention in `part`, on one current; leaks of several bits, widths."""
    rng = np.random.default_rng(3)
    nodes: list[Operator] = [
        Poisson(name="encode", inputs=("x", "seed")),
        Dense(name="narrow", inputs=("encode.spikes",), weight=weights(rng, neurons, 64)),
        Dense(name="wide", inputs=("x",), weight=weights(rng, neurons, 64, 3.0)),
    ]
    for i, convention in enumerate(part):
        uniform = i % 3 == 0
        size = 1 if uniform else neurons
        leak, bits = ((29491, 15), (32768, 15), (16384, 15), (30000, 15), (0, 15))[i % 5]
        if i % 4 == 2:
            leak, bits = ((1932735236, 31), (15938355, 24))[i % 8 == 2]
        extra: dict[str, object] = {}
        if convention["reset"] == "value":
            extra["reset_value"] = rng.integers(-60, 40, size).astype(np.int32)
        if convention.get("adapts", "nothing") != "nothing":
            extra |= adaptation(rng, size, bits)
        nodes.append(
            Lif(
                name=f"n{i}",
                inputs=("wide",) if i % 4 == 3 else ("narrow",),
                threshold=rng.integers(100, 400, size).astype(np.int32),
                leak=leak,
                leak_bits=bits,
                input_shift=(0, 0, 3)[i % 3],
                initial=(0, 25, -25)[i % 3],
                **convention,  # type: ignore[arg-type]
                **extra,  # type: ignore[arg-type]
            )
        )
        if convention.get("most", 1) != 1:
            nodes.append(SpikeCount(name=f"count{i}", inputs=(f"n{i}.spikes",)))
            own = rng.integers(-120, 120, neurons).astype(np.int16)
            nodes.append(OneToOne(name=f"own{i}", inputs=(f"n{i}.spikes",), weight=own))
    outputs = [f"n{len(part) - 1}.spikes"]
    return Graph(name, steps, [values(64), seed()], nodes, outputs)


def leak_zoo(name: str = "leaks") -> Graph:
    """Leaks of more than 15 bits at both ends of their range; membranes that saturate, too."""
    rng = np.random.default_rng(17)
    n = 9
    nodes: list[Operator] = [
        Direct(name="current", inputs=("x",), gain=128, zero_point=100),
        Dense(name="sums", inputs=("x",), weight=weights(rng, n, n, 60.0)),
    ]
    product = itertools.product((24, 31), ROUNDINGS, ("i16", "i32"))
    for i, (bits, rounding, membrane) in enumerate(product):
        for j, leak in enumerate((1, round(0.95 * 2**bits) | 1, (1 << bits) - 1)):
            shift = 15 if membrane == "i32" else 3
            nodes.append(
                Lif(
                    name=f"n{i}_{j}",
                    inputs=("current",) if j else ("sums",),
                    threshold=rng.integers(20000, 32000, n).astype(np.int32) << (shift - 3),
                    leak=leak,
                    leak_bits=bits,
                    leak_round=rounding,
                    reset=("none", "subtract")[i % 2],
                    timing="same_step",
                    input_shift=shift if j else 0,
                    membrane=membrane,
                )
            )
        nodes.append(
            LeakyReadout(
                name=f"r{i}",
                inputs=("current",),
                leak=(1, (1 << bits) - 1)[i % 2],
                leak_bits=bits,
                leak_round=rounding,
                input_shift=15 if membrane == "i32" else 0,
            )
        )
    return Graph(name, 7, [values(n)], nodes, ["r0"])


def _bias(rng: np.random.Generator, m: int) -> Array:
    return rng.integers(-300, 300, m).astype(np.int32)


def _dense_zoo(rng: np.random.Generator) -> list[Operator]:
    """Dense layers on the spikes of `rate`, `late` and `coder`, and on values."""
    sources = ("rate.spikes", "late", "coder.spikes")
    nodes: list[Operator] = []
    for i, m in enumerate((1, 2, 3, 4, 5, 31, 32, 33, 37, 64, 70)):
        nodes.append(
            Dense(
                name=f"lanes{m}",
                inputs=(sources[i % 3],),
                weight=weights(rng, m, 150, 25.0),
                bias=_bias(rng, m) if i % 2 else None,
            )
        )
    for m in (1, 33, 40):
        nodes.append(
            Dense(
                name=f"changes{m}",
                inputs=("rate.spikes",),
                weight=weights(rng, m, 150, 25.0),
                bias=_bias(rng, m) if m != 40 else None,
                by_change=True,
            )
        )
    for m in (1, 6):
        big = np.full((m, 250), 127, np.int8)
        nodes += [
            Poisson(name=f"many{m}", inputs=("more", "seed")),
            Dense(name=f"sums{m}", inputs=(f"many{m}.spikes",), weight=big, bias=_bias(rng, m)),
        ]
    return [
        *nodes,
        Dense(name="values_u8", inputs=("x",), weight=weights(rng, 7, 150), bias=_bias(rng, 7)),
        Dense(name="values_few", inputs=("z",), weight=weights(rng, 9, 3), bias=None),
        Dense(name="values_i8", inputs=("z",), weight=weights(rng, 4, 3), bias=_bias(rng, 4)),
    ]


def _state_zoo() -> list[Operator]:
    """Readouts, and neurons at the ends of their range."""
    return [
        LeakyReadout(name="sum_i32", inputs=("values_u8",), leak=32768),
        LeakyReadout(name="leak_i16", inputs=("lanes5",), leak=30000, leak_round="nearest"),
        LeakyReadout(name="leak_odd", inputs=("lanes33",), leak=29491, input_shift=4),
        LeakyReadout(name="may_saturate", inputs=("values_u8",), leak=32768, input_shift=11),
        Lif(
            name="lowest",
            inputs=("current",),
            threshold=np.array([100], np.int32),
            leak=29491,
            reset="value",
            timing="next_step",
            reset_value=np.array([-32768], np.int32),
            initial=200,
        ),
        Lif(
            name="saturates",
            inputs=("current",),
            threshold=np.array([30000], np.int32),
            reset="none",
            input_shift=7,
            membrane="i16",
        ),
    ]


def operator_zoo(name: str = "operators") -> Graph:
    """Every other operator in odd sizes: tails of words, of lanes, of columns; biases; chunks."""
    nodes: list[Operator] = [
        Poisson(name="rate", inputs=("x", "seed")),
        Latency(name="late", inputs=("x",)),
        Direct(name="current", inputs=("x",), gain=3, zero_point=100),
        Lif(name="coder", inputs=("current",), threshold=np.array([700], np.int32), leak=31000),
        *_dense_zoo(np.random.default_rng(11)),
        *_state_zoo(),
        SpikeCount(name="counts", inputs=("coder.spikes",)),
        Argmax(name="best_count", inputs=("counts",)),
        Argmax(name="best_i32", inputs=("sum_i32",)),
        Argmax(name="best_once", inputs=("values_few",)),
        # Names that mean something in C.
        Argmax(name="int", inputs=("counts",)),
        Argmax(name="t", inputs=("counts",)),
        Argmax(name="arena", inputs=("counts",)),
        Argmax(name="saturates_membrane", inputs=("counts",)),
    ]
    inputs = [
        values(150),
        seed(),
        Tensor("more", "u8", (250,), kind="input"),
        Tensor("z", "i8", (3,), kind="input"),
    ]
    return Graph(name, 11, inputs, nodes, ["best_count", "best_i32", "best_once"])


def random_inputs(graph: Graph, samples: int, rng: np.random.Generator) -> dict[str, Array]:
    """Uniform over each input's whole range, the first two samples at its ends."""
    found = {}
    for tensor in graph.inputs:
        low, high = tensor.limits
        shape = (graph.steps, *tensor.shape) if tensor.per_step else tensor.shape
        drawn = rng.integers(low, high, (samples, *shape), endpoint=True)
        drawn[0] = low
        drawn[min(1, samples - 1)] = high
        if tensor.choices:
            drawn = rng.choice(np.array(tensor.choices), drawn.shape)
        found[tensor.name] = drawn.astype(tensor.numpy_dtype)
    return found

"""Spiking graphs with images, recurrence and neurons that differ, for tests of several rooms."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from graphs import weights
from int8_graphs import GRIDS, grid_fields
from spikelet.graph import Graph, Operator, Tensor
from spikelet.graph.fixed import ROUNDINGS
from spikelet.graph.ops.alpha import RESETS as ALPHA_RESETS
from spikelet.graph.ops.alpha import Alpha
from spikelet.graph.ops.argmax import Argmax
from spikelet.graph.ops.codes import Codes
from spikelet.graph.ops.conv2d_sums import Conv2dSums
from spikelet.graph.ops.delay import Delay
from spikelet.graph.ops.delayed_dense import DelayedDense
from spikelet.graph.ops.dense import Dense
from spikelet.graph.ops.direct import Direct
from spikelet.graph.ops.frame import Frame
from spikelet.graph.ops.leaky_readout import LeakyReadout
from spikelet.graph.ops.lif import COMPARISONS, RESETS, TIMINGS, Lif
from spikelet.graph.ops.one_to_one import OneToOne
from spikelet.graph.ops.poisson import Poisson
from spikelet.graph.ops.pool2d_sums import Pool2dSums
from spikelet.graph.ops.previous import Previous
from spikelet.graph.ops.reshape import Reshape
from spikelet.graph.ops.seeded_dense import SeededDense
from spikelet.graph.ops.spike_count import SpikeCount
from spikelet.graph.ops.sum import Sum


def alpha_neurons(source: str, n: int) -> list[Operator]:
    """Every reset, in 16 and 32 bits, leaks alike and of each neuron, some that saturate."""
    rng = np.random.default_rng(8)
    nodes: list[Operator] = []
    for i, (reset, wide) in enumerate(itertools.product(ALPHA_RESETS, (False, True))):
        bits, size = (24, n) if wide else (15, 1)
        leaks, slower, parts = (
            rng.integers(low << (bits - 4), 15 << (bits - 4), size).astype(np.uint32)
            for low in (9, 3, 1)
        )
        nodes.append(
            Alpha(
                name=f"alpha{i}", inputs=(source,), reset=reset, leak_bits=bits,
                threshold=rng.integers(20, 90, size).astype(np.int32) << (12 if wide else 0),
                leaks=leaks, inhibitory_leaks=slower, parts=parts,
                amount=rng.integers(9, 99, size).astype(np.int32) if reset == "subtract" else None,
                compare=COMPARISONS[i % 2], leak_round=ROUNDINGS[i % 3],
                input_shift=15 if wide else 0,
            )
        )  # fmt: skip
    return nodes


def memories(source: str, n: int) -> list[Operator]:
    """Integrators of codes, which codes of their membranes reach in the next step."""
    rng = np.random.default_rng(9)
    multiplier = rng.integers(1 << 30, 1 << 31, n).astype(np.int32)
    return [
        Codes(
            name="coded", inputs=(source,), multiplier=multiplier, limits=(0, 127),
            shift=rng.integers(-4, 2, n).astype(np.int32),
        ),
        Previous(name="before", of="seen", shape=(n,), dtype="i8", low=-100, high=127),
        Dense(name="sums", inputs=("before",), weight=weights(rng, n, n)),
        Codes(
            name="proposal", inputs=("sums",), multiplier=multiplier[:1],
            shift=np.array([-6], np.int32),
        ),
        LeakyReadout(name="kept", inputs=("proposal",), leak=30001, input_shift=7),
        LeakyReadout(name="taken", inputs=("coded",), leak=1 << 30, leak_bits=31),
        Sum(name="memory", inputs=("kept", "taken")),
        Codes(
            name="seen", inputs=("memory",), multiplier=multiplier, limits=(-100, 127),
            shift=np.array([-5], np.int32),
        ),
    ]  # fmt: skip


def recurrent_spikes(steps: int = 6) -> Graph:
    """Neurons that read their own spikes of the step before, in three ways; leaks differ."""
    rng = np.random.default_rng(5)
    n = 36
    leaks = rng.integers(20000, 32768, n).astype(np.uint32)
    threshold = rng.integers(80, 200, n).astype(np.int32)
    nodes: list[Operator] = [
        Poisson(name="encode", inputs=("x", "seed")),
        Dense(name="fc", inputs=("encode.spikes",), weight=weights(rng, n, 40)),
        Previous(name="last", of="lif.spikes", shape=(n,)),
        Dense(name="all", inputs=("last",), weight=weights(rng, n, n)),
        OneToOne(name="own", inputs=("last",), weight=rng.integers(-90, 60, n).astype(np.int16)),
        Sum(name="current", inputs=("fc", "all", "own")),
        Lif(
            name="lif", inputs=("current",), threshold=threshold, leaks=leaks, leak_round="floor",
            initials=np.array([30, -40, 0], np.int32), drift=np.array([5, -3], np.int32),
        ),
        # Read behind the neurons: it cannot lie where their new spikes are.
        Previous(name="late", of="slow.spikes", shape=(n,)),
        OneToOne(name="back", inputs=("late",), weight=np.array([-70, 50, 9], np.int16)),
        Dense(name="next", inputs=("lif.spikes",), weight=weights(rng, n, n)),
        Sum(name="both", inputs=("next", "back")),
        Lif(
            name="slow", inputs=("both",), threshold=threshold[:4], reset="subtract",
            leaks=np.array([1 << 31, 3 << 29, 5, 0], np.uint32), leak_bits=31, leak_round="nearest",
        ),
        OneToOne(name="after", inputs=("late",), weight=np.array([100], np.int16)),
        Sum(name="result", inputs=("after", "next")),
        LeakyReadout(
            name="trace", inputs=("result",), input_shift=2,
            leaks=np.array([32768, 0, 20001, 31000], np.uint32),
        ),
        *alpha_neurons("result", n),
        *memories("result", n),
        Delay(name="later", inputs=("slow.spikes",), steps=np.resize(np.uint8([0, 5, 3, 6]), 36)),
        SpikeCount(name="arrived", inputs=("later",)),
        DelayedDense(
            name="rings", inputs=("slow.spikes",), weight=weights(rng, 7, n),
            delays=rng.integers(0, 6, (7, n)).astype(np.uint8),
        ),
        DelayedDense(
            name="rows", inputs=("late",), weight=np.sign(weights(rng, 7, n)), gather=True,
            delays=np.resize(np.uint8([0, 40, 3, 1, 5]), (7, n)),
        ),
        Lif(name="out", inputs=("result",), threshold=threshold[:1], leak=30000),
        SpikeCount(name="counts", inputs=("out.spikes",)),
        Argmax(name="label", inputs=("counts",)),
    ]  # fmt: skip
    x, seed = Tensor("x", "u8", (40,), kind="input"), Tensor("seed", "u32", (1,), kind="input")
    return Graph("recurrent_spikes", steps, [x, seed], nodes, ["label", "counts"])


def spiking_convolutions(steps: int = 4) -> Graph:
    """Convolutions and pools of spikes and of counts, lanes and plain; thresholds by channel."""
    rng = np.random.default_rng(6)

    def taps(outputs: int, rows: int, columns: int, depth: int, most: int = 60) -> np.ndarray:
        return rng.integers(-most, most, (outputs, rows, columns, depth)).astype(np.int8)

    def lif(name: str, source: str, channels: int) -> Lif:
        threshold = rng.integers(60, 200, channels).astype(np.int32)
        return Lif(name=name, inputs=(source,), threshold=threshold, leak=29491)

    x = Tensor("x", "bit", (7, 9, 3), kind="input")
    values = Tensor("values", "u8", (7, 9, 3), kind="input")
    bias = rng.integers(-50, 50, 6).astype(np.int32)
    nodes: list[Operator] = [
        Conv2dSums(name="a", inputs=("x",), weight=taps(6, 3, 3, 3), bias=bias, padding=(1,) * 4),
        lif("n1", "a", 6),
        Conv2dSums(
            name="b", inputs=("n1.spikes",), weight=taps(40, 3, 2, 6), stride=(2, 1),
            padding=(0, 1, 2, 0),
        ),
        lif("n2", "b", 40),
        Conv2dSums(
            name="c", inputs=("n2.spikes",), weight=taps(8, 2, 2, 40), dilation=(1, 2),
        ),
        Conv2dSums(name="d", inputs=("n2.spikes",), weight=taps(80, 3, 3, 1), groups=40),
        Conv2dSums(name="e", inputs=("n1.spikes",), weight=taps(5, 1, 3, 6), padding=(0, 1, 0, 1)),
        Conv2dSums(name="f", inputs=("values",), weight=taps(4, 3, 3, 3), bias=bias[:4]),
        Pool2dSums(name="g", inputs=("n1.spikes",), window=(2, 2), stride=(2, 2)),
        Pool2dSums(name="h", inputs=("a",), window=(3, 2), stride=(2, 2), padding=(1, 0, 1, 1)),
        Pool2dSums(name="i", inputs=("f",), window=(2, 3), mode="max", padding=(1, 1, 0, 1)),
        Pool2dSums(name="j", inputs=("n2.spikes",), window=(2, 2), mode="max"),
        Conv2dSums(name="k", inputs=("g",), weight=taps(3, 2, 2, 6)),
        lif("n3", "c", 8),
        lif("n4", "h", 6),
    ]  # fmt: skip
    return Graph("spiking_convolutions", steps, [x, values], nodes, ["n3.spikes"])


def reservoirs(steps: int = 5) -> Graph:
    """Weights of a seed on values and spikes, dense and scattered; states that are read again."""
    n = 70
    nodes: list[Operator] = [
        Frame(name="frame", inputs=("x",)),
        SeededDense(name="into", inputs=("frame",), outputs=n, seed=1, size=40, zero=117),
        Previous(name="before", of="state", shape=(n,), dtype="i8", low=-127, high=127),
        SeededDense(name="back", inputs=("before",), outputs=n, seed=2, size=3),
        SeededDense(name="few", inputs=("before",), outputs=n, seed=3, size=9, fan_out=5),
        Sum(name="sums", inputs=("into", "back", "few")),
        Codes(
            name="state", inputs=("sums",), multiplier=np.array([1 << 30], np.int32),
            shift=np.array([-5], np.int32),
        ),
        Previous(name="last", of="liquid.spikes", shape=(n,)),
        SeededDense(name="round", inputs=("last",), outputs=n, seed=4, size=60),
        SeededDense(name="scatter", inputs=("last",), outputs=n, seed=0, size=99, fan_out=3),
        Sum(name="current", inputs=("into", "round", "scatter")),
        Lif(
            name="liquid", inputs=("current",), threshold=np.array([4000], np.int32),
            leak=30000, reset="subtract",
        ),
        SeededDense(name="one", inputs=("liquid.spikes",), outputs=1, seed=5),
    ]  # fmt: skip
    x = Tensor("x", "u8", (steps, 9), kind="input")
    return Graph("reservoirs", steps, [x], nodes, ["state", "one"])


def event_network(dtype: str = "bit", steps: int = 8, framed: bool = False) -> Graph:
    """A convolution of what comes in each step, and classes by spikes and by membrane.

    Args:
        dtype: bit or u8, of the input.
        steps: T.
        framed: the input is all frames, (T, 6, 5, 2), of which the graph takes one a step.
    """
    rng = np.random.default_rng(12)
    kernel = rng.integers(-30, 60, (4, 3, 3, 2)).astype(np.int8)
    nodes: list[Operator] = [
        Conv2dSums(name="conv", inputs=("frame" if framed else "x",), weight=kernel),
        Lif(name="n1", inputs=("conv",), threshold=np.array([70], np.int32), leak=29491),
        Reshape(name="flat", inputs=("n1.spikes",), shape=(48,)),
        Dense(name="fc", inputs=("flat",), weight=weights(rng, 5, 48)),
        Lif(name="n2", inputs=("fc",), threshold=np.array([60], np.int32), leak=29491),
        SpikeCount(name="counts", inputs=("n2.spikes",)),
        Argmax(name="label", inputs=("counts",)),
    ]
    if framed:
        nodes.insert(0, Frame(name="frame", inputs=("x",)))
        x = Tensor("x", "u8", (steps, 6, 5, 2), kind="input")
    else:
        x = Tensor("x", dtype, (6, 5, 2), kind="input", per_step=True)
    return Graph(f"event_{dtype}", steps, [x], nodes, ["label", "counts"])


def event_frames(dtype: str, samples: int = 3, steps: int = 8, seed: int = 0) -> np.ndarray:
    """(samples, steps, 6, 5, 2) u8: few events in each step."""
    rng = np.random.default_rng(seed)
    shape = (samples, steps, 6, 5, 2)
    most = 2 if dtype == "bit" else 5
    return (rng.integers(1, most, shape) * (rng.random(shape) < 0.15)).astype(np.uint8)


def few_bits(steps: int = 5) -> Graph:
    """Sums of spikes with weights of every grid: few and many outputs, by change, in 32 bits."""
    rng = np.random.default_rng(12)
    grids = [i for i, (bits, _) in enumerate(GRIDS) if bits < 8]

    def codes(shape: tuple[int, ...], grid: int) -> dict[str, Any]:
        fields = grid_fields(rng, shape, grid)
        return {name: fields[name] for name in ("weight", "bits", "odd")}

    nodes: list[Operator] = [
        Poisson(name="encode", inputs=("x", "seed")),
        Reshape(name="image", inputs=("encode.spikes",), shape=(5, 4, 10)),
    ]
    for grid, outputs in [*itertools.product(grids, (10, 131)), (0, 1), (2, 7), (3, 7), (4, 70)]:
        bias = rng.integers(-500, 500, outputs).astype(np.int32) + (1 << 20) * (outputs == 7)
        nodes.append(
            Dense(
                name=f"d{grid}_{outputs}", inputs=("encode.spikes",), by_change=outputs == 131,
                bias=None if outputs == 10 else bias, **codes((outputs, 200), grid),
            )
        )  # fmt: skip
    for grid, outputs, depth in [*((grid, 36, 10) for grid in grids), (0, 5, 10), (4, 40, 1)]:
        nodes.append(
            Conv2dSums(
                name=f"c{grid}_{outputs}", inputs=("image",), padding=(1, 1, 0, 2),
                groups=10 // depth, bias=rng.integers(-99, 99, outputs).astype(np.int32),
                dilation=(1, 2 if grid == 1 else 1), **codes((outputs, 3, 2, depth), grid),
            )
        )  # fmt: skip
    x, seed = Tensor("x", "u8", (200,), kind="input"), Tensor("seed", "u32", (1,), kind="input")
    return Graph("few_bits", steps, [x, seed], nodes, [nodes[-1].name])


def quick_neurons(part: slice, steps: int = 5) -> Graph:
    """Every convention of neurons that kernels work on by sixteen: 16 bits, never saturated."""
    rng = np.random.default_rng(11)
    n = 23  # sixteen, four, two, one
    nodes: list[Operator] = [
        Poisson(name="encode", inputs=("x", "seed")),
        Dense(name="fc", inputs=("encode.spikes",), weight=weights(rng, n, 40, 3.0)),
        Direct(name="far", inputs=("y",), gain=127, zero_point=128),
    ]
    timings = [timing for timing in TIMINGS if timing != "both_steps"]  # no such kernel has it
    # Where they read, how many thresholds they have, and whether each has its leak.
    layers = (("fc", 1, False), ("fc", n, False), ("fc", n, True), ("far", 1, False),
              ("far", n, True))  # fmt: skip
    kinds = itertools.product(RESETS, timings, COMPARISONS, ROUNDINGS, layers)
    for i, (reset, timing, compare, rounding, layer) in enumerate(list(kinds)[part]):
        source, each, own = layer
        near = source == "fc"
        leaks = (29491, 32767, 32768, 16385) if near else (1, 3)
        low, high = (3, 20) if near else (0, 32767)
        most = (0, 1, 16384, 24001, 29491, 32767, 32768) if near else (0, 1, 2, 3)
        nodes.append(
            Lif(
                name=f"n{i}", inputs=(source,), reset=reset, timing=timing, compare=compare,
                leak_round=rounding, leak=leaks[i % len(leaks)], input_shift=0 if near else 1,
                leaks=rng.choice(np.uint32(most), n) if own else None,
                threshold=rng.integers(low, high, each).astype(np.int32),
                reset_value=np.array([-77], np.int32) if reset == "value" else None,
                membrane="i16",
            )
        )  # fmt: skip
    for rounding in ROUNDINGS:
        nodes.append(LeakyReadout(name=rounding, inputs=("fc",), leak=29491, leak_round=rounding))
    inputs = [
        Tensor("x", "u8", (40,), kind="input"), Tensor("seed", "u32", (1,), kind="input"),
        Tensor("y", "u8", (n,), kind="input"),
    ]  # fmt: skip
    return Graph("quick", steps, inputs, nodes, [nodes[-1].name])

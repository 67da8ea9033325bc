"""Small graphs in which every kind of the registry occurs: what tests of all kinds share."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

import adapter_graphs
import binary_graphs
import convolution_graphs
import every_learner
import graphs
import int8_graphs
import overlap_cases
import spiking_graphs
import spiking_learners
import width_graphs
from plan_graphs import SCALE, image
from spikelet.graph import Graph, Learned, Operator, Tensor
from spikelet.graph.ops.concatenate import Concatenate
from spikelet.graph.ops.cumsum import Cumsum
from spikelet.graph.ops.frame import Frame
from spikelet.graph.ops.gather import Gather
from spikelet.graph.ops.lstm import Lstm
from spikelet.graph.ops.pad import Pad
from spikelet.graph.ops.resize_bilinear import ResizeBilinear
from spikelet.graph.ops.spike_count import SpikeCount
from spikelet.graph.ops.svdf import Svdf
from spikelet.graph.ops.transpose import Transpose
from spikelet.graph.ops.transpose_conv import TransposeConv
from spikelet.learn import Setting, until
from spikelet.learn.layers.codes import AsCodes, AsCodesGradient
from spikelet.learn.layers.mse import Mse
from spikelet.learn.layers.spike_rate import SpikeRate
from spikelet.learn.learner import learners


def others() -> Graph:
    """What the other makers do not make."""
    x, places = ("x",), np.array([[0, 1, 512], [1, 2, 0]], np.int16)
    code = {"output_scale": SCALE, "output_zero_point": 0}
    weight = np.ones((2, 3, 3, 4), np.int8)
    nodes: list[Operator] = [
        Concatenate(name="concatenate", inputs=("x", "x"), axis=0, **code),
        Pad(name="pad", inputs=x, before=(1, 1, 0), after=(0, 1, 0), value=3, **code),
        Transpose(name="transpose", inputs=x, order=(2, 0, 1), **code),
        Gather(name="gather", inputs=x, axis=0, indices=np.array([1, 0], np.uint16), **code),
        Cumsum(name="cumsum", inputs=x, axis=1, exclusive=True, **code),
        ResizeBilinear(name="bilinear", inputs=x, rows=places, columns=places, **code),
        TransposeConv(
            name="transpose_conv", inputs=x, weight=weight, bias=np.zeros(2, np.int32),
            multiplier=np.full(2, 1 << 30, np.int32), shift=np.full(2, -8, np.int32), size=(5, 6),
            stride=(1, 1), padding=(0, 0), **code,
        ),
        Frame(name="frame", inputs=("frames",)),
        Svdf(
            name="svdf", inputs=("frame",), weight=np.ones((4, 3), np.int8),
            time=np.ones((4, 5), np.int16), bias=np.zeros(2, np.int32),
            state_factor=(1 << 30, -2), output_factor=(1 << 30, -2), **code,
        ),
        Lstm(
            name="lstm", inputs=("sequence",), weight=np.ones((4, 2, 3), np.int8),
            recurrent=np.ones((4, 2, 2), np.int8), bias=np.zeros((4, 2), np.int32),
            multiplier=np.full((2, 4), 1 << 30, np.int32), shift=np.zeros((2, 4), np.int32),
            cell_bits=4, cell_clip=0, hidden_factor=(1 << 30, -20), **code,
        ),
    ]  # fmt: skip
    nodes += [
        SpikeCount(name="count", inputs=("spikes",)),
        SpikeRate(name="rate", inputs=("count",)),
    ]
    inputs = [image("x", (3, 4, 4)), Tensor("frames", "i8", (5, 3), kind="input", scale=SCALE)]
    inputs.append(Tensor("sequence", "i8", (5, 3), kind="input", scale=SCALE))
    inputs.append(Tensor("spikes", "bit", (7,), kind="input"))
    return Graph("others", 5, inputs, nodes, ["lstm"])


def drifting() -> Graph:
    """Class means that follow what they see."""
    images, labels = every_learner.digits()
    given = Setting("features", 10, calibration={"x": images[:300]}, labels=labels[:300])
    learner = learners()["adaptation"](head="prototypes")
    return learner.attach(until(every_learner.backbone(), "features"), given)


def clamped() -> Graph:
    """The gradient of a rounding to codes, on the error of a mean square."""
    y, target = Tensor("y", "f32", (4,), kind="input"), Tensor("wanted", "f32", (4,), kind="target")
    health = Learned.of("t.health", "i32", (1,), low=0)
    nodes: list[Operator] = [
        AsCodes(name="codes", inputs=("y",), low=-128, high=127, scale=0.1),
        Mse(name="error", inputs=("codes", "wanted", "t.health")),
        AsCodesGradient(name="to", inputs=("error", "y"), low=-128, high=127, scale=0.1),
    ]
    return Graph("clamped", 1, [y], nodes, ["codes"], [health], targets=[target])


# Every kind of `spikelet.graph.ops` occurs in these.
NETWORKS: list[Callable[[], Graph]] = [
    graphs.digits_like,
    graphs.operator_zoo,
    others,
    overlap_cases.pointwise,
    overlap_cases.moving,
    int8_graphs.elementwise,
    int8_graphs.pools,
    int8_graphs.dense_layers,
    int8_graphs.convolutions,
    int8_graphs.depthwise,
    functools.partial(int8_graphs.low_bits, 0, 11),
    binary_graphs.binary_layers,
    binary_graphs.pools_of_bits,
    adapter_graphs.added_deltas,
    width_graphs.nested,
    width_graphs.speculative,
    spiking_graphs.recurrent_spikes,
    spiking_graphs.reservoirs,
    spiking_graphs.spiking_convolutions,
]
MAKERS: list[Callable[[], Graph]] = [
    *NETWORKS,
    functools.partial(overlap_cases.trained_layers, "f32", "mse"),
    functools.partial(overlap_cases.trained_layers, "i16", "mse"),
    functools.partial(convolution_graphs.pools, "f32"),
    functools.partial(convolution_graphs.pools, "i16"),
    functools.partial(convolution_graphs.convolutions, "f32"),
    functools.partial(overlap_cases.taught, "hlop", cuber=8, samples=100),
    functools.partial(overlap_cases.taught, "rejection", base="nearest_mean"),
    functools.partial(spiking_learners.taught, "values_counts"),
    functools.partial(every_learner.graph_of, "hlop", neurons="lif", hidden="12-12", tasks=2),
    drifting,
    clamped,
    *(functools.partial(every_learner.graph_of, name) for name in sorted(learners())),
]


@functools.cache
def every_graph() -> tuple[Graph, ...]:
    """All of them."""
    return tuple(make() for make in MAKERS)

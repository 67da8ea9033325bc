"""A spiking classifier of random weights: dense layers, lif neurons, and integrators at the end."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from spikelet.errors import UsageError
from spikelet.graph import Array, Graph, Operator
from spikelet.graph.ops.dense import Dense
from spikelet.graph.ops.leaky_readout import LeakyReadout
from spikelet.graph.ops.lif import Lif
from spikelet.learn.networks.classifier import HE, SCORES

KEPT = 0.9  # of a membrane, in a step
CODES = 128
REACH = 1.0  # real, of a weight at its largest code: thresholds, or logits a spike
WIDE_REACH, WIDE = 0.5, 256  # the same of layers with more inputs
GAIN = REACH / CODES  # of a logit, for each unit of the integrators
FRACTION_BITS = 4  # of membranes of layers that read spikes


def spiking_classifier(
    backbone: Graph, features: str, hidden: Sequence[int], classes: int, steps: int, seed: int
) -> Graph:
    """The layers `hidden0` ... with neurons `hidden0_lif` ..., then `logits` and `scores`.

    Neurons keep .9 of their potential in a step and take off the threshold after a spike; the first
    layer reads the features in every step as they are: spikes, or values as a steady current.

    Args:
        backbone: what is in front.
        features: what the first layer reads: bit, u8, or i8 without a zero point.
        hidden: widths.
        classes: how many scores.
        steps: T; of a backbone that has time steps it is theirs.
        seed: of the weights.
    """
    x = backbone.tensors[features]
    if x.dtype not in ("bit", "u8", "i8") or x.zero_point:
        raise UsageError(
            f"features {features} are {x.dtype} with zero point {x.zero_point}, spiking layers "
            "read spikes, u8, or i8 with zero point 0",
            "another tensor of the backbone was meant",
            "name one with --features, or learn with neurons=relu",
        )
    rng, nodes = np.random.default_rng(seed), list(backbone.nodes)
    low, high = backbone.bounds[features]
    most, name, inputs = max(1, int(-low.min()), int(high.max())), features, x.size
    for i, width in enumerate(hidden):
        reach = WIDE_REACH if inputs > WIDE else REACH
        bits = FRACTION_BITS if most == 1 else 0
        threshold = round(CODES * most / reach) << bits
        neurons = f"hidden{i}_lif"
        nodes += [
            _dense(
                f"hidden{i}", name, rng.normal(0, math.sqrt(HE / inputs), (width, inputs)), reach
            ),
            Lif(
                name=neurons,
                inputs=(f"hidden{i}",),
                threshold=np.array([threshold], np.int32),
                leak=round(KEPT * (1 << 15)),
                reset="subtract",
                timing="next_step",
                input_shift=bits,
            ),
        ]
        name, inputs, most = f"{neurons}.spikes", width, 1
    weight = rng.normal(0, math.sqrt(SCORES / inputs), (classes, inputs))
    nodes += [
        _dense("logits", name, weight, REACH),
        LeakyReadout(name="scores", inputs=("logits",)),
    ]
    steps = backbone.steps if backbone.steps > 1 else steps
    return dataclasses.replace(backbone, steps=steps, nodes=nodes, outputs=["scores"])


def _dense(name: str, x: str, weight: Array, reach: float) -> Operator:
    codes = np.clip(np.rint(weight * CODES / reach), -CODES, CODES - 1).astype(np.int8)
    return Dense(name=name, inputs=(x,), weight=codes)

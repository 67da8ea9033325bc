"""Which spikes may arrive late: delays that the graph can hold."""

from __future__ import annotations

from typing import Any

import numpy as np

from spikelet.frontends.spiking.held import Held
from spikelet.frontends.spiking.network import (
    Add,
    Conv2d,
    Delay,
    Linear,
    OneToOne,
    SpikingNetwork,
)
from spikelet.graph import Array
from spikelet.graph.ops.delayed_dense import DelayedDense
from spikelet.refusal import ImportRefused

MOST_STEPS = 255


def check_delays(
    network: SpikingNetwork, source: Held, layer: Delay | Linear, steps: Array
) -> None:
    """Refuse delays of what is no spike, and beyond a byte, by the layer's name.

    Args:
        network: that the layer is of.
        source: what it reads.
        layer: it has delays.
        steps: its delays.
    """
    read = layer.inputs[0]
    spikes = read in network.inputs or not isinstance(
        network.layer(read), Linear | Conv2d | OneToOne | Add
    )
    if not spikes or source.zero or np.any(source.unit != source.most):
        raise ImportRefused(
            f"layer {layer.called}: it delays {read}, expected spikes",
            next="put the delay behind neurons, or encode the input as spikes",
        )
    if steps.min() < 0 or steps.max() > MOST_STEPS:
        raise ImportRefused(
            f"layer {layer.called}: delays of {steps.min()} to {steps.max()} "
            f"steps, expected 0 to {MOST_STEPS}"
        )


def delayed(
    network: SpikingNetwork,
    source: Held,
    layer: Linear,
    delays: Array,
    codes: Array,
    fields: dict[str, Any],
) -> DelayedDense:
    """A dense layer with a delay a synapse; codes (O, I) lie as the graph has its input."""
    check_delays(network, source, layer, delays)
    order = source.order()
    steps = (delays if order is None else delays[:, order]).astype(np.uint8)
    return DelayedDense(
        name=layer.name,
        inputs=(source.name,),
        weight=codes,
        delays=np.ascontiguousarray(steps),
        **fields,
    )

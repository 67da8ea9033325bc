"""How values become what the first layer of a spiking network gets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from spikelet.graph import Array, Graph, Operator
from spikelet.graph import Tensor as GraphTensor
from spikelet.graph.ops.latency import Latency as LatencyOperator
from spikelet.graph.ops.poisson import Poisson as PoissonOperator


@dataclass(frozen=True)
class DirectCurrent:
    """u8 codes injected as a constant current: real = (code - zero_point) * scale."""

    scale: float = 1 / 255
    zero_point: int = 0

    @property
    def amplitude(self) -> float:
        """The largest real value, in size."""
        return max(self.zero_point, 255 - self.zero_point) * self.scale


@dataclass(frozen=True)
class Poisson:
    """In each step a spike with probability code / 256; the graph gets an input `seed`."""

    scale: float = 1.0
    zero_point: int = 0
    amplitude: float = 1.0


@dataclass(frozen=True)
class Latency:
    """One spike a value, in step floor((255 - code) * T / 256); a code of 0 is silent."""

    scale: float = 1.0
    zero_point: int = 0
    amplitude: float = 1.0


@dataclass(frozen=True)
class Frames(DirectCurrent):
    """u8 codes, one frame a step, as a current: the input is (T, *shape)."""


@dataclass(frozen=True)
class EventCounts(DirectCurrent):
    """Address events as they come: a step's input (*shape) is how many each address had, u8."""

    scale: float = 1.0


@dataclass(frozen=True)
class EventBits:
    """Address events as they come: a step's input (*shape) is 1 where an address had one."""

    scale: float = 1.0
    zero_point: int = 0
    amplitude: float = 1.0


Encoder = DirectCurrent | Poisson | Latency | EventBits
PER_STEP = (Frames, EventCounts, EventBits)  # a sample is (T, *shape)


def encode(x: Array, encoder: Encoder, steps: int, seeds: Array | None = None) -> Tensor:
    """What the first layer gets: spikes (T, N, n), or a constant current (N, n); float32.

    Spikes come from the graph's own operator, so they are those of the device. `x` is (N, n) u8,
    `seeds` (N, 1) u32, for Poisson only.
    """
    if isinstance(encoder, DirectCurrent):
        current = (x.astype(np.float64) - encoder.zero_point) * encoder.scale
        return torch.from_numpy(current.astype(np.float32))
    inputs = [GraphTensor("x", "u8", x.shape[1:], kind="input")]
    values = {"x": x}
    node: Operator
    if isinstance(encoder, Poisson):
        if seeds is None:
            raise ValueError("Poisson coding needs a seed for each sample")
        inputs.append(GraphTensor("seed", "u32", (1,), kind="input"))
        values["seed"] = seeds
        node, spikes = PoissonOperator(name="e", inputs=("x", "seed")), "e.spikes"
    elif isinstance(encoder, Latency):
        node, spikes = LatencyOperator(name="e", inputs=("x",)), "e"
    graph = Graph("encoder", steps, inputs, [node], [spikes])
    return torch.from_numpy(graph.run(values, trace=True).trace[spikes].astype(np.float32))

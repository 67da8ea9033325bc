"""Projection of weight updates off the subspace that old tasks used (HLOP).

Lateral Hebbian weights learn the subspace of a layer's presynaptic traces, one block of columns a
task; the weights of the layer then learn from the trace less its part in the blocks of old tasks,
so that what old tasks compute stays as it is. The forward pass is unchanged. Source: Xiao et al.,
"Hebbian Learning based Orthogonal Projection for Continual Learning of Spiking Neural Networks",
ICLR 2024. C twin: firmware/learn/hlop.h.

A trace is whatever the layer's weights are multiplied with: activations here, in a layer of spikes
the filtered spikes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np

from spikelet.errors import UsageError
from spikelet.graph import Graph
from spikelet.graph.tensor import Array, Learned, Tensor
from spikelet.learn.bases.subspace import ONE, USED
from spikelet.learn.choices import RATES, Within
from spikelet.learn.layers.cuber import CuberCompare, CuberKeep
from spikelet.learn.layers.orthogonal_projection import HlopGate, HlopLearn, HlopMerge, HlopProject
from spikelet.learn.learner import Learner, Setting, extend
from spikelet.learn.networks.builder import SCHEDULE, NetworkBuilder
from spikelet.learn.networks.classifier import classifier, network_behind, widths
from spikelet.learn.networks.parameters import Parameters
from spikelet.learn.numbers.scalar import Descent

FULL = 0.9  # of a layer's rank: no task begins beyond


@dataclass(kw_only=True)
class Hlop(Learner):
    """Dense layers that learn task after task, each beside the subspace of those before.

    A commit ends a task: its columns join the subspace that no later task may disturb. Hidden
    layers have no bias, because a bias has no trace to project. A task for which a layer has no
    room is refused: its samples are counted as skipped, and the network goes on predicting.

    Attributes:
        hidden: widths of the layers, such as 100; 0 for a linear head.
        first: columns that the first task may take in each layer, such as 60-50; auto for half of
            the layer's inputs, at most 64.
        more: columns that each further task may take; auto for a share of what is left up to 90 %
            of the inputs, at most 16.
        tasks: for which there is memory.
        step: of the Hebbian rule, relative to the largest stable one: above 0, at most 1.
        cuber: samples after which a task may use columns of old ones that it agrees with, 0 for
            never (see CuberCompare).
        cosine: of two tasks' gradients from which on they agree.
        precision: of weights.
        rate: learning rate.
        samples: of a task, along which both rates fall to 0; 0 for constant rates.
        rounding: of integer weights.
    """

    NAME: ClassVar[str] = "hlop"
    AFTER: ClassVar[str] = (
        "HLOP (Xiao et al., ICLR 2024); with cuber CUBER (Lin et al., NeurIPS 2022)"
    )
    DIFFERS: ClassVar[str] = (
        "activations, not spikes; one Hebbian step a sample, relative to the trace's length, "
        "without momentum; CUBER asks once a task, and its penalty on the change is left out"
    )

    hidden: str = "100"
    first: str = "auto"
    more: str = "auto"
    tasks: Annotated[int, Within(1, 1000)] = 5
    step: Annotated[float, Within(2.0**-15, 1)] = 1.0
    cuber: Annotated[int, Within(0, (1 << 31) - 1)] = 0
    cosine: Annotated[float, Within(2.0**-15, 1)] = 0.1
    precision: Literal["i16", "i8"] = "i16"
    rate: Annotated[float, RATES] = 0.03
    samples: Annotated[int, Within(0, (1 << 31) - 1)] = 0
    rounding: Literal["nearest", "stochastic"] = "stochastic"

    def __post_init__(self) -> None:
        super().__post_init__()
        layers = len(widths(self.hidden)) + 1
        for text in (self.first, self.more):
            if text != "auto" and len(widths(text)) != layers:
                raise ValueError(
                    f"first {self.first} and more {self.more} are not for the {layers} layers of "
                    f"hidden {self.hidden} and the scores"
                )

    def build(self, backbone: Graph, setting: Setting) -> Graph:
        descent = Descent(self.rate, rounding=self.rounding)
        net = network_behind(backbone, setting, self.precision, descent, self.samples)
        hidden = widths(self.hidden)
        layers = classifier(net, setting.features, hidden, setting.classes, bias=False)
        blocks = {layer.name: self._block(i, layer.x.size) for i, layer in enumerate(layers)}
        spaces, room = [], []
        for layer in layers:
            first, more = blocks[layer.name]
            full = int(FULL * layer.x.size)
            if first > full or more < 1:
                raise UsageError(
                    f"hlop: {first} columns for the first task in layer {layer.name}, and {more} "
                    f"for each other one; it has {layer.x.size} inputs",
                    "tasks would take more than 90 % of the layer's rank",
                    f"give the first task at most {full}, or learn fewer tasks",
                )
            capacity = min(first + more * (self.tasks - 1), full)
            net.learned += [
                Learned.of(
                    f"{layer.name}.basis", "i16", (layer.x.size, capacity),
                    low=-ONE, high=ONE, scale=1 / ONE,
                ),
                Learned.of(f"{layer.name}.columns", "i32", (2,), low=0, high=capacity),
            ]  # fmt: skip
            spaces.append(f"{layer.name}.columns")
            room.append(capacity - more if self.tasks > 1 else 0)
        net.learned.append(Learned.of("hlop.health", "i32", (1,)))
        net.nodes.insert(
            0,
            HlopGate(
                name="hlop_gate",
                inputs=("hlop.health", *spaces),
                room=np.array(room, np.int32),
            ),
        )

        def project(layer: Parameters, error: Tensor) -> Tensor:
            basis, columns = f"{layer.name}.basis", f"{layer.name}.columns"
            first, more = blocks[layer.name]
            trace = Tensor(f"{layer.name}_trace", "i16", (layer.x.size,), scale=layer.x.scale)
            net.nodes += [
                HlopProject(name=trace.name, inputs=(layer.x.name, basis, columns)),
                HlopLearn(
                    name=f"{layer.name}_hebb",
                    inputs=(trace.name, basis, columns, *([SCHEDULE] if self.samples else [])),
                    first=first,
                    more=more,
                    step=round(self.step * (1 << 15)),
                    seed=net.seed(),
                ),
            ]
            return self._cuber(net, layer, error, blocks[layer.name]) if self.cuber else trace

        net.backward("scores", "loss", before=project)
        net.nodes += [
            HlopMerge(name=f"{k.name}_merge", inputs=(f"{k.name}.basis", f"{k.name}.columns"))
            for k in layers
        ]
        return extend(backbone, net.nodes, net.learned, ["scores"], setting.classes)

    def _cuber(
        self, net: NetworkBuilder, layer: Parameters, error: Tensor, block: tuple[int, int]
    ) -> Tensor:
        """A trace with what lies in allowed columns."""
        name = layer.name
        learned = {k.tensor.name: k for k in net.learned}
        capacity = learned[f"{name}.basis"].tensor.shape[1]
        shape = (layer.y.size, capacity)
        own = [
            Learned.of(f"{name}.now", "i32", shape),
            Learned.of(f"{name}.then", "i32", shape),
            Learned.of(f"{name}.allowed", "u8", (capacity,), high=1),
            Learned.of(f"{name}.probed", "i32", (1,), low=0, high=self.cuber),
        ]
        net.learned += own
        names = [k.tensor.name for k in own]
        read = (layer.x.name, f"{name}.basis", f"{name}.columns")
        trace = Tensor(f"{name}_path", "i16", (layer.x.size,), scale=layer.x.scale)
        net.nodes += [
            CuberCompare(
                name=f"{name}_cuber",
                inputs=(error.name, *read, *names),
                first=block[0],
                more=block[1],
                probe=self.cuber,
                cosine=round(self.cosine * (1 << 15)),
            ),
            HlopProject(name=trace.name, inputs=(*read, names[2])),
            CuberKeep(name=f"{name}_keep", inputs=(read[2], *names)),
        ]
        return trace

    def _block(self, i: int, inputs: int) -> tuple[int, int]:
        """Columns of the first and of each further task in layer i."""
        first = min(64, -(-inputs // 2)) if self.first == "auto" else widths(self.first)[i]
        if self.more != "auto":
            return first, widths(self.more)[i]
        left = int(FULL * inputs) - first
        return first, min(16, left // max(1, self.tasks - 1))

    def health(self, learned: Mapping[str, Array]) -> dict[str, float]:
        """Refused samples, saturations, and of each layer the part of its rank that is free."""
        figures = {
            "skipped": float(learned["hlop.health"][0]),
            "saturations": float(
                sum(int(v[0]) for k, v in learned.items() if k.endswith("_update.health"))
            ),
        }
        for name, basis in learned.items():
            layer, part = name.split(".")
            if part == "basis":
                used = int(learned[f"{layer}.columns"][USED])
                figures[f"free_rank.{layer}"] = 1 - used / len(basis)
        return figures

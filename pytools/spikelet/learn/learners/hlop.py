"""Projection of weight updates off the subspace that old tasks used (HLOP).

Lateral Hebbian weights learn the subspace of a layer's presynaptic traces, one block of columns a
task; the weights of the layer then learn from the trace less its part in the blocks of old tasks,
so that what old tasks compute stays as it is. The forward pass is unchanged. Source: Xiao et al.,
"Hebbian Learning based Orthogonal Projection for Continual Learning of Spiking Neural Networks",
ICLR 2024. C twin: firmware/learn/hlop.h.

A trace is whatever the layer's weights are multiplied with: activations, or in a layer of spikes
the filtered spikes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np

from spikelet.errors import UsageError
from spikelet.graph import Graph, Operator
from spikelet.graph.ops.dense import Dense
from spikelet.graph.tensor import Array, Learned, Tensor
from spikelet.learn.backbone import spikes_behind
from spikelet.learn.bases.subspace import ONE, USED, largest_value
from spikelet.learn.choices import RATES, Within
from spikelet.learn.layers.cuber import CuberCompare, CuberKeep
from spikelet.learn.layers.orthogonal_projection import HlopGate, HlopLearn, HlopMerge, HlopProject
from spikelet.learn.layers.schedule import restarting_schedule
from spikelet.learn.learner import Learner, Setting, extend
from spikelet.learn.networks.builder import SCHEDULE, NetworkBuilder
from spikelet.learn.networks.classifier import classifier, network_behind, widths
from spikelet.learn.networks.parameters import Learns, Parameters
from spikelet.learn.networks.spiking import SpikingNetwork, Stage, ThreeFactor
from spikelet.learn.networks.spiking_classifier import GAIN, spiking_classifier
from spikelet.learn.numbers.scalar import Descent
from spikelet.learn.numbers.traces import TRACE_LIMIT

SURROGATE_WIDTH = 2.0  # thresholds
FULL = 0.9  # of a layer's rank: no task begins beyond


@dataclass(frozen=True)
class Subspaces:
    """Those of a network's layers.

    Attributes:
        options: of the learner.
        blocks: by layer, columns of the first task and of each further one.
        learned: bases, their columns, and the count of refused samples.
        room: by layer, used columns up to which a task may begin.
    """

    options: Hlop
    blocks: dict[str, tuple[int, int]]
    learned: list[Learned]
    room: list[int]

    @classmethod
    def of(cls, options: Hlop, layers: Sequence[tuple[str, int]]) -> Subspaces:
        """Of layers: name and inputs of each; UsageError where tasks do not fit."""
        made = cls(options, {}, [], [])
        for i, (name, inputs) in enumerate(layers):
            first, more = made.blocks[name] = options.block(i, inputs)
            full = int(FULL * inputs)
            if first > full or more < 1:
                raise UsageError(
                    f"hlop: {first} columns for the first task in layer {name}, and {more} "
                    f"for each other one; it has {inputs} inputs",
                    "tasks would take more than 90 % of the layer's rank",
                    f"give the first task at most {full}, or learn fewer tasks",
                )
            capacity = min(first + more * (options.tasks - 1), full)
            made.learned.extend(
                [
                    Learned.of(
                        f"{name}.basis", "i16", (inputs, capacity),
                        low=-ONE, high=ONE, scale=1 / ONE,
                    ),
                    Learned.of(f"{name}.columns", "i32", (2,), low=0, high=capacity),
                ]
            )  # fmt: skip
            made.room.append(capacity - more if options.tasks > 1 else 0)
        made.learned.append(Learned.of("hlop.health", "i32", (1,)))
        return made

    def gate(self) -> HlopGate:
        """What refuses a task."""
        columns = (f"{name}.columns" for name in self.blocks)
        room = np.array(self.room, np.int32)
        return HlopGate(name="hlop_gate", inputs=("hlop.health", *columns), room=room)

    def project(self, nodes: list[Operator], layer: str, x: Tensor, seed: int) -> Tensor:
        """Append what projects x off old tasks' columns, and learns the present task's of it."""
        basis, columns = f"{layer}.basis", f"{layer}.columns"
        first, more = self.blocks[layer]
        name = f"{layer}_trace" if x.name != f"{layer}_trace" else f"{layer}_rest"
        trace = Tensor(name, "i16", (x.size,), scale=x.scale)
        schedule = [SCHEDULE] if self.options.samples else []
        nodes += [
            HlopProject(name=trace.name, inputs=(x.name, basis, columns)),
            HlopLearn(
                name=f"{layer}_hebb",
                inputs=(trace.name, basis, columns, *schedule),
                first=first,
                more=more,
                step=round(self.options.step * (1 << 15)),
                seed=seed,
            ),
        ]
        return trace

    def merges(self) -> list[HlopMerge]:
        """What ends a task."""
        return [
            HlopMerge(name=f"{name}_merge", inputs=(f"{name}.basis", f"{name}.columns"))
            for name in self.blocks
        ]


@dataclass(kw_only=True)
class Hlop(Learner):
    """Dense layers that learn task after task, each beside the subspace of those before.

    A commit ends a task: its columns join the subspace that no later task may disturb. Hidden
    layers have no bias, because a bias has no trace to project. A task for which a layer has no
    room is refused: its samples are counted as skipped, and the network goes on predicting.

    With `neurons=lif` the hidden layers spike, and learn by the three-factor rule of `finetune`,
    from projected traces.

    Attributes:
        neurons: of the hidden layers: relu, or lif, which leak, spike and take off the threshold.
        steps: time steps of lif neurons, where the network in front has none.
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
        precision: of weights; those of spiking layers are i16.
        rate: learning rate.
        samples: of a task, along which both rates fall to 0; 0 for constant rates.
        rounding: of integer weights.
    """

    NAME: ClassVar[str] = "hlop"
    AFTER: ClassVar[str] = (
        "HLOP (Xiao et al., ICLR 2024); with cuber CUBER (Lin et al., NeurIPS 2022)"
    )
    DIFFERS: ClassVar[str] = (
        "one Hebbian step a sample, relative to the trace's length, without momentum; a spiking "
        "layer's subspace is that of its traces' mean over time; CUBER asks once a task, and its "
        "penalty on the change is left out"
    )

    # Whether updates of spiking layers are projected; else it is the plain rule, for comparisons.
    PROJECTS: ClassVar[bool] = True

    neurons: Literal["relu", "lif"] = "relu"
    steps: Annotated[int, Within(1, 128)] = 8
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
        if self.neurons == "lif":
            return self._build_spiking(backbone, setting)
        descent = Descent(self.rate, rounding=self.rounding)
        net = network_behind(backbone, setting, self.precision, descent, self.samples)
        hidden = widths(self.hidden)
        layers = classifier(net, setting.features, hidden, setting.classes, bias=False)
        spaces = Subspaces.of(self, [(layer.name, layer.x.size) for layer in layers])
        net.learned += spaces.learned
        net.nodes.insert(0, spaces.gate())

        def project(layer: Parameters, error: Tensor) -> Tensor:
            trace = spaces.project(net.nodes, layer.name, layer.x, net.seed())
            return (
                self._cuber(net, layer, error, spaces.blocks[layer.name]) if self.cuber else trace
            )

        net.backward("scores", "loss", before=project)
        net.nodes += spaces.merges()
        return extend(backbone, net.nodes, net.learned, ["scores"], setting.classes)

    def _build_spiking(self, backbone: Graph, setting: Setting) -> Graph:
        if self.cuber:
            raise UsageError(
                f"hlop: cuber={self.cuber} with neurons=lif",
                "CUBER compares gradients of activations",
                "take cuber=0, or neurons=relu",
            )
        hidden, seed = widths(self.hidden), setting.seed
        backbone, features = spikes_behind(backbone, setting.features)
        given = spiking_classifier(backbone, features, hidden, setting.classes, self.steps, seed)
        dense = {n.name: n for n in given.nodes if isinstance(n, Dense)}
        names = [*(f"hidden{i}" for i in range(len(hidden))), "logits"]
        sizes = {name: dense[name].ins[0].size for name in names}
        spaces = Subspaces.of(self, [(name, sizes[name]) for name in names])
        net = SpikingNetwork(
            given,
            {name: Learns(channels=len(dense[name].weight)) for name in names},
            ThreeFactor(self.rate, self.rounding, width=SURROGATE_WIDTH),
            np.random.default_rng([seed, 29]),
            scheduled=self.samples > 0,
            trace_limit=min(TRACE_LIMIT, *(largest_value(sizes[name]) for name in names)),
        )
        learned, nodes = restarting_schedule(SCHEDULE, self.samples) if self.samples else ([], [])

        def project(stage: Stage, delta: str) -> str | None:
            if not self.PROJECTS:
                return None
            row = net.trace_row(stage)
            return spaces.project(net.nodes, stage.dense.name, row, net.seed()).name

        net.backward("scores", GAIN, project)
        return dataclasses.replace(
            given,
            nodes=[spaces.gate(), *nodes, *net.nodes, *spaces.merges()],
            learned=[*backbone.learned, *learned, *spaces.learned, *net.learned],
            classes=setting.classes,
        )

    def block(self, i: int, inputs: int) -> tuple[int, int]:
        """Columns of the first and of each further task in layer i."""
        first = min(64, -(-inputs // 2)) if self.first == "auto" else widths(self.first)[i]
        if self.more != "auto":
            return first, widths(self.more)[i]
        left = int(FULL * inputs) - first
        return first, min(16, left // max(1, self.tasks - 1))

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

"""The sample gate: a sample whose error is small already is not learned.

Source: the EL2N score of Paul et al., "Deep Learning on a Data Diet", NeurIPS 2021, here with the
L1 norm and of each sample as it comes. C twin: firmware/learn/sample_gate.h.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np

from spikelet.errors import UsageError
from spikelet.graph import Array, Graph, Learned, Tensor, c
from spikelet.graph.c import Expression, Statement
from spikelet.graph.declared import SCALE_MOST, within
from spikelet.graph.int8 import interval
from spikelet.graph.operator import Emitter, Inferred, Interval
from spikelet.learn.bases.trainable import LearningOperator
from spikelet.learn.choices import Within, parse_choice
from spikelet.learn.layers.mse import Mse
from spikelet.learn.layers.softmax_cross_entropy import SoftmaxCrossEntropy
from spikelet.learn.learner import Learner, Setting, learners
from spikelet.learn.numbers import scalar

COUNT = "sample_gate.count"


@dataclass(kw_only=True)
class SampleGate(LearningOperator):
    """Ends the learning of a sample where the sum of |error| is below the threshold.

    Reads the error (n,) values and count (2,) i32, which changes: samples left out, and samples;
    writes (1,) i32, 1 where this one is left out. Floats are added in order, each sum rounded.

    Attributes:
        threshold: of the sum, in real units; with softmax cross-entropy the sum is 0 to 2, twice
            the probability of the wrong classes.
    """

    KIND: ClassVar[str] = "sample_gate"

    threshold: Annotated[float, within(0, SCALE_MOST)]

    facts: float = field(init=False, repr=False, compare=False)  # the threshold of a sum

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        self.expect_precision()
        error, count = self.ins
        self.expect_shape(error, (scalar.value_dtype(self.precision),), error.shape)
        self.expect_shape(count, ("i32",), (2,))
        if not (self.threshold >= 0 and math.isfinite(self.threshold)):
            raise self.error(f"threshold {self.threshold} is not a number from 0 on")
        least = float(np.float32(self.threshold))
        if not self.real:
            self.prove(self.ins[0].size * self.largest(error, bounds), "the sum of an error")
            least = min(math.ceil(self.threshold / error.scale), (1 << 31) - 1)
        bounds[self.name] = interval((1,), 0, 1)
        return Inferred([Tensor(self.name, "i32", (1,))], least)

    def golden(self, env: dict[str, Array], t: int) -> None:
        error, count = (env[name] for name in self.inputs)
        sizes = np.abs(scalar.widen(self.precision, error.reshape(-1)))
        total = sizes.dtype.type(0)
        for size in sizes:
            total = total + size
        skip = bool(total < self.facts)
        more = count.astype(np.int64) + np.array([skip, 1])
        count[...] = np.minimum(more, (1 << 31) - 1)
        env[self.name] = np.full((1, 1), skip, np.int32)

    def stops(self, env: dict[str, Array]) -> bool:
        return bool(env[self.name][0, 0])

    def emit(self, em: Emitter) -> list[Statement]:
        self.select(em, "learn/sample_gate.h")
        error, count = map(em.tensor, self.inputs)
        least = self.facts if self.real else int(self.facts)
        return [
            c.run("spk_sample_gate", self.ins[0].size, error, least, count, em.tensor(self.name))
        ]

    def emit_stop(self, em: Emitter) -> Expression | None:
        return em.tensor(self.name).at(0).compare("!=", 0)


def add_gate(graph: Graph, threshold: float) -> Graph:
    """The graph with a sample gate behind its first error: what follows may be left out.

    Raises:
        UsageError: no operator of the graph computes an error.
    """
    nodes = list(graph.nodes)
    place = next((i for i, n in enumerate(nodes) if isinstance(n, SoftmaxCrossEntropy | Mse)), None)
    if place is None:
        raise UsageError(
            f"graph {graph.name} has no error that a sample gate could look at",
            "its learner does not learn by gradients",
            "put the gate before a learner that trains layers",
        )
    loss = nodes[place]
    assert isinstance(loss, SoftmaxCrossEntropy | Mse)
    gate = SampleGate(
        name="sample_gate",
        inputs=(loss.name, COUNT),
        precision=loss.precision,
        threshold=threshold,
    )
    nodes.insert(place + 1, gate)
    learned = [*graph.learned, Learned.of(COUNT, "i32", (2,), low=0)]
    return dataclasses.replace(graph, nodes=nodes, learned=learned)


@dataclass(kw_only=True)
class Gated(Learner):
    """Another learner behind a gate: samples whose error is small already cost no update.

    Attributes:
        learner: one that trains layers, with its options behind semicolons.
        threshold: of |p - y| summed over the classes, 0 to 2: twice what the wrong classes have.
    """

    NAME: ClassVar[str] = "sample_gate"
    AFTER: ClassVar[str] = "EL2N (Paul et al., NeurIPS 2021)"
    DIFFERS: ClassVar[str] = (
        "the L1 norm, not L2, of each sample as it comes, not averaged over networks early in "
        "training"
    )

    learner: str = "replay"
    threshold: Annotated[float, Within(0, 2)] = 0.4

    def __post_init__(self) -> None:
        super().__post_init__()
        self._inner()

    def _inner(self) -> Learner:
        known = {name: cls for name, cls in learners().items() if name != self.NAME}
        inner: Learner = parse_choice(self.learner.replace(";", ","), known, "learner")
        return inner

    def build(self, backbone: Graph, setting: Setting) -> Graph:
        return add_gate(self._inner().attach(backbone, setting), self.threshold)

    def health(self, learned: Mapping[str, Array]) -> dict[str, float]:
        skipped, seen = learned[COUNT]
        own = {"skipped": float(skipped), "seen": float(seen)}
        return {**self._inner().health(learned), **own}

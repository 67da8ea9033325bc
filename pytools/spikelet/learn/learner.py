"""What a learner is: options, and the operators that it adds to a graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from spikelet.errors import UsageError
from spikelet.graph import Array, Graph, Learned, Operator, Phase, Tensor
from spikelet.graph.operator import classes, operator_registry
from spikelet.learn.choices import check_options
from spikelet.plugins import Registry

# A network's labels before it learned are compared on so many samples at the least, and on all that
# take no more multiply-accumulates than this.
LEAST_COMPARED = 24
COMPARED_MACS = 1_000_000_000
MOST_CHANGED = 0.01  # of the labels, in precisions other than float32


@dataclass(frozen=True, eq=False)
class Setting:
    """What a learner is attached to.

    Attributes:
        features: tensor of the backbone that it reads.
        classes: labels are 0 to classes - 1.
        seed: of everything that it draws.
        calibration: inputs of the backbone by name, (N, *shape): broad, unlabelled data that a
            learner may be fitted on before it starts; empty where there is none.
        labels: (N,) of the calibration, where they are known.
    """

    features: str
    classes: int
    seed: int = 0
    calibration: Mapping[str, Array] = field(default_factory=dict)
    labels: Array | None = None

    def fitting(self, backbone: Graph) -> Array:
        """The features of the calibration data, (N, *shape); N = 0 where there is none."""
        tensor = backbone.tensors[self.features]
        samples = len(next(iter(self.calibration.values()), ()))
        if not samples:
            return np.zeros((0, *tensor.shape), tensor.numpy_dtype)
        if self.features in self.calibration:
            return self.calibration[self.features]
        features: Array = backbone.run(self.calibration, trace=True).trace[self.features][-1]
        return features


@dataclass(kw_only=True)
class Learner:
    """Base of all learners: a dataclass whose fields are its options.

    A number's ends are part of its type, `Annotated[int, Within(1, 10)]`, and are checked here.
    """

    NAME: ClassVar[str] = ""
    # The published methods that it is made after, and in a line what differs from them.
    AFTER: ClassVar[str] = ""
    DIFFERS: ClassVar[str] = ""
    # Whether it takes a graph with its head, and goes on from what that says; else one that is cut
    # behind its features, whose head it begins anew.
    WHOLE: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_options(self)

    def attach(self, backbone: Graph, setting: Setting) -> Graph:
        """The backbone with this learner in it; its first output's maximum is the prediction.

        A learner that takes a whole network says of the calibration data what the network says,
        before it has learned: in all samples where it calculates in float32 or in the network's own
        codes, in all but 1 % in other precisions. Of large networks fewer samples are compared.

        Raises:
            UsageError, GraphError: it does not fit the backbone; names tensors and shapes.
        """
        graph = self.build(backbone, setting)
        if type(self).WHOLE and not self.begins_anew(backbone, setting):
            _expect_same_labels(type(self).NAME, backbone, graph, setting)
        return graph

    def goes_on(self, graph: Graph, classes: int) -> bool:
        """Whether a learner of whole networks goes on from a graph's head."""
        return graph.tensors[graph.outputs[0]].size == classes

    def begins_anew(self, backbone: Graph, setting: Setting) -> bool:
        """Whether a learner of whole networks has no head to go on from."""
        return setting.features in backbone.outputs

    def build(self, backbone: Graph, setting: Setting) -> Graph:
        """What `attach` hands out; each learner has its own."""
        raise NotImplementedError

    def health(self, learned: Mapping[str, Array]) -> dict[str, float]:
        """Figures of its own state: "skipped" samples, "saturations", "free_rank" and the like."""
        return {}

    @classmethod
    def options(cls) -> dict[str, dataclasses.Field[object]]:
        """Its options by name."""
        return {f.name: f for f in dataclasses.fields(cls)}


def _expect_same_labels(name: str, backbone: Graph, graph: Graph, setting: Setting) -> None:
    """Refuse a graph that was given a learner, and now says something else of calibration data."""
    given = {t.name: setting.calibration.get(t.name, ()) for t in backbone.inputs}
    samples = min(map(len, given.values()))
    predicting = [node for node in graph.nodes if graph.phase(node) < Phase.LEARN]
    macs = sum(node.cost().macs for node in predicting)
    count = min(samples, max(LEAST_COMPARED, COMPARED_MACS // max(1, macs)))
    if not count:
        return
    rows = np.unique(np.linspace(0, samples - 1, count).astype(int))
    inputs = {key: np.asarray(values)[rows] for key, values in given.items()}
    before, after = (g.predicted(g.run(inputs).outputs[g.outputs[0]]) for g in (backbone, graph))
    differ = int((before != after).sum())
    rounds = any(getattr(node, "precision", "f32") != "f32" for node in graph.nodes)
    if differ > (len(rows) * MOST_CHANGED if rounds else 0):
        raise UsageError(
            f"{name}: before anything was learned, {differ} of {len(rows)} calibration samples "
            f"({100 * differ / len(rows):.1f} %) get another label than the network gives them",
            "the precision is too coarse for the layers that are to learn"
            if rounds
            else "scores that are almost equal, or beyond int8",
            "let fewer layers learn, or take precision f32 or i16"
            if rounds
            else "let fewer layers learn, or leave such samples out of the calibration data",
        )


def extend(
    backbone: Graph,
    nodes: Sequence[Operator],
    learned: Sequence[Learned],
    outputs: Sequence[str],
    classes: int = 0,
    targets: Sequence[Tensor] = (),
) -> Graph:
    """The backbone with learning operators behind its own, and other outputs."""
    return dataclasses.replace(
        backbone,
        nodes=[*backbone.nodes, *nodes],
        outputs=list(outputs),
        learned=[*backbone.learned, *learned],
        classes=classes,
        targets=[*backbone.targets, *targets],
    )


def learner_registry() -> Registry[type[Learner]]:
    """All learners by name, found in the package `learners` and in plug-ins.

    One whose operators are refused would make packages that mean something else: it is, too.
    """
    refused = operator_registry().faults
    registry = classes(Learner, "NAME", ["spikelet.learn.learners"], refused)
    return Registry(dict(sorted(registry.known.items())), registry.faults)


def learners() -> dict[str, type[Learner]]:
    """All learners by name."""
    return learner_registry().known

"""What a learner is: options, and the operators that it adds to a graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from spikelet.graph import Array, Graph, Learned, Operator, Tensor
from spikelet.graph.operator import classes
from spikelet.learn.choices import check_options


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
        found: Array = backbone.run(self.calibration, trace=True).trace[self.features][-1]
        return found


@dataclass(kw_only=True)
class Learner:
    """Base of all learners: a dataclass whose fields are its options.

    A number's ends are part of its type, `Annotated[int, Within(1, 10)]`, and are checked here.
    """

    NAME: ClassVar[str] = ""
    # Whether `attach` takes a graph with its head, else one that is cut behind its features.
    WHOLE: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_options(self)

    def attach(self, backbone: Graph, setting: Setting) -> Graph:
        """The backbone with this learner in it; its first output's maximum is the prediction.

        Raises:
            UsageError, GraphError: it does not fit the backbone; names tensors and shapes.
        """
        raise NotImplementedError

    def health(self, learned: Mapping[str, Array]) -> dict[str, float]:
        """Figures of its own state: "skipped" samples, "saturations", "free_rank" and the like."""
        return {}

    @classmethod
    def options(cls) -> dict[str, dataclasses.Field[object]]:
        """Its options by name."""
        return {f.name: f for f in dataclasses.fields(cls)}


def extended(
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


def learners() -> dict[str, type[Learner]]:
    """All learners by name, found in the package `learners`."""
    return dict(sorted(classes(Learner, "NAME", ["spikelet.learn.learners"]).items()))

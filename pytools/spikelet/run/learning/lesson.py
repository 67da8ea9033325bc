"""What a device is to learn: a package with a learner in it, and the samples."""

from __future__ import annotations

from dataclasses import dataclass

from spikelet.board import Board
from spikelet.errors import UsageError
from spikelet.graph import Graph
from spikelet.graph.target import ANY
from spikelet.learn.backbone import features as last_features
from spikelet.learn.backbone import readable
from spikelet.learn.choices import describe_options
from spikelet.learn.continual.protocol import attach, learner, setting
from spikelet.learn.learner import Learner, Setting
from spikelet.learn.needs import Needs
from spikelet.learn.networks.training_plan import TrainingPlan, training_plan
from spikelet.learn.self_test import SAMPLES
from spikelet.package import Package
from spikelet.run.learning.data import LearningData


@dataclass(frozen=True)
class Lesson:
    """A package with a learner in it, and what it is to learn.

    Attributes:
        package: with the learner; its hash is what the device must hold.
        base: the package's graph as it was given.
        backbone: the part of it that the learner was attached to.
        text: of the learner, with the options that were given.
        learner: with all of its options.
        where: what it was attached to.
        data: samples.
        plan: bytes and work, before anything is built.
    """

    package: Package
    base: Graph
    backbone: Graph
    text: str
    learner: Learner
    where: Setting
    data: LearningData
    plan: TrainingPlan

    @property
    def needs(self) -> Needs:
        """Bytes and work of the whole graph."""
        return self.plan.needs

    @property
    def graph(self) -> Graph:
        """With the learner."""
        return self.package.graph


def lesson(
    package: Package,
    text: str,
    data: LearningData,
    board: Board | None = None,
    features: str | None = None,
) -> Lesson:
    """Attach a learner to a package; its draws have the package's seed.

    Args:
        package: with the backbone.
        text: the learner and its options.
        data: what it will learn; its training part calibrates the learner, see `setting`.
        board: whose RAM it must fit; None for any.
        features: tensor that it reads; None for what the last layer with weights reads.

    Raises:
        UsageError: an unknown learner or option; it does not fit the backbone, or the board.
    """
    chosen = learner(text)
    graph, where = lesson_setting(package, data, features)
    built = attach(graph, chosen, where)
    plan = learning_plan(built, board)
    memory = None if board is None else board.memory
    storage = None if memory is None else memory.storage
    if memory is not None:
        plan.needs.check(memory.ram.bytes - memory.stack_bytes, board.name if board else "")
    if storage is not None and plan.needs.commit_bytes > storage.bytes // 2:
        raise UsageError(
            f"a commit writes {plan.needs.commit_bytes} bytes, a slot of the board's storage holds "
            f"{storage.bytes // 2}",
            "more is learned than the board can keep without power",
            "learn fewer layers or channels, shrink the learner's tables, or take another board",
        )
    noted = {
        "learner": type(chosen).NAME,
        "options": describe_options(chosen),
        "features": where.features,
        "classes": data.classes,
        "seed": where.seed,
        "backbone_sha256": package.sha256,
    }
    manifest = {**package.manifest, "learning": noted}
    names = [tensor.name for tensor in built.inputs]
    known = all(name in package.vectors for name in names)
    vectors = {name: package.vectors[name][:SAMPLES] for name in names} if known else {}
    made = Package(built, vectors, manifest)
    return Lesson(made, package.graph, graph, text, chosen, where, data, plan)


def learning_plan(graph: Graph, board: Board | None) -> TrainingPlan:
    """What learning takes, of a graph with a learner: bytes and work.

    Args:
        graph: the graph.
        board: whose kernels and flash pages are counted; None for portable C.
    """
    memory = None if board is None else board.memory
    storage = None if memory is None else memory.storage
    pages = 0 if storage is None else storage.page_bytes
    return training_plan(graph, board.target if board else ANY, pages)


def lesson_setting(
    package: Package, data: LearningData, features: str | None
) -> tuple[Graph, Setting]:
    """The backbone, and what `lesson` attaches a learner to."""
    seed = int(package.manifest.get("seed", 0))
    graph, tensor = readable(package.graph, features or last_features(package.graph))
    return graph, setting(graph, tensor, data.classes, data.train, data.known, seed)

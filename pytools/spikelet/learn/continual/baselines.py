"""What stands beside every result: the same features, learned in three plain ways on the host.

- naive: a linear softmax head, stochastic gradient descent sample by sample in the stream's order.
  What a learner that forgets would reach.
- nearest_mean: the learner of that name. A head below it on the same features is of no use.
- joint: the head of naive, trained on all blocks together, shuffled, for several passes. What no
  order of the stream could take away; where the features are good, an upper bound.

The heads are float64 on standardised features, with one rate for all streams, so they need no
tuning of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from spikelet.graph import Array, Graph
from spikelet.learn.backbone import until
from spikelet.learn.continual.metrics import Evaluation, Log, Training, continual, lifelong
from spikelet.learn.continual.protocol import CHUNK, attach, learner, rehearse
from spikelet.learn.continual.streams import Course, Pool
from spikelet.learn.learner import Setting

BASELINES = {
    "naive": "linear head, SGD in the stream's order",
    "nearest_mean": "nearest class mean",
    "joint": "linear head, all tasks at once, several passes",
}
RATE = 2.0  # over the mean squared length of a feature vector; joint lowers it to 0
PASSES = 100  # of joint, at most
MOST = 100_000  # samples that joint learns from in all passes
BATCH = 8  # samples a step of joint


@dataclass(frozen=True)
class Baseline:
    """Figures of one baseline.

    Attributes:
        name: a key of `BASELINES`.
        what: it is.
        acc, bwt, fwt: see `metrics.continual`.
        performance_maintenance: see `metrics.lifelong`.
    """

    name: str
    what: str
    acc: float
    bwt: float | None
    fwt: float | None
    performance_maintenance: float | None


def baseline(name: str, graph: Graph, where: Setting, course: Course) -> Baseline:
    """One baseline of a course.

    Args:
        name: a key of `BASELINES`.
        graph: the backbone.
        where: features, classes, seed and calibration.
        course: what is learned.
    """
    if name == "nearest_mean":
        log = rehearse(attach(graph, learner(name), where), course)
    else:
        log = _Head(graph, where, course).log(joint=name == "joint")
    measures = {**continual(log), **lifelong(log)}
    if name == "joint":  # it has no order, so nothing to transfer
        measures.update(bwt=None, fwt=None, performance_maintenance=None)
    return Baseline(
        name, BASELINES[name],
        **{key: measures[key] for key in ("acc", "bwt", "fwt", "performance_maintenance")},
    )  # fmt: skip


class _Head:
    """A linear softmax head over the features of a course."""

    def __init__(self, graph: Graph, where: Setting, course: Course) -> None:
        self.where, self.course = where, course
        self.backbone = until(graph, where.features)
        given = {
            t.name: where.calibration[t.name] for t in self.backbone.inputs if where.calibration
        }
        calibration = replace(where, calibration=given).fitting(self.backbone)
        known = calibration if len(calibration) else self._codes(course.blocks[0].samples)
        known = known.reshape(len(known), -1).astype(np.float64)
        self.mean, self.scale = known.mean(axis=0), known.std() or 1.0
        self.blocks = [self._features(block.samples) for block in course.blocks]
        self.tests = [self._features(pool) for pool in course.evaluation]
        length = float(np.mean([(f**2).sum(axis=1).mean() for f in self.blocks]))
        self.rate = RATE / (length or 1.0)
        self.weight = np.zeros((where.classes, self.blocks[0].shape[1]))  # (classes, features + 1)

    def log(self, joint: bool) -> Log:
        """Of the course in its order, or of all its blocks before each evaluation."""
        log: list[Evaluation | Training] = [self._evaluate()]
        if joint:
            self._together()
        for block, features in zip(self.course.blocks, self.blocks, strict=True):
            labels = block.samples.labels
            correct = (features @ self.weight.T).argmax(axis=1) == labels
            if not joint:
                for i in range(len(labels)):
                    correct[i] = (self.weight @ features[i]).argmax() == labels[i]
                    self._step(features[i : i + 1], labels[i : i + 1], self.rate)
            log += [Training(block.task, correct), self._evaluate()]
        return log

    def _together(self) -> None:
        features = np.concatenate(self.blocks)
        labels = np.concatenate([block.samples.labels for block in self.course.blocks])
        random = np.random.default_rng([self.where.seed, 8])
        passes = max(1, min(PASSES, MOST // len(labels)))
        for number in range(passes):
            rate = self.rate * (1 - number / passes)
            order = random.permutation(len(labels))
            for start in range(0, len(order), BATCH):
                rows = order[start : start + BATCH]
                self._step(features[rows], labels[rows], rate)

    def _step(self, features: Array, labels: Array, rate: float) -> None:
        scores = features @ self.weight.T
        error = np.exp(scores - scores.max(axis=1, keepdims=True))
        error /= error.sum(axis=1, keepdims=True)
        error[np.arange(len(labels)), labels] -= 1
        self.weight -= rate * (error.T @ features)

    def _evaluate(self) -> Evaluation:
        return Evaluation(
            np.array(
                [
                    float(np.mean((f @ self.weight.T).argmax(axis=1) == pool.labels))
                    for f, pool in zip(self.tests, self.course.evaluation, strict=True)
                ]
            )
        )

    def _features(self, pool: Pool) -> Array:
        codes = self._codes(pool)
        values = (codes.reshape(len(codes), -1).astype(np.float64) - self.mean) / self.scale
        return np.concatenate([values, np.ones((len(values), 1))], axis=1)

    def _codes(self, pool: Pool) -> Array:
        inputs = [t.name for t in self.backbone.inputs]
        parts = []
        for start in range(0, len(pool), CHUNK):
            rows = {name: pool.values[name][start : start + CHUNK] for name in inputs}
            parts.append(self.backbone.run(rows).outputs[self.where.features])
        return np.concatenate(parts)

"""The continual-learning protocol on golden twins, and the two-phase rule.

A course is played on a twin: every block is learned sample by sample, each predicted before it is
learned, and all tasks are evaluated before the first and after every block. A device that plays the
same course is held to it by `spikelet.run.learning.session`.

Two phases: hyper-parameters are chosen on one data set and reported on another. What tuning wrote
knows every sample that it saw; a report on one of them is refused.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spikelet.errors import UsageError
from spikelet.files import write_whole
from spikelet.graph import Array, Graph, GraphError, Phase
from spikelet.learn.backbone import until
from spikelet.learn.choices import choice_text, options, parse_choice
from spikelet.learn.continual.metrics import Evaluation, Log, Training, continual
from spikelet.learn.continual.streams import Course, Pool, stream
from spikelet.learn.learner import Learner, Setting, learners
from spikelet.learn.twin import Twin

CHUNK = 256  # samples that are predicted at once
CALIBRATION = 1000  # samples that a learner may be fitted on before it starts
_FORMAT = 1


def learner(text: str) -> Learner:
    """The learner that a text names, with its options; raises UsageError."""
    return parse_choice(text, learners(), "learner")


def labels_of(graph: Graph, pool: Pool) -> Array | None:
    """The labels of samples, None for a graph that learns without.

    Raises:
        UsageError: the graph learns from other targets, or a label is none of its classes.
    """
    if graph.targets:
        names = ", ".join(t.name for t in graph.targets)
        raise UsageError(
            f"graph {graph.name} learns from {names}",
            "a stream has labels and no other targets",
            "call the Twin or the device's observe() with the targets",
        )
    return pool.labels if graph.classes else None


def score(graph: Graph, outputs: Mapping[str, Array]) -> tuple[Array, Array]:
    """Predictions (N,) int64 and margins (N,) of outputs (N, *shape) by name.

    The margin is the largest score less the second one; 0 where the first output is one element.
    """
    first = outputs[graph.outputs[0]]
    flat = first.reshape(len(first), -1)
    margins = np.zeros(len(first))
    if flat.shape[1] > 1:
        second, top = np.partition(flat, -2, axis=1)[:, -2:].astype(np.float64).T
        margins = top - second
    return graph.predicted(first), margins


def evaluate(twin: Twin, pools: Sequence[Pool]) -> tuple[Evaluation, list[dict[str, Array]]]:
    """Accuracies of all tasks, and the outputs by task; nothing is learned."""
    accuracy, outputs = [], []
    for pool in pools:
        parts = []
        for start in range(0, len(pool), CHUNK):
            rows = {n: v[start : start + CHUNK] for n, v in pool.values.items()}
            parts.append(twin.predict(rows).outputs)
        predicted = {name: np.concatenate([p[name] for p in parts]) for name in twin.graph.outputs}
        accuracy.append(float(np.mean(score(twin.graph, predicted)[0] == pool.labels)))
        outputs.append(predicted)
    return Evaluation(np.array(accuracy)), outputs


def rehearse(
    graph: Graph,
    course: Course,
    start: Mapping[str, Array] | None = None,
    after_block: Callable[[int], None] | None = None,
) -> Log:
    """The log of a twin that plays a course; it commits at the end of each task.

    Args:
        graph: with a learner.
        course: what it learns.
        start: learned state to begin with; None for the graph's initial one.
        after_block: called with the number of samples learned, after each block.
    """
    twin = Twin(graph)
    if start is not None:
        twin.restore(start)
    log: list[Evaluation | Training] = [evaluate(twin, course.evaluation)[0]]
    ends, done = set(course.ends()), 0
    for i, block in enumerate(course.blocks):
        pool = block.samples
        outputs = twin.observe(pool.values, labels_of(graph, pool))
        log.append(Training(block.task, score(graph, outputs)[0] == pool.labels))
        if i in ends:
            twin.commit()
        log.append(evaluate(twin, course.evaluation)[0])
        done += len(pool)
        if after_block is not None:
            after_block(done)
    return log


def experts(
    graph: Graph, course: Course, start: Mapping[str, Array] | None = None
) -> dict[int, Array]:
    """By task, (n,) whether a single-task expert predicts each sample before it learns it.

    An expert is the same learner from the same start, that learns this task only.
    """
    curves = {}
    for task in sorted({block.task for block in course.blocks}):
        twin = Twin(graph)
        if start is not None:
            twin.restore(start)
        parts = []
        for block in course.of_task(task):
            outputs = twin.observe(block.samples.values, labels_of(graph, block.samples))
            parts.append(score(graph, outputs)[0] == block.samples.labels)
        curves[task] = np.concatenate(parts)
    return curves


def setting(
    graph: Graph, features: str, classes: int, train: Pool, known: Sequence[int] = (), seed: int = 0
) -> Setting:
    """What a learner is attached to, with calibration data of a training part.

    Args:
        graph: the backbone.
        features: tensor that the learner reads.
        classes: how many it is to tell apart.
        train: samples that are not evaluated.
        known: classes that the backbone was trained on; the calibration is of these. Empty for all.
        seed: of the learner's draws.
    """
    rows = np.arange(len(train))
    if len(known):
        rows = np.flatnonzero(np.isin(train.labels, known))
    rows = np.sort(np.random.default_rng([seed, 7]).permutation(rows)[:CALIBRATION])
    pool = train.take(rows)
    until(graph, features)  # says what tensors there are
    return Setting(features, classes, seed, dict(pool.values), pool.labels)


def attach(graph: Graph, chosen_learner: Learner, where: Setting) -> Graph:
    """The backbone with the learner in it.

    A learner gets the graph up to the features, or whole where it asks for that and the graph's
    head tells as many classes apart as are to be learned.

    Raises:
        UsageError: it does not fit the backbone.
    """
    whole = type(chosen_learner).WHOLE and chosen_learner.goes_on(graph, where.classes)
    backbone = graph if whole else until(graph, where.features)
    given = {t.name: where.calibration[t.name] for t in backbone.inputs if where.calibration}
    try:
        return chosen_learner.attach(backbone, dataclasses.replace(where, calibration=given))
    except GraphError as e:
        read = graph.tensors[where.features]
        raise UsageError(
            f"learner {type(chosen_learner).NAME} on {where.features}, {read.dtype} of shape "
            f"{read.shape}: {e}",
            "it does not fit these features",
            "choose another learner or option, or another tensor with --features",
        ) from e


def commits(graph: Graph) -> bool:
    """Whether the graph has operators that consolidate at the end of a task."""
    return any(graph.phase(node) is Phase.COMMIT for node in graph.order)


@dataclass(frozen=True)
class Tuned:
    """Hyper-parameters, and all that was seen when they were chosen.

    Attributes:
        learner: its name.
        chosen: the options that were best.
        stream: text of the stream that they were chosen on.
        source: of the data, in words.
        sha256: over the hashes of all samples.
        trials: options and ACC of each.
        samples: hashes of all samples, learned or evaluated, that tuning could see.
    """

    learner: str
    chosen: dict[str, Any]
    stream: str
    source: str
    sha256: str
    trials: list[dict[str, Any]]
    samples: frozenset[str]

    @property
    def acc(self) -> float:
        """The best trial's."""
        return max(float(trial["acc"]) for trial in self.trials)

    @property
    def text(self) -> str:
        """The learner and its options, as `learner` reads them."""
        return choice_text(self.learner, self.chosen)

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        data = {**asdict(self), "format": _FORMAT, "samples": sorted(self.samples)}
        write_whole(path, (json.dumps(data, indent=1) + "\n").encode())

    @classmethod
    def load(cls, path: Path) -> Tuned:
        """Read what `save` wrote; raises UsageError."""
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if data.pop("format") != _FORMAT:
                raise ValueError("it is of another version")
            data["samples"] = frozenset(map(str, data["samples"]))
            tuned = cls(**data)
            if tuned.sha256 != _hash_of(tuned.samples):
                raise ValueError("its samples are not those that its hash is of")
            if not tuned.trials or not isinstance(tuned.acc, float):
                raise ValueError("it has no trials")
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as e:
            raise UsageError(
                f"tuning {path}: cannot be read ({e})",
                "it is not what tuning wrote, or it was edited",
                "tune again",
            ) from e
        return tuned

    def admit(self, test: Pool, source: str) -> None:
        """Refuse a headline figure on data that tuning saw.

        Args:
            test: the samples that a figure is to be reported on, as the data holds them.
            source: of the data, in words.

        Raises:
            UsageError: some of them were seen.
        """
        seen = sum(digest in self.samples for digest in test.hashes())
        if seen:
            raise UsageError(
                f"no figure is reported: {seen} of the {len(test)} evaluation samples ({source}) "
                f"were seen when {self.learner} was tuned ({self.source})",
                "hyper-parameters that were chosen on the samples that they are judged on",
                "evaluate on another data set with --data, or tune on another with --tune-on",
            )


@dataclass(frozen=True)
class TuningData:
    """What options are chosen on.

    Attributes:
        train: what is learned.
        test: what is evaluated.
        source: of the data, in words.
    """

    train: Pool
    test: Pool
    source: str


def tune(
    graph: Graph,
    name: str,
    fixed: Mapping[str, Any],
    grid: Mapping[str, Sequence[str]],
    text: str,
    where: Setting,
    data: TuningData,
    after_trial: Callable[[str, float], None] | None = None,
) -> Tuned:
    """Choose options by the ACC of a golden twin.

    Args:
        graph: the backbone.
        name: of the learner.
        fixed: options that are not tuned.
        grid: values by option; all combinations are tried.
        text: of the stream that the twin plays.
        where: what the learner is attached to.
        data: that the stream is made of.
        after_trial: called with the text and ACC of each trial.

    Raises:
        UsageError: the learner has no such option, or refuses a value.
    """
    known = learners()
    if name in known:
        for option in grid:
            if option not in options(known[name]):
                learner(f"{name},{option}=0")  # says what options there are
    course, trials = stream(text).play(data.train, data.test), []
    for values in itertools.product(*grid.values()):
        tried = {**fixed, **dict(zip(grid, values, strict=True))}
        built = attach(graph, learner(choice_text(name, tried)), where)
        acc = continual(rehearse(built, course))["acc"]
        trials.append({"options": tried, "acc": acc})
        if after_trial is not None:
            after_trial(choice_text(name, tried), acc)
    best = max(trials, key=lambda trial: float(trial["acc"]))
    samples = frozenset(data.train.hashes()) | frozenset(data.test.hashes())
    chosen = dict(best["options"])
    return Tuned(name, chosen, text, data.source, _hash_of(samples), trials, samples)


def _hash_of(samples: frozenset[str]) -> str:
    return hashlib.sha256("".join(sorted(samples)).encode()).hexdigest()

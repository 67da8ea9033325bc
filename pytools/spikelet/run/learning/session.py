"""A session that learns: a stream played to a device, its golden twin beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np

from spikelet.board import Board
from spikelet.errors import UsageError
from spikelet.graph import Array, Graph
from spikelet.graph.target import ANY
from spikelet.learn.backbone import features as last_features
from spikelet.learn.backbone import readable
from spikelet.learn.choices import described
from spikelet.learn.continual.baselines import BASELINES, baseline
from spikelet.learn.continual.metrics import continual, lifelong
from spikelet.learn.continual.protocol import (
    Tuned,
    attached,
    commits,
    evaluated,
    experts,
    labels_of,
    learner,
    scored,
    setting,
)
from spikelet.learn.continual.streams import Block, Course, Pool, Stream
from spikelet.learn.learner import Learner, Setting
from spikelet.learn.needs import Needs
from spikelet.learn.networks.training_plan import TrainingPlan, training_plan
from spikelet.learn.state import LearnedState
from spikelet.learn.twin import Twin
from spikelet.link import RunResult
from spikelet.link.errors import DeviceRefused
from spikelet.link.messages import STORAGE_NONE, Status
from spikelet.package import Package
from spikelet.run.learner import DeviceLearner, outputs_crc
from spikelet.run.learning.data import LearningData
from spikelet.run.learning.record import (
    UNKNOWN,
    BlockEnd,
    Evaluated,
    LearningRecord,
    Line,
    Step,
    log_of,
)
from spikelet.run.record import SessionFolder, another_run
from spikelet.run.session import TICKS
from spikelet.run.workflow import Target, connected, versions

CHUNK = 64  # samples that the twin learns at a time
NAMED = 10  # differences that are named
DIGESTS = 3  # of them, of outputs while learning


@dataclass(frozen=True)
class Lesson:
    """A package with a learner in it, and what it is to learn.

    Attributes:
        package: with the learner; its hash is what the device must hold.
        backbone: the graph that the learner was attached to.
        learner: with its options.
        where: what it was attached to.
        data: samples.
        plan: bytes and work, before anything is built.
    """

    package: Package
    backbone: Graph
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
    found = attached(graph, chosen, where)
    memory = None if board is None else board.memory
    storage = None if memory is None else memory.storage
    plan = training_plan(
        found, board.target if board else ANY, storage.page_bytes if storage is not None else 0
    )
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
        "options": described(chosen),
        "features": where.features,
        "classes": data.classes,
        "seed": where.seed,
        "backbone_sha256": package.sha256,
    }
    manifest = {**package.manifest, "learning": noted}
    return Lesson(Package(found, {}, manifest), graph, chosen, where, data, plan)


def lesson_setting(
    package: Package, data: LearningData, features: str | None
) -> tuple[Graph, Setting]:
    """The backbone, and what `lesson` attaches a learner to."""
    seed = int(package.manifest.get("seed", 0))
    graph, tensor = readable(package.graph, features or last_features(package.graph))
    return graph, setting(graph, tensor, data.classes, data.train, data.known, seed)


class Progress(Protocol):
    """Told as a session goes."""

    def __call__(
        self, doing: str, done: int, total: int, retries: int, mismatches: int, right: float | None
    ) -> None:
        """`done` of `total` samples; `right`: share of the last ones that was predicted."""


@dataclass
class Played:
    """What a session found.

    Attributes:
        lines: of the record, in order; `add` appends to them.
        mismatches: of outputs' digests, elements of outputs in evaluations, and learned elements.
        differences: the first elements that differ.
        stored: whether the device has storage for what is committed.
    """

    lines: list[Line] = field(default_factory=list)
    mismatches: int = 0
    differences: list[str] = field(default_factory=list)
    stored: bool = True

    def add(self, lines: Iterable[Line]) -> None:
        """Append lines."""
        for line in lines:
            self.lines.append(line)
            self.mismatches += line.mismatches

    @property
    def steps(self) -> list[Step]:
        """The samples that were learned."""
        return [line for line in self.lines if isinstance(line, Step)]


class _Player:
    """Twin and device through one course."""

    def __init__(
        self,
        lesson: Lesson,
        course: Course,
        device: DeviceLearner,
        record: LearningRecord,
        played: Played,
        progress: Progress | None,
    ) -> None:
        self.lesson, self.course, self.device = lesson, course, device
        self.graph, self.record, self.played = lesson.graph, record, played
        self.twin = Twin(self.graph)
        self.progress = progress
        self.ends = set(course.ends())
        self.stack = self.digests = 0
        self.skips: list[float] = []  # after each sample of a chunk, and before the first

    def begin(self, state: Mapping[str, Array] | None) -> None:
        """Both from the same state: the given one, or the initial one."""
        self.device.reset()
        if state is not None:
            self.twin.restore(state)
            self.device.restore(state)
        self._differ(self.device.compare(self.twin), "at the start")

    def evaluate(self, block: int) -> None:
        """All tasks on both."""
        _, outputs = evaluated(self.twin, self.course.evaluation)
        correct, wrong = [], 0
        total = sum(map(len, self.course.evaluation))
        done = 0
        for task, (pool, golden) in enumerate(zip(self.course.evaluation, outputs, strict=True)):
            digests = outputs_crc(self.graph, golden)
            right = scored(self.graph, golden)[0] == pool.labels
            for i in range(len(pool)):
                result = self._run(pool, i)
                if result.outputs_crc != digests[i]:
                    right[i], elements = self._read(result, pool, i, golden, task)
                    wrong += elements
                done += 1
                self._tell("evaluate", done, total, None)
            correct.append(int(right.sum()))
        line = Evaluated(block, correct, [len(p) for p in self.course.evaluation], wrong)
        self._add(line)

    def learn(self, number: int, block: Block, first: int) -> None:
        """One block on both, then both compared."""
        pool = block.samples
        labels = labels_of(self.graph, pool)
        right = 0
        for start in range(0, len(pool), CHUNK):
            part = pool.take(np.arange(start, min(start + CHUNK, len(pool))))
            given = None if labels is None else labels[start : start + CHUNK]
            self.skips = [self._skipped()]
            golden = self.twin.observe(part.values, given, watch=self._watch)
            digests = outputs_crc(self.graph, golden)
            predictions, margins = scored(self.graph, golden)
            steps: list[Line] = []
            for i in range(len(part)):
                said = self.device.observe(
                    {name: values[i : i + 1] for name, values in part.values.items()},
                    None if given is None else given[i : i + 1],
                )
                same = bool(said[0] == digests[i])
                if not same and self.digests < DIGESTS:  # leave room for what was learned
                    self.digests += 1
                    self._named(f"sample {first + start + i}: the outputs' digests differ")
                step = self._step(
                    first + start + i, number, block.task, int(part.labels[i]),
                    int(predictions[i]) if same else UNKNOWN, float(margins[i]),
                    int(self.skips[i + 1] - self.skips[i]),
                )  # fmt: skip
                right += step.prediction == step.label
                steps.append(step)
                self._tell(
                    f"learn {self.course.tasks[block.task]}",
                    first + start + i + 1,
                    self.course.samples,
                    right / (start + i + 1),
                )
            self._add(*steps)
        wrong = self._differ(self.device.compare(self.twin), f"block {number}")
        commit = number in self.ends
        if commit:
            self.twin.commit()
            self._commit()
            if commits(self.graph):
                wrong += self._differ(self.device.compare(self.twin), f"commit of block {number}")
        health = self.lesson.learner.health(self.device.state())
        self._add(
            BlockEnd(
                block=number,
                task=block.task,
                committed=commit,
                crc=(now := self.device.device.learn_state()).crc,
                mismatches=wrong,
                health={name: float(value) for name, value in health.items()},
                stack_bytes=self.stack,
                written_bytes=now.written_bytes,
                erased_pages=now.erased_pages,
            )
        )
        self.evaluate(number)
        self.record.save(self.twin.state(), number + 1)

    def _commit(self) -> None:
        """On the device; one without storage keeps what it learned until it loses power."""
        try:
            self.device.commit()
        except DeviceRefused as error:
            if error.status != Status.STORAGE or error.detail != STORAGE_NONE:
                raise
            self.played.stored = False

    def said(self, number: int) -> str:
        """The accuracies after a block, in words."""
        last = next(line for line in reversed(self.played.lines) if isinstance(line, Evaluated))
        of = [f"{100 * c / n:.0f}" for c, n in zip(last.correct, last.samples, strict=True)]
        name = self.course.tasks[self.course.blocks[number].task]
        blocks = len(self.course.blocks)
        return f"block {number + 1} of {blocks}, {name}; right of each task, %: {' '.join(of)}"

    def _step(
        self, index: int, block: int, task: int, label: int, prediction: int, margin: float,
        skipped: int,
    ) -> Step:  # fmt: skip
        ran, learned = self.device.ran, self.device.learned
        if ran is None or learned is None:
            raise RuntimeError("the device learned without an outcome")
        self.stack = max(self.stack, ran.stack, learned.stack)
        return Step(
            index=index,
            block=block,
            task=task,
            label=label,
            prediction=prediction,
            margin=margin,
            skipped=skipped,
            saturations=learned.saturations,
            ticks=ran.ticks,
            learn_ticks=learned.ticks,
            mismatches=int(prediction == UNKNOWN),
        )

    def _watch(self, _sample: int) -> None:
        self.skips.append(self._skipped())

    def _skipped(self) -> float:
        return self.lesson.learner.health(self.twin.learned).get("skipped", 0.0)

    def _run(self, pool: Pool, i: int) -> RunResult:
        inputs = {t.name: t.to_bytes(pool.values[t.name][i]) for t in self.graph.inputs}
        result = self.device.device.run(inputs=inputs, deadline_s=self.device.deadline_s)
        self.stack = max(self.stack, result.stack)
        return result

    def _read(
        self, ran: RunResult, pool: Pool, i: int, golden: Mapping[str, Array], task: int
    ) -> tuple[bool, int]:
        """What the device really says: whether it is right, and how many elements differ."""
        received = self.device.device.outputs(ran)
        found, wrong = {}, 0
        for name in self.graph.outputs:
            tensor = self.graph.tensors[name]
            values = tensor.from_bytes(received[name])
            expected = golden[name][i]
            different = np.flatnonzero(values != expected)
            for element in different[:1]:
                self._named(
                    f"evaluation of {self.course.tasks[task]}, sample {i}, {name}[{element}]: "
                    f"golden {expected.flat[element]}, device {values.flat[element]}"
                )
            wrong += len(different)
            found[name] = values[np.newaxis]
        return bool(scored(self.graph, found)[0][0] == pool.labels[i]), max(wrong, 1)

    def _differ(self, texts: Sequence[str], when: str) -> int:
        for text in texts:
            self._named(f"{when}: {text}")
        return len(texts)

    def _named(self, text: str) -> None:
        if len(self.played.differences) < NAMED:
            self.played.differences.append(text)

    def _add(self, *lines: Line) -> None:
        self.record.add(*lines)
        self.played.add(lines)

    def _tell(self, doing: str, done: int, total: int, right: float | None) -> None:
        if self.progress is not None:
            retries = self.device.device.stats.retries
            self.progress(doing, done, total, retries, self.played.mismatches, right)


def play(
    lesson: Lesson,
    stream: Stream,
    text: str,
    target: Target,
    folder: SessionFolder,
    *,
    tuned: Tuned | None = None,
    state: LearnedState | None = None,
    resume: bool = False,
    baselines: Sequence[str] = tuple(BASELINES),
    progress: Progress | None = None,
    on_evaluation: Callable[[str], None] | None = None,
    on_log: Callable[[str], None] | None = None,
    kept: Callable[[LearnedState], None] | None = None,
) -> dict[str, Any]:
    """Play a stream to a device and to its twin; the summary is also the folder's session.json.

    Args:
        lesson: what learns, and of which samples.
        stream: that is played.
        text: of the stream.
        target: what the session runs on.
        folder: of the session.
        tuned: how the learner's options were chosen; None where they were not tuned.
        state: learned state to begin with; None for the initial one.
        resume: go on after the last whole block of this folder's session.
        baselines: names of those that are computed beside the result.
        progress: told after every sample.
        on_evaluation: told the accuracies after every block, in words.
        on_log: called with text of the device.
        kept: called with the device's learned state at the end.

    Raises:
        UsageError: the data was seen by tuning; or as `resume` says.
        LinkDead: the link died; what was recorded stays, `resume` goes on after whole blocks.
    """
    data, graph = lesson.data, lesson.graph
    if tuned is not None:
        tuned.admit(data.test, data.source)
    course = stream.play(data.train, data.test)
    facts = target.built.facts() if target.built else {}
    head: dict[str, Any] = {
        "board": target.board.name,
        "model": graph.name,
        "package_sha256": lesson.package.sha256,
        "steps": graph.steps,
        "data": data.source,
        "data_sha256": data.sha256,
        "layers": False,
        "toolchain": facts.get("toolchain"),
        "image_sha256": facts.get("image_sha256"),
        "build": facts,
        "manifest": lesson.package.manifest,
        "versions": versions(),
        "stream": text,
        "tasks": course.tasks,
        "to_learn": course.samples,
    }
    record, played = LearningRecord(folder), Played()
    with folder.locked(), connected(target, lesson.package, on_log) as (link, machine):
        head["machine"] = machine
        head["unique_id"] = link.hello.unique_id.hex() if target.port is not None else None
        start = None if state is None else state.tensors
        done, at = 0, start
        if resume:
            before = folder.head()
            for key in ("package_sha256", "board", "data_sha256", "stream", "image_sha256"):
                if before.get(key) != head[key]:
                    raise another_run(folder.path, key, before, head)
            lines, at, done = record.resumed()
            played.add(lines)
        device = DeviceLearner(graph, link, facts)
        player = _Player(lesson, course, device, record, played, progress)
        if resume:
            folder.note(head)
        else:
            folder.begin(head, resume=False)
            record.path.touch()
        folder.finish({**head, "complete": False})
        player.begin(at)
        if not done:
            player.evaluate(-1)
        first = 0
        for number, block in enumerate(course.blocks):
            if number >= done:
                player.learn(number, block, first)
                if on_evaluation is not None:
                    on_evaluation(player.said(number))
            first += len(block.samples)
        if kept is not None:
            steps = sum(len(block.samples) for block in course.blocks)
            steps += 0 if state is None else state.steps
            kept(LearnedState.of(lesson.package, device.state(), steps))
        result = {
            **head,
            **_figures(lesson, course, played, device, target.instructions_per_tick(machine)),
            "flash_bytes": facts.get("flash_bytes"),
            "ram_bytes": facts.get("ram_bytes"),
        }
    result["learning"] = learned(lesson, stream, text, course, played, tuned, start, baselines)
    folder.finish(result)
    return result


def _figures(
    lesson: Lesson,
    course: Course,
    played: Played,
    device: DeviceLearner,
    instructions_per_tick: float | None,
) -> dict[str, Any]:
    """What `spikelet run --json` says of every session."""
    hello, stats, steps = device.device.hello, device.device.stats, played.steps
    said = TICKS[hello.tick_unit] if hello.tick_unit < len(TICKS) else "none"
    unit, per_tick = said, 1.0
    if said != "none" and instructions_per_tick is not None:
        unit, per_tick = "instruction", instructions_per_tick
    ticks = per_tick * float(np.mean([s.ticks for s in steps]))
    more = per_tick * float(np.mean([s.learn_ticks for s in steps]))
    names = {"instruction": "instructions", "cycle": "cycles", "us": "microseconds"}
    correct = sum(s.prediction == s.label for s in steps)
    ends = [line for line in played.lines if isinstance(line, BlockEnd)]
    return {
        "samples": len(steps),
        "correct": correct,
        "accuracy": correct / len(steps),
        "golden_accuracy": correct / len(steps) if not played.mismatches else None,
        "mismatches": played.mismatches,
        "differences": [{"text": text} for text in played.differences],
        "saturations": sum(s.saturations for s in steps),
        **{f"{n}_per_inference": ticks if u == unit else None for u, n in names.items()},
        **{f"{n}_per_learning_step": more if u == unit else None for u, n in names.items()},
        "instructions_per_tick": per_tick if unit == "instruction" else None,
        "flash_written_bytes": max((line.written_bytes for line in ends), default=0),
        "flash_erased_pages": max((line.erased_pages for line in ends), default=0),
        "stored": played.stored,
        "stack_bytes": max((line.stack_bytes for line in ends), default=0) or None,
        "link": {
            "frames": stats.frames,
            "bad_frames": stats.bad_frames,
            "retries": stats.retries,
            "goodput_bytes_per_s": round(stats.goodput, 1),
        },
        "device": {
            "isa": hello.isa,
            "firmware": hello.firmware,
            "boot_id": hello.boot_id,
            "unique_id": hello.unique_id.hex(),
            "tick": said,
        },
        "complete": True,
    }


def learned(
    lesson: Lesson,
    stream: Stream,
    text: str,
    course: Course,
    played: Played,
    tuned: Tuned | None,
    state: Mapping[str, Array] | None,
    baselines: Sequence[str],
) -> dict[str, Any]:
    """What was learned, from the device's record; the same whatever the board."""
    log = log_of(played.lines)
    ends = [line for line in played.lines if isinstance(line, BlockEnd)]
    steps = played.steps
    commit_bytes = lesson.needs.commit_bytes * sum(end.committed for end in ends)
    found = continual(log)
    return {
        "learner": type(lesson.learner).NAME,
        "options": described(lesson.learner),
        "stream": text,
        "stream_options": described(stream),
        "features": lesson.where.features,
        "classes": lesson.where.classes,
        "tasks": course.tasks,
        "blocks": [{"task": b.task, "samples": len(b.samples)} for b in course.blocks],
        "evaluation_samples": [len(pool) for pool in course.evaluation],
        "needs": lesson.needs.as_dict(),
        "plan": [asdict(layer) for layer in lesson.plan.layers],
        **found,
        **lifelong(log, experts(lesson.graph, course, state)),
        "curves": [
            (np.array(line.correct) / np.array(line.samples)).tolist()
            for line in played.lines
            if isinstance(line, Evaluated)
        ],
        "skipped": sum(s.skipped for s in steps),
        "health": ends[-1].health,
        "crc": ends[-1].crc,
        "written_to_flash_bytes": commit_bytes,
        "tuned": None if tuned is None else _tuned(tuned, found["acc"]),
        "baselines": [
            asdict(baseline(name, lesson.backbone, lesson.where, course)) for name in baselines
        ],
    }


def _tuned(tuned: Tuned, acc: float) -> dict[str, Any]:
    return {
        "on": tuned.source,
        "sha256": tuned.sha256,
        "stream": tuned.stream,
        "chosen": tuned.chosen,
        "trials": tuned.trials,
        "acc_tuned": tuned.acc,
        "acc_transferred": acc,
    }

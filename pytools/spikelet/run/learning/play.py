"""A session that learns: a stream played to a device, its golden twin beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spikelet.graph import Array
from spikelet.learn.continual.protocol import Tuned, commits, evaluate, labels_of, score
from spikelet.learn.continual.streams import Block, Course, Pool, stream
from spikelet.learn.learned_delta import learned_delta
from spikelet.learn.self_test import digest, samples
from spikelet.learn.state import LearnedState
from spikelet.learn.twin import Twin
from spikelet.link import RunResult, SelfTest
from spikelet.link.errors import DeviceRefused
from spikelet.link.messages import STORAGE_NONE, Status
from spikelet.run.learner import DeviceLearner, outputs_crc
from spikelet.run.learning.learn_options import LearnOptions
from spikelet.run.learning.learning_record import (
    UNKNOWN,
    BlockEnd,
    Evaluated,
    LearningRecord,
    Line,
    Played,
    Step,
)
from spikelet.run.learning.lesson import Lesson
from spikelet.run.learning.summary import learning_figures, session_figures
from spikelet.run.session_folder import SessionFolder, another_run
from spikelet.run.watch import SampleProgress, Watch
from spikelet.run.workflow import SessionTarget, connect, versions

CHUNK = 64  # samples that the twin learns at a time
NAMED = 10  # differences that are named
DIGESTS = 3  # of them, of outputs while learning
# What makes two sessions that learn the same, so that one may go on where the other broke off.
SAME = ("package_sha256", "board", "data_sha256", "stream", "image_sha256")


class _Player:
    """Twin and device through one course."""

    def __init__(
        self,
        lesson: Lesson,
        course: Course,
        device: DeviceLearner,
        record: LearningRecord,
        played: Played,
        watch: Watch,
    ) -> None:
        self.lesson, self.course, self.device = lesson, course, device
        self.graph, self.record, self.played = lesson.graph, record, played
        self.twin = Twin(self.graph)
        self.golden_samples = samples(lesson.package)
        self.watch = watch
        self.ends = set(course.ends())
        self.stack = self.digests = 0
        self.skips: list[float] = []  # after each sample of a chunk, and before the first

    def play(self, state: Mapping[str, Array] | None, done: int, sealed: bytes = b"") -> None:
        """The course, from a state on, which may be signed; `done` blocks were played before."""
        self.begin(state, sealed)
        if not done:
            self.evaluate(-1)
        first = 0
        for number, block in enumerate(self.course.blocks):
            if number >= done:
                self.learn(number, block, first)
                self.watch.note(self.accuracies_text(number))
            first += len(block.samples)

    def begin(self, state: Mapping[str, Array] | None, sealed: bytes) -> None:
        """Both from the same state: the given one, or the initial one."""
        if state is not None:
            self.twin.restore(state)
        if sealed:
            self.device.device.put_signed(sealed)
        else:
            self.device.reset()
            if state is not None:
                self.device.restore(state)
        self._differ(self.device.compare(self.twin), "at the start")

    def evaluate(self, block: int) -> None:
        """All tasks on both."""
        _, outputs = evaluate(self.twin, self.course.evaluation)
        correct, wrong = [], 0
        total = sum(map(len, self.course.evaluation))
        done = 0
        for task, (pool, golden) in enumerate(zip(self.course.evaluation, outputs, strict=True)):
            digests = outputs_crc(self.graph, golden)
            right = score(self.graph, golden)[0] == pool.labels
            for i in range(len(pool)):
                result = self._run(pool, i)
                if result.outputs_crc != digests[i]:
                    right[i], elements = self._read_outputs(result, pool, i, golden, task)
                    wrong += elements
                done += 1
                self._show_progress("evaluate", done, total, None)
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
            self.skips = [self._skip_count()]
            golden = self.twin.observe(part.values, given, watch=self._watch)
            digests = outputs_crc(self.graph, golden)
            predictions, margins = score(self.graph, golden)
            steps: list[Line] = []
            for i in range(len(part)):
                said = self.device.observe(
                    {name: values[i : i + 1] for name, values in part.values.items()},
                    None if given is None else given[i : i + 1],
                )
                same = bool(said[0] == digests[i])
                if not same and self.digests < DIGESTS:  # leave room for what was learned
                    self.digests += 1
                    self._note_difference(
                        f"sample {first + start + i}: the outputs' digests differ"
                    )
                step = self._step(
                    first + start + i, number, block.task, int(part.labels[i]),
                    int(predictions[i]) if same else UNKNOWN, float(margins[i]),
                    int(self.skips[i + 1] - self.skips[i]),
                )  # fmt: skip
                right += step.prediction == step.label
                steps.append(step)
                self._show_progress(
                    f"learn {self.course.tasks[block.task]}",
                    first + start + i + 1,
                    self.course.samples,
                    right / (start + i + 1),
                )
            self._add(*steps)
        self._end_block(number, block.task)
        self.evaluate(number)
        self.record.save(self.twin.state(), number + 1)

    def _end_block(self, number: int, task: int) -> None:
        """Compare both, and commit where the course says so."""
        wrong = self._differ(self.device.compare(self.twin), f"block {number}")
        commit = number in self.ends
        if commit:
            self.twin.commit()
            self._commit()
            wrong += self._differ(self._wrong_answers(), f"commit of block {number}")
            if commits(self.graph):
                wrong += self._differ(self.device.compare(self.twin), f"commit of block {number}")
        health = self.lesson.learner.health(self.device.state())
        self._add(
            BlockEnd(
                block=number,
                task=task,
                committed=commit,
                crc=(now := self.device.device.learn_state()).crc,
                mismatches=wrong,
                health={name: float(value) for name, value in health.items()},
                stack_bytes=self.stack,
                written_bytes=now.written_bytes,
                erased_pages=now.erased_pages,
                worn=now.worn,
            )
        )

    def _commit(self) -> None:
        """On the device; one without storage keeps what it learned until it loses power."""
        try:
            self.device.commit()
        except DeviceRefused as error:
            if error.status != Status.STORAGE or error.detail != STORAGE_NONE:
                raise
            self.played.stored = False

    def _wrong_answers(self) -> list[str]:
        """What the device will test itself with, against the twin's."""
        now = self.device.device.learn_state()
        if not self.played.stored or now.self_test is SelfTest.NONE:
            return []
        golden = digest(self.graph, self.twin.learned, self.golden_samples)
        if now.digest == golden:
            return []
        return [
            f"the golden samples' outputs have the CRC 0x{now.digest:08x} on the device, golden's "
            f"0x{golden:08x}"
        ]

    def accuracies_text(self, number: int) -> str:
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
        self.skips.append(self._skip_count())

    def _skip_count(self) -> float:
        return self.lesson.learner.health(self.twin.learned).get("skipped", 0.0)

    def _run(self, pool: Pool, i: int) -> RunResult:
        inputs = {t.name: self.graph.wire(t, pool.values[t.name][i]) for t in self.graph.inputs}
        result = self.device.device.run(inputs=inputs, deadline_s=self.device.deadline_s)
        self.stack = max(self.stack, result.stack)
        return result

    def _read_outputs(
        self, ran: RunResult, pool: Pool, i: int, golden: Mapping[str, Array], task: int
    ) -> tuple[bool, int]:
        """What the device really says: whether it is right, and how many elements differ."""
        received = self.device.device.outputs(ran)
        outputs, wrong = {}, 0
        for name in self.graph.outputs:
            tensor = self.graph.tensors[name]
            values = tensor.from_bytes(received[name])
            expected = golden[name][i]
            different = np.flatnonzero(values != expected)
            for element in different[:1]:
                self._note_difference(
                    f"evaluation of {self.course.tasks[task]}, sample {i}, {name}[{element}]: "
                    f"golden {expected.flat[element]}, device {values.flat[element]}"
                )
            wrong += len(different)
            outputs[name] = values[np.newaxis]
        return bool(score(self.graph, outputs)[0][0] == pool.labels[i]), max(wrong, 1)

    def _differ(self, texts: Sequence[str], when: str) -> int:
        for text in texts:
            self._note_difference(f"{when}: {text}")
        return len(texts)

    def _note_difference(self, text: str) -> None:
        if len(self.played.differences) < NAMED:
            self.played.differences.append(text)

    def _add(self, *lines: Line) -> None:
        self.record.add(*lines)
        self.played.add(lines)

    def _show_progress(self, doing: str, done: int, total: int, right: float | None) -> None:
        retries, mismatches = self.device.device.stats.retries, self.played.mismatches
        self.watch.progress(SampleProgress(done, total, retries, mismatches, doing, right))


def play(
    lesson: Lesson,
    options: LearnOptions,
    target: SessionTarget,
    folder: SessionFolder,
    *,
    tuned: Tuned | None = None,
    state: LearnedState | None = None,
    watch: Watch | None = None,
) -> dict[str, Any]:
    """Play a stream to a device and to its twin; the summary is also the folder's session.json.

    Args:
        lesson: what learns, and of which samples.
        options: which stream, whether it resumes, what is computed beside it, where the learned
            state is kept at the end.
        target: what the session runs on.
        folder: of the session.
        tuned: how the learner's options were chosen; None where they were not tuned.
        state: learned state to begin with; None for the initial one.
        watch: told after every sample and every block, and what the device says.

    Raises:
        UsageError: the data was seen by tuning; or there is nothing to resume, or another session.
        SignatureError: the device has a key, and no signed state lay beside the one to begin with.
        LinkDead: the link died; what was recorded stays, `resume` goes on after whole blocks.
    """
    watch = watch or Watch()
    if tuned is not None:
        tuned.admit(lesson.data.test, lesson.data.source)
    course = stream(options.stream).play(lesson.data.train, lesson.data.test)
    start = None if state is None else state.tensors
    head = _head(lesson, options, target, course)
    record, played = LearningRecord(folder), Played()
    with folder.lock(), connect(target, lesson.package, watch.log) as (link, machine):
        head["machine"] = machine
        head["unique_id"] = link.hello.unique_id.hex() if target.port is not None else None
        head["port"] = target.port
        done, at = 0, start
        if options.resume:
            lines, at, done = _resume(record, head)
            played.add(lines)
            folder.start(resume=True)
        else:
            folder.begin(head, resume=False)
            record.path.touch()
        folder.finish({**head, "complete": False})
        device = DeviceLearner(lesson.graph, link, head["build"])
        sealed = _sealed(None if options.resume else state, link.hello.keyed)
        _Player(lesson, course, device, record, played, watch).play(at, done, sealed)
        if options.save_state is not None:
            steps = course.samples + (0 if state is None else state.steps)
            LearnedState.of(lesson.package, device.state(), steps).save(options.save_state)
        if options.save_delta is not None:
            learned_delta(lesson.base, lesson.graph, device.state()).save(options.save_delta)
        figures = session_figures(played, device, target.speed(machine))
    result = {**head, **figures}
    result["learning"] = learning_figures(lesson, options, course, played, tuned, start)
    return folder.finish(result)


def _sealed(state: LearnedState | None, keyed: bool) -> bytes:
    """What a device with a key is sent of the state to begin with; nothing for others."""
    return state.signed() if state is not None and keyed else b""


def _head(
    lesson: Lesson, options: LearnOptions, target: SessionTarget, course: Course
) -> dict[str, Any]:
    """What session.json says from the start."""
    facts = target.built.facts() if target.built else {}
    return {
        "board": target.board.name,
        "model": lesson.graph.name,
        "package_sha256": lesson.package.sha256,
        "steps": lesson.graph.steps,
        "data": lesson.data.source,
        "data_sha256": lesson.data.sha256,
        "layers": False,
        "toolchain": facts.get("toolchain"),
        "image_sha256": facts.get("image_sha256"),
        "flash_bytes": facts.get("flash_bytes"),
        "ram_bytes": facts.get("ram_bytes"),
        "build": facts,
        "manifest": lesson.package.manifest,
        "versions": versions(),
        "stream": options.stream,
        "tasks": course.tasks,
        "to_learn": course.samples,
    }


def _resume(
    record: LearningRecord, head: Mapping[str, Any]
) -> tuple[list[Line], dict[str, Array], int]:
    """As `LearningRecord.resume`; raises UsageError where it was another session, too."""
    before = record.folder.head()
    for key in SAME:
        if before.get(key) != head[key]:
            raise another_run(record.folder.path, key, before, head)
    return record.resume()

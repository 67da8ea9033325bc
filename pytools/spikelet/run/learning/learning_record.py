"""The record of a session that learns, beside what `record` keeps.

`learning.jsonl` grows by one line an event: a sample that was learned, an evaluation of all tasks,
the end of a block. `learned.npz` is the learned state at the end of the last whole block, from
which a session that broke off goes on. All metrics are computed from these lines.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from spikelet.errors import UsageError
from spikelet.files import Appended, Unreadable, read_arrays, write_whole
from spikelet.graph import Array
from spikelet.learn.continual.metrics import Evaluation, Log, Training
from spikelet.run.session_folder import CHECKPOINT, LEARNING, SessionFolder

UNKNOWN = -1  # the prediction of a device whose outputs are not golden's, once they are gone


@dataclass(frozen=True)
class Step:
    """A sample that was learned.

    Attributes:
        index: its place in the stream.
        block: it is of.
        task: of the block.
        label: its class.
        prediction: by the device, before it was learned; `UNKNOWN` where it is not golden's.
        margin: largest score less the second one.
        skipped: 1 where the learner's sample gate left it out.
        saturations: of the run and the learning step.
        ticks: of the run.
        learn_ticks: of the learning step.
        mismatches: 1 where the outputs' digest is not golden's.
    """

    index: int
    block: int
    task: int
    label: int
    prediction: int
    margin: float
    skipped: int
    saturations: int
    ticks: int
    learn_ticks: int
    mismatches: int


@dataclass(frozen=True)
class Evaluated:
    """All tasks, before the first block or after one.

    Attributes:
        block: the last one that was learned, -1 before the first.
        correct: by task, predictions of the device that are right.
        samples: by task.
        mismatches: elements of outputs that differ from golden.
    """

    block: int
    correct: list[int]
    samples: list[int]
    mismatches: int


@dataclass(frozen=True)
class BlockEnd:
    """A block was learned, and device and twin were compared.

    Attributes:
        block: its index.
        task: it is of.
        committed: whether a commit followed it.
        crc: CRC-32 of all that is learned, on the device.
        mismatches: learned elements that differ from golden.
        health: what the learner says of its state.
        stack_bytes: high-water mark of the device.
        written_bytes: to its storage since it was started.
        erased_pages: of its storage since it was started.
        worn: erases, ever, of the page of its storage that was erased most.
    """

    block: int
    task: int
    committed: bool
    crc: int
    mismatches: int
    health: dict[str, float]
    stack_bytes: int
    written_bytes: int
    erased_pages: int
    worn: int = 0


Line = Step | Evaluated | BlockEnd
_KINDS: dict[str, type[Line]] = {"sample": Step, "evaluation": Evaluated, "block": BlockEnd}
_NAMES = {kind: name for name, kind in _KINDS.items()}


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


class LearningRecord:
    """Reads and writes the lines of a session's folder."""

    def __init__(self, folder: SessionFolder) -> None:
        self.folder = folder
        self.path = folder.path / LEARNING
        self.checkpoint = folder.path / CHECKPOINT
        self._file = Appended(self.path)

    def add(self, *lines: Line) -> None:
        """Append, see `Appended`."""
        self._file.add(json.dumps({"kind": _NAMES[type(line)], **asdict(line)}) for line in lines)

    def lines(self) -> list[Line]:
        """All lines; a last one that broke off is left out. Raises UsageError on a damaged one."""
        try:
            raw = self.path.read_bytes()
        except OSError as e:
            raise UsageError(
                f"session {self.folder.path}: {e}",
                "it is not the folder of a session that learns",
                "`spikelet learn PKG --board B --learner L` writes one",
            ) from e
        read_lines: list[Line] = []
        texts = raw.split(b"\n")
        for i, text in enumerate(texts[:-1]):
            try:
                read_lines.append(_parse(text))
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as e:
                raise UsageError(
                    f"session {self.folder.path}: line {i + 1} of {LEARNING} is damaged ({e})",
                    "the file was edited, or two runs wrote it",
                    "run without --resume, which moves the session aside",
                ) from e
        return read_lines

    def save(self, state: Mapping[str, Array], blocks: int) -> None:
        """Keep the learned state after the first `blocks` blocks."""
        buffer = io.BytesIO()
        arrays = {f"learned.{name}": values for name, values in state.items()}
        np.savez_compressed(buffer, allow_pickle=False, blocks=np.array(blocks), **arrays)
        write_whole(self.checkpoint, buffer.getvalue())

    def resume(self) -> tuple[list[Line], dict[str, Array], int]:
        """Lines of whole blocks, the learned state after them, and how many they are.

        The lines after them are dropped from the file.

        Raises:
            UsageError: the record is damaged, or broke off before the end of the first block.
        """
        try:
            arrays = read_arrays(self.checkpoint)
            blocks = int(arrays.pop("blocks"))
        except (Unreadable, OSError, KeyError, TypeError, ValueError) as e:
            raise UsageError(
                f"--resume: session {self.folder.path} holds no learned state ({e})",
                "it broke off before the end of its first block",
                "run without --resume to start anew",
            ) from e
        state = {name.removeprefix("learned."): values for name, values in arrays.items()}
        kept = [line for line in self.lines() if line.block < blocks]
        evaluations = sum(isinstance(line, Evaluated) for line in kept)
        ends = sum(isinstance(line, BlockEnd) for line in kept)
        if (evaluations, ends) != (blocks + 1, blocks):
            raise UsageError(
                f"--resume: session {self.folder.path}: {LEARNING} holds {ends} whole blocks, "
                f"{CHECKPOINT} is of {blocks}",
                "the files are of different runs",
                "run without --resume to start anew",
            )
        write_whole(self.path, b"")
        self.add(*kept)
        return kept, state, blocks


def log_of(lines: Sequence[Line]) -> Log:
    """The log that metrics are computed from."""
    log: list[Evaluation | Training] = []
    steps: list[Step] = []
    for line in lines:
        if isinstance(line, Step):
            steps.append(line)
        elif isinstance(line, Evaluated):
            if steps:
                right = np.array([step.prediction == step.label for step in steps])
                log.append(Training(steps[0].task, right))
                steps = []
            log.append(Evaluation(np.array(line.correct) / np.array(line.samples)))
    return log


def _parse(text: bytes) -> Line:
    data: dict[str, Any] = json.loads(text)
    kind = _KINDS[data.pop("kind")]
    line = kind(**data)
    for entry in fields(kind):
        value = getattr(line, entry.name)
        if entry.type == "int" and type(value) is not int:
            raise ValueError(f"{entry.name} is no integer")
    return line


def is_learning(path: Path) -> bool:
    """Whether a session's folder is of one that learns."""
    return (path / LEARNING).is_file()

"""A session's folder: what was run, one line a sample, and what to show of it.

`session.json` says what is run and, at the end, how it ended; `samples.jsonl` grows by one line a
sample, with the differences that were named in it, so that nothing obtained is lost when a run
breaks off (a power cut may cost the last second); `shown.npz` holds the spikes and membranes of one
sample, of golden and device.
One run at a time writes a folder; files are replaced whole. A run into a folder that holds a
session moves that session aside, to NAME.1, NAME.2, ...: none is overwritten.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import math
import platform
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from spikelet.errors import UsageError
from spikelet.files import Appended, Unreadable, read_arrays, write_whole
from spikelet.graph import Array
from spikelet.locks import Locked, hold
from spikelet.metrics import regression_error
from spikelet.version import __version__

LOCK = ".lock"
# Beside session.json, what `spikelet bench` found: the same figures, and what the layers cost.
BENCH = "bench.json"
# Of a session that learns, see `learning.learning_record`.
LEARNING, CHECKPOINT = "learning.jsonl", "learned.npz"
TUNED = "tuned.json"  # what was chosen before it began


@dataclass(frozen=True)
class Sample:
    """One sample's outcome.

    Attributes:
        index: its place in the stream.
        label: true class, -1 where unknown.
        golden: class by golden.
        device: class by the device.
        mismatches: elements that differ from golden.
        ticks: of the device, for the whole inference.
        saturations: membranes that saturated, over all layers and steps.
        absolute: of a regression, the device's mean absolute error over the first output.
        squared: of a regression, its mean square error.
        steps: that were run, of a model that may run fewer than all.
    """

    index: int
    label: int
    golden: int
    device: int
    mismatches: int
    ticks: int
    saturations: int
    absolute: float | None = None
    squared: float | None = None
    steps: int | None = None


def sample_error(samples: Iterable[Sample]) -> dict[str, float] | None:
    """`mae` and `rmse` of the samples whose targets are known; None where none are."""
    errors = [(s.absolute, s.squared) for s in samples if s.absolute is not None]
    return regression_error(*np.array(errors, np.float64).T) if errors else None


@dataclass(frozen=True)
class Difference:
    """One element in which the device differs from golden.

    Attributes:
        sample: index in the stream.
        layer: operator that wrote it.
        tensor: its name.
        step: time step.
        index: element, for example the neuron.
        golden: value by golden.
        device: value by the device.
    """

    sample: int
    layer: str
    tensor: str
    step: int
    index: int
    golden: int
    device: int

    def __str__(self) -> str:
        return (
            f"sample {self.sample}, layer {self.layer}, step {self.step}, "
            f"{self.tensor}[{self.index}]: golden {self.golden}, device {self.device}"
        )


# What makes two runs the same run, so that one may go on where the other broke off. Data are known
# by their hash, not by their path; hardware by its unique id, not by its port.
_SAME = (
    "package_sha256", "board", "layers", "total", "data_sha256", "toolchain", "image_sha256",
    "machine", "unique_id",
)  # fmt: skip
# What a part of a session says of itself: its first sample, how many, and what they measured.
PART = ("first", "samples", "stack_bytes", "frames", "bad_frames", "retries")
_FRESH = "run without --resume to start anew"


def another_run(
    path: Path, key: str, before: Mapping[str, Any], head: Mapping[str, Any]
) -> UsageError:
    """Why a session cannot go on: one of the keys that must be equal is not."""
    wrote = (before.get("versions") or {}).get("spikelet")
    if wrote is not None and wrote != __version__:
        return UsageError(
            f"--resume: session {path} was written by Spikelet {wrote}, this is {__version__}: its "
            f"{key} is {before.get(key)}, this run has {head.get(key)}",
            "another version makes other firmware, and one session does not mix two",
            f"go on with Spikelet {wrote}, or {_FRESH}; `spikelet report` shows what is recorded",
        )
    return UsageError(
        f"--resume: session {path} has {key} {before.get(key)}, this run has {head.get(key)}",
        "the package, the data, an option, the compiler or the device changed since",
        _FRESH,
    )


def _json(data: Mapping[str, Any]) -> bytes:
    return (json.dumps(data, indent=1) + "\n").encode()


@dataclass(frozen=True)
class _Clock:
    """When a session began, and how long its earlier parts took."""

    date: str
    spent_s: float
    since: float

    def read(self) -> dict[str, Any]:
        """`date` (ISO 8601, UTC) and `duration_s` of all parts until now."""
        return {
            "date": self.date,
            "duration_s": round(self.spent_s + time.monotonic() - self.since, 3),
        }


class SessionFolder:
    """Reads and writes a session's folder.

    Attributes:
        path: the folder.
        moved: where `begin` moved an earlier session, or None.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.moved: Path | None = None
        self._locked = False
        self._begun: dict[str, Any] = {}
        self._clock: _Clock | None = None
        self._file = Appended(self._samples)

    @property
    def _head(self) -> Path:
        return self.path / "session.json"

    @property
    def _samples(self) -> Path:
        return self.path / "samples.jsonl"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for one run; within it, again and again. Makes the folder.

        Raises:
            UsageError: another run holds it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        if self._locked:
            yield
            return
        try:
            with hold(self.path / LOCK):
                self._locked = True
                try:
                    yield
                finally:
                    self._locked = False
        except Locked as held:
            raise UsageError(
                f"session {self.path}: another run writes there ({held})",
                "a run into the same folder is still under way",
                "wait for its end, or give another folder with --session",
            ) from None

    def resumable(self, head: Mapping[str, Any]) -> list[Sample]:
        """The samples to keep; nothing is written.

        Raises:
            UsageError: there is nothing to resume, it was another run, or its record is damaged.
        """
        before = self.head()
        for key in _SAME:
            if key == "machine" and head.get("unique_id") is not None:
                continue
            if before.get(key) != head.get(key):
                raise another_run(self.path, key, before, head)
        return self.samples()

    def begin(
        self, head: Mapping[str, Any], resume: bool, since: float | None = None
    ) -> list[Sample]:
        """Open for writing; the samples to keep, empty unless it resumes.

        An earlier session is moved aside, see `moved`, unless it resumes.

        Args:
            head: what is run.
            resume: go on after what is recorded.
            since: when this part of the session began, of `time.monotonic`; None for now.

        Raises:
            UsageError: as `resumable`.
        """
        kept: list[Sample] = []
        measured: dict[str, Any] = {}
        self.start(resume, since)
        if resume:
            kept = self.resumable(head)
            before = self._read_head()
            measured = {key: before[key] for key in ("stack_bytes", "link") if key in before}
            # A line that broke off in the middle was never acknowledged.
            lines = b"".join(line + b"\n" for line in self._lines()[: len(kept)])
        else:
            lines = b""
            self.path.mkdir(parents=True, exist_ok=True)
            self._move_aside()
            for stale in ("shown.npz", LEARNING, CHECKPOINT, BENCH):
                (self.path / stale).unlink(missing_ok=True)
        self._begun = dict(head)
        write_whole(self._samples, lines)
        self.note(measured)
        return kept

    def start(self, resume: bool, since: float | None = None) -> None:
        """Start the session's clock, as `begin`; one that resumes goes on with what it read."""
        before = self._read_head() if resume else {}
        date, spent = before.get("date"), before.get("duration_s")
        self._clock = _Clock(
            date if isinstance(date, str) else datetime.now(UTC).isoformat(timespec="seconds"),
            spent if isinstance(spent, float) else 0.0,
            time.monotonic() if since is None else since,
        )

    def note(self, extra: Mapping[str, Any]) -> None:
        """Write session.json of a run under way: the head it began with, and what is known now."""
        self.finish({**self._begun, **extra, "complete": False})

    def _move_aside(self) -> None:
        """Keep what an earlier run recorded, complete or not."""
        recorded = [self._samples, self.path / LEARNING]
        if not any(f.is_file() and f.stat().st_size for f in recorded):
            return
        aside = next(
            place
            for n in itertools.count(1)
            if not (place := self.path.with_name(f"{self.path.name}.{n}")).exists()
        )
        aside.mkdir()
        for file in sorted(self.path.iterdir()):
            if file.name == TUNED:  # perhaps of this run, and named by those to come
                shutil.copy2(file, aside)
            # Folders hold images, perhaps of this run.
            elif file.is_file() and not file.name.startswith(LOCK):
                file.rename(aside / file.name)
        self.moved = aside
        there = SessionFolder(aside)
        with contextlib.suppress(UsageError):  # damaged, all the more to be kept
            there._write_head({**there._read_head(), "path": str(aside.resolve())})

    def add(self, sample: Sample, differences: Iterable[Difference] = ()) -> None:
        """Append one outcome, see `Appended`: it outlives this process, and soon a power cut."""
        line: dict[str, Any] = {k: v for k, v in asdict(sample).items() if v is not None}
        if named := [asdict(d) for d in differences]:
            line["differences"] = named
        self._file.add([json.dumps(line)])

    def finish(self, head: Mapping[str, Any]) -> dict[str, Any]:
        """Write session.json, and have the outcomes on the disk before it.

        Returns:
            What was written: `head`, and when and where the session was recorded.
        """
        if self._samples.is_file():
            self._file.sync()
        when = {} if self._clock is None else self._clock.read()
        written = {"path": str(self.path.resolve()), "host": platform.node(), **when, **head}
        self._write_head(written)
        return written

    def _write_head(self, head: Mapping[str, Any]) -> None:
        write_whole(self._head, _json(head))

    def keep_bench(self, bench: Mapping[str, Any]) -> None:
        """Write what `spikelet bench` found beside session.json."""
        write_whole(self.path / BENCH, _json(bench))

    def bench(self) -> dict[str, Any]:
        """What `spikelet bench` kept beside session.json; empty where it was not benched.

        Raises:
            UsageError: it cannot be read.
        """
        try:
            data = json.loads((self.path / BENCH).read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            raise UsageError(
                f"{self.path / BENCH} cannot be read: {error}",
                "it was cut or edited",
                "bench again, or remove it: the session's other figures are then shown",
            ) from error
        return data if isinstance(data, dict) else {}

    def show(self, arrays: Mapping[str, Array]) -> None:
        """Keep the shown sample's arrays."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        write_whole(self.path / "shown.npz", buffer.getvalue())

    def head(self) -> dict[str, Any]:
        """session.json, `complete` only when all samples are recorded.

        Raises:
            UsageError: it cannot be read.
        """
        data = self._read_head()
        try:
            data["complete"] = data.get("complete") is True and (
                "total" not in data or len(self._read_samples(data)) == data["total"]
            )
        except UsageError:
            data["complete"] = False
        return data

    def parts(self) -> list[dict[str, Any]]:
        """What earlier parts of this session measured of stack and link, as `compare` noted it."""
        link = self._read_head().get("link")
        parts = link.get("parts") if isinstance(link, dict) else None
        if not isinstance(parts, list):
            return []
        return [
            part
            for part in parts
            if isinstance(part, dict) and all(type(part.get(key)) is int for key in PART)
        ]

    def samples(self) -> list[Sample]:
        """All outcomes; a last line that broke off is left out.

        Raises:
            UsageError: a line is damaged or not in its place; names it.
        """
        return [sample for sample, _ in self._read_samples()]

    def differences(self) -> list[Difference]:
        """The differences that were named, in order of the samples; raises as `samples`."""
        return [d for _, named in self._read_samples() for d in named]

    def _read_head(self) -> dict[str, Any]:
        try:
            text = self._head.read_bytes()
        except OSError as e:
            raise self._missing(e) from e
        try:
            data = json.loads(text)
            if not isinstance(data, dict):
                raise ValueError("it is not an object")
        except (ValueError, RecursionError) as e:
            recorded = sum(line.startswith(b"{") for line in self._lines())
            raise UsageError(
                f"session {self.path}: session.json is damaged ({e}); samples.jsonl beside it "
                f"holds {recorded} samples",
                "it was cut or edited; what was run stands in it",
                "put a copy of it back; a run without --resume moves the session aside and starts "
                "anew",
            ) from e
        return data

    def _missing(self, e: OSError) -> UsageError:
        return UsageError(
            f"session {self.path}: {e}",
            "it is not a session's folder, or the run never started",
            "`spikelet run PKG --board B` writes one",
        )

    def _lines(self) -> list[bytes]:
        """Lines without their ends; an empty one behind the last end is none."""
        try:
            lines = self._samples.read_bytes().split(b"\n")
        except OSError as e:
            raise self._missing(e) from e
        return lines if lines[-1] else lines[:-1]

    def _read_samples(
        self, head: Mapping[str, Any] | None = None
    ) -> list[tuple[Sample, list[Difference]]]:
        samples: list[tuple[Sample, list[Difference]]] = []
        lines = self._lines()
        ended = self._samples.read_bytes().endswith(b"\n")
        for i, line in enumerate(lines):
            try:
                recorded = _parse(line)
                if recorded[0].index != i:
                    raise ValueError(f"it is of sample {recorded[0].index}")
            except (ValueError, TypeError, AttributeError, RecursionError) as e:
                if i == len(lines) - 1 and not ended:
                    break
                raise UsageError(
                    f"session {self.path}: line {i + 1} of samples.jsonl is damaged, expected "
                    f"sample {i} ({e})",
                    "the file was edited, or two runs wrote it",
                    f"keep the {i} lines before it and --resume; a run without --resume moves the "
                    "session aside",
                ) from e
            samples.append(recorded)
        if head is None:
            try:
                head = self._read_head()
            except UsageError:
                head = {}
        total = head.get("total")
        if isinstance(total, int) and len(samples) > total:
            raise UsageError(
                f"session {self.path}: samples.jsonl holds {len(samples)} samples, "
                f"session.json says {total}",
                "the files are of different runs",
                _FRESH,
            )
        return samples

    def shown_sample(self) -> dict[str, Array]:
        """The shown sample's arrays, empty when there is none or it broke off in writing."""
        try:
            return read_arrays(self.path / "shown.npz")
        except Unreadable:
            return {}


class Recording:
    """A session that is about to be recorded, anew or after the samples that it holds already.

    Args:
        folder: where it is recorded.
        head: what is run.
        resume: go on after what the folder holds of the same run.

    Attributes:
        kept: outcomes of earlier parts, from the first sample on.
        parts: what these parts measured, see `SessionFolder.parts`.

    Raises:
        UsageError: as `SessionFolder.resumable`.
    """

    def __init__(self, folder: SessionFolder, head: Mapping[str, Any], resume: bool) -> None:
        self.folder = folder
        self.kept = folder.resumable(head) if resume else []
        self.parts = folder.parts() if resume else []
        self._head, self._resume, self._since = head, resume, time.monotonic()

    def begin(self) -> None:
        """Open the folder for writing; until then an earlier session stays as it is."""
        self.folder.begin(self._head, self._resume, self._since)


def _parse(line: bytes) -> tuple[Sample, list[Difference]]:
    data = json.loads(line)
    named = [Difference(**d) for d in data.pop("differences", [])]
    sample = Sample(**data)
    for entry in fields(Sample):
        value = getattr(sample, entry.name)
        real = entry.default is None  # of a regression
        if real and value is not None and not (type(value) is float and math.isfinite(value)):
            raise ValueError(f"{entry.name} is no number")
        if not real and type(value) is not int:
            raise ValueError(f"{entry.name} is no integer")
    if sample.mismatches < 0:
        raise ValueError(f"{sample.mismatches} mismatches")
    return sample, named

"""What a session tells while it goes on."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spikelet.learn.continual.streams import Course
    from spikelet.run.learning.lesson import Lesson


@dataclass(frozen=True)
class SampleProgress:
    """Where a session is, after a sample.

    Attributes:
        done: samples, of `total`.
        total: samples of what is done now.
        retries: frames that were sent again.
        mismatches: so far.
        doing: what, in words.
        right: share of the last samples that was predicted, where that is known.
    """

    done: int
    total: int
    retries: int
    mismatches: int
    doing: str = "run"
    right: float | None = None


class Watch:
    """Is told what happens; here nothing is done with it. A subclass takes what it wants."""

    def progress(self, now: SampleProgress) -> None:
        """A sample is done."""

    def step(self, text: str) -> AbstractContextManager[object]:
        """What takes a while begins, such as building; it ends with the `with` block."""
        del text
        return nullcontext()

    def note(self, text: str, minor: bool = True) -> None:
        """News, in words: what bands cost, a tool's line, the accuracies after a block."""

    def log(self, text: str) -> None:
        """The device sent text."""

    def planned(self, lesson: Lesson, course: Course) -> None:
        """What will be learned, and what it takes, before anything is built."""

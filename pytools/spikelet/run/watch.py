"""What a session tells while it goes on."""

from __future__ import annotations

from dataclasses import dataclass


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

    def on_evaluation(self, text: str) -> None:
        """The accuracies after a block, in words."""

    def log(self, text: str) -> None:
        """The device sent text."""

"""What a session that learns is asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from spikelet.errors import UsageError
from spikelet.learn.choices import parts
from spikelet.learn.continual.protocol import learner
from spikelet.learn.continual.streams import stream
from spikelet.run.session_folder import TUNED
from spikelet.run.session_options import SessionOptions


@dataclass(frozen=True, kw_only=True)
class LearnOptions(SessionOptions):
    """What `spikelet learn` is asked for.

    Attributes:
        learner: its text, NAME[,option=value...].
        stream: its text.
        data: an .npz file, a data set's name or `validation`; None for the package's own.
        features: tensor that the learner reads; None for what the last layer with weights reads.
        classes: how many; None for as many as the data has.
        tune: `option=value:value...`; all combinations are tried.
        tune_on: the data of it, as `data`; None for `validation`.
        tuned: a file that tuning wrote.
        load_state: file of a learned state to begin with.
        save_state: file for the learned state at the end.
        save_delta: file for what was learned as a delta of the package, see `run --delta`.
        baselines: whether they are computed beside the result.
    """

    VERB = "learn"

    learner: str
    stream: str = "class-incremental"
    data: str | None = None
    features: str | None = None
    classes: int | None = None
    tune: tuple[str, ...] = ()
    tune_on: str | None = None
    tuned: Path | None = None
    load_state: Path | None = None
    save_state: Path | None = None
    save_delta: Path | None = None
    baselines: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        learner(self.learner)
        stream(self.stream)
        _ = self.grid
        if self.tune_on is not None and not self.tune and self.tuned is None:
            raise UsageError(
                f"--tune-on {self.tune_on} without --tune",
                "it is not said what to tune",
                "for instance --tune rate=0.01:0.1",
            )
        name, fixed = parts(self.learner, "learner")
        beside = {
            "--tune": self.tune,
            "--tune-on": self.tune_on,
            f"--learner {self.learner}": fixed,
        }
        twice = [option for option, given in beside.items() if given]
        if self.tuned is not None and twice:
            raise UsageError(
                f"--tuned {self.tuned} beside {twice[0]}",
                "options come from one place only",
                f"--learner {name} --tuned {self.tuned}",
            )

    @property
    def grid(self) -> dict[str, list[str]]:
        """Values to try, by option of the learner."""
        by_option: dict[str, list[str]] = {}
        for text in self.tune:
            option, equals, values = text.partition("=")
            if not equals or not values.strip(":"):
                raise UsageError(
                    f"--tune {text}: expected option=value:value:...",
                    next="for instance --tune rate=0.01:0.1",
                )
            name = option.strip().replace("-", "_")
            by_option[name] = [value.strip() for value in values.split(":") if value.strip()]
        return by_option

    def place(self, model: str, board: str) -> Path:
        """The session's folder; a learner has one of its own."""
        name, _ = parts(self.learner, "learner")
        return super().place(model, f"{board}-{name}")

    def to_resume(self, folder: Path) -> Self:
        """The same, with the options that tuning chose, which are in the session's folder."""
        again = super().to_resume(folder)
        if not self.tune:
            return again
        name, _ = parts(self.learner, "learner")
        return replace(again, learner=name, tune=(), tune_on=None, tuned=folder / TUNED)

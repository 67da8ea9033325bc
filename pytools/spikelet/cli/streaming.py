"""Sessions and training with their progress shown, and nothing lost when they break off."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import typer
from rich.console import RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from spikelet.api import Session
from spikelet.cli.output import Interrupted
from spikelet.cli.terminal import Terminal, percent
from spikelet.errors import Disagreement, LinkDead, UsageError
from spikelet.package import Package
from spikelet.run import SampleProgress, SessionFolder, Watch
from spikelet.run.session_options import RunOptions, SessionOptions

if TYPE_CHECKING:
    from spikelet.train import EpochProgress

HEALTH = (
    TimeRemainingColumn(compact=True),
    TextColumn("[dim]retries[/] {task.fields[retries]}"),
    TextColumn("[dim]mismatches[/] {task.fields[mismatches]}"),
)


class TerminalWatch(Watch):
    """What happens meanwhile, on standard error."""

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal

    def step(self, text: str) -> AbstractContextManager[object]:
        """Show it while it lasts."""
        return self.terminal.err.status(text)

    def note(self, text: str, minor: bool = True) -> None:
        """Show it."""
        self.terminal.note(text, "dim" if minor else "bold")


class SessionWatch(TerminalWatch):
    """A session's progress bar, from its first sample on, with what the device says above it.

    Args:
        terminal: where it is shown.
        folder: of the session.
        how: how to go on with one that broke off; None where it is a step of a longer command,
            whose bar goes when it is done.
        columns: of the bar.
    """

    def __init__(
        self, terminal: Terminal, folder: SessionFolder, how: str | None, *columns: ProgressColumn
    ) -> None:
        super().__init__(terminal)
        self.folder, self.how = folder, how
        self.shown = Progress(*columns, *HEALTH, console=terminal.err, transient=how is None)
        self.task = self.shown.add_task(
            "", start=False, doing="", right="", retries=0, mismatches=0
        )
        self.last: SampleProgress | None = None

    def progress(self, now: SampleProgress) -> None:
        """Move the bar; its clock starts with the first sample."""
        if self.last is None:
            self.shown.start_task(self.task)
            self.shown.update(self.task, completed=now.done - 1)
        self.shown.start()
        self.last = now
        if now.right is not None:
            self.shown.update(self.task, right=percent(now.right))
        self.shown.update(
            self.task, completed=now.done, total=now.total, doing=now.doing, retries=now.retries,
            mismatches=now.mismatches,
        )  # fmt: skip

    def step(self, text: str) -> AbstractContextManager[object]:
        """Show it while it lasts, in place of the bar."""
        self._stop()
        return super().step(text)

    def log(self, text: str) -> None:
        """Show it."""
        self.terminal.note(f"device: {text.rstrip()}", "dim")

    def what_is_recorded(self) -> str:
        """Of a session that broke off."""
        try:
            count = len(self.folder.samples())
        except UsageError:
            count = 0
        total = 0 if self.last is None else self.last.total
        return f"{count} of {total} samples are recorded in {self.folder.path}"

    @contextmanager
    def explain_interruption(self) -> Iterator[Self]:
        """What breaks off says what is recorded, and how to go on.

        Raises:
            Interrupted: Ctrl-C.
            LinkDead: as it was raised, with a note.
        """
        try:
            yield self
        except KeyboardInterrupt:
            self._stop()
            if self.last is None:
                raise Interrupted(
                    f"interrupted: no sample of this run is recorded in {self.folder.path}"
                ) from None
            how = self.how or "run it again"
            raise Interrupted(f"interrupted: {self.what_is_recorded()}", next=how) from None
        except LinkDead as error:
            if self.last is not None:
                error.add_note(f"{self.what_is_recorded()}. {self.how or 'run it again'}")
            raise
        finally:
            self._stop()

    def _stop(self) -> None:
        """An empty bar says nothing; where no terminal is, rich would end it with an empty line."""
        if self.shown.live.is_started:
            self.shown.stop()


class _Rate(TextColumn):
    """Samples a second."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Any) -> Text:
        """The figure, once there is one."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} samples/s", "dim")


def running(
    terminal: Terminal,
    options: RunOptions,
    package: Path,
    folder: SessionFolder,
    whole: bool = True,
) -> AbstractContextManager[Watch]:
    """The progress of a session that runs samples.

    Args:
        terminal: where progress goes.
        options: what is asked for.
        package: the file.
        folder: of the session.
        whole: the session is all that the command does: the bar stays when it is done, and one
            that broke off can be resumed. Otherwise it is a step of a longer command.
    """
    how = f"{again(options, package, folder)} goes on after them" if whole else None
    columns = (BarColumn(bar_width=30), MofNCompleteColumn(), _Rate())
    return SessionWatch(terminal, folder, how, *columns).explain_interruption()


def again(options: SessionOptions, package: Path, folder: SessionFolder) -> str:
    """The command that goes on with a session."""
    return f"`{shlex.join(options.to_resume(folder.path).command(package))}`"


def show_session(terminal: Terminal, session: Session, *shown: RenderableType) -> None:
    """The result of a session; ends with exit code 1 where the device differs from golden."""
    if session.moved is not None:
        terminal.note(f"the earlier session is in {session.moved}")
    terminal.result(session.result, *shown)
    if not terminal.as_json:
        terminal.note(f"session in {session.path}; `spikelet report {session.path}`", "dim")
    if session.mismatches:
        disagree(terminal, session.mismatches)


def disagree(terminal: Terminal, mismatches: int) -> None:
    """End with exit code 1."""
    error = Disagreement(
        f"{mismatches} elements of the device differ from golden",
        "a kernel, a compiler or the memory of the device is at fault",
        "the first differences are named above; `--layers` compares every layer in every step",
    )
    terminal.note(str(error), "red")
    raise typer.Exit(error.exit_code)


def training(
    terminal: Terminal, folder: Path, work: Callable[[Callable[[EpochProgress], None]], Package]
) -> Package:
    """Train with the epochs shown; says first that a recipe is executed.

    Args:
        terminal: where progress goes.
        folder: of the recipe.
        work: trains; is given what it tells after each epoch.
    """
    from spikelet.train import check_installed

    check_installed()
    from spikelet.train.start import module_files

    files = " and ".join(map(str, module_files(folder)))
    terminal.note(f"this runs the Python code of {files}", "dim")
    columns = (
        TextColumn("{task.fields[phase]}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[detail]}", style="dim"),
    )
    with Progress(*columns, console=terminal.err, transient=True) as progress:
        task = progress.add_task("", total=None, phase="loading", detail="")

        def epoch(now: EpochProgress) -> None:
            progress.update(
                task,
                completed=now.epoch,
                total=now.epochs,
                phase=now.phase,
                detail=f"loss {now.loss:.3f}, training accuracy {now.accuracy:.3f}",
            )

        return work(epoch)

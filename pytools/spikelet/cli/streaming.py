"""Sessions and training with their progress shown, and nothing lost when they break off."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from spikelet.board import Board, await_port, choose_tool, plan_flash
from spikelet.cli.flashing import call_tool
from spikelet.cli.output import Interrupted
from spikelet.cli.terminal import Terminal, percent
from spikelet.errors import Disagreement, LinkDead, SpikeletError, UsageError
from spikelet.package import Package
from spikelet.run import (
    Outcome,
    SampleProgress,
    SampleStream,
    SessionFolder,
    SessionTarget,
    Watch,
    make,
)
from spikelet.run import run as run_session
from spikelet.run.session_options import RunOptions, SessionOptions

if TYPE_CHECKING:
    from spikelet.train import EpochProgress

HEALTH = (
    TimeRemainingColumn(compact=True),
    TextColumn("[dim]retries[/] {task.fields[retries]}"),
    TextColumn("[dim]mismatches[/] {task.fields[mismatches]}"),
)


def prepare(
    terminal: Terminal,
    options: SessionOptions,
    package: Package,
    board: Board,
    folder: SessionFolder,
) -> SessionTarget:
    """What a session runs on; an image is built in the session's folder, and flashed if asked."""
    if not options.builds or (board.transport == "serial" and options.port is None):
        return SessionTarget(board, port=options.port, baud=options.baud)
    trace = isinstance(options, RunOptions) and options.layers
    tool = choose_tool(board) if options.port is not None else ""
    with terminal.err.status("building"):
        built = make(
            package, board, folder.path / "build", toolchain=options.toolchain, trace=trace
        )
    if options.port is not None:
        call_tool(terminal, plan_flash(built.firmware.elf, board, tool, options.port))
        await_port(options.port)
    return SessionTarget(board, built, options.machine, options.port, options.baud)


class _Bar(Watch):
    """A session's progress bar, with what the device says above it.

    Args:
        shown: what draws it.
        folder: of the session.
        what_is_recorded: what is recorded of a session that broke off, and how to go on.
        total: samples, where that is known.
    """

    def __init__(
        self,
        shown: Progress,
        folder: SessionFolder,
        what_is_recorded: Callable[[], tuple[str, str]],
        total: int | None = None,
    ) -> None:
        self.shown, self.folder, self.what_is_recorded = shown, folder, what_is_recorded
        self.started = False
        self.task = shown.add_task(
            "", total=total, start=False, doing="start", right="", retries=0, mismatches=0
        )

    def progress(self, now: SampleProgress) -> None:
        """Move the bar; its clock starts with the first sample."""
        if not self.started:
            self.started = True
            self.shown.start_task(self.task)
            self.shown.update(self.task, completed=now.done - 1)
        if now.right is not None:
            self.shown.update(self.task, right=percent(now.right))
        self.shown.update(
            self.task, completed=now.done, total=now.total, doing=now.doing, retries=now.retries,
            mismatches=now.mismatches,
        )  # fmt: skip

    def on_evaluation(self, text: str) -> None:
        """Show it."""
        self.shown.console.print(Text(text, "dim"), soft_wrap=True)

    def log(self, text: str) -> None:
        """Show it."""
        self.shown.console.print(Text(f"device: {text.rstrip()}", "dim"), soft_wrap=True)

    @contextmanager
    def explain_interruption(self) -> Iterator[None]:
        """What breaks off says what is recorded, and how to go on.

        Raises:
            Interrupted: Ctrl-C.
            SpikeletError: as it was raised, with a note where the link died.
        """
        try:
            yield
        except KeyboardInterrupt:
            self._hide()
            self.shown.stop()
            if not self.started:
                raise Interrupted(
                    f"interrupted: no sample of this run is recorded in {self.folder.path}"
                ) from None
            what, how = self.what_is_recorded()
            raise Interrupted(f"interrupted: {what}", next=how) from None
        except LinkDead as error:
            if self.started:
                error.add_note(". ".join(self.what_is_recorded()))
            self._hide()
            raise
        except SpikeletError:
            self._hide()
            raise

    def _hide(self) -> None:
        """An empty bar above an error says nothing."""
        if not self.started:
            self.shown.update(self.task, visible=False)
            self.shown.live.transient = True
            # Where no terminal is, rich ends a bar with an empty line.
            self.shown.console.quiet = not self.shown.console.is_interactive


class _Rate(TextColumn):
    """Samples a second."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Any) -> Text:
        """The figure, once there is one."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} samples/s", "dim")


def stream(
    terminal: Terminal,
    options: RunOptions,
    package: Package,
    target: SessionTarget,
    samples: SampleStream,
    folder: SessionFolder,
    whole: bool = True,
) -> tuple[dict[str, Any], Outcome]:
    """Run a session to its end; see `spikelet.run.run`.

    Args:
        terminal: where progress goes.
        options: what is asked for.
        package, target, samples, folder: the session.
        whole: the session is all that the command does: the bar stays when it is done, and one
            that broke off can be resumed. Otherwise it is a step of a longer command.

    Raises:
        Interrupted: Ctrl-C; the text says how many samples are recorded and how to go on.
        SpikeletError: as `spikelet.run.run`, with the same note.
    """

    def what_is_recorded() -> tuple[str, str]:
        try:
            count = len(folder.samples())
        except UsageError:
            count = 0
        how = f"{_again(options, folder)} goes on after them" if whole else "run it again"
        return f"{count} of {len(samples)} samples are recorded in {folder.path}", how

    columns = (BarColumn(bar_width=30), MofNCompleteColumn(), _Rate(), *HEALTH)
    with Progress(*columns, console=terminal.err, transient=not whole) as progress:
        bar = _Bar(progress, folder, what_is_recorded, len(samples))
        with bar.explain_interruption():
            outcome = run_session(
                package, target, samples, folder, layers=options.layers, resume=options.resume,
                shown=0 if options.layers else None, watch=bar,
            )  # fmt: skip
            progress.update(bar.task, completed=len(samples))
            return outcome


@contextmanager
def learning_bar(
    terminal: Terminal, options: SessionOptions, folder: SessionFolder
) -> Iterator[Watch]:
    """The progress of a session that learns; raises as `stream`."""

    def what_is_recorded() -> tuple[str, str]:
        how = f"{_again(options, folder)} goes on after the last whole block"
        return f"all until here is recorded in {folder.path}", how

    columns = (
        TextColumn("{task.fields[doing]}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("[dim]right[/] {task.fields[right]}"),
        *HEALTH,
    )
    with Progress(*columns, console=terminal.err, transient=True) as progress:
        bar = _Bar(progress, folder, what_is_recorded)
        with bar.explain_interruption():
            yield bar


def _again(options: SessionOptions, folder: SessionFolder) -> str:
    return f"`{shlex.join(options.to_resume(folder.path).command())}`"


def show_result(
    terminal: Terminal, folder: SessionFolder, result: dict[str, Any], *shown: RenderableType
) -> None:
    """The result of a session; ends with exit code 1 where the device differs from golden."""
    if folder.moved is not None:
        terminal.note(f"the earlier session is in {folder.moved}")
    terminal.result(result, *shown)
    if not terminal.as_json:
        terminal.note(f"session in {folder.path}; `spikelet report {folder.path}`", "dim")
    if result["mismatches"]:
        disagree(terminal, result["mismatches"])


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
    terminal.note(f"this runs the Python code of {folder / 'model.py'}", "dim")
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

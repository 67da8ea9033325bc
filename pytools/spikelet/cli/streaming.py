"""A session with its progress shown, and nothing lost when it breaks off."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from spikelet.cli.terminal import Interrupted, Terminal
from spikelet.errors import LinkDead, SpikeletError, UsageError
from spikelet.package import Package
from spikelet.run import Outcome, SessionFolder, Stream, Target
from spikelet.run import run as run_session
from spikelet.train import Progress as Epoch


def session_path(package: Package, board: str) -> Path:
    """Where a session goes by default."""
    return Path("spikelet-sessions") / f"{package.graph.name}-{Path(board).name}"


def stream(
    terminal: Terminal,
    package: Package,
    target: Target,
    samples: Stream,
    folder: SessionFolder,
    *,
    layers: bool = False,
    resume: bool = False,
    shown: int | None = None,
    again: list[str] | None = None,
    keep: bool = True,
) -> tuple[dict[str, Any], Outcome]:
    """Run a session to its end; see `spikelet.run.run`.

    Args:
        terminal: where progress goes.
        package, target, samples, folder, layers, resume, shown: the session.
        again: the command that goes on after an interruption.
        keep: leave the progress bar on the terminal when it is done.

    Raises:
        Interrupted: Ctrl-C; the text says how many samples are recorded and how to go on.
        SpikeletError: as `spikelet.run.run`, with the same note.
    """
    started = False
    with _sample_progress(terminal, keep) as progress:
        task = progress.add_task("", total=len(samples), retries=0, mismatches=0, start=False)

        def advance(done: int, total: int, retries: int, mismatches: int) -> None:
            nonlocal started
            if not started:
                progress.start_task(task)
                progress.update(task, completed=done - 1)
                started = True
            progress.update(
                task, completed=done, total=total, retries=retries, mismatches=mismatches
            )

        def hide() -> None:
            """An empty bar above an error says nothing."""
            if not started:
                progress.update(task, visible=False)
                progress.live.transient = True
                # Where no terminal is, rich ends a bar with an empty line.
                progress.console.quiet = not progress.console.is_interactive

        def log(text: str) -> None:
            progress.console.print(Text(f"device: {text.rstrip()}", "dim"), soft_wrap=True)

        try:
            outcome = run_session(
                package,
                target,
                samples,
                folder,
                layers=layers,
                resume=resume,
                shown=shown,
                progress=advance,
                on_log=log,
            )
            progress.update(task, completed=len(samples))
            return outcome
        except KeyboardInterrupt:
            hide()
            progress.stop()
            if not started:
                raise Interrupted(
                    f"interrupted: no sample of this run is recorded in {folder.path}"
                ) from None
            what, how = _recorded(folder, len(samples), again)
            raise Interrupted(f"interrupted: {what}", next=how) from None
        except LinkDead as error:
            if started:
                error.add_note(". ".join(_recorded(folder, len(samples), again)))
            hide()
            raise
        except SpikeletError:
            hide()
            raise


def _recorded(folder: SessionFolder, total: int, again: list[str] | None) -> tuple[str, str]:
    try:
        count = len(folder.samples())
    except UsageError:
        count = 0
    how = f"`{shlex.join(again)}` goes on after them" if again else "run it again"
    return f"{count} of {total} samples are recorded in {folder.path}", how


class _Rate(TextColumn):
    """Samples a second."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Any) -> Text:
        """The figure, once there is one."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} samples/s", "dim")


def _sample_progress(terminal: Terminal, keep: bool) -> Progress:
    return Progress(
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(compact=True),
        TextColumn("[dim]retries[/] {task.fields[retries]}"),
        TextColumn("[dim]mismatches[/] {task.fields[mismatches]}"),
        console=terminal.err,
        transient=not keep,
    )


def training(
    terminal: Terminal, folder: Path, work: Callable[[Callable[[Epoch], None]], Package]
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

        def epoch(now: Epoch) -> None:
            progress.update(
                task,
                completed=now.epoch,
                total=now.epochs,
                phase=now.phase,
                detail=f"loss {now.loss:.3f}, training accuracy {now.accuracy:.3f}",
            )

        return work(epoch)

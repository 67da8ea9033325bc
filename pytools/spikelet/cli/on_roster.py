"""`spikelet run --roster`: all devices of a test bench at once, with one table at the end."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import typer
from rich.console import RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from spikelet.board.roster import Roster, RosterDevice, load_roster
from spikelet.cli.output import Interrupted
from spikelet.cli.terminal import (
    Fitted,
    Terminal,
    error_text,
    number,
    percent,
    table,
    verdict,
)
from spikelet.errors import UsageError
from spikelet.package import Package
from spikelet.run import BuiltImage, SampleProgress, choose_stream, make
from spikelet.run.roster_run import (
    DeviceOutcome,
    DeviceWatch,
    RosterPlan,
    exit_code,
    run_roster,
)
from spikelet.run.session_options import AUTO, SESSIONS, command_line
from spikelet.text import counted

STYLES = {"good": "bold green", "mismatches": "bold red", "dead": "bold red"}
COSTS = {
    "instructions_per_inference": "instructions",
    "cycles_per_inference": "cycles",
    "microseconds_per_inference": "us",
}
LESS_IMPORTANT = ("retries", "s", "where", "accuracy", "board")


@dataclass(frozen=True, kw_only=True)
class RosterOptions:
    """What `spikelet run --roster` is asked for: the options of the same names.

    Raises:
        UsageError: an option of a single device.
    """

    roster: Path
    board: str | None = None
    port: str | None = None
    baud: int | None = None
    machine: str = AUTO
    data: Path | None = None
    limit: int | None = None
    layers: bool = False
    trusted: Path | None = None
    resume: bool = False
    session: Path | None = None
    toolchain: str = AUTO
    arena: int | None = None
    flash: bool = False
    wait: float = 60.0

    def __post_init__(self) -> None:
        alone = {"port": None, "baud": None, "machine": AUTO, "arena": None}
        for name, default in alone.items():
            if getattr(self, name) != default:
                raise UsageError(
                    f"--{name} {getattr(self, name)} beside --roster",
                    "it is of one device; the roster says it of each",
                    f"leave out --{name}, or write it into {self.roster}",
                )

    def place(self, model: str) -> Path:
        """Folder of the sessions."""
        return self.session or SESSIONS / f"{model}-{self.roster.stem}"

    def to_resume(self, package: Path) -> str:
        """The command line that goes on with this."""
        return shlex.join(command_line("run", package, replace(self, resume=True)))


def run_on_roster(file: Path, options: RosterOptions, as_json: bool) -> None:
    """Run, show, and end with the exit code of all."""
    terminal = Terminal.open(as_json)
    package, roster = Package.load(file, options.trusted), load_roster(options.roster)
    devices = roster.of_board(options.board)
    stream = choose_stream(package, options.data, options.limit)
    place = options.place(package.graph.name)
    plan = RosterPlan(
        package, stream, place, _images(terminal, options, package, devices, place),
        layers=options.layers, resume=options.resume, flash=options.flash, wait_s=options.wait,
    )  # fmt: skip
    columns = (
        TextColumn("{task.fields[name]}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("[dim]{task.fields[doing]}[/]"),
        TextColumn("[dim]mismatches[/] {task.fields[mismatches]}"),
    )
    try:
        with Progress(*columns, console=terminal.err, transient=True) as progress:
            outcomes = run_roster(plan, devices, lambda d: _Row(progress, d, len(stream)))
    except KeyboardInterrupt:
        raise Interrupted(
            f"interrupted: what the devices sent until here is recorded in {place}",
            next=f"`{options.to_resume(file)}` goes on after it",
        ) from None
    code = exit_code(outcomes)
    result = _summary(roster, plan, outcomes, code)
    terminal.result(result, *_render(result))
    for outcome in outcomes:
        if outcome.error is not None:
            terminal.err.print(
                error_text(outcome.error, f"{outcome.device.name}: "), soft_wrap=True
            )
    if code:
        raise typer.Exit(code)


def _images(
    terminal: Terminal,
    options: RosterOptions,
    package: Package,
    devices: tuple[RosterDevice, ...],
    place: Path,
) -> dict[str, BuiltImage]:
    """By board, one image for all of its machines, and for what is flashed."""
    boards = {d.board.name: d.board for d in devices if d.machine is not None or options.flash}
    with terminal.err.status("building"):
        return {
            name: make(
                package, board, place / f"build-{name}", toolchain=options.toolchain,
                trace=options.layers,
            )
            for name, board in boards.items()
        }  # fmt: skip


class _Row(DeviceWatch):
    """One device's line of the progress."""

    def __init__(self, progress: Progress, device: RosterDevice, total: int) -> None:
        self.shown, self.name = progress, device.name
        self.task = progress.add_task(
            "", total=total, name=Text(device.name), doing="", mismatches=0
        )

    def progress(self, now: SampleProgress) -> None:
        """Show it."""
        self.shown.update(self.task, completed=now.done, mismatches=now.mismatches)

    def doing(self, text: str) -> None:
        """Show it."""
        self.shown.update(self.task, doing=text)

    def log(self, text: str) -> None:
        """Show it."""
        line = Text(f"{self.name}: {text.rstrip()}", "dim")
        self.shown.console.print(line, soft_wrap=True)


def _summary(
    roster: Roster, plan: RosterPlan, outcomes: list[DeviceOutcome], code: int
) -> dict[str, Any]:
    """The object that `spikelet run --roster --json` prints."""
    return {
        "roster": str(roster.file),
        "model": plan.package.graph.name,
        "package_sha256": plan.package.sha256,
        "data": plan.stream.source,
        "total": len(plan.stream),
        "layers": plan.layers,
        "mismatches": sum(o.result["mismatches"] for o in outcomes if o.result is not None),
        "exit_code": code,
        "devices": [outcome.to_json() for outcome in outcomes],
    }


def _render(result: Mapping[str, Any]) -> list[RenderableType]:
    devices = result["devices"]
    costs = [key for key in COSTS if any(device[key] is not None for device in devices)]
    title = f"{result['model']} on {counted(len(devices), 'device')}"
    made = table(
        title, "device", "board", "where", "ended",
        ">mismatches", ">samples", ">accuracy", *(f">{COSTS[key]}" for key in costs), ">retries",
        ">s",
    )  # fmt: skip
    for device in devices:
        status, link = device["status"], device["link"] or {}
        wrong = device["mismatches"]
        made.add_row(
            device["name"], device["board"], device["where"],
            Text(status, STYLES.get(status, "bold yellow")),
            "" if wrong is None else verdict(wrong), f"{device['samples']} of {result['total']}",
            percent(device["accuracy"]) or "", *(number(device[key]) or "" for key in costs),
            number(link.get("retries")) or "", number(device["duration_s"], digits=1) or "",
        )  # fmt: skip
    return [Fitted(made, LESS_IMPORTANT)]

"""`spikelet run --learn`: tuning, the session with its progress, and what is shown of it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from spikelet.board import Board
from spikelet.cli.shown import differences_shown, link_line
from spikelet.cli.terminal import Interrupted, Terminal, facts, number, percent, table, verdict
from spikelet.errors import LinkDead, SpikeletError, UsageError
from spikelet.learn.choices import parts, written
from spikelet.learn.continual.baselines import BASELINES
from spikelet.learn.continual.protocol import Tuned, learner, tune
from spikelet.learn.continual.streams import stream as stream_of
from spikelet.learn.networks.training_plan import TrainingPlan, counted
from spikelet.learn.state import LearnedState
from spikelet.package import Package
from spikelet.run import SessionFolder, Target
from spikelet.run.learning.data import learning_data
from spikelet.run.learning.session import Lesson, lesson, lesson_setting, play

STREAM = "class-incremental"
TUNED = "tuned.json"  # in the session's folder
BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Choices:
    """The options of a session that learns.

    Attributes:
        learner: its text.
        stream: its text.
        data: an .npz file, or a data set's name; None for the package's own.
        features: tensor that the learner reads; None for the default.
        classes: how many; None for as many as the data has.
        tune: `option=value:value:...`, all combinations are tried.
        tune_on: the data of it, as `data`, or `validation`.
        tuned: a file that tuning wrote.
        load_state, save_state: files of a learned state.
        baselines: whether they are computed.
    """

    learner: str
    stream: str = STREAM
    data: str | None = None
    features: str | None = None
    classes: int | None = None
    tune: Sequence[str] = ()
    tune_on: str | None = None
    tuned: Path | None = None
    load_state: Path | None = None
    save_state: Path | None = None
    baselines: bool = True


def prepared(
    terminal: Terminal, package: Package, board: Board, choices: Choices, folder: SessionFolder
) -> tuple[Lesson, Tuned | None, LearnedState | None]:
    """The package with its learner, tuned where that is asked for; its needs are told.

    Returns:
        what learns; how it was tuned; the learned state that it begins with.

    Raises:
        UsageError: a learner, an option or a stream that is not known, or data or a state that
            does not fit.
    """
    stream = stream_of(choices.stream)
    learner(choices.learner)
    tuned = _tuned(terminal, package, choices, folder)
    data = learning_data(package, choices.data, choices.classes)
    if tuned is not None:
        tuned.admit(data.test, data.source)
    text = written(*parts(choices.learner, "learner")) if tuned is None else tuned.text
    found = lesson(package, text, data, board, choices.features)
    state = None
    if choices.load_state is not None:
        state = LearnedState.load(choices.load_state, found.package)
    course = stream.play(data.train, data.test)
    for part in plan_shown(f"{text} on {found.where.features}", found.plan, board):
        terminal.err.print(part)
    terminal.note(
        f"learns {number(course.samples)} samples in {counted(len(course.blocks), 'block')} of "
        f"{counted(len(course.tasks), 'task')}; predicts "
        f"{number(sum(map(len, course.evaluation)))} others after each block ({data.source}); "
        f"{number(found.needs.commit_bytes * len(course.ends()), 'B')} written to flash in "
        f"{counted(len(course.ends()), 'commit')}",
        "dim",
    )
    return found, tuned, state


def taught_by(
    package: Package,
    text: str,
    features: str | None,
    classes: int | None,
    data: str | None,
    board: Board | None,
) -> Lesson:
    """The package with a learner, as `spikelet run` makes it; see `run.learning.lesson`."""
    learner(text)  # tells of a misspelt one before any data is read
    return lesson(package, text, learning_data(package, data, classes), board, features)


def plan_shown(title: str, plan: TrainingPlan, board: Board | None = None) -> list[RenderableType]:
    """What a learner takes: its sums and, where layers are trained, each of them."""
    shown: list[RenderableType] = [facts(title, plan_rows(plan, board))]
    if plan.layers:
        made = table(
            "trained layers", "layer", "learns", ">learned B", ">flash B", ">output B", "output",
            ">MACs", ">to learn",
        )  # fmt: skip
        for row in plan.layers:
            made.add_row(*(v if isinstance(v, str) else number(v) for v in asdict(row).values()))
        shown += ["", made]
    return shown


def plan_rows(plan: TrainingPlan, board: Board | None = None) -> dict[str, object]:
    """The sums of a plan."""
    needs, ram = plan.needs, None
    if board is not None and board.memory is not None:
        ram = board.memory.ram.bytes - board.memory.stack_bytes
    return {
        "learned state": number(needs.learned_bytes, "B"),
        "work RAM": number(needs.work_bytes, "B beside it, while learning"),
        "arena": f"{number(needs.arena_bytes, 'B')}, {number(needs.backbone_bytes)} of it for "
        "prediction" + (f"; the board has {number(ram)} but for the stack" if ram else ""),
        "initial values": number(needs.initial_bytes, "B of flash"),
        "a commit": plan.rows()["a commit"],
        "a learning step": plan.rows()["a learning step"],
    }


def _tuned(
    terminal: Terminal, package: Package, choices: Choices, folder: SessionFolder
) -> Tuned | None:
    name, fixed = parts(choices.learner, "learner")
    if choices.tuned is not None:
        tuned = Tuned.load(choices.tuned)
        if choices.tune or choices.tune_on or fixed or tuned.learner != name:
            raise UsageError(
                f"--tuned {choices.tuned} holds {tuned.text}, asked for is {choices.learner}"
                + (", to be tuned" if choices.tune or choices.tune_on else ""),
                "options come from one place only",
                f"--learn {tuned.learner} --tuned {choices.tuned}",
            )
        return tuned
    if not choices.tune:
        if choices.tune_on is not None:
            raise UsageError(
                f"--tune-on {choices.tune_on} without --tune",
                "it is not said what to tune",
                "for instance --tune rate=0.01:0.1",
            )
        return None
    grid: dict[str, list[str]] = {}
    for text in choices.tune:
        option, equals, values = text.partition("=")
        if not equals or not values.strip(":"):
            raise UsageError(
                f"--tune {text}: expected option=value:value:...",
                next="for instance --tune rate=0.01:0.1",
            )
        grid[option.strip().replace("-", "_")] = [v.strip() for v in values.split(":") if v.strip()]
    where_from = choices.tune_on or "validation"
    data = learning_data(package, where_from, choices.classes, "--tune-on")
    graph, where = lesson_setting(package, data, choices.features)

    def told(text: str, acc: float) -> None:
        terminal.note(f"tune   ACC {percent(acc)}   {text}", "dim")

    tuned = tune(
        graph, name, fixed, grid, stream_of(choices.stream), choices.stream, where,
        data.train, data.test, data.source, told,
    )  # fmt: skip
    folder.path.mkdir(parents=True, exist_ok=True)
    path = folder.path / TUNED
    tuned.save(path)
    terminal.note(f"tuned on {data.source}: {tuned.text}; in {path}")
    return tuned


def play_shown(
    terminal: Terminal,
    found: Lesson,
    choices: Choices,
    tuned: Tuned | None,
    state: LearnedState | None,
    target: Target,
    folder: SessionFolder,
    resume: bool,
    again: Sequence[str],
) -> dict[str, Any]:
    """The session with its progress shown; see `spikelet.run.learning.session.play`.

    Raises:
        Interrupted: Ctrl-C; says how to go on.
        SpikeletError: as `play`.
    """
    stream = stream_of(choices.stream)
    columns = (
        TextColumn("{task.fields[doing]}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("[dim]right[/] {task.fields[right]}"),
        TextColumn("[dim]retries[/] {task.fields[retries]}"),
        TextColumn("[dim]mismatches[/] {task.fields[mismatches]}"),
    )
    with Progress(*columns, console=terminal.err, transient=True) as progress:
        bar = progress.add_task("", total=None, doing="start", right="", retries=0, mismatches=0)

        def advance(
            doing: str, done: int, total: int, retries: int, mismatches: int, right: float | None
        ) -> None:
            if right is not None:
                progress.update(bar, right=percent(right))
            progress.update(
                bar, completed=done, total=total, doing=doing, retries=retries,
                mismatches=mismatches,
            )  # fmt: skip

        def evaluated(text: str) -> None:
            progress.console.print(Text(text, "dim"), soft_wrap=True)

        def log(text: str) -> None:
            progress.console.print(Text(f"device: {text.rstrip()}", "dim"), soft_wrap=True)

        def kept(learned: LearnedState) -> None:
            if choices.save_state is not None:
                learned.save(choices.save_state)

        how = f"`{shlex.join(again)}` goes on after the last whole block"
        try:
            return play(
                found,
                stream,
                choices.stream,
                target,
                folder,
                tuned=tuned,
                state=state,
                resume=resume,
                baselines=tuple(BASELINES) if choices.baselines else (),
                progress=advance,
                on_evaluation=evaluated,
                on_log=log,
                kept=kept,
            )
        except KeyboardInterrupt:
            progress.stop()
            raise Interrupted(
                f"interrupted: all until here is recorded in {folder.path}", next=how
            ) from None
        except LinkDead as error:
            error.add_note(how)
            raise
        except SpikeletError:
            progress.update(bar, visible=False)
            raise


def learning_shown(result: Mapping[str, Any]) -> list[RenderableType]:
    """The summary of a session that learned."""
    found = result["learning"]
    mismatches = verdict(result["mismatches"])
    mismatches.append(
        f"   (outputs of {result['samples']} steps and of all evaluations, "
        f"the learned state after {len(found['blocks'])} blocks)",
        "dim",
    )
    options = ",".join(f"{k}={v}" for k, v in found["options"].items())
    unit = next(
        (
            name
            for name in ("instructions", "cycles", "microseconds")
            if result[f"{name}_per_inference"] is not None
        ),
        None,
    )
    tuned = found["tuned"]
    rows: dict[str, object] = {
        "mismatches": mismatches,
        "learner": found["learner"] + (f",{options}" if options else ""),
        "stream": found["stream"],
        "samples": f"{number(result['samples'])} learned, {percent(result['accuracy'])} of them "
        "predicted before",
        "ACC": percent(found["acc"]),
        "BWT": _points(found["bwt"]),
        "FWT": _points(found["fwt"]),
        "maintenance": _plain(found["performance_maintenance"], " points"),
        "against an expert": _against(found),
        "skipped": f"{found['skipped']} steps" if found["skipped"] else None,
        "health": ", ".join(f"{k} {v:g}" for k, v in found["health"].items()) or None,
        "tuned on": None
        if tuned is None
        else f"{tuned['on']}: ACC {percent(tuned['acc_tuned'])} there",
    }
    if unit is not None:
        rows["an inference"] = number(result[f"{unit}_per_inference"], unit)
        rows["a learning step"] = number(result[f"{unit}_per_learning_step"], f"{unit} more")
    rows |= {
        "flash": number(result["flash_bytes"], "B"),
        "RAM, static": number(result["ram_bytes"], "B"),
        "stack, measured": number(result["stack_bytes"], "B"),
        "written to flash": f"{number(result['flash_written_bytes'], 'B')}, "
        f"{counted(result['flash_erased_pages'], 'page')} erased"
        if result["stored"]
        else "nothing: the board has no storage, what was learned is lost without power",
        "link": link_line(result["link"]),
        "package": result["package_sha256"],
    }
    shown: list[RenderableType] = [
        facts(f"{result['model']} on {result['board']} ({result['machine']}), learning", rows),
        "",
        _tasks(found),
    ]
    if found["baselines"]:
        shown += ["", _baselines(found)]
    if result["differences"]:
        shown.append(differences_shown(result["differences"]))
    return shown


def _tasks(found: Mapping[str, Any]) -> RenderableType:
    made = table(
        "accuracy by task", "task", ">learned", ">before", ">when learned", ">at the end", "curve"
    )
    curves, blocks = found["curves"], found["blocks"]
    for task, name in enumerate(found["tasks"]):
        of = [i for i, block in enumerate(blocks) if block["task"] == task]
        curve = [row[task] for row in curves]
        made.add_row(
            name,
            number(sum(blocks[i]["samples"] for i in of)),
            percent(curve[0]),
            percent(curve[of[-1] + 1]) if of else "",
            percent(curve[-1]),
            "".join(BARS[min(int(value * len(BARS)), len(BARS) - 1)] for value in curve),
        )
    return made


def _baselines(found: Mapping[str, Any]) -> RenderableType:
    made = table("beside it, on the same features", "learner", ">ACC", ">BWT", ">FWT", "what")
    rows = [{"name": found["learner"], "what": "on the device", **found}, *found["baselines"]]
    for row in rows:
        made.add_row(
            row["name"], percent(row["acc"]), _points(row["bwt"]), _points(row["fwt"]), row["what"]
        )
    return made


def _points(value: float | None) -> str | None:
    return None if value is None else f"{100 * value:+.2f} points"


def _plain(value: float | None, unit: str = "") -> str | None:
    return None if value is None else f"{value:+.2f}{unit}"


def _against(found: Mapping[str, Any]) -> str | None:
    if found["relative_performance"] is None:
        return None
    efficiency = found["sample_efficiency"]
    return f"relative performance {found['relative_performance']:.3f}" + (
        "" if efficiency is None else f", sample efficiency {efficiency:.3f}"
    )

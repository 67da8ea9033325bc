"""A package with a learner in it, as `inspect`, `build` and `learn` make it."""

from __future__ import annotations

from pathlib import Path

from spikelet.board import Board
from spikelet.cli.render_learning import render_plan
from spikelet.cli.terminal import Terminal, number, percent
from spikelet.errors import UsageError
from spikelet.learn.choices import choice_text, parts
from spikelet.learn.continual.protocol import Tuned, TuningData, learner, tune
from spikelet.learn.continual.streams import stream
from spikelet.learn.networks.training_plan import count
from spikelet.learn.state import LearnedState
from spikelet.package import Package
from spikelet.run.learning.data import learning_data
from spikelet.run.learning.learn_options import LearnOptions
from spikelet.run.learning.lesson import Lesson, lesson, lesson_setting
from spikelet.run.session_folder import TUNED


def with_learner(
    package: Package,
    text: str,
    features: str | None,
    classes: int | None,
    data: str | None,
    board: Board | None,
) -> Lesson:
    """The package with a learner, as `spikelet learn` makes it; see `run.learning.lesson`."""
    learner(text)  # tells of a misspelt one before any data is read
    return lesson(package, text, learning_data(package, data, classes), board, features)


def prepare_lesson(
    terminal: Terminal, package: Package, board: Board, options: LearnOptions, folder: Path
) -> tuple[Lesson, Tuned | None, LearnedState | None]:
    """The package with its learner, tuned where that is asked for; its needs are shown.

    Args:
        terminal: where progress goes.
        package: with the backbone.
        board: that it must fit.
        options: what is asked for.
        folder: of the session, for what tuning chooses.

    Returns:
        what learns; how it was tuned; the learned state that it begins with.

    Raises:
        UsageError: a learner, an option or a stream that is not known, or data or a state that
            does not fit.
    """
    tuned = _tuning(terminal, package, options, folder)
    data = learning_data(package, options.data, options.classes)
    if tuned is not None:
        tuned.admit(data.test, data.source)
    text = choice_text(*parts(options.learner, "learner")) if tuned is None else tuned.text
    made = lesson(package, text, data, board, options.features)
    state = None
    if options.load_state is not None:
        state = LearnedState.load(options.load_state, made.package)
    course = stream(options.stream).play(data.train, data.test)
    for part in render_plan(f"{text} on {made.where.features}", made.plan, board):
        terminal.err.print(part)
    terminal.note(
        f"learns {number(course.samples)} samples in {count(len(course.blocks), 'block')} of "
        f"{count(len(course.tasks), 'task')}; predicts "
        f"{number(sum(map(len, course.evaluation)))} others after each block ({data.source}); "
        f"{number(made.needs.commit_bytes * len(course.ends()), 'B')} written to flash in "
        f"{count(len(course.ends()), 'commit')}",
        "dim",
    )
    return made, tuned, state


def _tuning(
    terminal: Terminal, package: Package, options: LearnOptions, folder: Path
) -> Tuned | None:
    name, fixed = parts(options.learner, "learner")
    if options.tuned is not None:
        tuned = Tuned.load(options.tuned)
        if tuned.learner != name:
            raise UsageError(
                f"--tuned {options.tuned} holds {tuned.text}, asked for is {name}",
                "the file of another learner",
                f"--learner {tuned.learner} --tuned {options.tuned}",
            )
        return tuned
    if not options.tune:
        return None
    data = learning_data(package, options.tune_on or "validation", options.classes, "--tune-on")
    graph, where = lesson_setting(package, data, options.features)

    def show(text: str, acc: float) -> None:
        terminal.note(f"tune   ACC {percent(acc)}   {text}", "dim")

    chosen_on = TuningData(data.train, data.test, data.source)
    tuned = tune(graph, name, fixed, options.grid, options.stream, where, chosen_on, show)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / TUNED
    tuned.save(path)
    terminal.note(f"tuned on {data.source}: {tuned.text}; in {path}")
    return tuned

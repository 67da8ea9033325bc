"""Sessions that learn, as they are asked for: tuned, built, flashed, played, recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy.typing as npt

from spikelet.board import Board
from spikelet.errors import UsageError
from spikelet.learn.choices import choice_text, parts
from spikelet.learn.continual.protocol import Tuned, TuningData, learner, tune
from spikelet.learn.continual.streams import stream
from spikelet.learn.learned_delta import learned_delta
from spikelet.learn.state import LearnedState
from spikelet.package import Package
from spikelet.run.asked import as_board, session_folder, session_target
from spikelet.run.learning.data import learning_data, sample_data, stream_data
from spikelet.run.learning.learn_options import LearnOptions
from spikelet.run.learning.lesson import Lesson, lesson, lesson_setting
from spikelet.run.learning.play import play
from spikelet.run.reals import Given, labelled
from spikelet.run.session_folder import TUNED, SessionFolder
from spikelet.run.watch import Watch


def taught(
    package: Package,
    text: str,
    x: Given | Path | None,
    y: npt.ArrayLike | None,
    classes: int | None,
    features: str | None,
    board: Board | None,
) -> Lesson:
    """The package with a learner; see `spikelet.Package.with_learner`."""
    learner(text)  # tells of a misspelt one before any data is read
    if x is None or isinstance(x, str | Path):
        data = learning_data(package, None if x is None else str(x), classes)
    else:
        data = stream_data(package, labelled(package, x, y), classes)
    return lesson(package, text, data, board, features)


def learn_asked(
    package: Package,
    options: LearnOptions,
    x: Given | None,
    y: npt.ArrayLike | None,
    watch: Watch,
) -> tuple[SessionFolder, dict[str, Any]]:
    """Attach the learner, build, flash, play the stream and record.

    Args:
        package: with the backbone.
        options: what is asked for.
        x, y: samples and their labels; None for those that `options.data` names.
        watch: told what happens.

    Returns:
        the session's folder, and its summary, as `spikelet learn --json` prints it.

    Raises:
        UsageError: a learner, an option or a stream that is not known, or data or a state that
            does not fit.
        LinkDead: the link died.
    """
    board = as_board(options.board)
    folder = session_folder(options, package.graph.name)
    if options.resume:
        folder.head()  # says at once when there is nothing to resume
    with folder.lock():
        tuned = _tuning(package, options, folder.path, watch)
        if x is None:
            data = learning_data(package, options.data, options.classes)
        else:
            data = sample_data(package, labelled(package, x, y), options.classes)
        if tuned is not None:
            tuned.admit(data.test, data.source)
        text = choice_text(*parts(options.learner, "learner")) if tuned is None else tuned.text
        made = lesson(package, text, data, board, options.features)
        if options.save_delta is not None:
            learned_delta(package.graph, made.graph, made.graph.initial())  # is it one?
        state = None
        if options.load_state is not None:
            state = LearnedState.load(options.load_state, made.package, options.trusted)
            if options.device_key is not None:
                state.signed()  # said before anything is built
        watch.planned(made, stream(options.stream).play(data.train, data.test))
        target = session_target(made.package, options, board, folder, watch)
        return folder, play(made, options, target, folder, tuned=tuned, state=state, watch=watch)


def _tuning(package: Package, options: LearnOptions, folder: Path, watch: Watch) -> Tuned | None:
    """How the options of the learner were chosen; None where they were given."""
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
        watch.note(f"tune   ACC {100 * acc:.2f} %   {text}")

    chosen_on = TuningData(data.train, data.test, data.source)
    tuned = tune(graph, name, fixed, options.grid, options.stream, where, chosen_on, show)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / TUNED
    tuned.save(path)
    watch.note(f"tuned on {data.source}: {tuned.text}; in {path}", minor=False)
    return tuned

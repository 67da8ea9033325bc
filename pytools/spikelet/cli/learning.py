"""A session that learns, as it is shown while it goes on."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

from spikelet.board import Board
from spikelet.cli.render_learning import render_plan
from spikelet.cli.streaming import SessionWatch, again
from spikelet.cli.terminal import Terminal, number
from spikelet.learn.continual.streams import Course
from spikelet.learn.networks.training_plan import count
from spikelet.run import SessionFolder, Watch
from spikelet.run.asked import as_board
from spikelet.run.learning.learn_options import LearnOptions
from spikelet.run.learning.lesson import Lesson


class LearningWatch(SessionWatch):
    """Its bar, and what it takes before it begins."""

    def __init__(self, terminal: Terminal, folder: SessionFolder, how: str, board: Board) -> None:
        columns = (
            TextColumn("{task.fields[doing]}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("[dim]right[/] {task.fields[right]}"),
        )
        super().__init__(terminal, folder, how, *columns)
        self.shown.live.transient = True
        self.board = board

    def planned(self, lesson: Lesson, course: Course) -> None:
        """Show what it takes."""
        title = f"{lesson.text} on {lesson.where.features}"
        for part in render_plan(title, lesson.plan, self.board):
            self.terminal.err.print(part)
        ends = len(course.ends())
        self.note(
            f"learns {number(course.samples)} samples in {count(len(course.blocks), 'block')} of "
            f"{count(len(course.tasks), 'task')}; predicts "
            f"{number(sum(map(len, course.evaluation)))} others after each block "
            f"({lesson.data.source}); {number(lesson.needs.commit_bytes * ends, 'B')} written to "
            f"flash in {count(ends, 'commit')}"
        )

    def what_is_recorded(self) -> str:
        """Of a session that broke off."""
        return f"all until here is recorded in {self.folder.path}"


def learning(
    terminal: Terminal, options: LearnOptions, package: Path, folder: SessionFolder
) -> AbstractContextManager[Watch]:
    """The progress of a session that learns."""
    how = f"{again(options, package, folder)} goes on after the last whole block"
    watch = LearningWatch(terminal, folder, how, as_board(options.board))
    return watch.explain_interruption()

"""`spikelet learn`: a device learns a stream of labelled samples, its golden twin beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spikelet.cli import loading
from spikelet.cli.completion import learners, streams
from spikelet.cli.options import (
    BaudOption,
    BoardOption,
    ClassesOption,
    FeaturesOption,
    JsonOption,
    MachineOption,
    PackageArg,
    PortOption,
    ResumeOption,
    SessionOption,
    ToolchainOption,
    application,
    board_name,
)
from spikelet.cli.places import check_file, given_path

app = application()

LearnerOption = Annotated[
    str,
    typer.Option(
        "--learner",
        "-l",
        metavar="LEARNER",
        show_default=False,
        help="NAME[,option=value...]; `spikelet learners` lists them.",
        autocompletion=learners,
    ),
]
StreamOption = Annotated[
    str,
    typer.Option(
        metavar="STREAM",
        autocompletion=streams,
        help="NAME[,option=value...]; samples=N makes it shorter, evaluate=N the evaluations.",
    ),
]
DataOption = Annotated[
    str | None,
    typer.Option(
        metavar="DATA",
        show_default=False,
        help="An .npz file with x (N, ...), y (N,) and, where the parts are fixed, x_test and "
        "y_test; a data set's name; or `validation`. Default: the package's data set.",
    ),
]
TuneOption = Annotated[
    list[str] | None,
    typer.Option(metavar="OPTION=V:V...", help="Choose a value by golden; may be repeated."),
]
TuneOnOption = Annotated[
    str | None,
    typer.Option(metavar="DATA", help="Of --tune: data as --data. Default: `validation`."),
]
TunedOption = Annotated[
    Path | None,
    typer.Option(metavar="PATH", parser=given_path, help="Options that --tune chose."),
]
LoadStateOption = Annotated[
    Path | None,
    typer.Option(metavar="PATH", parser=given_path, help="Begin with this learned state."),
]
SaveStateOption = Annotated[
    Path | None,
    typer.Option(metavar="PATH", parser=given_path, help="Keep the learned state there."),
]
BaselinesOption = Annotated[
    bool, typer.Option("--baselines/--no-baselines", help="Compute them as well.")
]


@app.command("learn")
def command(
    package: PackageArg,
    learner: LearnerOption,
    board: BoardOption = None,
    stream: StreamOption = "class-incremental",
    data: DataOption = None,
    features: FeaturesOption = None,
    classes: ClassesOption = None,
    tune: TuneOption = None,
    tune_on: TuneOnOption = None,
    tuned: TunedOption = None,
    load_state: LoadStateOption = None,
    save_state: SaveStateOption = None,
    baselines: BaselinesOption = True,
    port: PortOption = None,
    baud: BaudOption = None,
    machine: MachineOption = "auto",
    toolchain: ToolchainOption = "auto",
    resume: ResumeOption = False,
    session: SessionOption = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Let a device learn a stream of labelled samples, compared with golden after every block."""
    with loading(as_json):
        from spikelet.board import find_board
        from spikelet.cli.render_learning import render_learning
        from spikelet.cli.streaming import learning_bar, prepare, show_result
        from spikelet.cli.terminal import Terminal
        from spikelet.cli.with_learner import prepare_lesson
        from spikelet.package import Package
        from spikelet.run import SessionFolder
        from spikelet.run.learning.learn_options import LearnOptions
        from spikelet.run.learning.play import play
    terminal = Terminal.open(as_json)
    options = LearnOptions(
        package=package, board=board_name(board, port), learner=learner, stream=stream, data=data,
        features=features, classes=classes, tune=tuple(tune or ()), tune_on=tune_on, tuned=tuned,
        load_state=load_state, save_state=save_state, baselines=baselines, port=port, baud=baud,
        machine=machine, toolchain=toolchain, resume=resume, session=session,
    )  # fmt: skip
    loaded, on = Package.load(package), find_board(options.board)
    folder = SessionFolder(options.place(loaded.graph.name, on.name))
    if resume:
        folder.head()  # says at once when there is nothing to resume
    if save_state is not None:
        check_file(save_state, "--save-state")
    with folder.lock():
        made, how, state = prepare_lesson(terminal, loaded, on, options, folder.path)
        target = prepare(terminal, options, made.package, on, folder)
        with learning_bar(terminal, options, folder) as bar:
            result = play(made, options, target, folder, tuned=how, state=state, watch=bar)
    show_result(terminal, folder, result, *render_learning(result))

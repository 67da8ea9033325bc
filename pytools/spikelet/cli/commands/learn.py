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
    DeviceKeyOption,
    FaultsOption,
    FeaturesOption,
    JsonOption,
    MachineOption,
    PackageArg,
    PortOption,
    ResumeOption,
    SessionOption,
    ToolchainOption,
    TrustedOption,
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
SaveDeltaOption = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH", parser=given_path, show_default=False,
        help="Keep what finetune learned of head and biases there, for `run --delta`.",
    ),
]  # fmt: skip
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
    save_delta: SaveDeltaOption = None,
    baselines: BaselinesOption = True,
    port: PortOption = None,
    baud: BaudOption = None,
    machine: MachineOption = "auto",
    toolchain: ToolchainOption = "auto",
    resume: ResumeOption = False,
    session: SessionOption = None,
    trusted: TrustedOption = None,
    device_key: DeviceKeyOption = None,
    faults: FaultsOption = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Let a device learn a stream of labelled samples, compared with golden after every block."""
    with loading(as_json):
        from spikelet.api import Package
        from spikelet.cli.learning import learning
        from spikelet.cli.render_learning import render_learning
        from spikelet.cli.streaming import show_session
        from spikelet.cli.terminal import Terminal
        from spikelet.run.asked import session_folder
        from spikelet.run.learning.learn_options import LearnOptions
    terminal = Terminal.open(as_json)
    options = LearnOptions(
        board=board_name(board, port), learner=learner, stream=stream, data=data,
        features=features, classes=classes, tune=tuple(tune or ()), tune_on=tune_on, tuned=tuned,
        load_state=load_state, save_state=save_state, save_delta=save_delta, baselines=baselines,
        port=port, baud=baud, machine=machine, toolchain=toolchain, resume=resume, session=session,
        trusted=trusted,
        faults=faults, device_key=device_key,
    )  # fmt: skip
    loaded = Package.load(package, trusted)
    folder = session_folder(options, loaded.graph.name)
    if save_state is not None:
        check_file(save_state, "--save-state")
    if save_delta is not None:
        check_file(save_delta, "--save-delta")
    with learning(terminal, options, package, folder) as watch:
        done = loaded.learn(options, watch=watch)
    show_session(terminal, done, *render_learning(done.result))

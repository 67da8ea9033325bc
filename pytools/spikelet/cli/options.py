"""Arguments and options that several commands take."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from spikelet.cli import completion
from spikelet.cli.places import given_path
from spikelet.errors import UsageError


def application(**more: Any) -> typer.Typer:
    """Without rich in its help, which takes longer to load than all else that help needs."""
    return typer.Typer(
        **{"add_completion": False, "pretty_exceptions_enable": False, **more},
        rich_markup_mode=None,
    )


def not_a_folder(package: Path | None) -> Path | None:
    """A package as it was given; raises UsageError for a folder."""
    if package is not None and package.is_dir():
        raise UsageError(
            f"package {package}: is a folder, not a file",
            "a package is one file, NAME.spk; a recipe's folder is for `spikelet train`",
            "give the file that `spikelet train` wrote",
        )
    return package


PackageArg = Annotated[
    Path,
    typer.Argument(
        metavar="PKG", help="A package, NAME.spk.", show_default=False,
        parser=given_path, callback=not_a_folder, autocompletion=completion.packages,
    ),
]  # fmt: skip
TrustedOption = Annotated[
    Path | None,
    typer.Option(
        metavar="KEY.pub", parser=given_path, show_default=False,
        help="A public key: what is not signed by its holder, or older than what was seen, is "
        "refused before it is read. Default: SPIKELET_TRUSTED, or none.",
    ),
]  # fmt: skip
DeviceKeyOption = Annotated[
    Path | None,
    typer.Option(
        metavar="KEY.pub", parser=given_path, show_default=False,
        help="A public key that the device checks what it is sent with; see SECURITY.md.",
    ),
]  # fmt: skip
PackageOutOption = Annotated[
    Path | None,
    typer.Option("-o", "--out", metavar="PATH", parser=given_path, help="Default: NAME.spk."),
]
DEFAULT_BOARD = "native"
COUNTING_BOARD = "virt-rv32"  # without root or hardware, and it counts instructions
BoardOption = Annotated[
    str | None,
    typer.Option(
        "--board", "-b", show_default=False, autocompletion=completion.boards,
        help=f"A board's name, or its folder. Default: {DEFAULT_BOARD}, this computer.",
    ),
]  # fmt: skip


def board_name(given: str | None, port: str | None = None, default: str = DEFAULT_BOARD) -> str:
    """The board that was given, or the default, which is said on standard error.

    Raises:
        UsageError: no board beside a port, behind which is hardware.
    """
    if given is not None:
        return given
    if port is not None:
        raise UsageError(
            f"--port {port} without --board",
            "what is behind a port has no default",
            "--board NAME, as `spikelet boards` lists them",
        )
    sys.stderr.write(f"--board was not given: {default} is taken\n")
    return default


JsonOption = Annotated[
    bool, typer.Option("--json", help="One JSON object on standard output, nothing else there.")
]
ToolchainOption = Annotated[
    str,
    typer.Option(
        "--toolchain", help="One of the board's toolchains, or auto.",
        autocompletion=completion.toolchains,
    ),
]  # fmt: skip
MachineOption = Annotated[
    str,
    typer.Option(
        "--machine", help="One of the board's machines, or auto.",
        autocompletion=completion.machines,
    ),
]  # fmt: skip
PortOption = Annotated[
    str | None,
    typer.Option(help="Serial port or pyserial URL of a device that was flashed before."),
]
BaudOption = Annotated[
    int | None,
    typer.Option(
        metavar="BAUD", min=1, show_default=False,
        help="Of --port: have device and port change to so many bits a second, once they have met "
        "at the rate of the board's file, which is the default.",
    ),
]  # fmt: skip
FaultsOption = Annotated[
    int | None,
    typer.Option(
        metavar="SEED", min=0, show_default=False,
        help="A bad wire between here and the device: the seed draws what it does to frames.",
    ),
]  # fmt: skip
SeedOption = Annotated[
    int | None,
    typer.Option(help="In place of the recipe's seed.", min=0, max=2**32 - 1),
]
LimitOption = Annotated[
    int | None, typer.Option(help="Only the first samples; at least 1.", show_default=False)
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on where this session broke off.")]
SessionOption = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH", parser=given_path, show_default=False,
        help="The session's folder. Default: one of its own in spikelet-sessions.",
    ),
]  # fmt: skip
KeepOption = Annotated[
    bool,
    typer.Option(
        "--keep-state", help="Neurons go on from one inference to the next (another model)."
    ),
]
ArenaOption = Annotated[
    int | None,
    typer.Option(
        metavar="BYTES", min=1, show_default=False,
        help="Largest arena; the first layers are executed in bands of rows if it takes that.",
    ),
]  # fmt: skip


def check_learning(learn: str | None, given: Mapping[str, object]) -> None:
    """Raise UsageError where an option of --learn is given without it."""
    for option, value in given.items():
        if learn is None and value is not None:
            raise UsageError(
                f"{option} without --learn",
                "nothing is learned",
                f"leave out {option}, or give --learn",
            )


LearnOption = Annotated[
    str | None,
    typer.Option(
        "--learn", metavar="LEARNER", show_default=False,
        help="A learner in it, NAME[,option=value...]; `spikelet learners` lists them.",
        autocompletion=completion.learners,
    ),
]  # fmt: skip
FeaturesOption = Annotated[
    str | None,
    typer.Option(
        metavar="TENSOR", show_default=False,
        help="What the learner reads. Default: what the last layer with weights reads.",
    ),
]  # fmt: skip
ClassesOption = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, max=32767, show_default=False,
        help="Classes that the learner tells apart. Default: as many as the data has.",
    ),
]  # fmt: skip
LearnDataOption = Annotated[
    str | None,
    typer.Option(
        "--data", metavar="DATA", show_default=False,
        help="What the learner is fitted on: an .npz file or a data set. Default: the model's.",
    ),
]  # fmt: skip

"""`spikelet build`: the image of a package for a board."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spikelet.board import find_board
from spikelet.cli.bands import in_bands
from spikelet.cli.options import (
    ArenaOption,
    BoardOption,
    ClassesOption,
    FeaturesOption,
    JsonOption,
    LearnDataOption,
    LearnOption,
    PackageArg,
    ToolchainOption,
    check_learning,
)
from spikelet.cli.places import check_folder, given_path
from spikelet.cli.shown import build_rows
from spikelet.cli.terminal import Terminal, facts
from spikelet.package import Package
from spikelet.run import make


def command(
    package: PackageArg,
    board: BoardOption,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            metavar="PATH",
            parser=given_path,
            help="Default: spikelet-build/MODEL-BOARD.",
        ),
    ] = None,
    toolchain: ToolchainOption = "auto",
    arena: ArenaOption = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="A trace build: a host may ask for every layer.")
    ] = False,
    learn: LearnOption = None,
    features: FeaturesOption = None,
    classes: ClassesOption = None,
    data: LearnDataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Generate the C and build the image; flash, RAM and stack of it.

    With --learn the image holds the learner; `spikelet learn` with the same options knows it.
    """
    terminal = Terminal.open(as_json)
    check_learning(learn, {"--features": features, "--classes": classes, "--data": data})
    loaded, target = Package.load(package), find_board(board)
    loaded = in_bands(terminal, loaded, arena, target)
    needed: dict[str, object] = {}
    if learn is not None:
        from spikelet.cli.learning_shown import plan_rows
        from spikelet.cli.lesson import taught_by

        taught = taught_by(loaded, learn, features, classes, data, target)
        loaded, needed = taught.package, plan_rows(taught.plan)
    kind = (f"-{learn.partition(',')[0]}" if learn else "") + ("-trace" if layers else "")
    out = out or Path("spikelet-build") / f"{loaded.graph.name}-{target.name}{kind}"
    check_folder(out)
    with terminal.err.status("building"):
        built = make(loaded, target, out, toolchain=toolchain, trace=layers)
    sizes = built.facts()
    memory = sizes["memory"] or {}
    terminal.result(
        {
            "model": loaded.graph.name,
            "package_sha256": loaded.sha256,
            "stack_reserved_bytes": memory.get("stack_reserved_bytes"),
            **sizes,
            **({"learning": loaded.manifest["learning"]} if learn is not None else {}),
        },
        facts(
            f"{loaded.graph.name} for {target.name}",
            {
                "image": built.firmware.elf,
                "toolchain": sizes["toolchain"] + (", trace build" if layers else ""),
                **build_rows(sizes),
                **needed,
                "sha256": loaded.sha256,
            },
        ),
    )

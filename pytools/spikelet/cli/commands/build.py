"""`spikelet build`: the image of a package for a board."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spikelet.cli import loading
from spikelet.cli.options import (
    ArenaOption,
    BoardOption,
    ClassesOption,
    FeaturesOption,
    JsonOption,
    KeepOption,
    LearnDataOption,
    LearnOption,
    PackageArg,
    ToolchainOption,
    TrustedOption,
    application,
    board_name,
    check_learning,
)
from spikelet.cli.places import check_folder, given_path

app = application()

FolderOption = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--out",
        metavar="PATH",
        parser=given_path,
        help="Default: spikelet-build/MODEL-BOARD.",
    ),
]
LayersOption = Annotated[
    bool, typer.Option("--layers", help="A trace build: a host may ask for every layer.")
]
SelfTestOption = Annotated[
    bool,
    typer.Option(
        "--self-test/--no-self-test",
        help="With --learn, or places for deltas: golden samples that the device runs when it "
        "boots and commits.",
    ),
]


@app.command("build")
def command(
    package: PackageArg,
    board: BoardOption = None,
    out: FolderOption = None,
    toolchain: ToolchainOption = "auto",
    arena: ArenaOption = None,
    layers: LayersOption = False,
    learn: LearnOption = None,
    features: FeaturesOption = None,
    classes: ClassesOption = None,
    data: LearnDataOption = None,
    keep_state: KeepOption = False,
    self_test: SelfTestOption = True,
    trusted: TrustedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Generate the C and build the image; flash, RAM and stack of it.

    With --learn the image holds the learner; `spikelet learn` with the same options knows it.
    """
    with loading(as_json):
        from spikelet.api import Package
        from spikelet.board import find_board
        from spikelet.cli.render import build_rows
        from spikelet.cli.streaming import TerminalWatch
        from spikelet.cli.terminal import Terminal, facts
        from spikelet.keep_state import if_asked
        from spikelet.run import image_folder
    terminal = Terminal.open(as_json)
    check_learning(learn, {"--features": features, "--classes": classes, "--data": data})
    target = find_board(board_name(board))
    loaded = if_asked(Package.load(package, trusted), keep_state)
    if arena is not None:
        loaded = loaded.with_arena(arena, target, TerminalWatch(terminal))
    needed: dict[str, object] = {}
    if learn is not None:
        with loading(as_json):
            from spikelet.cli.render_learning import plan_rows
        loaded = loaded.with_learner(learn, data, classes=classes, features=features, board=target)
        needed = plan_rows(loaded.learning_plan(target))
    check_folder(out := out or image_folder(loaded, target, layers))
    with terminal.err.status("building"):
        built = loaded.build(target, out, toolchain=toolchain, layers=layers, self_test=self_test)
    sizes = built.facts()
    result = {
        "model": loaded.graph.name,
        "package_sha256": loaded.sha256,
        "stack_reserved_bytes": (sizes["memory"] or {}).get("stack_reserved_bytes"),
        **sizes,
        **({"learning": loaded.manifest["learning"]} if learn is not None else {}),
    }
    rows = {
        "image": built.firmware.elf,
        "toolchain": sizes["toolchain"] + (", trace build" if layers else ""),
        **build_rows(sizes),
        "  deepest": ", ".join(f"{name} {size}" for name, size in sizes["stack_chain"]) or None,
        **needed,
        "sha256": loaded.sha256,
    }
    terminal.result(result, facts(f"{loaded.graph.name} for {target.name}", rows))

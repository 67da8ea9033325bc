"""`spikelet build`: the image of a package for a board."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spikelet.cli import loading
from spikelet.cli.options import (
    ArenaOption,
    BoardOption,
    ClassesOption,
    DeviceKeyOption,
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

if TYPE_CHECKING:
    from spikelet.package import Package

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
McubootOption = Annotated[
    Path | None,
    typer.Option(
        metavar="KEY", parser=given_path, show_default=False,
        help="For a board that MCUboot starts: linked for its slot, signed with this private key "
        "by imgtool. firmware.signed.bin and .hex.",
    ),
]  # fmt: skip
VersionOption = Annotated[
    str,
    typer.Option(metavar="X.Y.Z", help="With --mcuboot: of the image; it never goes back."),
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
    device_key: DeviceKeyOption = None,
    mcuboot: McubootOption = None,
    image_version: VersionOption = "1.0.0",
    as_json: JsonOption = False,
) -> None:
    """Generate the C and build the image; flash, RAM and stack of it.

    With --learn the image holds the learner; `spikelet learn` with the same options knows it.
    """
    with loading(as_json):
        from spikelet.api import Package
        from spikelet.board import find_board
        from spikelet.board.mcuboot import in_slot, sign_image
        from spikelet.cli.render import build_rows
        from spikelet.cli.streaming import TerminalWatch
        from spikelet.cli.terminal import Terminal, facts
        from spikelet.keep_state import if_asked
        from spikelet.run import image_folder
    terminal = Terminal.open(as_json)
    check_learning(learn, {"--features": features, "--classes": classes, "--data": data})
    target = find_board(board_name(board))
    target = target if mcuboot is None else in_slot(target)
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
        built = loaded.build(
            target, out, toolchain=toolchain, layers=layers, self_test=self_test,
            device_key=device_key,
        )  # fmt: skip
    signed = None if mcuboot is None else sign_image(built.firmware, mcuboot, image_version)
    result = _result(loaded, built.facts(), signed, device_key, learn is not None)
    rows = {**_rows(result, layers, build_rows), **needed, "sha256": loaded.sha256}
    terminal.result(result, facts(f"{loaded.graph.name} for {target.name}", rows))


def _result(
    package: Package,
    sizes: Mapping[str, Any],
    signed: Path | None,
    device_key: Path | None,
    learns: bool,
) -> dict[str, Any]:
    return {
        "model": package.graph.name,
        "package_sha256": package.sha256,
        "stack_reserved_bytes": (sizes["memory"] or {}).get("stack_reserved_bytes"),
        "signed": None if signed is None else str(signed),
        "device_key": None if device_key is None else str(device_key),
        **sizes,
        **({"learning": package.manifest["learning"]} if learns else {}),
    }


def _rows(
    result: Mapping[str, Any], layers: bool, sizes: Callable[[Mapping[str, Any]], dict[str, object]]
) -> dict[str, object]:
    key, chain = result["device_key"], result["stack_chain"]
    return {
        "image": result["elf"],
        "signed": result["signed"],
        "takes over": key and f"deltas that the holder of {key} has signed",
        "toolchain": result["toolchain"] + (", trace build" if layers else ""),
        **sizes(result),
        "  deepest": ", ".join(f"{name} {size}" for name, size in chain) or None,
    }

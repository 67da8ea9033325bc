"""`spikelet export`: a package as a C library for other firmware, or as an ONNX file."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spikelet.cli import loading
from spikelet.cli.completion import boards, targets
from spikelet.cli.options import (
    ClassesOption,
    DeviceKeyOption,
    FeaturesOption,
    JsonOption,
    KeepOption,
    LearnDataOption,
    LearnOption,
    PackageArg,
    TrustedOption,
    application,
    check_learning,
)
from spikelet.cli.places import check_file, given_path
from spikelet.errors import UsageError

if TYPE_CHECKING:
    from spikelet.codegen.library import Library

app = application()

FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--c",
        metavar="DIR|NAME.zip",
        parser=given_path,
        help="Write a C library into this folder, or as a zip, as Arduino adds it.",
    ),
]
TargetOption = Annotated[
    str | None,
    typer.Option(
        "--target",
        metavar="CORE",
        help="Of the library: host, portable, cortex-m0 to cortex-m85, rv32ec, rv32imac, ...",
        autocompletion=targets,
    ),
]
BoardCoreOption = Annotated[
    str | None,
    typer.Option(
        "--board",
        help="Instead of --target: a board's core, measured on its machine.",
        autocompletion=boards,
    ),
]
NameOption = Annotated[
    str | None,
    typer.Option("--name", help="What all names of the library begin with. Default: the model's."),
]
InputsOption = Annotated[
    bool, typer.Option("--keep-inputs", help="An inference leaves its inputs as they were.")
]


@app.command("export")
def command(
    package: PackageArg,
    c: FolderOption = None,
    target: TargetOption = None,
    board: BoardCoreOption = None,
    name: NameOption = None,
    keep_inputs: InputsOption = False,
    keep_state: KeepOption = False,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="Write an ONNX file. NAME.onnx.", parser=given_path),
    ] = None,
    learn: LearnOption = None,
    features: FeaturesOption = None,
    classes: ClassesOption = None,
    data: LearnDataOption = None,
    trusted: TrustedOption = None,
    device_key: DeviceKeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a package as a C library for other people's firmware, or as an ONNX file.

    With --c and --learn the library learns.
    """
    if c is None:
        asked = {"--target": target, "--board": board, "--name": name, "--learn": learn}
        _check_unasked({**asked, "--device-key": device_key, **_flags(keep_inputs, keep_state)})
        _onnx(package, out, trusted, as_json)
        return
    if out is not None:
        raise UsageError("-o and --c are two formats", next="give one of them")
    with loading(as_json):
        from spikelet.api import Package
        from spikelet.board import find_board
        from spikelet.cli.terminal import Terminal, facts
        from spikelet.keep_state import if_asked
    terminal = Terminal.open(as_json)
    check_learning(learn, {"--features": features, "--classes": classes, "--data": data})
    if (target is None) == (board is None):
        raise UsageError(
            "a C library is made for one core" if target is None else "--target and --board",
            next="give --target, as cortex-m4, rv32imac, host or portable; or --board",
        )
    on = None if board is None else find_board(board)
    loaded = if_asked(Package.load(package, trusted), keep_state)
    given: dict[str, Any] = {"name": name, "keep_inputs": keep_inputs, "samples": loaded.vectors}
    given["device_key"] = device_key
    if learn is not None:
        loaded = loaded.with_learner(learn, data, classes=classes, features=features, board=on)
    made = loaded.export_c(c, on or str(target), **given)
    result = _result(package, c, loaded.sha256, made)
    terminal.result(result, facts(str(c), _rows(loaded.graph.name, result)))


def _result(package: Path, folder: Path, sha256: str, made: Library) -> dict[str, Any]:
    return {
        "package": str(package),
        "package_sha256": sha256,
        "folder": str(folder),
        "name": made.prefix,
        "target": str(made.target),
        "arena_bytes": made.arena_bytes,
        "learned_bytes": made.learned_bytes,
        "constant_bytes": made.constant_bytes,
        "files": made.files,
    }


def _flags(keep_inputs: bool, keep_state: bool) -> dict[str, object]:
    return {"--keep-inputs": keep_inputs or None, "--keep-state": keep_state or None}


def _check_unasked(options: Mapping[str, object]) -> None:
    given = [option for option, value in options.items() if value is not None]
    if given:
        raise UsageError(f"{given[0]} goes with --c", next="name the library's folder: --c DIR")


def _rows(model: str, result: Mapping[str, Any]) -> dict[str, object]:
    from spikelet.cli.terminal import ToCopy, number

    sizes = {key: number(result[f"{key}_bytes"], "B") for key in ("arena", "learned", "constant")}
    return {
        "model": model,
        "header": f"include/{result['name']}.h",
        "core": result["target"],
        "RAM": f"arena {sizes['arena']}, learned {sizes['learned']}",
        "flash": f"constants {sizes['constant']}",
        "try it": None if result["folder"].lower().endswith(".zip") else ToCopy(_trial(result)),
        "package": result["package_sha256"],
    }


def _trial(made: Mapping[str, Any]) -> str:
    """The commands that build the library, and its example where this computer can run that."""
    here = made["target"] in ("host", "portable")
    folder = Path(made["folder"])
    source, build = shlex.quote(str(folder)), shlex.quote(str(folder / "build"))
    run = f" && {shlex.quote(str(folder / 'build' / made['name']))}_example"
    cross = f" -DCMAKE_TOOLCHAIN_FILE=FILE -D{made['name'].upper()}_EXAMPLE=OFF"
    lines = f"cmake -S {source} -B {build}{'' if here else cross} && cmake --build {build}"
    if here:
        return lines + run
    return (
        f'{lines}\nFILE: the toolchain file of your board. docs/firmware.md, "On a bare core", has '
        "one with linker script and start-up, and runs the example in QEMU"
    )


def _onnx(package: Path, out: Path | None, trusted: Path | None, as_json: bool) -> None:
    with loading(as_json):
        from spikelet.api import Package
        from spikelet.cli.terminal import Terminal, facts, number
        from spikelet.frontends.onnx.export import OPSET
    terminal = Terminal.open(as_json)
    loaded = Package.load(package, trusted)
    out = out or Path(f"{loaded.graph.name}.onnx")
    if out.suffix.lower() != ".onnx":
        raise UsageError(
            f"{out}: {out.suffix or 'no suffix'} is not a format that can be written",
            next="formats: .onnx; a C library: --c DIR",
        )
    check_file(out)
    size = loaded.export_onnx(out)
    result = {
        "package": str(package),
        "package_sha256": loaded.sha256,
        "file": str(out),
        "bytes": size,
        "opset": OPSET,
        "layers": len(loaded.graph.nodes),
    }
    rows = {
        "model": loaded.graph.name,
        "layers": len(loaded.graph.nodes),
        "form": f"QDQ, opset {OPSET}, images as (N, C, H, W), float at both ends",
        "size": number(size, "B"),
        "package": loaded.sha256,
    }
    terminal.result(result, facts(str(out), rows))

"""Flashing as `flash` and `run --flash` show it."""

from __future__ import annotations

import shlex
from pathlib import Path

from rich.console import RenderableType
from rich.text import Text

from spikelet.board import Board, Flashing, flash
from spikelet.cli.terminal import Terminal, facts
from spikelet.errors import UsageError
from spikelet.package import Package
from spikelet.run import make

ELF = b"\x7fELF"


def image_of(
    given: Path, board: Board, out: Path | None, toolchain: str, layers: bool, terminal: Terminal
) -> Path:
    """The image that was given, or that of a package, built now."""
    if _is_elf(given):
        if out is not None or layers or toolchain != "auto":
            raise UsageError(
                f"{given} is an image, so nothing is built",
                "--out, --layers and --toolchain are for packages",
                "leave them out, or give the package",
            )
        return given
    package = Package.load(given)
    name = f"{package.graph.name}-{board.name}{'-trace' if layers else ''}"
    folder = out or Path("spikelet-build") / name
    with terminal.err.status("building"):
        return make(package, board, folder, toolchain=toolchain, trace=layers).firmware.elf


def _is_elf(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(ELF)) == ELF
    except OSError:
        return False  # told by the package


def call_tool(terminal: Terminal, planned: Flashing) -> None:
    """Flash; what the tool says goes to standard error."""
    for command in planned.commands:
        terminal.note(_line(planned, command), "bold")
    flash(planned, lambda line: terminal.note(line, "dim"))


def render_flashing(planned: Flashing, flashed: bool) -> RenderableType:
    """What was done, or would be."""
    rows: dict[str, object] = {"tool": planned.tool, **planned.files}
    rows["would call" if not flashed else "called"] = Text(
        "\n".join(_line(planned, command) for command in planned.commands)
    )
    rows["missing"] = Text(planned.missing, "bold") if planned.missing else None
    return facts(f"{planned.board}: {'flashed' if flashed else 'not flashed'}", rows)


def _line(planned: Flashing, command: tuple[str, ...]) -> str:
    return shlex.join(command if len(command) != 2 or planned.tool != "copy" else ("cp", *command))

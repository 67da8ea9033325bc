"""Flashing as `flash` and `run --flash` show it."""

from __future__ import annotations

from pathlib import Path

from rich.console import RenderableType

from spikelet.api import Package
from spikelet.board import Board, Flashing
from spikelet.cli.terminal import Terminal, ToCopy, facts
from spikelet.errors import UsageError
from spikelet.signing import demanded

ELF = b"\x7fELF"


def image_of(
    given: Path,
    board: Board,
    out: Path | None,
    toolchain: str,
    layers: bool,
    terminal: Terminal,
    keys: tuple[Path | None, Path | None] = (None, None),
) -> Path:
    """The image that was given, or that of a package, built now.

    `keys`: that the package must be signed by; that the image is built with.
    """
    trusted, device_key = keys
    if _is_elf(given):
        if out is not None or layers or toolchain != "auto" or device_key is not None:
            raise UsageError(
                f"{given} is an image, so nothing is built",
                "--out, --layers, --toolchain and --device-key are for packages",
                "leave them out, or give the package",
            )
        if demanded(trusted) is not None:
            raise UsageError(
                f"{given} is an image, whose signature is not checked here",
                "--trusted, or SPIKELET_TRUSTED, asks for signed packages",
                "give the package, or leave the key out",
            )
        return given
    package = Package.load(given, trusted)
    with terminal.err.status("building"):
        return package.build(
            board, out, toolchain=toolchain, layers=layers, device_key=device_key
        ).firmware.elf


def _is_elf(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(ELF)) == ELF
    except OSError:
        return False  # told by the package


def render_flashing(planned: Flashing, flashed: bool) -> RenderableType:
    """What was done, or would be."""
    rows: dict[str, object] = {"tool": planned.tool, **planned.files}
    rows["would call" if not flashed else "called"] = ToCopy("\n".join(planned.lines))
    rows["missing"] = ToCopy(planned.missing) if planned.missing else None
    return facts(f"{planned.board}: {'flashed' if flashed else 'not flashed'}", rows)

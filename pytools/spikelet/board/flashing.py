"""An image onto a board: the files that the board's tool reads, and the calls of the tool."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from spikelet.board.flash_spec import COPY, FILES, FlashSpec, FlashTool
from spikelet.board.image_files import flash_content, write_image
from spikelet.board.spec import BOARD_FILE, Board
from spikelet.board.toolchain import ToolMissing, apt_install
from spikelet.errors import LinkDead, UsageError

LAST_LINES = 12  # of a tool that failed
PORT_S = 10.0  # until a port is back after its device was reset
MOUNTS = ("/media", "/run/media", "/Volumes")  # where drives are, themselves or below a user


class FlashFailed(LinkDead):
    """The tool did not write the flash: no device, or one that does not answer."""


@dataclass(frozen=True)
class Flashing:
    """How an image comes onto a board.

    Attributes:
        board: its name.
        tool: which of the board's tools.
        commands: command lines, one after the other; of `copy` the file and the drive.
        files: by format, what was written for the tool.
        missing: the command that installs what is missing; empty where nothing is.
    """

    board: str
    tool: str
    commands: tuple[tuple[str, ...], ...]
    files: dict[str, Path]
    missing: str = ""

    @property
    def lines(self) -> list[str]:
        """The command lines, as one would type them."""
        copies = self.tool == COPY
        return [shlex.join(("cp", *command) if copies else command) for command in self.commands]


def drive(label: str) -> Path | None:
    """Where the USB drive of that label is mounted; None where it is not."""
    for room in map(Path, MOUNTS):
        for place in (room / label, *sorted(room.glob(f"*/{label}"))):
            with contextlib.suppress(OSError):
                if place.is_dir():
                    return place
    return None


def find_program(program: str) -> str | None:
    """A tool on the PATH, or beside this Python, where pip puts it."""
    return shutil.which(program) or shutil.which(program, path=str(Path(sys.executable).parent))


def how_to_get(name: str, spec: FlashSpec) -> str:
    """The command that mends a tool that cannot be used; empty where it can."""
    tool = spec.tool(name)
    if not tool.program:
        return "" if drive(spec.chip) else f"plug in the board, whose drive is {spec.chip}"
    if find_program(tool.program):
        return ""
    known = {"python": sys.executable, "apt": apt_install()}
    return tool.install.format(**known) or f"install {tool.program}"


def choose_tool(board: Board, name: str = "auto") -> str:
    """One of the board's tools by its name, or the first that can be used, or the first.

    Raises:
        UsageError: the board has none, or none of that name.
    """
    if not board.flash:
        machines = ", ".join(board.machines)
        raise UsageError(
            f"board {board.name} is run on this computer, there is no flash to write"
            if machines
            else f"board {board.name} has no [flash.TOOL]",
            "of a chip of this kind, a board folder of your own names the tool"
            if machines
            else f"{board.folder / BOARD_FILE} names no tool",
            f"`spikelet run --board {board.name}` starts it"
            if machines
            else "boards/README.md says what [flash.TOOL] holds",
        )
    if name == "auto":
        usable = [n for n, spec in board.flash.items() if not how_to_get(n, spec)]
        return [*usable, *board.flash][0]
    if name not in board.flash:
        raise UsageError(
            f"board {board.name} is not flashed with {name!r}; it has: {', '.join(board.flash)}"
        )
    return name


def plan_flash(
    elf: Path,
    board: Board,
    tool: str = "auto",
    port: str | None = None,
    more: Sequence[str] = (),
) -> Flashing:
    """Write the files that the tool reads, beside the image, and say how it is called.

    Args:
        elf: the image.
        board: that it is for.
        tool: one of the board's, or auto.
        port: what {port} stands for; of `copy` the drive, where it is not found by its label.
        more: arguments that the tool is given as well.

    Raises:
        UsageError: the board has no such tool, or the image is not the board's, or a port is
            missing.
    """
    name = choose_tool(board, tool)
    spec = board.flash[name]
    chosen = spec.tool(name)
    content = flash_content(elf, board)
    base = board.memory.flash.base if board.memory else 0
    files = {"elf": elf}
    for kind in FILES[1:]:
        if kind in chosen.placeholders:
            files[kind] = elf.with_suffix(f".{kind}")
            write_image(content, kind, files[kind], base, spec.family)
    if "port" in chosen.placeholders and not port:
        raise UsageError(
            f"{name} of board {board.name} needs --port",
            "it flashes over the serial port",
            "give the port of the board, such as --port /dev/ttyUSB0",
        )
    values = {kind: str(path) for kind, path in files.items()}
    values |= {"image": str(elf.with_suffix(".image"))}
    values |= {"port": port or "", "chip": spec.chip, "base": f"{base:#x}"}
    missing = how_to_get(name, spec)
    if not chosen.program:
        # A --port that is a folder is the drive itself.
        given = Path(port) if port else None
        if given is not None and not given.is_dir():
            raise UsageError(
                f"--port {port} is no folder",
                f"{name} copies the image to the drive of board {board.name}",
                "give the folder at which the drive is mounted, or leave out --port: the drive is "
                f"found by its label, {spec.chip}",
            )
        place, missing = (given, "") if given else (drive(spec.chip), missing)
        copied = (*(word.format(**values) for word in chosen.arguments), str(place or spec.chip))
        return Flashing(board.name, name, (copied,), files, missing)
    return Flashing(board.name, name, _calls(chosen, values, more), files, missing)


def _calls(
    tool: FlashTool, values: dict[str, str], more: Sequence[str]
) -> tuple[tuple[str, ...], ...]:
    program = find_program(tool.program) or tool.program
    calls = [arguments for arguments in (tool.arguments, tool.then) if arguments]
    return tuple((program, *(word.format(**values) for word in c), *more) for c in calls)


def flash(planned: Flashing, on_line: Callable[[str], None] | None = None) -> None:
    """Call the tool.

    Args:
        planned: what to do.
        on_line: told each line that the tool writes.

    Raises:
        ToolMissing: it is not installed.
        FlashFailed: it ended with an error.
    """
    if planned.missing:
        raise ToolMissing(
            f"{planned.tool}, which flashes board {planned.board}, cannot be used",
            "the board is not plugged in, or its drive is not mounted"
            if planned.tool == COPY
            else "it is not installed, or not on the PATH",
            planned.missing,
        )
    for command in planned.commands:
        if planned.tool == COPY:
            _copy(Path(command[0]), Path(command[1]))
        else:
            _call(planned, command, on_line or (lambda line: None))


def _copy(file: Path, place: Path) -> None:
    try:
        with (place / file.name).open("wb") as target:
            target.write(file.read_bytes())
            target.flush()
            os.fsync(target.fileno())
    except OSError as error:
        raise FlashFailed(
            f"{file} cannot be copied to {place}: {error.strerror or error}",
            "the drive is full, read-only, or was unplugged",
            "plug the board in again, and repeat",
        ) from error


def _call(planned: Flashing, command: tuple[str, ...], on_line: Callable[[str], None]) -> None:
    last: deque[str] = deque(maxlen=LAST_LINES)
    try:
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace",
        ) as process:  # fmt: skip
            for line in process.stdout or ():
                if text := line.rstrip():
                    last.append(text)
                    on_line(text)
        code = process.returncode
    except OSError as error:
        code, last = 1, deque([f"{error.strerror or error}"])
    if code != 0:
        words = "".join(f"\n    {line}" for line in last)
        raise FlashFailed(
            f"{planned.tool} did not flash board {planned.board}: exit code {code}{words}",
            "no board is connected, it is held by another program, or it is another part",
            f"call it by hand: {shlex.join(command)}",
        )


def await_port(port: str, seconds: float = PORT_S) -> None:
    """Wait for a serial port that went away when its device was reset; URLs are not waited for."""
    until = time.monotonic() + seconds
    while port.startswith("/") and not Path(port).exists() and time.monotonic() < until:
        time.sleep(0.1)

"""Compilers: which of a board's toolchains are on this computer."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

from spikelet.board.spec import Board
from spikelet.errors import UsageError


class ToolMissing(UsageError):
    """A program that this step needs is not installed."""


def zig_path() -> Path | None:
    """The zig of the PyPI package `ziglang`, or the one on the PATH."""
    spec = importlib.util.find_spec("ziglang")
    if spec is not None and spec.origin is not None:
        name = "zig.exe" if sys.platform == "win32" else "zig"
        program = Path(spec.origin).with_name(name)
        if program.is_file():
            return program
    path = shutil.which("zig")
    return Path(path) if path else None


def find_command(command: tuple[str, ...]) -> list[str] | None:
    """The command with its program's full path, or None where the program is missing."""
    path = zig_path() if command[0] == "zig" else shutil.which(command[0])
    return [str(path), *command[1:]] if path else None


def apt_install() -> str:
    """The command that installs a package of the system."""
    if not shutil.which("apt-get"):
        return "with the package manager of this system: install"
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    return f"{'' if root else 'sudo '}apt-get install -y"


def how_to_install(program: str, package: str) -> str:
    """The command that mends a missing program."""
    if program == "zig":
        return f"{sys.executable} -m pip install ziglang"
    return f"make tools    (or: apt-get install {package or program})"


def toolchains(board: Board) -> dict[str, list[str]]:
    """The board's toolchains that are installed: name to command, in order of preference."""
    commands = {name: find_command(spec.command) for name, spec in board.toolchains.items()}
    return {name: command for name, command in commands.items() if command is not None}


def choose_toolchain(board: Board, name: str = "auto") -> tuple[str, list[str]]:
    """A toolchain by name, or the first that is installed.

    Raises:
        UsageError: the board knows no toolchain of that name.
        ToolMissing: it is not installed, or none is.
    """
    there = toolchains(board)
    if name == "auto":
        if there:
            return next(iter(there.items()))
        raise ToolMissing(
            f"no compiler for board {board.name}: none of {', '.join(board.toolchains)} is there",
            "the environment was installed without ziglang",
            how_to_install("zig", ""),
        )
    if name not in board.toolchains:
        raise UsageError(
            f"board {board.name} has no toolchain {name!r}; it has: {', '.join(board.toolchains)}"
        )
    if name not in there:
        spec = board.toolchains[name]
        raise ToolMissing(
            f"toolchain {name!r} of board {board.name} needs {spec.command[0]}, which is missing",
            "it is not installed, or not on the PATH",
            how_to_install(spec.command[0], spec.package),
        )
    return name, there[name]

"""Where a command is asked to write: checked before any work, so that no work is lost."""

from __future__ import annotations

import tempfile
from pathlib import Path

import typer

from spikelet.errors import UsageError


def given_path(text: str | Path) -> Path:
    """A path of the command line; an empty one is a mistake, not the current folder."""
    if not str(text).strip():
        raise typer.BadParameter("the path is empty")
    return Path(text)


def check_file(path: Path, option: str = "-o") -> None:
    """Make sure that a file can be written; folders above it may still be missing.

    Args:
        path: of the file.
        option: that gave it, for errors.

    Raises:
        UsageError: it is a folder, lies below a file, or cannot be written.
    """
    if path.is_dir():
        raise UsageError(
            f"{path}: is a folder, not a file",
            "the name of the file is missing",
            f"give a file with {option}, for instance {path / 'NAME'}{path.suffix}",
        )
    if path.is_file():
        try:
            path.open("r+b").close()
        except OSError as error:
            raise _unwritable(path, path, error, option) from error
        return
    if not path.exists():
        check_folder(path.parent, option)


def check_folder(path: Path, option: str = "-o") -> None:
    """Make sure that files can be written in a folder; it need not exist yet.

    Args:
        path: of the folder.
        option: that gave it, for errors.

    Raises:
        UsageError: it is a file, lies below one, or cannot be written.
    """
    there = path
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise UsageError(
            f"{path}: {there} is a file, not a folder" if there != path else
            f"{path}: is a file, not a folder",
            "a file of that name stands in the way",
            f"choose another place with {option}",
        )  # fmt: skip
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        raise _unwritable(path, there, error, option) from error


def _unwritable(path: Path, there: Path, error: OSError, option: str) -> UsageError:
    where = "" if there == path else f" in {there}"
    return UsageError(
        f"{path}: cannot be written{where} ({error.strerror or error})",
        "it belongs to another user, its file system is read-only, or the disk is full",
        f"choose another place with {option}",
    )

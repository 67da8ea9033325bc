"""Standard output and standard error that may be full, closed, or unable to show a character."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO, cast

from spikelet.errors import SpikeletError


class OutputError(SpikeletError):
    """Standard output cannot be written."""

    exit_code = 2


class OutputClosed(OutputError):
    """Whoever read standard output has gone; the exit code is that of SIGPIPE in a shell."""

    exit_code = 141


class Interrupted(SpikeletError):
    """Ctrl-C. Exit code 130, as shells have it for SIGINT."""

    exit_code = 130

    def __init__(self, what: str = "interrupted", cause: str = "", next: str = "") -> None:
        super().__init__(what, cause, next)


class _Guarded:
    """A stream whose failure is told once; what is written after it is thrown away.

    Args:
        stream: where text goes.
        told: whether a failure raises OutputError; without it the text is lost in silence.
    """

    def __init__(self, stream: TextIO, told: bool) -> None:
        self._stream = stream
        self._told = told

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write text."""
        if text != "":  # the probe of a library, which swallows what comes of it
            self._guard(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        """Hand over what is buffered."""
        self._guard(self._stream.flush)

    def _guard(self, call: Callable[..., object], *arguments: object) -> None:
        try:
            call(*arguments)
        except OSError as error:
            self._discard()
            if not self._told:
                return
            if isinstance(error, BrokenPipeError):
                raise OutputClosed("the reader of the output has gone") from None
            raise OutputError(
                f"standard output cannot be written: {error.strerror or error}",
                "a full disk, or a quota",
                "send the output to another place",
            ) from error

    def _discard(self) -> None:
        """Send the rest to nowhere: the interpreter flushes once more when it ends."""
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


@contextlib.contextmanager
def guard_streams() -> Iterator[None]:
    """Standard output and error for the time of a command; see `_Guarded`."""
    before = sys.stdout, sys.stderr
    out, err = (_open(stream) for stream in before)
    sys.stdout = cast(TextIO, _Guarded(out, told=True))
    sys.stderr = cast(TextIO, _Guarded(err, told=False))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _open(stream: TextIO | None) -> TextIO:
    if stream is None:  # closed by the shell, as by `>&-`
        return Path(os.devnull).open("w")
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None and stream.errors not in ("replace", "backslashreplace"):
        reconfigure(errors="replace")
    return stream

"""The command line: one thin command a file, and the only place that prints.

What a command shows goes to standard output, or with `--json` one JSON object and nothing else;
progress, logs and errors go to standard error. Exit codes: 0 good, 1 the device disagreed or a
stated bar was missed, 2 bad usage or bad input, 3 no device or the link died, 70 a defect of
Spikelet, 130 interrupted by Ctrl-C with everything obtained recorded, 141 the reader of standard
output has gone. Output that cannot be written for another reason is 2.

Nothing heavy is imported here, in `app`, or at the top of a command's file: help and version are
shown at once, and Ctrl-C must find `main` in charge when a command loads what it needs.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

EXIT_INTERRUPTED = 130
# What `terminal.fail` tells of Ctrl-C, before it can be loaded.
INTERRUPTED_JSON = b"""{
 "error": {
  "kind": "Interrupted",
  "what": "interrupted",
  "cause": "",
  "next": "",
  "exit_code": 130
 }
}
"""


def main(argv: Sequence[str] | None = None) -> None:
    """The command `spikelet`; ends the process with one of the exit codes above."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    sys.exit(_run(arguments))


def _run(arguments: list[str]) -> int:
    with loading("--json" in arguments):
        from spikelet.cli.app import execute
        from spikelet.cli.output import OutputError, guard_streams
    try:
        with guard_streams():
            try:
                code = execute(arguments)
                sys.stdout.flush()
            except OutputError as error:
                sys.stderr.write(f"error: {error}\n")
                return error.exit_code
            return code
    except KeyboardInterrupt:  # a second one, while the first was told
        return EXIT_INTERRUPTED


@contextmanager
def loading(as_json: bool) -> Iterator[None]:
    """Modules are imported: Ctrl-C ends the process at once.

    A module that is half imported may turn KeyboardInterrupt into another error, or swallow it.
    """
    handler = signal.getsignal(signal.SIGINT)
    ours = threading.current_thread() is threading.main_thread()
    if not ours or handler is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, _leave_json if as_json else _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def _leave(_signal: int, _frame: FrameType | None) -> None:
    os.write(2, b"interrupted\n")
    os._exit(EXIT_INTERRUPTED)


def _leave_json(signal: int, frame: FrameType | None) -> None:
    os.write(1, INTERRUPTED_JSON)
    _leave(signal, frame)

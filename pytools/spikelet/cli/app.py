"""The commands in one application, and what each kind of error is told as."""

from __future__ import annotations

import errno
import os
import re
import shlex
import sys
import traceback
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from spikelet.cli import loading
from spikelet.cli.options import application
from spikelet.cli.output import Interrupted, OutputClosed, OutputError
from spikelet.errors import SpikeletError, UsageError
from spikelet.version import __version__

# Names of files in `commands`, in the order in which help lists them.
COMMANDS = (
    "demo", "train", "import", "export", "allocate", "inspect", "fit", "build", "flash", "run",
    "learn", "adapt", "shorten", "bench", "cycles", "compare", "boards", "models", "learners",
    "doctor", "report", "keygen", "sign",
)  # fmt: skip
EXIT_DEFECT = 70
DEBUG = "SPIKELET_DEBUG"
# A write to a file that is open tells no name.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SCARCE = (errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN)
# The base of typer's usage errors; which module defines it depends on typer's version.
_ClickError: type[Exception] = typer.BadParameter.__mro__[2]


class _Commands(TyperGroup):
    """Loads a command's file when it is asked for."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = dict.fromkeys(COMMANDS)  # type: ignore[assignment]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, or None."""
        if cmd_name not in self.commands:
            return None
        file = "import_" if cmd_name == "import" else cmd_name
        return typer.main.get_command(import_module(f"spikelet.cli.commands.{file}").app)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Each command with its first sentence, whole."""
        helps = {name: self.get_command(ctx, name).help or "" for name in self.commands}
        rows = [(name, " ".join(text.split("\n\n")[0].split())) for name, text in helps.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


app = application(
    name="spikelet",
    cls=_Commands,
    help="Spiking and int8 networks from PyTorch, ONNX and TensorFlow Lite to microcontrollers, "
    "checked bit for bit.",
    epilog="Exit codes: 0 good, 1 the device disagreed or a bar was missed, 2 bad usage or bad "
    "input, 3 no device or the link died, 130 interrupted (nothing recorded is lost), 141 the "
    "reader of the output has gone.",
    no_args_is_help=True,
    add_completion=True,
)


def _version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"spikelet {__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    pass


def execute(arguments: list[str]) -> int:
    """Execute a command line; its exit code. Every error has been told."""
    as_json = "--json" in arguments
    try:
        return _execute(arguments, as_json)
    except OutputError as error:  # met while another error was told as JSON
        return error.exit_code


def _execute(arguments: list[str], as_json: bool) -> int:
    try:
        _check_moved(arguments)
        code = typer.main.get_command(app).main(
            arguments, prog_name="spikelet", standalone_mode=False
        )
        code = code if isinstance(code, int) else 0
        return fail(Interrupted(), as_json) if code == Interrupted.exit_code else code
    except OutputClosed as error:
        return error.exit_code  # the reader has gone: there is nobody to tell
    except SpikeletError as error:
        _trace()
        return fail(error, as_json)
    except (KeyboardInterrupt, typer.Abort):
        return fail(Interrupted(), as_json)
    except _ClickError as error:
        return fail(_usage(error), as_json)
    except Exception as error:
        _trace()
        return fail(_refusal_error(error) or _defect(error), as_json)


def _check_moved(arguments: list[str]) -> None:
    """Name the command that `run --learn` has become; raises UsageError."""
    if arguments[:1] == ["run"] and any(a.partition("=")[0] == "--learn" for a in arguments):
        again = [re.sub("^--learn(?==|$)", "--learner", word) for word in arguments[1:]]
        raise UsageError(
            "spikelet run: --learn is now a command of its own, `spikelet learn`",
            "a script that was written for version 0.1",
            f"`{shlex.join(['spikelet', 'learn', *again])}`",
        )


def fail(error: SpikeletError, as_json: bool) -> int:
    """Say what went wrong; see `terminal.fail`."""
    with loading(as_json):
        from spikelet.cli import terminal
    return terminal.fail(error, as_json)


def _refusal_error(error: Exception) -> SpikeletError | None:
    """What a graph refuses, as an error for a person; None for another error."""
    from spikelet.graph import GraphError

    if not isinstance(error, GraphError):
        return None
    return UsageError(
        str(error),
        "the network is outside of what can be proved to run on a device",
        "`spikelet inspect` shows the layers of a package that does",
    )


def _trace() -> None:
    if os.environ.get(DEBUG):
        traceback.print_exc()


def _usage(error: Exception) -> SpikeletError:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "spikelet"
    text = str(error.format_message()) if hasattr(error, "format_message") else str(error)
    if context is not None and text == context.get_help():  # no arguments at all
        sys.stderr.write(f"{text}\n\n")
        text = f"{path}: no command was given"
    return UsageError(
        f"{path}: {text}" if not text.startswith(path) else text,
        next=f"`{path} --help` lists what there is",
    )


class _Defect(SpikeletError):
    exit_code = EXIT_DEFECT


def _defect(error: Exception) -> SpikeletError:
    if isinstance(error, OSError) and error.errno in _FULL:
        where = f"{error.filename}: " if error.filename is not None else ""
        return UsageError(
            f"{where}{error.strerror}",
            "the disk, a quota or a limit on the size of files is full",
            "make room, or choose another place with -o, --session or TMPDIR; what was recorded "
            "before is whole, and --resume goes on after it",
        )
    if isinstance(error, OSError) and error.errno in _SCARCE:
        return UsageError(
            f"{error.strerror} ({type(error).__name__})",
            "this computer has no more memory, processes or open files for it",
            "end other programs, or raise the limit (ulimit)",
        )
    if isinstance(error, MemoryError):
        return UsageError(
            "out of memory", "the model or the data is too large for this computer",
            "take fewer samples (--limit), or a computer with more memory",
        )  # fmt: skip
    if isinstance(error, OSError) and error.filename is not None:
        return UsageError(
            f"{error.filename}: {error.strerror}",
            "a folder that is missing or not writable",
            "check the path, or choose another with -o or --session",
        )
    return _Defect(
        f"a defect of Spikelet: {type(error).__name__}: {error}",
        next=f"please report it with the command and what {DEBUG}=1 shows",
    )

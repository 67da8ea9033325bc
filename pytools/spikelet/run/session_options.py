"""What a session is asked for: one object a verb, checked when it is made.

`Package.run`, `bench` and `learn` take them. The fields are the options of the verb's command, with
the same names and defaults. So the command line that asks for the same is made from the object,
whatever its options are.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from spikelet.errors import UsageError

if TYPE_CHECKING:
    from spikelet.board import Board

AUTO = "auto"  # the first of a board's machines or toolchains that is installed
SESSIONS = Path("spikelet-sessions")


def command_line(verb: str, package: Path, asked: Any) -> list[str]:
    """The command line that asks for the same as an object whose fields are a verb's options."""
    words = ["spikelet", verb, str(package)]
    for field in fields(asked):
        value = getattr(asked, field.name)
        if field.default is not MISSING and value == field.default:
            continue
        option = field.name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
            continue
        for part in value if isinstance(value, tuple) else (value,):
            words += [f"--{option}", str(part)]
    return words


@dataclass(frozen=True, kw_only=True)
class SessionOptions:
    """What every session is asked for.

    Attributes:
        board: a name, a folder, or one that was read.
        port: serial port or pyserial URL of a device that was flashed before.
        baud: bits a second that the port's line changes to; None for the board's.
        machine: one of the board's, or auto.
        toolchain: one of the board's, or auto.
        session: the session's folder; None for the default, see `place`.
        resume: go on where that session broke off.
        trusted: a public key that package and delta must be signed by; None for that of
            SPIKELET_TRUSTED.
        faults: seed of a bad wire between here and the device; None for none.
        device_key: a public key that the image is built with; or, with a port, that the device must
            have been built with. None for an image without.

    Raises:
        UsageError: options that do not go together.
    """

    VERB: ClassVar[str]

    board: str | Board
    port: str | None = None
    baud: int | None = None
    machine: str = AUTO
    toolchain: str = AUTO
    session: Path | None = None
    resume: bool = False
    trusted: Path | None = None
    faults: int | None = None
    device_key: Path | None = None

    def __post_init__(self) -> None:
        if self.port is None:
            if self.baud is not None:
                raise UsageError(
                    f"--baud {self.baud} without --port",
                    "a machine has no line of its own",
                    "give --port, or leave out --baud",
                )
            return
        if not self.port.strip():
            raise UsageError(
                "--port is empty",
                "a variable of the shell that is not set",
                "give a device file or a pyserial URL",
            )
        builds = {} if self.builds else {"--toolchain": self.toolchain}
        for option, value in {"--machine": self.machine, **builds}.items():
            if value != AUTO:
                raise UsageError(
                    f"{option} {value} beside --port {self.port}",
                    "a device behind a port was flashed before: nothing is built or started for it",
                    f"leave out either --port or {option}",
                )

    @property
    def builds(self) -> bool:
        """Whether the image is built here."""
        return self.port is None

    def place(self, model: str, board: str) -> Path:
        """The session's folder.

        Args:
            model: the package's name.
            board: the board's name.
        """
        return self.session or SESSIONS / f"{model}-{board}"

    def command(self, package: Path) -> list[str]:
        """The command line that asks for this, of the package in that file."""
        named = self if isinstance(self.board, str) else replace(self, board=self.board.name)
        return command_line(self.VERB, package, named)

    def to_resume(self, folder: Path) -> Self:
        """The same, to go on with the session in `folder`."""
        del folder
        return replace(self, resume=True)


@dataclass(frozen=True, kw_only=True)
class RunOptions(SessionOptions):
    """What `spikelet run` is asked for, and what a command that runs sessions asks.

    Attributes:
        data: an .npz file, or events; None for the package's samples.
        limit: how many samples; None for all.
        layers: compare every layer in every step, on a trace build.
        arena: largest arena, bytes; None for any.
        flash: write the board's flash first; then it answers on the port.
        delta: a file with values of an adapter, which the device is sent first.
        bin_us: of events in `data`, how long a step is, in microseconds; None for what the
            package says.
        realtime: recordings that take longer than they lasted are an error.
        keep_state: neurons' states stay from one sample to the next.
    """

    VERB = "run"

    data: Path | None = None
    limit: int | None = None
    layers: bool = False
    arena: int | None = None
    flash: bool = False
    delta: Path | None = None
    bin_us: int | None = None
    keep_state: bool = False
    realtime: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.flash and self.port is None:
            raise UsageError(
                "--flash without --port",
                "a machine is no hardware, and nothing says where the board answers",
                "give the board's --port, or leave out --flash",
            )

    @property
    def builds(self) -> bool:
        """Whether the image is built here."""
        return super().builds or self.flash

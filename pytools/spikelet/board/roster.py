"""Rosters: the devices of a test bench, in a TOML file, each used by one process at a time.

    [devices.left]
    board = "microbit"                       # a name, or a folder beside the roster: "./my-board"
    serial = "9900000051864e45"              # its USB serial number; or port = "/dev/ttyACM0"
    flash = ["pyocd", "load", "--uid", "{serial}", "--target", "nrf51", "{elf}"]
    power_cycle = ["uhubctl", "-l", "1-1", "-p", "2", "-a", "cycle"]

    [devices.emulated]
    board = "virt-rv32"
    machine = "auto"                         # a machine of the board, in place of a port

A command gets {name}, {board}, {port}, {serial} and, where it flashes, {elf}, {hex} and {bin}.
"""

from __future__ import annotations

import shlex
import string
import subprocess
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)

from spikelet.board.flashing import flash, plan_flash
from spikelet.board.held import DeviceHeld, device_place, held, real_port, waited
from spikelet.board.image_files import flash_content, write_image
from spikelet.board.spec import Board, find_board
from spikelet.errors import LinkDead, UsageError
from spikelet.link.errors import PortError
from spikelet.link.transport import usb_port
from spikelet.locks import POLL_S

EXAMPLE = "docs/test-bench.md has an example"
WORDS = ("name", "board", "port", "serial")  # what a command may have in braces
FILES = ("elf", "hex", "bin")  # and the one that flashes
COMMAND_S = 300.0  # that a command of the roster may take
RETURN_S = 10.0  # until a port is back after its device was reset


class CommandFailed(LinkDead):
    """A command of the roster, to flash or to power-cycle, did not end well."""


def _placeholders(words: tuple[str, ...]) -> set[str]:
    """Names in braces; raises ValueError where braces do not match."""
    parsed = (part for word in words for part in string.Formatter().parse(word))
    return {name for _, name, _, _ in parsed if name is not None}


class RosterDevice(BaseModel):
    """One device.

    Attributes:
        name: its key in the file.
        board: what it is.
        port: serial port or pyserial URL.
        serial: USB serial number, in place of a port.
        machine: a machine of the board, in place of a port.
        baud: bits a second that the port's line changes to; None for the board's.
        flash: command line that writes its flash; empty for the board's own tool.
        power_cycle: command line that takes its power away and gives it back.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)
    board: Board
    port: str | None = Field(default=None, min_length=1)
    serial: str | None = Field(default=None, min_length=1)
    machine: str | None = None
    baud: int | None = Field(default=None, gt=0)
    flash: tuple[str, ...] = ()
    power_cycle: tuple[str, ...] = ()
    _roster: str = PrivateAttr(default="")

    @field_validator("flash", "power_cycle")
    @classmethod
    def _check_command(cls, words: tuple[str, ...], info: Any) -> tuple[str, ...]:
        known = (*WORDS, *FILES) if info.field_name == "flash" else WORDS
        if wrong := sorted(_placeholders(words) - set(known)):
            listed = ", ".join(f"{{{word}}}" for word in known)
            raise ValueError(f"{{{wrong[0]}}} is no placeholder; there are {listed}")
        return words

    @model_validator(mode="after")
    def _consistent(self) -> RosterDevice:
        given = [key for key in ("port", "serial", "machine") if getattr(self, key) is not None]
        if len(given) != 1:
            said = f"it has {' and '.join(given)}" if given else "it has none"
            raise ValueError(f"needs one of port, serial and machine; {said}")
        if self.machine is None:
            return self
        there = ("auto", *self.board.machines)
        if self.machine not in there:
            raise ValueError(
                f"board {self.board.name} has no machine {self.machine!r}; it has: "
                + ", ".join(there)
            )
        for key in ("baud", "flash", "power_cycle"):
            if getattr(self, key):
                raise ValueError(f"{key} is of hardware; this device is a machine")
        return self

    @property
    def roster(self) -> str:
        """The file that it stands in."""
        return self._roster

    @property
    def flash_files(self) -> list[str]:
        """Formats that its own flash command reads beside the .elf."""
        return sorted(_placeholders(self.flash) & {"hex", "bin"})

    @property
    def where(self) -> str:
        """How it is reached, for people."""
        if self.machine is not None:
            return f"machine {self.machine}"
        return self.port or f"USB {self.serial}"

    def command(self, words: tuple[str, ...], port: str | None, **more: str) -> list[str]:
        """A command line with its placeholders filled in."""
        values = {
            "name": self.name, "board": self.board.name, "port": port or "",
            "serial": self.serial or "", **more,
        }  # fmt: skip
        return [word.format(**values) for word in words]


@dataclass(frozen=True)
class Roster:
    """The devices of a test bench.

    Attributes:
        file: where they stand.
        devices: in the order of the file.
    """

    file: Path
    devices: tuple[RosterDevice, ...]

    def of_board(self, board: str | None) -> tuple[RosterDevice, ...]:
        """The devices that are this board, or all.

        Raises:
            UsageError: there is none.
        """
        chosen = tuple(d for d in self.devices if board in (None, d.board.name))
        if not chosen:
            there = ", ".join(dict.fromkeys(d.board.name for d in self.devices))
            raise UsageError(
                f"roster {self.file} has no device with board {board}",
                f"its boards are: {there}",
                "choose one of them with --board, or add a device to the roster",
            )
        return chosen


def load_roster(file: Path) -> Roster:
    """Read a roster.

    Raises:
        UsageError: no such file, not TOML, a field that is missing, unknown or out of range, an
            unknown board, or two devices at one place.
    """
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UsageError(f"cannot read the roster {file}: {error}", next=EXAMPLE) from error
    tables = data.pop("devices", None)
    faults = [f"{key}: there is no such table; devices stand in [devices.NAME]" for key in data]
    if not isinstance(tables, dict) or not tables:
        tables, faults = {}, [*faults, "it has no [devices.NAME]"]
    devices: list[RosterDevice] = []
    for name, table in tables.items():
        try:
            devices.append(_device(file, name, table))
        except ValidationError as error:
            faults += [_fault(name, fault) for fault in error.errors()]
    places: dict[str, str] = {}
    for device in devices:
        place = device.name if device.machine else real_port(device.where)
        if (first := places.setdefault(place, device.name)) != device.name:
            faults.append(f"devices.{device.name}: {device.where} is that of {first}, too")
    if faults:
        raise UsageError(
            f"{file} is no roster:\n    " + "\n    ".join(faults),
            "a field is missing, misspelt or out of range",
            EXAMPLE,
        )
    return Roster(file, tuple(devices))


def _device(file: Path, name: str, table: Any) -> RosterDevice:
    if not isinstance(table, dict):
        table = {"table": table}
    board = table.get("board")
    if "board" in table:
        table = {**table, "board": _board(file, name, board) if isinstance(board, str) else None}
    device = RosterDevice.model_validate({**table, "name": name})
    device._roster = str(file.resolve())
    return device


def _board(file: Path, device: str, board: str) -> Board:
    """By its name, or its folder beside the roster."""
    try:
        return find_board(str(file.parent / board) if "/" in board else board)
    except UsageError as error:
        what = f"{file}: devices.{device}.board: {error.what}"
        raise UsageError(what, error.cause, error.next) from error


def _fault(device: str, fault: Mapping[str, Any]) -> str:
    where = ".".join(map(str, ("devices", device, *fault["loc"])))
    if fault["type"] == "extra_forbidden":
        return f"{where}: there is no such field"
    if fault["loc"] == ("board",) and fault["type"] == "model_type":
        return f"{where}: it is a board's name, or its folder"
    return f"{where}: {fault['msg'].removeprefix('Value error, ')}"


@dataclass(frozen=True)
class Reserved:
    """A device that this process holds.

    Attributes:
        device: which.
        port: its port now, None of a machine.
    """

    device: RosterDevice
    port: str | None

    def flash(self, elf: Path) -> Reserved:
        """Write an image by the device's own command, or the board's own tool.

        Args:
            elf: the image; files that the tool reads are written beside it.

        Returns:
            The device as it is found then: its port may have another name.

        Raises:
            CommandFailed: the device's own command failed, or the port did not come back.
            SpikeletError: the board has no tool, or it is missing or failed.
        """
        device = self.device
        if not device.flash:
            flash(plan_flash(elf, device.board, port=self.port))
        else:
            files = {"elf": str(elf)}
            for kind in device.flash_files:
                files[kind] = str(elf.with_suffix(f".{kind}"))
                base = device.board.memory.flash.base if device.board.memory else 0
                write_image(flash_content(elf, device.board), kind, Path(files[kind]), base)
            self._execute("flash", device.command(device.flash, self.port, **files))
        return self._find("flash")

    def power_cycle(self) -> Reserved:
        """Take its power away and give it back; the device as it is found then.

        Raises:
            CommandFailed: the command failed, or the port did not come back.
        """
        self._execute("power_cycle", self.device.command(self.device.power_cycle, self.port))
        return self._find("power_cycle")

    def _find(self, after: str) -> Reserved:
        """The same device, whose port may come back late, or with another name."""
        device, deadline = self.device, time.monotonic() + RETURN_S
        while True:
            try:
                port = find_port(device)
                if port is None or not port.startswith("/dev/") or Path(port).exists():
                    return Reserved(device, port)
                missing = port
            except PortError as error:
                missing = error.what
            if time.monotonic() > deadline:
                raise CommandFailed(
                    f"device {device.name}: {missing}: not back {RETURN_S:g} s after {after}",
                    "the wrong port of the hub was switched, or it has another name now",
                    'name the device by its USB serial number: serial = "..."',
                )
            time.sleep(0.1)

    def _execute(self, what: str, command: list[str]) -> None:
        name = self.device.name
        try:
            ended = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                errors="replace", timeout=COMMAND_S,
            )  # fmt: skip
        except OSError as error:
            raise CommandFailed(
                f"device {name}: {what} did not start: {error.strerror}: {command[0]}",
                "the program is not installed, or not on the PATH",
                "install it, or give its path in the roster",
            ) from error
        except subprocess.TimeoutExpired:
            raise CommandFailed(
                f"device {name}: {what} did not end in {COMMAND_S:g} s",
                "the tool waits for a device or for an answer",
                f"run it by hand: {shlex.join(command)}",
            ) from None
        if ended.returncode:
            words = (ended.stderr.strip() or ended.stdout.strip()).splitlines()[-8:]
            raise CommandFailed(
                f"device {name}: {what} ended with exit code {ended.returncode}"
                + "".join(f"\n    {line}" for line in words),
                "the tool does not find the device, or the command in the roster is wrong",
                f"run it by hand: {shlex.join(command)}",
            )


def find_port(device: RosterDevice) -> str | None:
    """Its port now, None of a machine; raises PortError."""
    try:
        return usb_port(device.serial) if device.serial is not None else device.port
    except PortError as error:
        raise PortError(f"device {device.name}: {error.what}", error.cause, error.next) from error


@contextmanager
def reserve(
    device: RosterDevice,
    timeout_s: float = 0.0,
    on_wait: Callable[[str], None] | None = None,
) -> Iterator[Reserved]:
    """Hold a device against all other processes of this user; a machine by its name in the roster.

    Args:
        device: which.
        timeout_s: how long to wait for a process that holds it.
        on_wait: told with the holder in words while it waits.

    Raises:
        DeviceHeld: it is still held after that time.
        PortError: it is not plugged in.
    """
    place = device_place(device.port, device.serial, f"{device.roster} {device.name}")
    with held(place, f"device {device.name} ({device.where})", timeout_s, on_wait):
        yield Reserved(device, find_port(device))


@contextmanager
def reserve_free(
    devices: tuple[RosterDevice, ...],
    timeout_s: float = 0.0,
    on_wait: Callable[[str], None] | None = None,
) -> Iterator[Reserved]:
    """As `reserve`, the first of some devices that no process holds."""
    deadline = time.monotonic() + timeout_s
    while True:
        refused: list[DeviceHeld] = []
        for device in devices:
            with ExitStack() as stack:
                try:
                    reserved = stack.enter_context(reserve(device))
                except DeviceHeld as error:
                    refused.append(error)
                    continue
                yield reserved
                return
        what = "; ".join(error.what for error in refused)
        if time.monotonic() >= deadline:
            first = refused[0]
            raise DeviceHeld(what + waited(timeout_s), first.cause, first.next)
        if on_wait is not None:
            on_wait(what)
        time.sleep(POLL_S)

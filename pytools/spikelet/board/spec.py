"""Board files: what boards/NAME/board.toml may say, and how a board is found."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from spikelet.errors import UsageError
from spikelet.graph.target import Target
from spikelet.paths import boards_dir

BOARD_FILE = "board.toml"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Region(_Part):
    """A range of addresses.

    Attributes:
        base: first address.
        bytes: length.
    """

    base: int = Field(ge=0, lt=2**32)
    bytes: int = Field(gt=0, lt=2**32)

    def holds(self, address: int) -> bool:
        """Whether `address` lies in the region."""
        return self.base <= address < self.base + self.bytes


class Storage(Region):
    """Where learned tensors are kept without power: two slots, each half of it.

    Attributes:
        page_bytes: what is erased at once.
    """

    page_bytes: int = Field(gt=0, multiple_of=64)

    @model_validator(mode="after")
    def _pages(self) -> Storage:
        if self.bytes % (2 * self.page_bytes):
            raise ValueError(
                f"{self.bytes} bytes are not two slots of whole pages of {self.page_bytes} bytes"
            )
        return self


class Memory(_Part):
    """Memory map of a board.

    Attributes:
        flash: read-only code and constants.
        ram: everything else; the stack is its first `stack_bytes`.
        stack_bytes: room for the stack, a multiple of 16.
        storage: of learned tensors, outside of both; None where the board's C has none, or its own.
    """

    flash: Region
    ram: Region
    stack_bytes: int = Field(gt=0, multiple_of=16)
    storage: Storage | None = None

    @model_validator(mode="after")
    def _fits(self) -> Memory:
        if self.stack_bytes >= self.ram.bytes:
            raise ValueError(
                f"stack_bytes = {self.stack_bytes} leaves nothing of {self.ram.bytes} bytes of RAM"
            )
        return self


class ToolchainSpec(_Part):
    """How one compiler makes this board's image.

    Attributes:
        command: the compiler; `zig` stands for the one of the PyPI package `ziglang`.
        package: Debian's package of it, named when it is missing.
        flags: given to every compilation and to the link.
        link: given to the link only, after the objects.
        sanitize: added for a sanitised build; empty where there is none.
        optimize: optimisation flags by file name, before the board's own.
    """

    command: tuple[str, ...] = Field(min_length=1)
    package: str = ""
    flags: tuple[str, ...] = ()
    link: tuple[str, ...] = ()
    sanitize: tuple[str, ...] = ()
    optimize: dict[str, str] = Field(default_factory=dict)


class MachineSpec(_Part):
    """A process that behaves as this board, with link bytes on standard input and output.

    Attributes:
        argv: command line; {elf}, {python}, {sim}, {flash}, {ram} and {storage} are filled in.
        module: Python module that it needs.
        package: Debian's package of it, named when it is missing.
        pty: the link is a pseudo-terminal, opened by the host as a serial port.
        leash: the process does not end with its link and must be ended.
        instructions_per_tick: of an emulator whose time is its count of instructions, where the
            board's own tick is another; counts of instructions come in steps of it.
    """

    argv: tuple[str, ...] = Field(min_length=1)
    module: str = ""
    package: str = ""
    pty: bool = False
    leash: bool = False
    instructions_per_tick: float | None = Field(default=None, gt=0)


class Board(_Part):
    """A board as its board.toml describes it.

    Attributes:
        name: the folder's name.
        description: one line for the list of boards.
        isa: instruction set, as `spikelet.graph.target` knows them.
        core: core, for people.
        tick: what spk_board_ticks() counts.
        mips: lower bound of millions of instructions a second, for deadlines.
        transport: "machine" (a process of ours) or "serial" (hardware on a port).
        baud: bits a second that its firmware sets on a serial line.
        sources: files to compile, from the board's folder or from boards/.
        link_script: linker script, found alike, or empty.
        freestanding: no C library.
        memory: memory map, None on a host.
        optimize: optimisation flags by file name; "default" for the others.
        toolchains: in order of preference.
        machines: in order of preference.
        folder: where the board file lies.
    """

    name: str = Field(min_length=1)
    description: str
    isa: str
    core: str
    tick: Literal["none", "instruction", "cycle", "us"]
    mips: float = Field(gt=0)
    transport: Literal["machine", "serial"]
    baud: int = Field(default=115200, gt=0)
    sources: tuple[str, ...] = Field(min_length=1)
    link_script: str = ""
    freestanding: bool = True
    memory: Memory | None = None
    optimize: dict[str, str] = Field(default_factory=lambda: {"default": "-Os"})
    toolchains: dict[str, ToolchainSpec] = Field(min_length=1)
    machines: dict[str, MachineSpec] = Field(default_factory=dict)
    folder: Path

    @field_validator("isa")
    @classmethod
    def _known(cls, isa: str) -> str:
        return str(Target.parse(isa))

    @property
    def target(self) -> Target:
        """The instruction set, parsed."""
        return Target.parse(self.isa)

    @model_validator(mode="after")
    def _consistent(self) -> Board:
        if self.freestanding and (self.memory is None or not self.link_script):
            raise ValueError("a freestanding board needs [memory] and link_script")
        if "default" not in self.optimize:
            raise ValueError("[optimize] needs a `default`")
        if self.transport == "machine" and not self.machines:
            raise ValueError('transport = "machine" needs a [machines.NAME]')
        for file in (*self.sources, *filter(None, [self.link_script])):
            if not self.path(file).is_file():
                raise ValueError(f"{file} is not in {self.folder} and not in {boards_dir()}")
        return self

    def path(self, file: str) -> Path:
        """Where a file that the board names is: its own folder first, then boards/."""
        own = self.folder / file
        return own if own.is_file() else boards_dir() / file


def load_board(folder: Path) -> Board:
    """Read a board's folder.

    Raises:
        UsageError: no board.toml, not TOML, or fields that are missing, unknown or out of range.
    """
    file = folder / BOARD_FILE
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(
            f"{folder} holds no {BOARD_FILE}",
            "the path is not a board's folder",
            f"copy {boards_dir() / 'virt-rv32'} as a start",
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UsageError(f"cannot read {file}: {error}", "not a TOML file") from error
    try:
        return Board.model_validate({**data, "folder": folder.resolve()})
    except ValidationError as error:
        faults = [
            f"{'.'.join(map(str, fault['loc'])) or 'board'}: {fault['msg']}"
            for fault in error.errors()
        ]
        raise UsageError(
            f"{file} does not describe a board:\n    " + "\n    ".join(faults),
            "a field is missing, misspelt or out of range",
            f"compare with {boards_dir() / 'virt-rv32' / BOARD_FILE}",
        ) from None


def boards() -> dict[str, Board]:
    """The boards that come with Spikelet, by name.

    Raises:
        UsageError: one of them does not load.
    """
    found = [load_board(file.parent) for file in sorted(boards_dir().glob(f"*/{BOARD_FILE}"))]
    return {board.name: board for board in found}


def find_board(name: str) -> Board:
    """A board by name, or by the path of its folder.

    Raises:
        UsageError: there is none; the text lists what exists and the nearest name.
    """
    known = boards()
    if name in known:
        return known[name]
    path = Path(name)
    if path.is_dir() or "/" in name:
        return load_board(path)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    raise UsageError(
        f"no board is called {name!r}; there are: {', '.join(known)}",
        f"did you mean {near[0]!r}?" if near else "",
        "`spikelet boards` describes them; a folder of your own is given as a path: ./my-board",
    )

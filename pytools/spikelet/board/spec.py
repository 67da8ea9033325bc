"""Board files: what boards/NAME/board.toml may say, and how a board is found.

`extends = "OTHER"` takes over what another board says. Tables are merged entry by entry, lists and
values are replaced; toolchains and machines that the other board lacks are preferred to its own.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from spikelet.board.flash_spec import FlashSpec
from spikelet.errors import UsageError
from spikelet.graph.target import Target
from spikelet.paths import boards_dir
from spikelet.plugins import Plugin, Registry, merge, plugins

BOARD_FILE = "board.toml"

DEFAULT_BAUD = 115200  # of a board that says nothing else


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
        loaded: a boot ROM copies the image out of flash into RAM, where `flash` is a part of it.
    """

    flash: Region
    ram: Region
    stack_bytes: int = Field(gt=0, multiple_of=16)
    storage: Storage | None = None
    loaded: bool = False

    @model_validator(mode="after")
    def _fits(self) -> Memory:
        if self.stack_bytes >= self.ram.bytes:
            raise ValueError(
                f"stack_bytes = {self.stack_bytes} leaves nothing of {self.ram.bytes} bytes of RAM"
            )
        return self


class McubootSpec(_Part):
    """Where MCUboot looks for the image that it starts.

    Attributes:
        slot: the primary one, header and TLVs included.
        header_bytes: in front of the image: a multiple of what its vector table is aligned to.
        align: bytes that flash programs at once.
        trailer_bytes: at the slot's end, for TLVs and what MCUboot notes of a swap.
    """

    slot: Region
    header_bytes: int = Field(default=0x200, ge=32, multiple_of=32)
    align: Literal[1, 2, 4, 8, 16, 32] = 8
    trailer_bytes: int = Field(default=0x1000, ge=256)

    @property
    def image_bytes(self) -> int:
        """What is left for the image."""
        return self.slot.bytes - self.header_bytes - self.trailer_bytes

    @model_validator(mode="after")
    def _room(self) -> McubootSpec:
        if self.image_bytes <= 0:
            raise ValueError(f"a slot of {self.slot.bytes} bytes leaves none for an image")
        return self


class WatchdogSpec(_Part):
    """What resets a board of hardware whose core does not come back.

    Attributes:
        name: of the part's watchdog; its period is SPK_WATCHDOG_MS of a clock of SPK_WATCHDOG_HZ.
        clock: what it counts.
        hz: the slowest and the fastest that this clock may be, as the datasheet has it.
        debugger: what it does while a debugger holds the core.
        tried: where it was seen to reset a core, and not to.
        none: why there is none; then all else is empty.
    """

    name: str = ""
    clock: str = ""
    hz: tuple[int, int] = (0, 0)
    debugger: str = ""
    tried: str = ""
    none: str = ""

    @model_validator(mode="after")
    def _whole(self) -> WatchdogSpec:
        said = (self.name, self.clock, self.debugger, self.tried)
        if not (all(said) and 0 < self.hz[0] <= self.hz[1]) and not (self.none and not any(said)):
            raise ValueError("[watchdog] says `none`, or name, clock, hz, debugger and tried")
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


class RtlSpec(_Part):
    """A core in Verilog, which Verilator and sim/rtl/machine.cpp make a simulator of.

    Attributes:
        package: Python package that brings the Verilog.
        top: the board's file with module spk_core: the core behind the ports of machine.cpp.
        sources: files of the package that are read first, in this order.
        libraries: folders of the package in which modules and included files are looked for.
        defines: macros of the Verilog, the core's options among them.
        flash_wait: wait states of flash, cycles that an access takes beyond the first.
        ram_wait: of RAM and storage.
    """

    package: str = Field(pattern=r"^[a-z0-9_]+$")
    top: str = "core.sv"
    sources: tuple[str, ...] = ()
    libraries: tuple[str, ...] = Field(min_length=1)
    defines: dict[Annotated[str, Field(pattern=r"^\w+$")], str] = Field(default_factory=dict)
    flash_wait: int = Field(default=0, ge=0, le=1000)
    ram_wait: int = Field(default=0, ge=0, le=1000)


class MachineSpec(_Part):
    """A process that behaves as this board, with link bytes on standard input and output.

    Attributes:
        argv: command line; {board} (its name), {elf}, {python}, {sim}, {flash}, {ram} and
            {storage} are filled in, with `rtl` also {rtl}, {flash_wait} and {ram_wait}.
        module: Python module that it needs.
        package: Debian's package of it, named when it is missing.
        pty: the link is a pseudo-terminal, opened by the host as a serial port.
        leash: the process does not end with its link and must be ended.
        instructions_per_tick: of an emulator whose time is its count of instructions, where the
            board's own tick is another; counts of instructions come in steps of it.
        timed: its time is the device's; where it is not, no figure of it is given.
        rtl: of what {rtl} is made, once, in the cache.
    """

    argv: tuple[str, ...] = Field(min_length=1)
    module: str = ""
    package: str = ""
    pty: bool = False
    leash: bool = False
    instructions_per_tick: float | None = Field(default=None, gt=0)
    timed: bool = True
    rtl: RtlSpec | None = None

    @property
    def counts(self) -> bool:
        """Whether its ticks are of the device: without -icount QEMU's are of this computer."""
        qemu = Path(self.argv[0]).name.startswith("qemu-system-")
        return self.timed and (not qemu or "-icount" in self.argv)


class Board(_Part):
    """A board as its board.toml describes it.

    Attributes:
        name: the folder's name.
        description: one line for the list of boards.
        isa: instruction set, as `spikelet.graph.target` knows them.
        core: core, for people.
        mhz: clock of the core, millions a second; None where there is no such thing.
        tick: what spk_board_ticks() counts.
        mips: lower bound of millions of instructions a second, for deadlines.
        transport: "machine" (a process of ours) or "serial" (hardware on a port).
        baud: bits a second that its firmware sets on a serial line.
        defines: macros of its C: addresses and rates that drivers shared by boards are compiled
            with, and SPK_LINK_RING.
        sources: files to compile, from the board's folder or from boards/.
        link_script: linker script, found alike, or empty.
        freestanding: no C library.
        memory: memory map, None on a host.
        optimize: optimisation flags by file name; "default" for the others.
        toolchains: in order of preference.
        machines: in order of preference.
        flash: tools that write its flash, in order of preference; none for what is only emulated.
        mcuboot: where MCUboot looks for its image; None where none is known.
        watchdog: what resets it where its core hangs; None for what is only emulated.
        silicon: whether it has been run on the part itself; empty for what is only emulated.
        proof: what has been tried without the part: on an emulator, against a model, or built.
        template: no board: what others extend. Theirs is not inherited.
        library: a part too small for the agent: models are C libraries there, and `sources` are
            firmware around one.
        folder: where the board file lies.
        bases: folders of the boards that it extends, the nearest first.
    """

    name: str = Field(min_length=1)
    description: str
    isa: str
    core: str
    mhz: float | None = Field(default=None, gt=0)
    tick: Literal["none", "instruction", "cycle", "us"]
    mips: float = Field(gt=0)
    transport: Literal["machine", "serial"]
    baud: int = Field(default=DEFAULT_BAUD, gt=0)
    defines: dict[Annotated[str, Field(pattern=r"^SPK_[A-Z0-9_]+$")], int] = Field(
        default_factory=dict
    )
    sources: tuple[str, ...] = Field(min_length=1)
    link_script: str = ""
    freestanding: bool = True
    memory: Memory | None = None
    optimize: dict[str, str] = Field(default_factory=lambda: {"default": "-Os"})
    toolchains: dict[str, ToolchainSpec] = Field(min_length=1)
    machines: dict[str, MachineSpec] = Field(default_factory=dict)
    flash: dict[str, FlashSpec] = Field(default_factory=dict)
    mcuboot: McubootSpec | None = None
    watchdog: WatchdogSpec | None = None
    silicon: Literal["", "not yet run on silicon", "run on silicon"] = ""
    proof: str = ""
    template: bool = False
    library: bool = False
    folder: Path
    bases: tuple[Path, ...] = ()

    @field_validator("isa")
    @classmethod
    def _check_isa(cls, isa: str) -> str:
        return str(Target.parse(isa))

    @field_validator("flash")
    @classmethod
    def _check_flash(cls, flash: dict[str, FlashSpec]) -> dict[str, FlashSpec]:
        for name, spec in flash.items():
            spec.tool(name)
        return flash

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
        if self.mcuboot is not None and self.memory is None:
            raise ValueError("[mcuboot] needs [memory]")
        for file in (*self.sources, *filter(None, [self.link_script])):
            if not self.path(file).is_file():
                looked = ", ".join(map(str, (self.folder, *self.bases, boards_dir())))
                raise ValueError(f"{file} is in none of {looked}")
        return self

    def path(self, file: str) -> Path:
        """Where a file that the board names is: its own folder, those of its bases, boards/."""
        folders = (self.folder, *self.bases)
        return next((p for f in folders if (p := f / file).is_file()), boards_dir() / file)


@dataclass(frozen=True)
class _Said:
    """What one board.toml says."""

    file: Path
    data: dict[str, Any]


def load_board(folder: Path) -> Board:
    """Read a board's folder.

    Raises:
        UsageError: no board.toml, not TOML, fields that are missing, unknown or out of range, or a
            board to extend that is not there.
    """
    return _validated(_chain(folder))


def derived_board(changes: dict[str, Any]) -> Board:
    """One of Spikelet's boards by its own name, with changes that are in no file.

    changes: as a board.toml has them, `extends` among them.
    """
    changes = dict(changes)
    base = _read(boards_dir() / changes.pop("extends"))
    return _validated([_Said(base.file, changes), *_chain(base.file.parent)])


def _validated(chain: list[_Said]) -> Board:
    data: dict[str, Any] = {}
    for said in reversed(chain):
        data = _merge_tables({k: v for k, v in data.items() if k != "template"}, said.data)
    own, *bases = (said.file.parent.resolve() for said in chain)
    try:
        return Board.model_validate({**data, "folder": own, "bases": tuple(bases)})
    except ValidationError as error:
        faults = [
            _fault(chain, fault["loc"], fault["type"], fault["msg"]) for fault in error.errors()
        ]
        raise UsageError(
            f"{chain[0].file} does not describe a board:\n    " + "\n    ".join(faults),
            "a field is missing, misspelt or out of range",
            f"compare with {boards_dir() / 'virt-rv32' / BOARD_FILE}",
        ) from None


def _fault(chain: list[_Said], loc: tuple[int | str, ...], kind: str, text: str) -> str:
    """One fault in words, with the file that says it where that is one that the board extends."""
    if kind == "extra_forbidden":
        text = "there is no such field"
    origin = next((said for said in chain if _says(said.data, loc)), chain[0])
    where = "" if origin is chain[0] else f" (in {origin.file})"
    return f"{'.'.join(map(str, loc)) or 'board'}: {text}{where}"


def _says(data: Any, loc: tuple[int | str, ...]) -> bool:
    """Whether a file has the entry of this place."""
    for part in loc:
        if not isinstance(data, dict) or part not in data:
            return False
        data = data[part]
    return bool(loc)


def _chain(folder: Path) -> list[_Said]:
    """What the board says and what those say that it extends, itself first."""
    chain = [_read(folder)]
    while "extends" in (data := chain[-1].data):
        file, other = chain[-1].file, data.pop("extends")
        for key in ("name", "description"):
            if key not in data:
                raise UsageError(
                    f"{file} has no {key}",
                    f"it extends {other!r}, whose {key} is not its own",
                    f"give it a {key} of its own",
                )
        base = _base(file, other)
        if base.resolve() in [said.file.parent.resolve() for said in chain]:
            names = " -> ".join(said.file.parent.name for said in chain)
            raise UsageError(
                f"{file}: extends = {other!r} leads back to a board that extends this one",
                f"{names} -> {base.name} is a circle",
                "let one of them say everything by itself",
            )
        chain.append(_read(base))
    return chain


def _base(file: Path, name: Any) -> Path:
    """The folder of the board that a file extends: beside it, ours, or a plug-in's."""
    theirs = (plugin.boards for plugin in plugins() if not plugin.fault)
    rooms = [file.parent.parent, boards_dir(), *theirs]
    for room in rooms:
        if (
            isinstance(name, str)
            and Path(name).name == name
            and (room / name / BOARD_FILE).is_file()
        ):
            return room / name
    there = sorted(f.parent.name for room in rooms for f in room.glob(f"*/{BOARD_FILE}"))
    near = difflib.get_close_matches(str(name), there, n=1, cutoff=0.4)
    raise UsageError(
        f"{file}: extends = {name!r} names no board",
        f"did you mean {near[0]!r}?" if near else "it is the name of a board's folder, no path",
        f"one of {', '.join(dict.fromkeys(there))}",
    )


def _merge_tables(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Tables merged entry by entry; what only `own` has comes first."""
    both = {
        key: _merge_tables(value, own[key])
        if isinstance(value, dict) and isinstance(own.get(key), dict)
        else own.get(key, value)
        for key, value in base.items()
    }
    return {**{key: value for key, value in own.items() if key not in base}, **both}


def _read(folder: Path) -> _Said:
    file = folder / BOARD_FILE
    try:
        return _Said(file, tomllib.loads(file.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(
            f"{folder} holds no {BOARD_FILE}",
            "the path is not a board's folder",
            f"copy {boards_dir() / 'virt-rv32'} as a start",
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UsageError(f"cannot read {file}: {error}", "not a TOML file") from error


def board_registry() -> Registry[Board]:
    """The boards of Spikelet and of plug-ins.

    Raises:
        UsageError: one of Spikelet's own does not load.
    """

    def of_plugin(plugin: Plugin) -> Iterator[tuple[str, Board]]:
        return _boards(plugin.boards)

    return merge("board", dict(_boards(boards_dir())), of_plugin)


def _boards(room: Path) -> Iterator[tuple[str, Board]]:
    for file in sorted(room.glob(f"*/{BOARD_FILE}")):
        board = load_board(file.parent)
        if not board.template:
            yield board.name, board


def boards() -> dict[str, Board]:
    """The boards of Spikelet and of plug-ins, by name; raises UsageError."""
    return board_registry().known


def find_board(name: str) -> Board:
    """A board by name, or by the path of its folder.

    Raises:
        UsageError: there is none; the text lists what exists and the nearest name.
    """
    # A board of ours is its folder's: the others, some thirty files, need not be read for it.
    if Path(name).name == name and (boards_dir() / name / BOARD_FILE).is_file():
        board = load_board(boards_dir() / name)
        if board.name == name and not board.template:
            return board
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

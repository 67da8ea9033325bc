"""How deep the stack can grow: what each function takes, along the deepest chain of calls.

Clang writes what a function takes into the section `.stack_sizes` of its object, GCC into a file
beside it (`-fstack-usage`). Who calls whom is read from the objects' relocations: each function has
a section of its own, and one that names data is held to call every function whose address those
data hold. So the bound holds for every input, where the high-water mark that a device reports
holds for those that it saw.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from spikelet.board import elf
from spikelet.board.elf import Elf, Section
from spikelet.errors import UsageError

CLANG_FLAG, GCC_FLAG = "-fstack-size-section", "-fstack-usage"
USAGE = ".su"  # ends the name of the file that GCC writes
# Of the compiler's own functions (division, floating point), which come from a library without a
# word on their stack: more than any of them takes with those that it calls (184, zig's division
# of 64 bits on RV32EC).
LIBRARY_BYTES = 256
# What a Cortex-M saves on the stack for an interrupt: without an FPU, and where it may have one.
EXCEPTION_BYTES, EXCEPTION_FPU_BYTES = 36, 108
# A symbol of this name and a function's says that it is an interrupt's, in assembly, which saves so
# many bytes before it calls what serves it.
TRAP = "spk_stack_of_"
_UNWINDING = (".eh_frame", ".ARM.exidx", ".ARM.extab")
_NO_RELOCATION = 0


class StackError(UsageError):
    """The stack has no bound: a function calls itself, or takes what only it knows."""


@dataclass(frozen=True)
class StackBound:
    """What the stack can take at the most.

    Attributes:
        chain: functions from the entry on, each with its bytes, where they are deepest.
        interrupt: likewise of an interrupt's handler; empty where there is none.
        saved_bytes: what the core saves before the handler runs.
        assumed: functions of the compiler's library, which count `LIBRARY_BYTES` each.
    """

    chain: tuple[tuple[str, int], ...]
    interrupt: tuple[tuple[str, int], ...] = ()
    saved_bytes: int = 0
    assumed: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """All in all."""
        return _sum(self.all)

    @property
    def all(self) -> tuple[tuple[str, int], ...]:
        """The chain, and behind it the interrupt's."""
        saved = [("an interrupt", self.saved_bytes)] if self.saved_bytes else []
        return (*self.chain, *saved, *self.interrupt)

    def __str__(self) -> str:
        return ", ".join(f"{name} {size}" for name, size in self.all)


@dataclass
class _Part:
    """A section of an object, which holds a function or data; or a library's function, by name."""

    name: str
    code: bool
    bytes: int = 0
    names: set[_Key] = field(default_factory=set)  # parts whose address it holds


_Key = tuple[int, int] | str


def stack_bound(objects: Sequence[Path], image: Path, entry: str, isa: str) -> StackBound:
    """The bound of an image.

    Args:
        objects: that it was linked from; those of GCC have a file `.su` beside them.
        image: the linked ELF.
        entry: function that it begins with.
        isa: of the board.

    Raises:
        StackError: it has none.
    """
    graph = _Graph()
    for number, path in enumerate(objects):
        graph.read(number, path)
    if entry not in graph.globals:
        raise StackError(f"no object of {image.name} holds {entry}, which it begins with")
    graph.link(entry, _functions(image))
    deepest = _Deepest(graph.parts)
    chain = deepest.of(graph.globals[entry])
    handlers = [deepest.of(key) for key in graph.handlers()]
    arm = isa.startswith("armv") and bool(handlers)
    saved = EXCEPTION_BYTES if isa.startswith(("armv6-m", "armv7-m")) else EXCEPTION_FPU_BYTES
    return StackBound(
        tuple(chain),
        tuple(max(handlers, key=_sum, default=())),
        saved if arm else 0,
        tuple(sorted(key for key in deepest.seen if isinstance(key, str))),
    )


def _sum(chain: Iterable[tuple[str, int]]) -> int:
    return sum(size for _, size in chain)


class _Graph:
    """Which part names which.

    Attributes:
        parts: by object and section; those of libraries by name.
        globals: what all objects may name.
    """

    def __init__(self) -> None:
        self.parts: dict[_Key, _Part] = {}
        self.globals: dict[str, _Key] = {}
        self._named: list[tuple[_Key, str]] = []  # who, whom
        self._traps: set[_Key] = set()

    def read(self, number: int, path: Path) -> None:
        """Take in an object."""
        usage = path.with_suffix(USAGE)
        named = _usage(usage) if usage.is_file() else {}
        file = Elf.read(path)
        self._define(number, file, named)
        for section in file.sections:
            if section.type in (elf.REL, elf.RELA):
                self._relocations(number, file, section)

    def _define(self, number: int, file: Elf, named: Mapping[str, int]) -> None:
        """Parts of an object, and what they are called."""
        sizes = _stack_sizes(file)
        for place, section in enumerate(file.sections):
            if section.flags & elf.ALLOC and not section.name.startswith(_UNWINDING):
                code = bool(section.flags & elf.EXECUTE)
                self.parts[number, place] = _Part(section.name, code, sizes.get(place, 0))
        traps = {
            symbol.name.removeprefix(TRAP): symbol.value
            for symbol in file.symbols if symbol.name.startswith(TRAP)
        }  # fmt: skip
        for symbol in file.symbols:
            key = (number, symbol.section)
            if key not in self.parts or not symbol.name or symbol.name.startswith(("$", ".L")):
                continue
            part = self.parts[key]
            part.name = symbol.name
            part.bytes = max(part.bytes, named.get(_plain(symbol.name), 0))
            if symbol.name in traps:
                part.bytes = traps[symbol.name]
                self._traps.add(key)
            if symbol.binding == elf.GLOBAL:
                self.globals[symbol.name] = key
            elif symbol.binding == elf.WEAK:
                self.globals.setdefault(symbol.name, key)

    def _relocations(self, number: int, file: Elf, section: Section) -> None:
        who = (number, section.info)
        if who not in self.parts:
            return
        for index, type_ in file.relocations(section):
            if type_ == _NO_RELOCATION:
                continue
            symbol = file.symbols[index]
            place = symbol.section
            if place == elf.UNDEFINED and symbol.name:
                self._named.append((who, symbol.name))
            # Within itself a function names places; so do the tables of its jumps.
            inside = place == who[1] or not self.parts[who].code
            known = not inside or symbol.type in (elf.FUNCTION, elf.OBJECT)
            if (number, place) in self.parts and known:
                self.parts[who].names.add((number, place))

    def link(self, entry: str, functions: Collection[str]) -> None:
        """Find what is known by name only.

        Args:
            entry: what the image begins with. To name it is to start anew, with an empty stack.
            functions: of the image; those that no object holds are a library's.
        """
        for who, name in self._named:
            key = self.globals.get(name)
            if key is None and name in functions:
                key = name
                self.parts.setdefault(key, _Part(name, True, LIBRARY_BYTES))
            if key is not None:
                self.parts[who].names.add(key)
        for part in self.parts.values():
            part.names -= {self.globals[entry], *self._traps}

    def handlers(self) -> list[_Key]:
        """What an interrupt calls: functions of assembly, and those whose address data hold."""
        held = {key for part in self.parts.values() if not part.code for key in part.names}
        return sorted({*self._traps, *(key for key in held if self.parts[key].code)}, key=str)


class _Deepest:
    """The deepest chain below each part.

    Attributes:
        seen: parts that were met.
    """

    def __init__(self, parts: Mapping[_Key, _Part]) -> None:
        self.parts = parts
        self.seen: set[_Key] = set()
        self._known: dict[_Key, list[tuple[str, int]]] = {}
        self._above: list[_Key] = []

    def of(self, key: _Key) -> list[tuple[str, int]]:
        """Functions from this one on, each with its bytes.

        Raises:
            StackError: one calls itself.
        """
        part = self.parts[key]
        if key in self._above:
            circle = [*self._above[self._above.index(key) :], key]
            names = " calls ".join(self.parts[each].name for each in circle)
            raise StackError(
                f"the stack has no bound: {names}",
                "a function of the board or of a kernel calls itself, perhaps through others",
                "write it as a loop",
            )
        if key not in self._known:
            self.seen.add(key)
            self._above.append(key)
            below = [self.of(each) for each in sorted(part.names, key=str)]
            own = [(part.name, part.bytes)] if part.bytes else []
            self._known[key] = [*own, *max(below, key=_sum, default=())]
            self._above.pop()
        return self._known[key]


def _stack_sizes(file: Elf) -> dict[int, int]:
    """Bytes by number of a function's section, as clang writes them."""
    sizes: dict[int, int] = {}
    for section in file.sections:
        if section.name != ".stack_sizes":
            continue
        data, at, most = file.of(section), 0, 0
        while at < len(data):  # an address, and a ULEB128
            at += file.bits // 8
            size = shift = 0
            while True:
                size |= (data[at] & 0x7F) << shift
                shift, at = shift + 7, at + 1
                if data[at - 1] < 0x80:
                    break
            most = max(most, size)
        sizes[section.link] = max(sizes.get(section.link, 0), most)
    return sizes


def _usage(path: Path) -> dict[str, int]:
    """Bytes by function, as GCC writes them.

    Raises:
        StackError: a function takes what is only known when it runs.
    """
    sizes: dict[str, int] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        where, size, kind = line.split("\t")
        name = where.rsplit(":", 1)[1]
        if kind == "dynamic":
            raise StackError(
                f"the stack has no bound: {name} takes as much as it is told",
                "an array of a length that is only known when it runs, or alloca",
                "give the array a constant length",
            )
        name = _plain(name)
        sizes[name] = max(sizes.get(name, 0), int(size))
    return sizes


def _plain(name: str) -> str:
    """Of a copy of a function, without its number: GCC's file leaves that away."""
    return re.sub(r"\.\d+", "", name)


def _functions(image: Path) -> set[str]:
    """What an image has."""
    return {symbol.name for symbol in Elf.read(image).symbols if symbol.type == elf.FUNCTION}

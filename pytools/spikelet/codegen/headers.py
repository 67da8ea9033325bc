"""What C headers declare: types, enumerations, structures and functions.

Only what the headers of this project use is understood. `Image` reads what the compiler of one
image sees, with its macros and conditions; `every` reads what stands in any branch of a condition,
and in macros that declare functions. `structs` and `parameters` use them; nothing else reads C.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from spikelet.graph import GraphError

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_DIRECTIVE = re.compile(r"\s*#\s*(\w+)\s*(.*)")
_MACRO_LINE = re.compile(r"^#[^\n]*|\\$", re.MULTILINE)  # a macro's first line, an end of others
_NAME = re.compile(r"\b[A-Za-z_]\w*\b")
_TYPEDEF = re.compile(r"\btypedef\s+(\w+)\s+(\w+)\s*;")
_STRUCT = re.compile(r"\bstruct\s+(\w+)\s*\{([^{}]*)\}\s*;")
_ENUM = re.compile(r"\benum\s*\w*\s*\{([^{}]*)\}\s*;")
_FIELD = re.compile(r"\s*(?:const\s+)?((?:struct\s+|enum\s+)?\w+)\s+(.+)", re.DOTALL)
_DECLARATOR = re.compile(r"((?:\*|const\b|\s)*)(\w+)\s*(?:\[(\w+)\])?\s*")
_FUNCTION = re.compile(r"\b(spk_[\w#]+)\(([^(){};]*)\)\s*\{")
_PASTED = re.compile(r"##\w+(##)?")  # a part of a name that a macro is given
_PARAMETER = re.compile(r"(?:const |volatile )*(?:enum |struct )?(\w+)\s+(\**)")
_ARITHMETIC = re.compile(r"[0-9\s()+\-*|&<>=!a-z]*")

POINTER = "*"  # the type of every pointer
TEXTS = 1024  # of headers, that are read again for every image; what was found in them is kept


@dataclass(frozen=True)
class Field:
    """A field of a structure.

    Attributes:
        c_type: with `struct` or `enum` before it; `POINTER` for a pointer.
        name: of the field.
        count: elements of an array as a constant expression, "" where it is none.
    """

    c_type: str
    name: str
    count: str


@dataclass(frozen=True)
class Function:
    """A function that is defined in a header.

    Attributes:
        name: `*` stands for what a macro puts into it.
        types: of its parameters; `POINTER` for a pointer.
    """

    name: str
    types: tuple[str, ...]


@dataclass(frozen=True)
class Declarations:
    """What a text without comments and directives declares.

    Attributes:
        typedefs: names, and the types that they stand for.
        enums: of each enumeration the names and their values as text, "" for one more than before.
        structs: by name, the text between the braces; see `fields`.
        functions: that are defined.
    """

    typedefs: list[tuple[str, str]]
    enums: list[list[tuple[str, str]]]
    structs: dict[str, str]
    functions: list[Function]

    @classmethod
    def of(cls, text: str) -> Declarations:
        """What a text declares."""
        enums = []
        for match in _ENUM.finditer(text):
            items = (item.partition("=") for item in match[1].split(",") if item.strip())
            enums.append([(name.strip(), value.strip()) for name, _, value in items])
        return cls(
            [(match[2], match[1]) for match in _TYPEDEF.finditer(text)],
            enums,
            {match[1]: match[2] for match in _STRUCT.finditer(text)},
            [_function(match[1], match[2]) for match in _FUNCTION.finditer(text)],
        )


def _function(name: str, parameters: str) -> Function:
    matches = filter(None, (_PARAMETER.match(part.strip()) for part in parameters.split(",")))
    return Function(_PASTED.sub("*", name), tuple(POINTER if m[2] else m[1] for m in matches))


def fields(name: str, text: str) -> Iterator[Field]:
    """The fields of a structure, of the text between its braces; GraphError where one is new."""
    for declaration in filter(str.strip, text.split(";")):
        match = _FIELD.fullmatch(declaration)
        for part in match[2].split(",") if match else [""]:
            declarator = _DECLARATOR.fullmatch(part)
            if match is None or declarator is None:
                raise GraphError(f"struct {name}: {' '.join(declaration.split())!r} is new here")
            c_type = POINTER if "*" in declarator[1] else match[1]
            yield Field(c_type, declarator[2], declarator[3] or "")


def every(folders: Iterable[Path]) -> Declarations:
    """What all headers of some folders declare, whatever conditions it stands under."""
    paths = (path for folder in folders for path in sorted(folder.rglob("*.h")))
    return Declarations.of("\n".join(_MACRO_LINE.sub("", _strip_comments(path)) for path in paths))


def _strip_comments(path: Path) -> str:
    return _without_comments(path.read_text(encoding="utf-8"))


@functools.lru_cache(TEXTS)
def _without_comments(text: str) -> str:
    return _COMMENT.sub("", text)


@functools.lru_cache(TEXTS)
def _lines(text: str) -> tuple[str | tuple[str, str], ...]:
    """A header's lines without comments; of a directive its word, and what follows it."""
    joined = _without_comments(text).replace("\\\n", " ")
    found = ((line, _DIRECTIVE.match(line)) for line in joined.splitlines())
    return tuple((at[1], at[2].strip()) if at else line for line, at in found)


@functools.lru_cache(TEXTS)
def _declarations(text: str) -> Declarations:
    """As `Declarations.of`; who reads it does not change it."""
    return Declarations.of(text)


@dataclass
class Image:
    """What headers declare to one image.

    Attributes:
        macros: by name.
        structs: by name, the text between the braces.
        typedefs: by name, the type that each stands for.
        values: of enumerations.
    """

    macros: dict[str, int]
    structs: dict[str, str] = field(default_factory=dict)
    typedefs: dict[str, str] = field(default_factory=dict)
    values: dict[str, int] = field(default_factory=dict)

    def read(self, folders: Sequence[Path], header: str, seen: set[str]) -> None:
        """Take over a header and what it includes; what is in no folder is the compiler's."""
        path = next((p for folder in folders if (p := folder / header).is_file()), None)
        if header in seen or path is None:
            return
        seen.add(header)
        kept: list[str] = []
        taken: list[tuple[bool, bool]] = []  # of each open condition: is it true, was any branch
        for line in _lines(path.read_text(encoding="utf-8")):
            if isinstance(line, tuple):
                self._directive(*line, taken, (folders, seen))
            elif all(now for now, _ in taken):
                kept.append(line)
        self._declare(_declarations("\n".join(kept)))

    def _directive(
        self,
        word: str,
        rest: str,
        taken: list[tuple[bool, bool]],
        at: tuple[Sequence[Path], set[str]],
    ) -> None:
        if word in ("if", "ifdef", "ifndef"):
            text = {"ifdef": f"defined({rest})", "ifndef": f"!defined({rest})"}.get(word, rest)
            holds = bool(self.evaluate(text))
            taken.append((holds, holds))
        elif word in ("elif", "else"):
            _, before = taken.pop()
            holds = not before and (word == "else" or bool(self.evaluate(rest)))
            taken.append((holds, before or holds))
        elif word == "endif":
            taken.pop()
        elif all(now for now, _ in taken):
            if word == "include" and rest.startswith('"'):
                self.read(at[0], rest.strip('"'), at[1])
            elif word == "define" and re.fullmatch(r"\w+(\s+.*)?", rest):
                name, _, value = rest.partition(" ")
                self.macros[name] = self.evaluate(value or "0") or 0

    def evaluate(self, text: str) -> int | None:
        """A constant expression; a macro that is not known is 0, None for what is no number."""
        text = re.sub(
            r"\bdefined\s*(\(\s*)?(\w+)(?(1)\s*\))",
            lambda m: str(int(m[2] in self.macros)),
            text,
        )
        known = {**self.values, **self.macros}
        text = _NAME.sub(
            lambda m: str(known.get(m[0], 0)), re.sub(r"\b(\d+)[uUlL]+\b", r"\1", text)
        )
        text = text.replace("&&", " and ").replace("||", " or ")
        text = re.sub(r"!(?!=)", " not ", text)
        if not _ARITHMETIC.fullmatch(text):
            return None
        try:
            return int(eval(text, {"__builtins__": {}}))
        except (SyntaxError, TypeError, NameError):
            return None

    def _declare(self, declared: Declarations) -> None:
        self.typedefs |= dict(declared.typedefs)
        self.structs |= declared.structs
        for items in declared.enums:
            value: int | None = -1
            for name, given in items:
                value = self.evaluate(given) if given else None if value is None else value + 1
                if value is not None:
                    self.values[name] = value

"""How a C compiler lays out the kernels' attributes, from the headers that declare them.

A device compares its constants with what the package makes for it, byte by byte, so the host must
know where each field of a `*_config` lies. Only what the headers of this project use is understood:
types of a fixed width, pointers, arrays, structures, and conditions on macros that model.c defines.
An enumeration is refused as a field, because compilers differ in its width.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from spikelet.graph import GraphError
from spikelet.graph.c import Expression, Value

_SCALARS = {
    "bool": "?", "int8_t": "b", "uint8_t": "B", "int16_t": "h", "uint16_t": "H", "int32_t": "i",
    "uint32_t": "I", "int64_t": "q", "uint64_t": "Q", "float": "f",
}  # fmt: skip
COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
TYPEDEF = re.compile(r"\btypedef\s+(\w+)\s+(\w+)\s*;")
_DIRECTIVE = re.compile(r"\s*#\s*(\w+)\s*(.*)")
_NAME = re.compile(r"\b[A-Za-z_]\w*\b")
_STRUCT = re.compile(r"\bstruct\s+(\w+)\s*\{([^{}]*)\}\s*;")
_ENUM = re.compile(r"\benum\s*\w*\s*\{([^{}]*)\}\s*;")
_FIELD = re.compile(r"\s*(?:const\s+)?((?:struct\s+|enum\s+)?\w+)\s+(.+)", re.DOTALL)
_DECLARATOR = re.compile(r"((?:\*|const\b|\s)*)(\w+)\s*(?:\[(\w+)\])?\s*")
_ARITHMETIC = re.compile(r"[0-9\s()+\-*|&<>=!a-z]*")


@dataclass(frozen=True)
class Leaf:
    """A field that is no structure.

    Attributes:
        path: from the outermost structure: `out.low`.
        offset: bytes from the beginning.
        code: of Python's struct module, one an element; "" for a pointer.
        size: bytes in all.
        count: elements.
    """

    path: str
    offset: int
    code: str
    size: int
    count: int


@dataclass
class Declared:
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
        text = COMMENT.sub("", path.read_text(encoding="utf-8")).replace("\\\n", " ")
        kept: list[str] = []
        taken: list[tuple[bool, bool]] = []  # of each open condition: is it true, was any branch
        for line in text.splitlines():
            found = _DIRECTIVE.match(line)
            if found:
                self._directive(found[1], found[2].strip(), taken, (folders, seen))
            elif all(now for now, _ in taken):
                kept.append(line)
        self._declarations("\n".join(kept))

    def _directive(
        self,
        word: str,
        rest: str,
        taken: list[tuple[bool, bool]],
        at: tuple[Sequence[Path], set[str]],
    ) -> None:
        if word in ("if", "ifdef", "ifndef"):
            text = {"ifdef": f"defined({rest})", "ifndef": f"!defined({rest})"}.get(word, rest)
            holds = bool(self._number(text))
            taken.append((holds, holds))
        elif word in ("elif", "else"):
            _, before = taken.pop()
            holds = not before and (word == "else" or bool(self._number(rest)))
            taken.append((holds, before or holds))
        elif word == "endif":
            taken.pop()
        elif all(now for now, _ in taken):
            if word == "include" and rest.startswith('"'):
                self.read(at[0], rest.strip('"'), at[1])
            elif word == "define" and re.fullmatch(r"\w+(\s+.*)?", rest):
                name, _, value = rest.partition(" ")
                self.macros[name] = self._number(value or "0") or 0

    def _number(self, text: str) -> int | None:
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

    def _declarations(self, text: str) -> None:
        self.typedefs |= {found[2]: found[1] for found in TYPEDEF.finditer(text)}
        for found in _ENUM.finditer(text):
            value: int | None = -1
            for item in filter(None, map(str.strip, found[1].split(","))):
                name, _, given = item.partition("=")
                value = self._number(given) if given else None if value is None else value + 1
                if value is not None:
                    self.values[name.strip()] = value
        self.structs |= {found[1]: found[2] for found in _STRUCT.finditer(text)}

    def layout(self, name: str, pointer: int) -> tuple[list[Leaf], int]:
        """The fields of a structure as they lie, and its bytes.

        Args:
            name: of the structure.
            pointer: bytes of a pointer.

        Raises:
            GraphError: the headers do not declare it, or it has a field of no fixed width.
        """
        leaves, size, _ = self._laid(name, pointer)
        return leaves, size

    def _laid(self, name: str, pointer: int) -> tuple[list[Leaf], int, int]:
        if name not in self.structs:
            raise GraphError(f"struct {name} stands in no header that model.c includes")
        leaves: list[Leaf] = []
        end, widest = 0, 1
        for c_type, label, count in self._fields(name):
            if c_type.startswith("struct "):
                inner, size, align = self._laid(c_type.removeprefix("struct ").strip(), pointer)
                end += -end % align
                leaves += [
                    Leaf(f"{label}.{x.path}", end + x.offset, x.code, x.size, x.count)
                    for x in inner
                ]
                end += size
            else:
                code = "" if c_type == "*" else self._code(name, c_type)
                align = struct.calcsize(f"<{code}") if code else pointer
                end += -end % align
                leaves.append(Leaf(label, end, code, align * count, count))
                end += align * count
            widest = max(widest, align)
        return leaves, end + -end % widest, widest

    def _fields(self, name: str) -> Iterator[tuple[str, str, int]]:
        """Type, name and elements of each; the type of a pointer is `*`."""
        for declaration in filter(str.strip, self.structs[name].split(";")):
            found = _FIELD.fullmatch(declaration)
            for part in found[2].split(",") if found else [""]:
                declarator = _DECLARATOR.fullmatch(part)
                if found is None or declarator is None:
                    raise GraphError(
                        f"struct {name}: {' '.join(declaration.split())!r} is new here"
                    )
                c_type = "*" if "*" in declarator[1] else found[1]
                count = self._number(declarator[3]) if declarator[3] else 1
                if c_type.startswith("struct ") and count != 1:
                    raise GraphError(f"struct {name}: {declarator[2]} is an array of structures")
                yield c_type, declarator[2], count or 0

    def _code(self, name: str, c_type: str) -> str:
        known = self.typedefs.get(c_type, c_type)
        if known not in _SCALARS:
            raise GraphError(f"struct {name}: a field of type {c_type} has no fixed width")
        return _SCALARS[known]

    def number(self, value: Value) -> int | float:
        """What a value of a field is in C."""
        if isinstance(value, Expression):
            text = str(value)
            known = self.values.get(text)
            if known is None and not re.fullmatch(r"\d+u", text):
                raise GraphError(f"the value of {text} is not known before it is compiled")
            return int(text[:-1]) if known is None else known
        if isinstance(value, float | np.floating):
            return float(np.float32(value))
        if isinstance(value, int | np.integer | np.bool_):
            return int(value)
        raise TypeError(f"{value!r} is no number")

    def packed(self, name: str, leaf: Leaf, value: Value) -> bytes:
        """A field's bytes, little endian.

        Raises:
            GraphError: it does not hold the value.
        """
        given = value if isinstance(value, tuple) else (value,)
        numbers = [self.number(v) for v in given]
        numbers += [0] * (leaf.count - len(numbers))
        try:
            return struct.pack(f"<{leaf.count}{leaf.code}", *numbers)
        except (struct.error, OverflowError):
            shown = ", ".join(map(str, numbers))
            raise GraphError(
                f"{name} = {shown} does not fit the {leaf.size} bytes that hold it in C"
            ) from None


def flat(fields: Mapping[str, Value], before: str = "") -> Iterator[tuple[str, Value]]:
    """Fields by their paths: those of structures within, one by one."""
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{before}{name}.")
        else:
            yield before + name, value

"""How a C compiler lays out the kernels' attributes, from the headers that declare them.

A device compares its constants with what the package makes for it, byte by byte, so the host must
know where each field of a `*_config` lies: types of a fixed width, pointers, arrays, structures. An
enumeration is refused as a field, because compilers differ in its width.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from spikelet.codegen.headers import POINTER, Image, fields
from spikelet.graph import GraphError
from spikelet.graph.c import Expression, Value

_SCALARS = {
    "bool": "?", "int8_t": "b", "uint8_t": "B", "int16_t": "h", "uint16_t": "H", "int32_t": "i",
    "uint32_t": "I", "int64_t": "q", "uint64_t": "Q", "float": "f",
}  # fmt: skip


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


class Declared(Image):
    """How the compiler of one image lays out the structures that headers declare to it."""

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
        for one in fields(name, self.structs[name]):
            c_type, label = one.c_type, one.name
            count = (self.evaluate(one.count) or 0) if one.count else 1
            if c_type.startswith("struct ") and count != 1:
                raise GraphError(f"struct {name}: {label} is an array of structures")
            if c_type.startswith("struct "):
                inner, size, align = self._laid(c_type.removeprefix("struct ").strip(), pointer)
                end += -end % align
                leaves += [
                    Leaf(f"{label}.{x.path}", end + x.offset, x.code, x.size, x.count)
                    for x in inner
                ]
                end += size
            else:
                code = "" if c_type == POINTER else self._code(name, c_type)
                align = struct.calcsize(f"<{code}") if code else pointer
                end += -end % align
                leaves.append(Leaf(label, end, code, align * count, count))
                end += align * count
            widest = max(widest, align)
        return leaves, end + -end % widest, widest

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

    def pack(self, name: str, leaf: Leaf, value: Value) -> bytes:
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


def flat(given: Mapping[str, Value], before: str = "") -> Iterator[tuple[str, Value]]:
    """Fields by their paths: those of structures within, one by one."""
    for name, value in given.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{before}{name}.")
        else:
            yield before + name, value

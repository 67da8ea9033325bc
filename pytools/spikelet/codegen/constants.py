"""All constants of an image, as a device makes a CRC of them and the host makes the same bytes.

A table is read by the pointer that its kernel follows, where there is one, so that a pointer that
changed shows. The numbers of a structure are compared as they lie, between its pointers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from spikelet.codegen.structs import Declared, Leaf, flat
from spikelet.graph import GraphError
from spikelet.graph.c import Expression, Fields
from spikelet.graph.target import Target
from spikelet.plugins import kernel_dirs


@dataclass(frozen=True)
class Constant:
    """Constant bytes as they lie in a device's memory: a table, or attributes of a kernel.

    Attributes:
        name: the table's symbol in C, or the first of the attributes: `symbol.field`.
        data: little endian.
        pointer: the attribute by which the kernel finds the table, None where it is in the code.
        at: byte of the structure at which the attributes, or the pointer, lie.
    """

    name: str
    data: bytes
    pointer: str | None = None
    at: int = 0


@dataclass(frozen=True)
class Pointer:
    """A pointer among a kernel's attributes.

    Attributes:
        name: `symbol.field`.
        value: what it points to, in C.
        at: byte of the structure at which it lies.
    """

    name: str
    value: Expression
    at: int


class Laid:
    """The structures of one image, as its compiler lays them out."""

    def __init__(self, headers: Iterable[str], macros: Mapping[str, int], target: Target) -> None:
        self.declared = Declared(dict(macros))
        folders, seen = kernel_dirs(), set[str]()
        for header in ("spk_model.h", *sorted(headers)):
            self.declared.read(folders, header, seen)
            if header not in seen:
                looked = ", ".join(map(str, folders))
                raise GraphError(f"there is no header {header}; looked for in {looked}")
        self.pointer = target.pointer_bytes
        self.sizes: dict[str, int] = {}

    def leaves(self, c_struct: str) -> list[Leaf]:
        """The fields of a structure, in the order in which they lie."""
        leaves, size = self.declared.layout(c_struct, self.pointer or 4)
        self.sizes[c_struct] = size
        return leaves

    def assertions(self) -> list[str]:
        """What holds the compiler to it; nothing where the pointers' size is not known."""
        return [
            f'_Static_assert(sizeof(struct {name}) == {size}, "the host counts {size} bytes");'
            for name, size in self.sizes.items()
            if self.pointer is not None
        ]

    def parts(self, symbol: str, c_struct: str, fields: Fields) -> list[Constant | Pointer]:
        """Attributes that lie side by side, and the pointers between them."""
        values = dict(flat(fields))
        members: list[Constant | Pointer] = []
        for leaf in self.leaves(c_struct):
            value = values.pop(leaf.path, 0)
            name = f"{symbol}.{leaf.path}"
            if not leaf.code and isinstance(value, Expression):
                members.append(Pointer(name, value, leaf.offset))
                continue
            if not leaf.code and self.pointer is None:
                continue  # nobody knows how many zeros
            data = self.declared.pack(name, leaf, value) if leaf.code else bytes(leaf.size)
            last = members[-1] if members else None
            if isinstance(last, Constant):
                gap = leaf.offset - last.at - len(last.data)
                if not gap or self.pointer is not None:
                    together = last.data + bytes(gap) + data
                    members[-1] = Constant(last.name, together, at=last.at)
                    continue
            members.append(Constant(name, data, at=leaf.offset))
        if values:
            raise GraphError(f"struct {c_struct} has no field {next(iter(values))}")
        return members


def list_constants(
    tables: Mapping[str, bytes], configs: Mapping[str, tuple[str, Fields]], laid: Laid
) -> tuple[Constant, ...]:
    """All constants, in the order of the image's own list.

    Args:
        tables: by symbol, their bytes.
        configs: by symbol, a structure and its fields.
        laid: where the fields lie.

    Raises:
        GraphError: a field does not hold its value, or is not known.
    """
    constants = []
    for symbol, (c_struct, fields) in configs.items():
        for part in laid.parts(symbol, c_struct, fields):
            if isinstance(part, Pointer):
                table = str(part.value).rpartition(")")[2]  # behind a cast
                if table not in tables:
                    raise GraphError(f"{part.name} points to {part.value}, which is no table")
                part = Constant(table, tables[table], part.name, part.at)
            constants.append(part)
    pointed = {one.name for one in constants}
    return (*(Constant(s, data) for s, data in tables.items() if s not in pointed), *constants)

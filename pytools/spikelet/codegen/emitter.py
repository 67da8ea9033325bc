"""What operators ask of the generated C: constants, attributes, pointers to tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain, count

import numpy as np

from spikelet.codegen.plan import Plan, Scratch, Slot
from spikelet.graph import Array, Graph, GraphError, c
from spikelet.graph.c import Expression, Fields
from spikelet.graph.operator import Interval, Share
from spikelet.graph.target import ANY, Target

C_TYPES = {
    "bit": "uint32_t",
    "u8": "uint8_t",
    "i8": "int8_t",
    "i16": "int16_t",
    "i32": "int32_t",
    "u32": "uint32_t",
    "f32": "float",
    "f16": "uint16_t",
}
NUMPY_TO_C = {
    "uint8": "uint8_t",
    "int8": "int8_t",
    "int16": "int16_t",
    "uint16": "uint16_t",
    "int32": "int32_t",
    "uint32": "uint32_t",
    "float32": "float",
    "float16": "uint16_t",
}

ARENA, LEARNED = c.name("model_arena"), c.name("model_memory")


class CEmitter:
    """Collects the constants, includes and names that operators ask for."""

    def __init__(self, graph: Graph, places: Plan, target: Target = ANY) -> None:
        self.bounds: Mapping[str, Interval] = graph.bounds
        self.written = {node.name: node.outs for node in graph.order}
        self.places = places
        self.target = target
        self.kernels: dict[str, str] = {}  # by operator, the functions that it calls
        self.named: set[str] = set()  # tensors that the C names
        self.includes: set[str] = set()
        self.macros: dict[str, int] = {}
        self.constants: dict[str, str] = {}
        self.configs: dict[str, str] = {}
        self.sizes: dict[str, int] = {}
        self.asked: set[str] = set()  # symbols of constants that the current operator reads
        self.values: dict[str, bytes] = {}  # by symbol, little endian
        self.attributes: dict[str, tuple[str, Fields]] = {}  # by symbol of a config, its structure
        self.symbols: dict[tuple[str, bytes], str] = {}  # by what they hold
        self.config_symbols: dict[tuple[str, str, str], str] = {}  # by owner, type and fields

    def tensor(self, name: str) -> Expression:
        """Typed pointer to a tensor's memory."""
        self.named.add(name)
        return pointer(name)

    def const(self, name: str, values: Array, note: str) -> Expression:
        """Place a constant array in flash; pointer to it."""
        flat = np.ascontiguousarray(values).reshape(-1)
        key = str(flat.dtype), flat.tobytes()
        if key not in self.symbols:
            symbol = self.symbols[key] = unused_symbol(f"spk_const_{name}", self.constants)
            self.constants[symbol] = array(symbol, flat, note)
            self.sizes[symbol] = flat.nbytes
            little = flat.astype(flat.dtype.newbyteorder("<"))
            self.values[symbol] = little.tobytes()
        self.asked.add(self.symbols[key])
        return c.name(self.symbols[key])

    def config(self, name: str, c_struct: str, fields: Fields) -> Expression:
        """Define a kernel's constant attributes; pointer to them."""
        head, rows = f"static const struct {c.identifier(c_struct)}", _rows(fields)
        key = name, head, rows
        if key not in self.config_symbols:
            symbol = self.config_symbols[key] = unused_symbol(f"{name}_config", self.configs)
            self.configs[symbol] = f"{head} {symbol} = {{\n{rows}}};\n"
            self.attributes[symbol] = c_struct, fields
        return c.address(self.config_symbols[key])

    def scratch(self, name: str, size: int) -> Expression:
        """Memory of `size` bytes while this operator runs; uint32_t pointer to it."""
        return self.at(self.places.scratch[name])

    def at(self, block: Slot | Scratch) -> Expression:
        """Where a place begins; uint32_t pointer to it."""
        learned = self.places.learned
        if block.offset < learned:
            return LEARNED + block.offset // 4
        return ARENA + (block.offset - learned) // 4

    def is_shared(self, share: Share) -> bool:
        """Whether the memory plan put the part into the whole: there is nothing to copy."""
        return self.places.is_shared(share)

    def include(self, header: str) -> None:
        """Include a kernel."""
        self.includes.add(c.header(header))

    def define(self, macro: str, value: int = 1) -> None:
        """Define a macro before all includes."""
        c.identifier(macro)
        if self.macros.setdefault(macro, value) != value:
            raise GraphError(f"macro {macro} is {self.macros[macro]} and {value} in one image")


def pointer(tensor: str) -> Expression:
    """The macro that stands for a tensor's memory."""
    return c.name("t_" + tensor.replace(".", "__"))


def byte_list(data: bytes) -> str:
    """The elements of an array of bytes in C."""
    return ", ".join(f"0x{byte:02x}" for byte in data)


def unused_symbol(symbol: str, used: Iterable[str]) -> str:
    """`symbol`, or with a number where that is taken: `a_b` + `c` is called like `a` + `b_c`."""
    numbered = (f"{symbol}_{i}" for i in count(2))
    return c.identifier(next(s for s in chain([symbol], numbered) if s not in used))


def _rows(fields: Fields) -> str:
    """Fields of a structure, one a line, less the zeros."""
    zero = {k for k, v in fields.items() if isinstance(v, int | np.integer | np.bool_) and not v}
    kept = ((k, v) for k, v in fields.items() if k not in zero)
    return "".join(f"    .{c.field(k)} = {c.literal(v)},\n" for k, v in kept)


def array(symbol: str, flat: Array, note: str) -> str:
    """A constant array of one dimension."""
    if flat.dtype == np.float32:
        items, width = [str(c.literal(v)) for v in flat], 6
    elif flat.dtype == np.float16:
        items, width = [f"0x{v:04x}" for v in flat.view(np.uint16)], 12
    elif flat.dtype == np.uint32:
        items, width = [f"0x{v:08x}" for v in flat], 8
    else:
        items, width = [str(v) for v in flat], 20
    rows = [", ".join(items[i : i + width]) for i in range(0, len(items), width)]
    body = ",\n    ".join(rows)
    c_type = NUMPY_TO_C[str(flat.dtype)]
    return f"// {c.remark(note)}\nstatic const {c_type} {symbol}[{len(flat)}] = {{\n    {body}}};\n"

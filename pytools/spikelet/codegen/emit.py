"""The generated C: constants in flash, a planned arena, straight-line calls of kernels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

import numpy as np

from spikelet.codegen.constants import Constant, Laid, list_constants
from spikelet.codegen.layers import Layer, layers
from spikelet.codegen.parameters import check_calls
from spikelet.codegen.plan import Plan, Scratch, Slot, plan
from spikelet.graph import Array, Graph, GraphError, Learned, Operator, Phase, Tensor, c
from spikelet.graph.c import Expression, Fields, Statement
from spikelet.graph.graph import LABEL
from spikelet.graph.operator import Interval, Share
from spikelet.graph.target import ANY, Target
from spikelet.version import __version__

_C_TYPE = {
    "bit": "uint32_t",
    "u8": "uint8_t",
    "i8": "int8_t",
    "i16": "int16_t",
    "i32": "int32_t",
    "u32": "uint32_t",
    "f32": "float",
    "f16": "uint16_t",
}
_NUMPY_TO_C = {
    "uint8": "uint8_t",
    "int8": "int8_t",
    "int16": "int16_t",
    "uint16": "uint16_t",
    "int32": "int32_t",
    "uint32": "uint32_t",
    "float32": "float",
    "float16": "uint16_t",
}


_KERNEL = re.compile(r"\bspk_(\w+)\(")  # a call


@dataclass(frozen=True)
class Generated:
    """What code generation wrote and what it knows of it.

    Attributes:
        source: path of model.c.
        plan: the memory plan.
        layers: the layer table.
        const_bytes: flash of all constants.
        constants: in the order of the image's own list, of which a device makes a CRC.
    """

    source: Path
    plan: Plan
    layers: list[Layer]
    const_bytes: int
    constants: tuple[Constant, ...]


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
        self.values: dict[str, bytes] = {}  # by symbol, little endian
        self.attributes: dict[str, tuple[str, Fields]] = {}  # by symbol of a config, its structure
        self.symbols: dict[tuple[str, bytes], str] = {}  # by what they hold
        self.config_symbols: dict[tuple[str, str, str], str] = {}  # by owner, type and fields

    def tensor(self, name: str) -> Expression:
        """Typed pointer to a tensor's memory."""
        self.named.add(name)
        return _pointer(name)

    def const(self, name: str, values: Array, note: str) -> Expression:
        """Place a constant array in flash; pointer to it."""
        flat = np.ascontiguousarray(values).reshape(-1)
        key = str(flat.dtype), flat.tobytes()
        if key not in self.symbols:
            symbol = self.symbols[key] = _free_name(f"spk_const_{name}", self.constants)
            self.constants[symbol] = _array(symbol, flat, note)
            self.sizes[symbol] = flat.nbytes
            little = flat.astype(flat.dtype.newbyteorder("<"))
            self.values[symbol] = little.tobytes()
        return c.name(self.symbols[key])

    def config(self, name: str, c_struct: str, fields: Fields) -> Expression:
        """Define a kernel's constant attributes; pointer to them."""
        head, rows = f"static const struct {c.identifier(c_struct)}", _rows(fields)
        key = name, head, rows
        if key not in self.config_symbols:
            symbol = self.config_symbols[key] = _free_name(f"{name}_config", self.configs)
            self.configs[symbol] = f"{head} {symbol} = {{\n{rows}}};\n"
            self.attributes[symbol] = c_struct, fields
        return c.address(self.config_symbols[key])

    def scratch(self, name: str, size: int) -> Expression:
        """Memory of `size` bytes while this operator runs; uint32_t pointer to it."""
        return _ARENA + self.places.scratch[name].offset // 4

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


_ARENA = c.name("arena")


def _pointer(tensor: str) -> Expression:
    return c.name("t_" + tensor.replace(".", "__"))


def _free_name(symbol: str, used: Iterable[str]) -> str:
    """`symbol`, or with a number where that is taken: `a_b` + `c` is called like `a` + `b_c`."""
    numbered = (f"{symbol}_{i}" for i in count(2))
    return c.identifier(next(s for s in chain([symbol], numbered) if s not in used))


def _rows(fields: Fields) -> str:
    """Fields of a structure, one a line, less the zeros."""
    zero = {k for k, v in fields.items() if isinstance(v, int | np.integer | np.bool_) and not v}
    kept = ((k, v) for k, v in fields.items() if k not in zero)
    return "".join(f"    .{c.field(k)} = {c.literal(v)},\n" for k, v in kept)


def _array(symbol: str, flat: Array, note: str) -> str:
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
    c_type = _NUMPY_TO_C[str(flat.dtype)]
    return f"// {c.remark(note)}\nstatic const {c_type} {symbol}[{len(flat)}] = {{\n    {body}}};\n"


def generate(
    graph: Graph,
    sha256: str,
    out_dir: Path,
    *,
    trace: bool = False,
    target: Target = ANY,
    places: Plan | None = None,
    guard: bool = False,
) -> Generated:
    """Write model.c into `out_dir`; the same graph and hash give the same bytes.

    Args:
        graph: the integer graph.
        sha256: the package's hash, 64 hexadecimal digits.
        out_dir: made if it is not there.
        trace: list every tensor and keep a digest of each in every step.
        target: instruction set that it is for; a compiler for another one is refused by the C.
        places: a memory plan, by default the best that is found.
        guard: for a build with the address sanitiser: while an operator runs, all of the arena but
            its own tensors and scratch is out of bounds, and what it is to write holds a pattern.
    """
    places = places or plan(graph, target)
    em = CEmitter(graph, places, target)
    executed = _emit_operators(graph, em, trace, guard)
    table = layers(graph, places, executed.const_bytes, em.kernels, target)
    bodies = executed.bodies
    learning = _learning(graph, em, bodies)
    laid = Laid(em.includes, em.macros, target)
    constants = list_constants(em.values, em.attributes, laid)
    model = _model(graph, sha256, trace, em, constants)
    parts = [
        _head(graph, sha256, table, places, sum(em.sizes.values())),
        *_unless_for(target),
        "".join(f"#define {macro} {value}\n" for macro, value in sorted(em.macros.items())),
        "\n".join(f'#include "{h}"' for h in ["spk_model.h", *sorted(em.includes)]) + "\n",
        *em.constants.values(),
        _arena(em, guard),
        *em.configs.values(),
        *(f"{line}\n" for line in laid.assertions()),
        _function("static void model_start(void)", [*executed.start, *bodies[Phase.ONCE]]),
        _function("static void model_step(uint32_t t)", [*c.unused(c.STEP), *bodies[Phase.STEP]]),
        _function("static void model_finish(void)", bodies[Phase.END]),
        *learning,
        model,
        *(["#endif\n"] if target.conditions() else []),
    ]
    source = _write(out_dir, "\n".join(parts), places.size if guard else None)
    return Generated(source, places, table, sum(em.sizes.values()), constants)


def _write(out_dir: Path, text: str, apart: int | None) -> Path:
    """Write model.c, and an arena of `apart` bytes beside it; the path of model.c."""
    out_dir.mkdir(parents=True, exist_ok=True)
    source, arena = out_dir / "model.c", out_dir / "arena.c"
    source.write_text(text, encoding="utf-8")
    arena.unlink(missing_ok=True)
    if apart is not None:  # what the compiler sees to lie within an array it does not check
        lines = [
            "#include <stdint.h>",
            "extern uint32_t arena[];",
            f"uint32_t arena[{apart // 4}];\n",
        ]
        arena.write_text("\n".join(lines), encoding="utf-8")
    return source


@dataclass(frozen=True)
class _Executed:
    """The statements that execute a graph.

    Attributes:
        start: what resets states.
        bodies: of each phase.
        const_bytes: by operator, of the constants that it was the first to ask for.
    """

    start: list[Statement]
    bodies: dict[Phase, list[Statement]]
    const_bytes: dict[str, int]


def _emit_operators(graph: Graph, em: CEmitter, trace: bool, guard: bool) -> _Executed:
    made = _Executed([c.assign(c.name("saturations"), 0)], {phase: [] for phase in Phase}, {})
    for number, node in enumerate(graph.order):
        before = sum(em.sizes.values())
        starting = node.emit_start(em)
        check_calls(f"layer {node.name}", "\n".join(map(str, starting)))
        made.start.extend(starting)
        phase = graph.phase(node)
        steps: dict[Phase, c.Value] = {Phase.ONCE: 0, Phase.STEP: c.STEP}
        stop = node.emit_stop(em)
        made.bodies[phase] += [
            c.comment(f"{number}: {node.name}"),
            *_conditional(node, em, trace, guard),
            c.run("SPK_PROBE", steps.get(phase, graph.steps - 1), number),
            *([] if stop is None else [c.when(stop, c.RETURN)]),
        ]
        made.const_bytes[node.name] = sum(em.sizes.values()) - before
    return made


def _conditional(node: Operator, em: CEmitter, trace: bool, guard: bool) -> list[Statement]:
    """What executes an operator; a trace build, whose digests are golden's, leaves out none."""
    body = node.emit(em)
    text = "\n".join(map(str, body))
    check_calls(f"layer {node.name}", text)
    called = dict.fromkeys(_KERNEL.findall(text))
    em.kernels[node.name] = ", ".join(called)
    if guard:
        em.include("spk_guard.h")
        body = [*_guards(node, em), *body, c.run("spk_open", _ARENA, em.places.size)]
    if node.when is None or trace:
        return body
    name, value = node.when
    return [c.when(em.tensor(name).at(0).compare("==", value), *body)]


def _guards(node: Operator, em: CEmitter) -> list[Statement]:
    """What leaves an operator its own tensors only, with a pattern in those that it makes."""
    slots = em.places.slots
    reads = [slots[name] for name in node.inputs]
    makes = em.written[node.name]
    lines = [c.run("spk_guard", _ARENA, em.places.size)]
    for slot in {s.tensor.name: s for s in [*reads, *(slots[t.name] for t in makes)]}.values():
        lines.append(c.run("spk_open", _at(slot), slot.size))
    for tensor in makes:
        slot = slots[tensor.name]
        apart = [s.offset >= slot.offset + slot.size or slot.offset >= s.offset + s.size
                 for s in reads]  # fmt: skip
        if all(apart) and not tensor.persistent:
            lines.append(c.run("spk_unwritten", _at(slot), tensor.nbytes))
    block = em.places.scratch.get(node.name)
    if block is not None:
        lines += [c.run(f, _at(block), block.size) for f in ("spk_open", "spk_unwritten")]
    return lines


def _at(block: Slot | Scratch) -> Expression:
    """Where it begins."""
    return _ARENA + block.offset // 4


def _head(graph: Graph, sha256: str, table: list[Layer], places: Plan, const_bytes: int) -> str:
    columns = ["layer", "op", "phase", "output", "bits", "syn. ops", "MACs", "flash", "RAM"]
    rows = [
        [
            row.name,
            row.op,
            row.phase,
            row.output,
            row.weight_bits or "",
            row.synaptic_ops or "",
            row.macs or "",
            row.flash_bytes or "",
            row.ram_bytes,
        ]
        for row in table
    ]
    text = _columns([columns, *rows])
    return "\n".join(
        [
            f"// {c.identifier(graph.name)}: generated by spikelet {__version__} from package",
            f"// {c.remark(sha256)}",
            f"// `spikelet build` makes it again. {graph.steps} time steps an inference.",
            "//",
            *(f"// {c.remark(line)}" for line in text),
            "//",
            f"// Constants {const_bytes} bytes, arena {places.size} bytes"
            f" (no plan takes less than {places.bound}).",
            "",
        ]
    )


def _unless_for(target: Target) -> list[str]:
    """One #error where the compiler makes code for another core, and nothing behind it."""
    lines = []
    for number, (condition, words) in enumerate(target.conditions()):
        lines.append(f"#{'el' * (number > 0)}if !({condition})")
        lines.append(
            f'#error "model.c was made for {target}, so for {words}, which this compiler or its '
            f"flags do not make code for. Compile for {target} (-mcpu, -march), or make model.c "
            'again for the core that is there: isa in board.toml"'
        )
    return ["\n".join([*lines, "#else", ""])] if lines else []


def _columns(rows: Iterable[Iterable[object]]) -> list[str]:
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = []
    for row in cells:
        left = [row[i].ljust(widths[i]) for i in range(4)]
        right = [row[i].rjust(widths[i]) for i in range(4, len(row))]
        lines.append("  ".join([*left, *right]).rstrip())
    return lines


def _arena(em: CEmitter, guard: bool) -> str:
    """The arena, and pointers into it; clang warns of one that nothing reads."""
    places = em.places
    lines = [
        "// What is not needed at the same time (operator numbers, in brackets) shares memory.",
        "extern uint32_t arena[];" if guard else f"static uint32_t arena[{places.size // 4}];",
        "static uint32_t saturations;",
    ]
    for name, slot in places.slots.items():
        c_type = _C_TYPE[slot.tensor.dtype]
        shape = "x".join(map(str, slot.tensor.shape))
        c_name = _pointer(name)
        unread = "" if name in em.named else "// "
        cast = f"({c_type} *)" if c_type == "uint32_t" else f"({c_type} *)(void *)"
        lines.append(
            f"{unread}static {c_type} *const {c_name} = {cast}({_at(slot)}); "
            f"// {slot.tensor.dtype} ({shape}) [{slot.first}, {slot.last}]"
        )
    for name, block in places.scratch.items():
        lines.append(f"// scratch of {c.remark(name)}: {block.size} bytes at {block.offset}")
    return "\n".join(lines) + "\n"


def _function(signature: str, body: list[Statement]) -> str:
    return f"{signature} {c.block(*body)}\n"


def _learning(graph: Graph, em: CEmitter, bodies: Mapping[Phase, list[Statement]]) -> list[str]:
    """The functions of a graph that learns."""
    if not graph.learns:
        return []
    em.include("learn/load.h")
    load = [_load(learned, em) for learned in graph.learned]
    return [
        _function("static void model_load(void)", load),
        _function("static void model_learn(void)", bodies[Phase.LEARN]),
        _function("static void model_commit(void)", bodies[Phase.COMMIT]),
    ]


def _load(learned: Learned, em: CEmitter) -> Statement:
    name, size = learned.tensor.name, learned.tensor.nbytes
    initial = c.name("NULL")
    if learned.initial is not None and learned.initial.any():
        note = f"{name}, before anything was learned"
        initial = em.const(f"{name.replace('.', '__')}__initial", learned.initial, note)
    return c.run("spk_load_learned", em.tensor(name), initial, size)


def _model(
    graph: Graph, sha256: str, trace: bool, em: CEmitter, constants: Sequence[Constant]
) -> str:
    places = em.places
    digest = ", ".join(f"0x{byte:02x}" for byte in bytes.fromhex(sha256))
    rows = []
    for tensor, op in visible_tensors(graph, trace):
        data = _at(places.slots[tensor.name])
        number = _NO_OP if op is None else op
        rows.append(_entry(tensor, tensor.kind, data, number, graph.admitted_range(tensor)))
    lines = []
    if trace:
        columns = len(graph.traced_tensors)
        lines.append(
            f"static uint32_t trace[{graph.steps * columns}]; // ({graph.steps}, {columns})"
        )
        shaped = Tensor("trace", "u32", (graph.steps, columns), kind="output")
        rows.append(_entry(shaped, "digests", c.name("trace"), _NO_OP, shaped.limits))
    lines += [
        f"static const uint8_t package_sha256[32] = {{\n    {digest}}};",
        f"static const struct spk_tensor tensors[{len(rows)}] = {{",
        *(f"    {row}," for row in rows),
        "};",
        *_constants(constants),
        "const struct spk_model spk_model = {",
        f"    .name = {c.string_literal(graph.name)},",
        "    .package_sha256 = package_sha256,",
        "    .tensors = tensors,",
        f"    .tensor_count = {len(rows)},",
        f"    .steps = {graph.steps},",
        f"    .arena_bytes = {places.size},",
        *_constant_fields(constants),
        "    .saturations = &saturations,",
        "    .start = model_start,",
        "    .step = model_step,",
        "    .finish = model_finish,",
        *_learning_fields(graph, em),
        "};",
        "",
    ]
    return "\n".join(lines)


def _constants(constants: Sequence[Constant]) -> list[str]:
    """The list of all constants: what a device's CRC is made of."""
    if not constants:
        return []
    rows = []
    for one in constants:
        place = one.pointer or one.name
        address = f"&{c.field(place)}" if "." in place else c.identifier(place)
        rows.append(f"    {{{address}, {len(one.data)}, {int(one.pointer is not None)}}},")
    return [f"static const struct spk_constant constants[{len(constants)}] = {{", *rows, "};"]


def _constant_fields(constants: Sequence[Constant]) -> list[str]:
    if not constants:
        return []
    return [
        f"    .constant_bytes = {sum(len(one.data) for one in constants)},",
        f"    .constant_count = {len(constants)},",
        "    .constants = constants,",
    ]


def _learning_fields(graph: Graph, em: CEmitter) -> list[str]:
    if not graph.learns:
        return []
    label = em.tensor(LABEL) if graph.classes else "NULL"
    return [
        f"    .label = {label},",
        f"    .classes = {graph.classes},",
        "    .load = model_load,",
        "    .learn = model_learn,",
        "    .commit = model_commit,",
    ]


_NO_OP = c.name("SPK_NO_OP")


def visible_tensors(graph: Graph, trace: bool) -> list[tuple[Tensor, int | None]]:
    """The tensors a host may see, each with the number of the operator that writes it.

    A trace build lists the digests behind them.
    """
    given = [*graph.inputs, *(k.tensor for k in graph.learned), *graph.every_target]
    rows: list[tuple[Tensor, int | None]] = [(t, None) for t in given]
    for number, node in enumerate(graph.order):
        rows += [(t, number) for t in node.outs]
    return [(t, n) for t, n in rows if trace or t.kind != "activation"]


def _entry(
    tensor: Tensor, kind: str, data: Expression, number: c.Value, ends: tuple[float, float]
) -> Expression:
    """A row of the tensor table; `ends`: what a host writes must lie in them."""
    dtype, kind_of = (c.name(f"SPK_{text.upper()}") for text in (tensor.dtype, kind))
    row = (
        c.string_literal(tensor.name), data, tensor.nbytes, dtype, kind_of, number,
        len(tensor.shape), tensor.shape, c.decimal(tensor.scale), tensor.zero_point,
    )  # fmt: skip
    return c.literal((*row, *map(tensor.order, ends)))

"""The generated C: constants in flash, a planned arena, straight-line calls of kernels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spikelet import __version__
from spikelet.codegen.layers import Layer, layers
from spikelet.codegen.plan import Plan, plan
from spikelet.graph import Array, Graph, GraphError, Learned, Operator, Phase, Tensor
from spikelet.graph.graph import LABEL
from spikelet.graph.operator import Interval, Share
from spikelet.graph.target import ANY, Target

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


@dataclass(frozen=True)
class Constant:
    """A constant array as it lies in a device's memory.

    Attributes:
        symbol: its name in C.
        data: its bytes, little endian.
    """

    symbol: str
    data: bytes


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
        self.written = {node.name: graph.written(node) for node in graph.order}
        self.places = places
        self.target = target
        self.includes: set[str] = set()
        self.macros: dict[str, str] = {}
        self.constants: dict[str, str] = {}
        self.configs: dict[str, str] = {}
        self.sizes: dict[str, int] = {}
        self.values: list[Constant] = []
        self.symbols: dict[tuple[str, bytes], str] = {}  # by what they hold

    def tensor(self, name: str) -> str:
        """C expression: typed pointer to a tensor's memory."""
        return _c_name(name)

    def const(self, name: str, values: Array, note: str) -> str:
        """Place a constant array in flash; the C name."""
        flat = np.ascontiguousarray(values).reshape(-1)
        key = str(flat.dtype), flat.tobytes()
        if key not in self.symbols:
            symbol = self.symbols[key] = f"spk_const_{name}"
            self.constants[symbol] = _array(symbol, flat, note)
            self.sizes[symbol] = flat.nbytes
            little = flat.astype(flat.dtype.newbyteorder("<"))
            self.values.append(Constant(symbol, little.tobytes()))
        return self.symbols[key]

    def config(self, name: str, c_struct: str, fields: Mapping[str, object]) -> str:
        """Define a kernel's constant attributes; C expression: pointer to them."""
        symbol = f"{name}_config"
        rows = "".join(f"    .{k} = {v},\n" for k, v in fields.items() if v not in (0, "false"))
        self.configs[symbol] = f"static const struct {c_struct} {symbol} = {{\n{rows}}};\n"
        return f"&{symbol}"

    def scratch(self, name: str, size: int) -> str:
        """Memory of `size` bytes while this operator runs; C expression: uint32_t pointer to it."""
        return f"arena + {self.places.scratch[name].offset // 4}"

    def shared(self, share: Share) -> bool:
        """Whether the memory plan put the part into the whole: there is nothing to copy."""
        return self.places.shared(share)

    def include(self, header: str) -> None:
        """Include a kernel."""
        self.includes.add(header)

    def define(self, macro: str, value: str = "1") -> None:
        """Define a macro before all includes."""
        if self.macros.setdefault(macro, value) != value:
            raise GraphError(f"macro {macro} is {self.macros[macro]} and {value} in one image")


def _c_name(tensor: str) -> str:
    return "t_" + tensor.replace(".", "__")


def _array(symbol: str, flat: Array, note: str) -> str:
    if flat.dtype == np.float32:
        items, width = [f"{float(v).hex()}f" for v in flat], 6
    elif flat.dtype == np.float16:
        items, width = [f"0x{v:04x}" for v in flat.view(np.uint16)], 12
    elif flat.dtype == np.uint32:
        items, width = [f"0x{v:08x}" for v in flat], 8
    else:
        items, width = [str(v) for v in flat], 20
    rows = [", ".join(items[i : i + width]) for i in range(0, len(items), width)]
    body = ",\n    ".join(rows)
    c_type = _NUMPY_TO_C[str(flat.dtype)]
    return f"// {note}\nstatic const {c_type} {symbol}[{len(flat)}] = {{\n    {body}}};\n"


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
    const_bytes: dict[str, int] = {}
    start = ["saturations = 0;"]
    bodies: dict[Phase, list[str]] = {phase: [] for phase in Phase}
    for number, node in enumerate(graph.order):
        before = sum(em.sizes.values())
        start += node.emit_start(em)
        phase = graph.phase(node)
        step = {Phase.ONCE: "0", Phase.STEP: "t"}.get(phase, f"{graph.steps - 1}")
        stop = node.emit_stop(em)
        bodies[phase] += [
            f"// {number}: {node.name}",
            *_conditional(node, em, trace, guard),
            f"SPK_PROBE({step}, {number});",
            *([f"if ({stop}) {{ return; }}"] if stop else []),
        ]
        const_bytes[node.name] = sum(em.sizes.values()) - before
    table = layers(graph, places, const_bytes)
    learning = _learning(graph, em, bodies)
    parts = [
        _head(graph, sha256, table, places, sum(em.sizes.values())),
        *_unless_for(target),
        "".join(f"#define {macro} {value}\n" for macro, value in sorted(em.macros.items())),
        "\n".join(f'#include "{h}"' for h in ["spk_model.h", *sorted(em.includes)]) + "\n",
        *em.constants.values(),
        _arena(graph, places, guard),
        *em.configs.values(),
        _function("static void model_start(void)", [*start, *bodies[Phase.ONCE]]),
        _function("static void model_step(uint32_t t)", ["(void)t;", *bodies[Phase.STEP]]),
        _function("static void model_finish(void)", bodies[Phase.END]),
        *learning,
        _model(graph, sha256, places, trace, em.values),
        *(["#endif\n"] if target.conditions() else []),
    ]
    out_dir.mkdir(parents=True, exist_ok=True)
    source = out_dir / "model.c"
    source.write_text("\n".join(parts), encoding="utf-8")
    apart = out_dir / "arena.c"
    apart.unlink(missing_ok=True)
    if guard:  # what the compiler sees to lie within an array it does not check
        lines = ["#include <stdint.h>", "extern uint32_t arena[];"]
        lines.append(f"uint32_t arena[{places.size // 4}];\n")
        apart.write_text("\n".join(lines), encoding="utf-8")
    return Generated(source, places, table, sum(em.sizes.values()), tuple(em.values))


def _conditional(node: Operator, em: CEmitter, trace: bool, guard: bool) -> list[str]:
    """What executes an operator; a trace build, whose digests are golden's, leaves out none."""
    body = node.emit(em)
    if guard:
        em.include("spk_guard.h")
        body = [*_opened(node, em), *body, f"spk_open(arena, {em.places.size});"]
    if node.when is None or trace:
        return body
    name, value = node.when
    return [f"if ({em.tensor(name)}[0] == {value}) {{", *(f"    {line}" for line in body), "}"]


def _opened(node: Operator, em: CEmitter) -> list[str]:
    """What leaves an operator its own tensors only, with a pattern in those that it makes."""
    slots = em.places.slots
    reads = [slots[name] for name in node.inputs]
    makes = em.written[node.name]
    lines = [f"spk_guard(arena, {em.places.size});"]
    for slot in {s.tensor.name: s for s in [*reads, *(slots[t.name] for t in makes)]}.values():
        lines.append(f"spk_open(arena + {slot.offset // 4}, {slot.size});")
    for tensor in makes:
        slot = slots[tensor.name]
        apart = [s.offset >= slot.offset + slot.size or slot.offset >= s.offset + s.size
                 for s in reads]  # fmt: skip
        if all(apart) and not tensor.persistent:
            lines.append(f"spk_unwritten(arena + {slot.offset // 4}, {tensor.nbytes});")
    block = em.places.scratch.get(node.name)
    if block is not None:
        lines.append(f"spk_open(arena + {block.offset // 4}, {block.size});")
        lines.append(f"spk_unwritten(arena + {block.offset // 4}, {block.size});")
    return lines


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
            f"// {graph.name}: generated by spikelet {__version__} from package",
            f"// {sha256}",
            f"// `spikelet build` makes it again. {graph.steps} time steps an inference.",
            "//",
            *(f"// {line}" for line in text),
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


def _arena(graph: Graph, places: Plan, guard: bool) -> str:
    lines = [
        "// What is not needed at the same time (operator numbers, in brackets) shares memory.",
        "extern uint32_t arena[];" if guard else f"static uint32_t arena[{places.size // 4}];",
        "static uint32_t saturations;",
    ]
    for name, slot in places.slots.items():
        c_type = _C_TYPE[slot.tensor.dtype]
        shape = "x".join(map(str, slot.tensor.shape))
        c_name = _c_name(name)
        cast = f"({c_type} *)" if c_type == "uint32_t" else f"({c_type} *)(void *)"
        lines.append(
            f"static {c_type} *const {c_name} = {cast}(arena + {slot.offset // 4}); "
            f"// {slot.tensor.dtype} ({shape}) [{slot.first}, {slot.last}]"
        )
    for name, block in places.scratch.items():
        lines.append(f"// scratch of {name}: {block.size} bytes at {block.offset}")
    return "\n".join(lines) + "\n"


def _function(signature: str, body: list[str]) -> str:
    return "\n".join([f"{signature} {{", *(f"    {line}" for line in body), "}", ""])


def _learning(graph: Graph, em: CEmitter, bodies: Mapping[Phase, list[str]]) -> list[str]:
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


def _load(learned: Learned, em: CEmitter) -> str:
    name, size = learned.tensor.name, learned.tensor.nbytes
    initial = "NULL"
    if learned.initial is not None and learned.initial.any():
        note = f"{name}, before anything was learned"
        initial = em.const(f"{name.replace('.', '__')}__initial", learned.initial, note)
    return f"spk_load_learned({em.tensor(name)}, {initial}, {size});"


def _model(
    graph: Graph, sha256: str, places: Plan, trace: bool, constants: Sequence[Constant]
) -> str:
    digest = ", ".join(f"0x{sha256[i : i + 2]}" for i in range(0, 64, 2))
    rows, ends = [], _ends(graph)
    every = (0, 0) if graph.learns else None
    for tensor, number in _listed(graph, trace):
        data = f"arena + {places.slots[tensor.name].offset // 4}"
        rows.append(_entry(tensor, data, number, ends.get(tensor.name, every)))
    lines = []
    if trace:
        columns = len(graph.traced)
        lines.append(
            f"static uint32_t trace[{graph.steps * columns}]; // ({graph.steps}, {columns})"
        )
        shaped = Tensor("trace", "u32", (graph.steps, columns), kind="output")
        row = _entry(shaped, "trace", "SPK_NO_OP", every)
        rows.append(row.replace("SPK_OUTPUT", "SPK_DIGESTS"))
    lines += [
        f"static const uint8_t package_sha256[32] = {{\n    {digest}}};",
        f"static const struct spk_tensor tensors[{len(rows)}] = {{",
        *(f"    {row}," for row in rows),
        "};",
        *_constants(constants),
        "const struct spk_model spk_model = {",
        f'    .name = "{graph.name}",',
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
        *_learning_fields(graph),
        "};",
        "",
    ]
    return "\n".join(lines)


def _constants(constants: Sequence[Constant]) -> list[str]:
    """The list of all constants: what a device's CRC is made of."""
    if not constants:
        return []
    rows = [f"    {{{c.symbol}, sizeof {c.symbol}}}," for c in constants]
    return [f"static const struct spk_constant constants[{len(constants)}] = {{", *rows, "};"]


def _constant_fields(constants: Sequence[Constant]) -> list[str]:
    if not constants:
        return []
    return [
        f"    .constant_bytes = {sum(len(c.data) for c in constants)},",
        f"    .constant_count = {len(constants)},",
        "    .constants = constants,",
    ]


def _learning_fields(graph: Graph) -> list[str]:
    if not graph.learns:
        return []
    label = f"{_c_name(LABEL)}" if graph.classes else "NULL"
    return [
        f"    .label = {label},",
        f"    .classes = {graph.classes},",
        "    .load = model_load,",
        "    .learn = model_learn,",
        "    .commit = model_commit,",
    ]


def _listed(graph: Graph, trace: bool) -> list[tuple[Tensor, str]]:
    """The tensors a host may see, each with the number of the operator that writes it."""
    given = [*graph.inputs, *(k.tensor for k in graph.learned), *graph.every_target]
    listed = [(t, "SPK_NO_OP") for t in given]
    for number, node in enumerate(graph.order):
        listed += [(t, str(number)) for t in graph.written(node)]
    return [(t, n) for t, n in listed if trace or t.kind != "activation"]


def _entry(tensor: Tensor, data: str, number: str, ends: tuple[int, int] | None = None) -> str:
    """A row of the tensor table; `ends`: what a host writes must lie in them; (0, 0): any value."""
    dims = ", ".join(map(str, tensor.shape))
    checked = f", {ends[0]}, {ends[1]}" if ends else ""
    return (
        f'{{"{tensor.name}", {data}, {tensor.nbytes}, SPK_{tensor.dtype.upper()}, '
        f"SPK_{tensor.kind.upper()}, {number}, {len(tensor.shape)}, {{{dims}}}, "
        f"{float(tensor.scale)!r}f, {tensor.zero_point}{checked}}}"
    )


def _ends(graph: Graph) -> dict[str, tuple[int, int]]:
    """By learned tensor and target, the values that it may hold, where not all of its type."""
    found = {LABEL: (0, graph.classes - 1)} if graph.classes else {}
    for learned in graph.learned:
        if learned.low is not None or learned.high is not None:
            low, high = learned.tensor.limits
            found[learned.tensor.name] = (
                low if learned.low is None else learned.low,
                high if learned.high is None else learned.high,
            )
    return found

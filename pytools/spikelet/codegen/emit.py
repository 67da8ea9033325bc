"""The generated C: constants in flash, a planned arena, straight-line calls of kernels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from spikelet.codegen.constants import Constant, Laid, list_constants
from spikelet.codegen.emitter import C_TYPES, CEmitter, pointer
from spikelet.codegen.interface import Interface, prefix_of
from spikelet.codegen.layers import Layer, layers
from spikelet.codegen.parameters import check_calls
from spikelet.codegen.plan import Plan, plan
from spikelet.codegen.safeguards import Safeguards
from spikelet.codegen.table import agent_table, learned_table
from spikelet.graph import Graph, Learned, Operator, Phase, c
from spikelet.graph.c import Statement
from spikelet.graph.target import ANY, Target
from spikelet.text import counted
from spikelet.version import __version__

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
        self_test_bytes: flash of the golden samples.
    """

    source: Path
    plan: Plan
    layers: list[Layer]
    const_bytes: int
    constants: tuple[Constant, ...]
    self_test_bytes: int = 0

    def __repr__(self) -> str:
        layers, arena = len(self.layers), self.plan.size
        return (
            f"<Generated {self.source}: {layers} layers, {self.const_bytes} bytes of constants, "
            f"an arena of {arena}>"
        )


def generate(
    graph: Graph,
    sha256: str,
    out_dir: Path,
    *,
    trace: bool = False,
    target: Target = ANY,
    places: Plan | None = None,
    guard: bool = False,
    safeguards: Safeguards | None = None,
) -> Generated:
    """Write model.c into `out_dir`; the same graph and hash give the same bytes.

    Args:
        graph: the integer graph.
        sha256: the package's hash, 64 hexadecimal digits.
        out_dir: made if it is not there.
        trace: list every tensor, keep a digest of each in every step, and count work.
        target: instruction set that it is for; a compiler for another one is refused by the C.
        places: a memory plan, by default the best that is found.
        guard: for a build with the address sanitiser: while an operator runs, all of the arena but
            its own tensors and scratch is out of bounds, and what it is to write holds a pattern.
        safeguards: of images that learn: what else they hold; such a model.c is compiled with
            their macros.
    """
    places = places or plan(graph, target)
    em = CEmitter(graph, places, target)
    safeguards = safeguards or Safeguards()
    for macro in safeguards.macros:
        em.define(macro)
    core = _core(graph, sha256, em, trace, guard, key=safeguards.key)
    parts = [
        core.text,
        '#include "spk_model.h"\n' if not trace else "",
        agent_table(graph, sha256, trace, em, core.constants, safeguards.self_test),
        core.interface.signed_functions() if safeguards.key else "",
        _END_OF_CONDITION if target.conditions() else "",
    ]
    source = _write(out_dir, "\n".join(filter(None, parts)), places if guard else None)
    header = core.interface.header()
    (out_dir / f"{core.interface.prefix}.h").write_text(header, encoding="utf-8", newline="\n")
    of_model = (core.layers, core.interface.const_bytes, core.constants)
    return Generated(source, places, *of_model, safeguards.sample_bytes)


@dataclass(frozen=True)
class Core:
    """A model in C: what the agent's image and other people's firmware have in common.

    Attributes:
        text: of NAME.c; where it is for one kind of core, `END_OF_CONDITION` is missing.
        interface: what NAME.h declares.
        layers: the layer table.
        constants: in order.
    """

    text: str
    interface: Interface
    layers: list[Layer]
    constants: tuple[Constant, ...]


def library_text(
    graph: Graph,
    sha256: str,
    target: Target,
    places: Plan,
    prefix: str | None = None,
    key: bytes = b"",
) -> tuple[str, Core]:
    """NAME.c, whole, and what is known of it; NAME.h is `core.interface.header()`."""
    core = _core(graph, sha256, CEmitter(graph, places, target), False, False, prefix, key)
    return core.text + (f"\n{_END_OF_CONDITION}" if target.conditions() else ""), core


_END_OF_CONDITION = "#endif\n"


def _core(
    graph: Graph,
    sha256: str,
    em: CEmitter,
    trace: bool,
    guard: bool,
    prefix: str | None = None,
    key: bytes = b"",
) -> Core:
    executed = _emit_operators(graph, em, trace, guard)
    own, read = executed.const_bytes, executed.read_bytes
    held = {name: (own[name], read[name]) for name in own}
    table = layers(graph, em.places, held, em.kernels, em.target)
    bodies = executed.bodies
    learning = _learning(graph, em, bodies)
    if graph.has_choices:
        em.define("SPK_CHOICES")
    if graph.stream is not None:
        em.define("SPK_EVENTS")
    if graph.exit:
        em.define("SPK_EXIT")
    if graph.keeps_state:
        em.define("SPK_KEEP")
    laid = Laid(em.includes, em.macros, em.target)
    constants = list_constants(em.values, em.attributes, laid)
    const_bytes = sum(em.sizes.values())
    name = prefix or prefix_of(graph.name)
    interface = Interface(graph, sha256, em.places, name, const_bytes, key)
    if key:
        em.include("spk_signed.h")
    included = [f"{name}.h", *(["spk_model.h"] if trace else []), *sorted(em.includes)]
    functions = interface.functions(em)  # asks for tensors, so before they are declared
    parts = [
        _head(graph, sha256, table, em.places, const_bytes, "export --c" if prefix else "build"),
        *_unless_for(em.target),
        _FLAGS,
        "".join(f"#define {macro} {value}\n" for macro, value in sorted(em.macros.items())),
        "\n".join(f'#include "{h}"' for h in included) + "\n",
        *em.constants.values(),
        _arena(em, interface, guard),
        *em.configs.values(),
        *(f"{line}\n" for line in laid.assertions()),
        *_starts(graph, executed),
        _function("static void model_step(uint32_t t)", [*c.unused(c.STEP), *bodies[Phase.STEP]]),
        _function("static void model_finish(void)", bodies[Phase.END]),
        *learning,
        functions,
    ]
    return Core("\n".join(filter(None, parts)), interface, table, constants)


# Tensors of several types share the arena, floats are not to be contracted, and the kernels of some
# cores take the registers that a build without optimisation keeps.
_FLAGS = f"""\
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF // {c.FLAGS[0]} is to be given
#elif defined(__GNUC__) && !defined(SPIKELET_FLAGS)
#pragma GCC optimize({", ".join(f'"{flag[2:]}"' for flag in c.FLAGS if flag.startswith("-f"))})
#endif
#if defined(__GNUC__) && !defined(__clang__) && !defined(__OPTIMIZE__)
#pragma GCC optimize("O1")
#endif
"""


def _write(out_dir: Path, text: str, apart: Plan | None) -> Path:
    """Write model.c, and the memory of a plan beside it; the path of model.c."""
    out_dir.mkdir(parents=True, exist_ok=True)
    source, arena = out_dir / "model.c", out_dir / "arena.c"
    source.write_text(text, encoding="utf-8", newline="\n")
    arena.unlink(missing_ok=True)
    if apart is not None:  # what the compiler sees to lie within an array it does not check
        lines = [
            "#include <stdint.h>",
            "extern uint32_t model_whole[];",
            f"uint32_t model_whole[{apart.size // 4}];\n",
        ]
        arena.write_text("\n".join(lines), encoding="utf-8", newline="\n")
    return source


def _starts(graph: Graph, executed: _Executed) -> list[str]:
    """What begins an inference: anew, or with the neurons' states as they are."""
    once = executed.bodies[Phase.ONCE]
    start = "static void model_start(void)"
    if not graph.keeps_state:
        return [_function(start, [*executed.start, *once])]
    return [
        _function("static void model_resume(void)", [*executed.start, *once]),
        _function(start, [*executed.states, c.run("model_resume")]),
    ]


@dataclass(frozen=True)
class _Executed:
    """The statements that execute a graph.

    Attributes:
        start: what resets states, but for those that a graph keeps.
        states: what resets these.
        bodies: of each phase.
        const_bytes: by operator, of the constants that it was the first to ask for.
        read_bytes: by operator, of all constants that it asked for.
    """

    start: list[Statement]
    states: list[Statement]
    bodies: dict[Phase, list[Statement]]
    const_bytes: dict[str, int]
    read_bytes: dict[str, int]


def _emit_operators(graph: Graph, em: CEmitter, trace: bool, guard: bool) -> _Executed:
    made = _Executed(
        [c.assign(c.name("saturations"), 0)], [], {phase: [] for phase in Phase}, {}, {}
    )
    for number, node in enumerate(graph.order):
        before = sum(em.sizes.values())
        em.asked.clear()
        starting = node.emit_start(em)
        check_calls(f"layer {node.name}", "\n".join(map(str, starting)))
        (made.states if graph.keeps_state and node.KEPT else made.start).extend(starting)
        phase = graph.phase(node)
        steps: dict[Phase, c.Value] = {Phase.ONCE: 0, Phase.STEP: c.STEP}
        stop = node.emit_stop(em)
        made.bodies[phase] += [
            c.comment(f"{number}: {node.name}"),
            *_conditional(node, em, trace, guard),
            *([c.run("SPK_PROBE", steps.get(phase, graph.steps - 1), number)] if trace else []),
            *([] if stop is None else [c.when(stop, c.RETURN)]),
        ]
        made.const_bytes[node.name] = sum(em.sizes.values()) - before
        made.read_bytes[node.name] = sum(em.sizes[symbol] for symbol in em.asked)
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
        body = [*_guards(node, em), *body, c.run("spk_open", _MEMORY, em.places.size)]
    if node.when is None or trace:
        return body
    name, value = node.when
    return [c.when(em.tensor(name).at(0).compare("==", value), *body)]


_MEMORY = c.name("model_whole")  # of a guarded build: what is learned, then the arena


def _guards(node: Operator, em: CEmitter) -> list[Statement]:
    """What leaves an operator its own tensors only, with a pattern in those that it makes."""
    slots = em.places.slots
    reads = [slots[name] for name in (*node.inputs, node.carried) if name]
    makes = em.written[node.name]
    lines = [c.run("spk_guard", _MEMORY, em.places.size)]
    for slot in {s.tensor.name: s for s in [*reads, *(slots[t.name] for t in makes)]}.values():
        lines.append(c.run("spk_open", em.at(slot), slot.size))
    for tensor in makes:
        slot = slots[tensor.name]
        apart = [s.offset >= slot.offset + slot.size or slot.offset >= s.offset + s.size
                 for s in reads]  # fmt: skip
        if all(apart) and not tensor.persistent:
            lines.append(c.run("spk_unwritten", em.at(slot), tensor.nbytes))
    block = em.places.scratch.get(node.name)
    if block is not None:
        lines += [c.run(f, em.at(block), block.size) for f in ("spk_open", "spk_unwritten")]
    return lines


def _head(
    graph: Graph, sha256: str, table: list[Layer], places: Plan, const_bytes: int, command: str
) -> str:
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
            "// SPDX-License-Identifier: Apache-2.0",
            f"// `spikelet {command}` makes it again."
            f" {counted(graph.steps, 'time step')} an inference.",
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
            f'#error "this model was made for {target}, so for {words}, which this compiler or its '
            f"flags do not make code for. Compile for {target}{_by_flags(target)}, or make the "
            "model again for the core that is there: spikelet export --target, or isa in board."
            'toml"'
        )
    return ["\n".join([*lines, "#else", ""])] if lines else []


def _by_flags(target: Target) -> str:
    return " (-mcpu, -march)" if target.arm or target.riscv else ""


def _columns(rows: Iterable[Iterable[object]]) -> list[str]:
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = []
    for row in cells:
        left = [row[i].ljust(widths[i]) for i in range(4)]
        right = [row[i].rjust(widths[i]) for i in range(4, len(row))]
        lines.append("  ".join([*left, *right]).rstrip())
    return lines


_SHARES = "// What is not needed at the same time (operator numbers, in brackets) shares memory."


def _arena(em: CEmitter, interface: Interface, guard: bool) -> str:
    """The arena and what is learned, and pointers into them."""
    places = em.places
    lines = [_SHARES]
    if guard:
        lines += ["extern uint32_t model_whole[];", "#define model_memory model_whole"]
        lines += [f"#define model_arena (model_whole + {places.learned // 4})"]
    else:
        lines += _arena_of_choice(interface.macro, interface.arena_bytes // 4)
        lines += [f"static uint32_t model_memory[{places.learned // 4}];"] if places.learned else []
    lines.append("static uint32_t saturations;")
    for name, slot in places.slots.items():
        if name not in em.named:
            continue
        c_type = C_TYPES[slot.tensor.dtype]
        shape = "x".join(map(str, slot.tensor.shape))
        cast = f"({c_type} *)" if c_type == "uint32_t" else f"({c_type} *)(void *)"
        lines.append(
            f"#define {pointer(name)} ({cast}({em.at(slot)})) "
            f"// {slot.tensor.dtype} ({shape}) [{slot.first}, {slot.last}]"
        )
    for name, block in places.scratch.items():
        lines.append(f"// scratch of {c.remark(name)}: {block.size} bytes at {block.offset}")
    return "\n".join(lines) + "\n"


def _arena_of_choice(macro: str, words: int) -> list[str]:
    """The arena where the compilation says; see the header."""
    return [
        f"#if defined({macro}_ARENA_CALLER)",
        "static uint32_t *model_arena;",
        f"#elif defined({macro}_ARENA)",
        f"#define model_arena {macro}_ARENA",
        "extern uint32_t model_arena[];",
        f"#elif defined({macro}_SECTION)",
        f"static uint32_t model_arena[{words}] __attribute__((section({macro}_SECTION)));",
        "#else",
        f"static uint32_t model_arena[{words}];",
        "#endif",
    ]


def _function(signature: str, body: list[Statement]) -> str:
    return f"{signature} {c.block(*body)}\n"


def _learning(graph: Graph, em: CEmitter, bodies: Mapping[Phase, list[Statement]]) -> list[str]:
    """The functions of a graph that learns, and the table of what they learn."""
    if not graph.learns:
        return []
    em.include("learn/load.h")
    em.include("spk_state.h")
    load = [_load(learned, em) for learned in graph.learned]
    return [
        _function("static void model_load(void)", load),
        _function("static void model_learn(void)", bodies[Phase.LEARN]),
        _function("static void model_commit(void)", bodies[Phase.COMMIT]),
        learned_table(graph, em),
    ]


def _load(learned: Learned, em: CEmitter) -> Statement:
    name, size = learned.tensor.name, learned.tensor.nbytes
    initial = c.name("NULL")
    if learned.initial is not None and learned.initial.any():
        note = f"{name}, before anything was learned"
        initial = em.const(f"{name.replace('.', '__')}__initial", learned.initial, note)
    return c.run("spk_load_learned", em.tensor(name), initial, size)

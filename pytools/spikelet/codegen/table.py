"""What the agent is told of a model: its tensors, its constants, its functions."""

from __future__ import annotations

from collections.abc import Sequence

from spikelet.codegen.constants import Constant
from spikelet.codegen.counting import COUNTS, counter_fields, counter_lines
from spikelet.codegen.emitter import CEmitter, byte_list
from spikelet.codegen.self_test import SelfTest
from spikelet.graph import Graph, Tensor, c
from spikelet.graph.c import Expression
from spikelet.graph.counters import counters
from spikelet.graph.graph import LABEL


def agent_table(
    graph: Graph,
    sha256: str,
    trace: bool,
    em: CEmitter,
    constants: Sequence[Constant],
    self_test: SelfTest | None = None,
) -> str:
    """The tensors, the constants and the functions of a model, as spk_model.h has them."""
    places = em.places
    digest = byte_list(bytes.fromhex(sha256))
    rows = []
    for tensor, op in visible_tensors(graph, trace):
        data = em.at(places.slots[tensor.name])
        number = _NO_OP if op is None else op
        rows.append(tensor_row(graph, tensor, tensor.kind, data, number))
    lines = []
    if trace:
        columns = len(graph.traced_tensors)
        lines.append(
            f"static uint32_t digests[{graph.steps * columns}]; // ({graph.steps}, {columns})"
        )
        lines += counter_lines(graph, em)
        places_of = {"digests": c.name("digests"), "counts": c.name("counts")}
        for tensor, kind in trace_tensors(graph):
            rows.append(tensor_row(graph, tensor, kind, places_of[kind], _NO_OP))
    lines += [
        f"static const uint8_t package_sha256[32] = {{\n    {digest}}};",
        f"static const struct spk_tensor tensors[{len(rows)}] = {{",
        *(f"    {row}," for row in rows),
        "};",
        *_constants(constants),
        *(self_test.c_lines() if self_test else []),
        "const struct spk_model spk_model = {",
        f"    .name = {c.string_literal(graph.name)},",
        "    .package_sha256 = package_sha256,",
        "    .tensors = tensors,",
        f"    .tensor_count = {len(rows)},",
        f"    .steps = {graph.steps},",
        f"    .arena_bytes = {places.size},",
        *_constant_fields(constants),
        "    .saturations = &saturations,",
        *_stream_field(graph),
        *([f"    .unsure = {em.tensor(graph.exit)},"] if graph.exit else []),
        *_learning_fields(graph, em),
        *(["    .self_test = &self_test,"] if self_test else []),
        *(counter_fields(graph) if trace else []),
        "};",
        "",
        *_functions(graph),
    ]
    return "\n".join(lines)


def _functions(graph: Graph) -> list[str]:
    """What the agent calls."""
    names = ["start", *(["resume"] if graph.keeps_state else []), "finish"]
    names += ["load", "learn", "commit"] if graph.learns else []
    return [
        *(f"void spk_model_{name}(void) {{\n    model_{name}();\n}}\n" for name in names),
        "void spk_model_step(uint32_t t) {\n    model_step(t);\n}\n",
    ]


def learned_table(graph: Graph, em: CEmitter) -> str:
    """The learned tensors, for what saves and restores them."""
    rows = [
        tensor_row(graph, k.tensor, "learned", em.at(em.places.slots[k.tensor.name]), _NO_OP)
        for k in graph.learned
    ]
    lines = [f"static const struct spk_tensor model_learned[{len(rows)}] = {{"]
    return "\n".join([*lines, *(f"    {row}," for row in rows), "};", ""])


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


def _stream_field(graph: Graph) -> list[str]:
    """The row of the input that events fill: inputs come first in the table."""
    if graph.stream is None:
        return []
    return [f"    .stream = &tensors[{graph.inputs.index(graph.stream)}],"]


def _learning_fields(graph: Graph, em: CEmitter) -> list[str]:
    if not graph.learns:
        return []
    label = em.tensor(LABEL) if graph.classes else "NULL"
    return [
        f"    .label = {label},",
        f"    .classes = {graph.classes},",
    ]


_NO_OP = c.name("SPK_NO_OP")
DIGESTS = "trace.digests"  # no operator is called so


def visible_tensors(graph: Graph, trace: bool) -> list[tuple[Tensor, int | None]]:
    """The tensors a host may see, each with the number of the operator that writes it.

    A trace build lists `trace_tensors` behind them.
    """
    given = [*graph.inputs, *(k.tensor for k in graph.learned), *graph.every_target]
    rows: list[tuple[Tensor, int | None]] = [(t, None) for t in given]
    for number, node in enumerate(graph.order):
        rows += [(t, number) for t in node.outs]
    return [(t, n) for t, n in rows if trace or t.kind != "activation"]


def trace_tensors(graph: Graph) -> list[tuple[Tensor, str]]:
    """What a trace build finds out, and of which kind: digests, and counts of 64 bits if any."""
    made = [(DIGESTS, (graph.steps, len(graph.traced_tensors)), "digests")]
    if kept := len(counters(graph)):
        made.append((COUNTS, (kept, 2), "counts"))
    return [(Tensor(name, "u32", shape, kind="output"), kind) for name, shape, kind in made]


def tensor_row(
    graph: Graph, tensor: Tensor, kind: str, data: Expression, number: c.Value
) -> Expression:
    """A row of the tensor table of a graph, which may be of a tensor of another kind."""
    dtype, kind_of = (c.name(f"SPK_{text.upper()}") for text in (tensor.dtype, kind))
    row = (
        c.string_literal(tensor.name), data, tensor.nbytes, dtype, kind_of, number,
        len(tensor.shape), tensor.shape, c.decimal(tensor.scale), tensor.zero_point,
    )  # fmt: skip
    ends = tensor.limits if kind in ("digests", "counts") else graph.admitted_range(tensor)
    choices = [sum(1 << choice for choice in tensor.choices)] if graph.has_choices else []
    return c.literal((*row, *map(tensor.order, ends), *choices))

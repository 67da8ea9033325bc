"""`make docs`: writes what docs/ says of commands, operators, boards, learners and messages.

All of it is read from the program: the command line, the registries, boards/ and messages.toml. It
stands between marks in the pages; a test compares.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import re
import sys
import tempfile
import textwrap
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "frontends")]

import marks  # noqa: E402
import typer  # noqa: E402

import every_kind  # noqa: E402
import spikelet  # noqa: E402
from spikelet.board import Board, boards  # noqa: E402
from spikelet.cli.app import COMMANDS, app  # noqa: E402
from spikelet.codegen import generate  # noqa: E402
from spikelet.frontends import onnx, tflite  # noqa: E402
from spikelet.frontends.onnx.export import exportable_operators  # noqa: E402
from spikelet.frontends.spiking.framework import KNOWN, Framework, frameworks  # noqa: E402
from spikelet.frontends.tflite import floats  # noqa: E402
from spikelet.frontends.torch.call import HANDLERS  # noqa: E402
from spikelet.graph.operator import operators  # noqa: E402
from spikelet.graph.target import ANY, Target  # noqa: E402
from spikelet.learn.learner import learners  # noqa: E402
from spikelet.run.expected import ring_of  # noqa: E402

# What a kernel's name says of its weights: bits, without a zero, upper bits of a store.
GRID = re.compile(r"_(?:[148]_odd(?:_upper\d)?|[24](?:_odd)?)(?=_|$)(?<!3x3_2)")
# By title, a core for whose kernels operators are asked, and what C asks for where a kernel has a
# part of its own for it.
CORES = {
    "RV32IM": ("rv32imac", "__riscv"),
    "Cortex-M0": ("cortex-m0", "__ARM_ARCH_ISA_THUMB"),
    "Cortex-M4 (DSP)": ("cortex-m4", "__ARM_FEATURE_DSP"),
    "Cortex-M55 (MVE)": ("cortex-m55", "__ARM_FEATURE_MVE"),
}


def first_line(thing: object) -> str:
    """The first sentence of a docstring."""
    return (inspect.getdoc(thing) or "").partition("\n\n")[0]


def codes(names: Iterable[str]) -> str:
    """Names as code, in a row."""
    return ", ".join(f"`{name}`" for name in names)


def commands() -> str:
    """Every command of the command line, with its arguments and options."""
    group = typer.main.get_command(app)
    context: Any = group.make_context("spikelet", ["boards"], resilient_parsing=True)
    parts = [str(app.info.epilog)]
    for name in COMMANDS:
        command: Any = group.get_command(context, name)  # type: ignore[attr-defined]
        inner = command.context_class(command, info_name=name, parent=context)
        usage = re.sub(r"Usage: |[{}]", "", " ".join(command.get_usage(inner).split()))
        parts += [f"## spikelet {name}", f"`{usage}`", inspect.cleandoc(command.help or "")]
        records = filter(None, (p.get_help_record(inner) for p in command.params))
        rows = [[f"`{names}`", text] for names, text in records]
        parts.append(marks.table(["argument or option", ""], rows))
    return "\n\n".join(parts)


def board_table() -> str:
    """The boards that come with Spikelet."""
    head = ["board", "what it is", "core", "kernels for", "flash", "RAM", "machines", "toolchains"]
    ours = [board for board in boards().values() if board.folder.is_relative_to(ROOT)]
    return marks.table(head, [_board(board) for board in ours])


def silicon_table() -> str:
    """Boards of hardware, and what was tried of each without it."""
    head = ["board", "on silicon", "without it"]
    hardware = [board for board in boards().values() if board.silicon]
    return marks.table(head, [[f"`{b.name}`", b.silicon, b.proof] for b in hardware])


def watchdog_table() -> str:
    """Boards of hardware: what resets a core that hangs, and after how long."""
    head = ["board", "watchdog", "of", "a request is cut off after", "under a debugger", "tried"]
    rows = []
    for board in boards().values():
        spec = board.watchdog
        if not board.silicon or spec is None:
            continue
        row = ["none: " + spec.none, "", "", "", ""]
        if spec.name:
            counts = board.defines["SPK_WATCHDOG_MS"] / 1000 * board.defines["SPK_WATCHDOG_HZ"]
            least, most = (counts / hz for hz in reversed(spec.hz))
            row = [spec.name, spec.clock, f"{least:.1f} to {most:.1f} s", spec.debugger, spec.tried]
        rows.append([f"`{board.name}`", *row])
    return marks.table(head, rows)


def _board(board: Board) -> list[str]:
    sizes = ["", ""]
    if board.memory is not None:
        sizes = [f"{part.bytes // 1024} KB" for part in (board.memory.flash, board.memory.ram)]
    return [
        f"`{board.name}`", board.description, board.core, f"`{board.isa}`", *sizes,
        ", ".join(board.machines), ", ".join(board.toolchains),
    ]  # fmt: skip


def every_framework() -> list[Framework]:
    """Of spiking neurons."""
    for package in KNOWN:
        importlib.import_module(package)
    return list(frameworks())


def formats() -> str:
    """The operators that each front end reads."""
    rows = [
        *([f.name, codes(kind.__name__ for kind in f.neurons)] for f in every_framework()),
        ["PyTorch (ATen calls)", codes(name for name in sorted(HANDLERS) if name[0] != "_")],
        [".onnx", codes(sorted({*onnx.supported_operators()}))],
        [".tflite, int8", codes(tflite.supported_operators())],
        [".tflite, float", codes(floats.supported_operators())],
    ]
    return marks.table(["read from", "operators"], rows)


def kernels() -> str:
    """The operators of the integer graph, and the C functions that each core is given."""
    plain, exported = _called(ANY), exportable_operators()
    own = {core: _called(Target.of_core(core)) for core, _ in CORES.values()}
    headers = [
        path.read_text(encoding="utf-8") for path in (ROOT / "firmware" / "kernels").glob("*.h")
    ]
    rows = []
    for kind, operator in sorted(operators().items()):
        if not operator.__module__.startswith("spikelet.graph.ops."):
            continue
        called, cells = plain.get(kind, []), []
        plain_names = without_grids(called)
        texts = [h for h in headers if any(f"spk_{name}(" in h for name in called)]
        for core, macro in CORES.values():
            names = [name for name in own[core].get(kind, []) if name not in called]
            names = [name for name in without_grids(names) if name not in plain_names]
            within = any(f"defined({macro}" in text for text in texts)
            cells.append(codes(names) or ("in part" if within else ""))
        to_onnx = "yes" if kind in exported else ""
        rows.append(
            [f"`{kind}`", first_line(operator), codes(plain_names), grids(called), *cells, to_onnx]
        )
    return marks.table(["operator", "computes", "any core", "few bits", *CORES, "to ONNX"], rows)


def without_grids(names: Iterable[str]) -> list[str]:
    """Names of kernels less what they say of the weights' grid."""
    return sorted({GRID.sub("", name) for name in names})


def grids(names: Iterable[str]) -> str:
    """The grids of weights that kernels are made for."""
    found = sorted({match.group()[1:] for name in names if (match := GRID.search(name))})
    return ", ".join(grid.replace("_odd", " odd").replace("_upper", " upper ") for grid in found)


def _called(target: Target) -> dict[str, list[str]]:
    """By kind of operator, the C functions that a model for a core calls; the tests' graphs."""
    called: dict[str, set[str]] = {}
    for make in every_kind.NETWORKS:
        with tempfile.TemporaryDirectory() as folder:
            for layer in generate(make(), "0" * 64, Path(folder), target=target).layers:
                called.setdefault(layer.op, set()).update(layer.kernel.split(", "))
    return {kind: sorted(filter(None, names)) for kind, names in called.items()}


def learned() -> str:
    """Operators that only learners use."""
    rows = [
        [f"`{kind}`", first_line(operator)]
        for kind, operator in sorted(operators().items())
        if operator.__module__.startswith("spikelet.learn.")
    ]
    return marks.table(["operator", "computes"], rows)


def learner_list() -> str:
    """All learners."""
    rows = [[f"`{name}`", first_line(kind)] for name, kind in sorted(learners().items())]
    return marks.table(["learner", ""], rows)


def published() -> str:
    """Learners that are made after published methods, and what differs."""
    rows = [
        [f"`{name}`", kind.AFTER, kind.DIFFERS] for name, kind in learners().items() if kind.AFTER
    ]
    return marks.table(["learner", "after", "here"], rows)


def messages() -> str:
    """What travels between host and device."""
    text = (ROOT / "pytools" / "spikelet" / "link" / "messages.toml").read_text(encoding="utf-8")
    rows = [
        [
            f"`{kind['name']}` ({kind['id']})", kind["doc"], codes(kind["request"]),
            codes(kind["reply"]),
        ]
        for kind in tomllib.loads(text)["type"]
    ]  # fmt: skip
    return marks.table(["message", "", "request", "reply"], rows)


def rings() -> str:
    """Which boards have a ring of which size."""
    by_ring: dict[int, list[str]] = {}
    for name, board in boards().items():
        if board.library:  # no link
            continue
        by_ring.setdefault(ring_of(board.defines), []).append(f"`{name}`")
    rows = [[f"{ring:,} B", ", ".join(names)] for ring, names in sorted(by_ring.items())]
    return marks.table(["ring", "boards"], rows)


INHERITED = ("save", "sha256", "inputs", "labels", "targets")  # of Package
WIDTH = 88  # columns of a signature in one line


def python() -> str:
    """Signatures and docstrings of what users import: of every name of `spikelet`."""
    things = {name: getattr(spikelet, name) for name in spikelet.__all__ if name[0] != "_"}
    classes = {name: thing for name, thing in things.items() if inspect.isclass(thing)}
    order = ["Package", *(name for name in classes if name != "Package")]
    parts = ["## Functions"]
    for name in (name for name in things if name not in classes):
        parts += [f"### {name}", *_documented(things[name], name)]
    parts.append("## Classes")
    for name in order:
        parts += [f"### {name}", *_documented(classes[name], name)]
        for member in _members(classes[name]):
            title = f"{name}.{member}"
            parts += [f"#### {title}", *_documented(getattr(classes[name], member), title)]
    return "\n\n".join(parts)


def _members(kind: type) -> list[str]:
    """Public methods and properties that are described, those of the class itself first."""
    own = [
        name
        for name, value in vars(kind).items()
        if name[0] != "_"
        and (callable(value) or isinstance(value, property | classmethod))
        and inspect.getdoc(value)
    ]
    return [*own, *(name for name in INHERITED if kind is spikelet.Package and name not in own)]


def _documented(thing: Any, name: str) -> list[str]:
    if isinstance(thing, property):
        return [_docstring(thing)]
    return [f"```text\n{_signature(thing, name)}\n```", _docstring(thing)]


def _signature(thing: Any, name: str) -> str:
    found = inspect.signature(thing)
    kept = [p for p in found.parameters.values() if p.name not in ("self", "cls")]
    texts = [_parameter(p) for p in kept]
    for i, parameter in enumerate(kept):
        if parameter.kind is parameter.KEYWORD_ONLY:
            texts.insert(i, "*")
            break
    gives = found.return_annotation
    end = "" if gives is found.empty or inspect.isclass(thing) else f" -> {_type(gives)}"
    line = f"{name}({', '.join(texts)}){end}"
    if len(line) <= WIDTH:
        return line
    return f"{name}(\n" + "".join(f"    {text},\n" for text in texts) + f"){end}"


def _parameter(parameter: inspect.Parameter) -> str:
    text = str(parameter.replace(annotation=parameter.empty, default=parameter.empty))
    typed = parameter.annotation is not parameter.empty
    if typed:
        text += f": {_type(parameter.annotation)}"
    if parameter.default is not parameter.empty:
        text += (" = " if typed else "=") + _default(parameter.default)
    return text


def _type(annotation: Any) -> str:
    """Without the modules that names come from."""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r"\b(?:\w+\.)+(?=[A-Z])", "", text)


def _default(value: Any) -> str:
    return "..." if "<" in repr(value) else repr(value)


def _docstring(thing: Any) -> str:
    """A docstring as Markdown: arguments as a list, examples as blocks."""
    lines: list[str] = []
    for block in re.split(r"\n\s*\n", inspect.getdoc(thing) or ""):
        head, _, rest = block.partition("\n")
        if block.startswith(">>>"):
            lines.append(f"```text\n{block}\n```")
        elif re.fullmatch(r"(Args|Attributes|Returns|Raises):", head):
            lines.append(f"**{head[:-1]}**")
            body = textwrap.dedent(rest)
            if head == "Returns:":
                lines.append(" ".join(body.split()))
                continue
            items = re.split(r"\n(?=\S)", body)
            lines.append(
                "\n".join(
                    re.sub(r"^([\w, ]+): ", r"- `\1`: ", " ".join(item.split())) for item in items
                )
            )
        else:
            lines.append(" ".join(block.split()))
    return "\n\n".join(lines)


def neurons() -> str:
    """Classes of neurons that come in, by framework."""
    rows = []
    for framework in every_framework():
        version = importlib.metadata.version(framework.name)
        rows.append([framework.name, version, codes(k.__name__ for k in framework.neurons)])
    return marks.table(["framework", "read and compared in", "classes"], rows)


# By page of docs/, its generated parts.
PARTS: dict[str, dict[str, Callable[[], str]]] = {
    "api.md": {"python": python},
    "cli.md": {"commands": commands},
    "boards.md": {"boards": board_table, "silicon": silicon_table, "watchdogs": watchdog_table},
    "operators.md": {"formats": formats, "kernels": kernels, "learned": learned},
    "learners.md": {"learners": learner_list, "published": published},
    "link.md": {"messages": messages, "rings": rings},
    "spiking.md": {"neurons": neurons},
}


def main() -> None:
    """Write all parts, or those of the pages that are named."""
    for page in sys.argv[1:] or PARTS:
        for mark, made in PARTS[page].items():
            marks.place(ROOT / "docs" / page, mark, made())


if __name__ == "__main__":
    main()

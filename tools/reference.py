"""`make docs`: writes what docs/ says of commands, operators, boards, learners and messages.

All of it is read from the program: the command line, the registries, boards/ and messages.toml. It
stands between marks in the pages; a test compares.
"""

from __future__ import annotations

import inspect
import re
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "frontends")]

import marks  # noqa: E402
import typer  # noqa: E402

import every_kind  # noqa: E402
from spikelet.board import Board, boards  # noqa: E402
from spikelet.cli.app import COMMANDS, app  # noqa: E402
from spikelet.codegen import generate  # noqa: E402
from spikelet.frontends import onnx, tflite  # noqa: E402
from spikelet.frontends.onnx.export import exportable_operators  # noqa: E402
from spikelet.frontends.snntorch.layers import NEURON_STATES  # noqa: E402
from spikelet.frontends.tflite import floats  # noqa: E402
from spikelet.frontends.torch.call import HANDLERS  # noqa: E402
from spikelet.graph.operator import operators  # noqa: E402
from spikelet.graph.target import ANY, Target  # noqa: E402
from spikelet.learn.learner import learners  # noqa: E402

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


def _board(board: Board) -> list[str]:
    sizes = ["", ""]
    if board.memory is not None:
        sizes = [f"{part.bytes // 1024} KB" for part in (board.memory.flash, board.memory.ram)]
    return [
        f"`{board.name}`", board.description, board.core, f"`{board.isa}`", *sizes,
        ", ".join(board.machines), ", ".join(board.toolchains),
    ]  # fmt: skip


def formats() -> str:
    """The operators that each front end reads."""
    rows = [
        ["snnTorch", codes(f"snn.{kind.__name__}" for kind in NEURON_STATES)],
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
        texts = [h for h in headers if any(f"spk_{name}(" in h for name in called)]
        for core, macro in CORES.values():
            names = [name for name in own[core].get(kind, []) if name not in called]
            within = any(f"defined({macro}" in text for text in texts)
            cells.append(codes(names) or ("in part" if within else ""))
        to_onnx = "yes" if kind in exported else ""
        rows.append([f"`{kind}`", first_line(operator), codes(called), *cells, to_onnx])
    return marks.table(["operator", "computes", "any core", *CORES, "to ONNX"], rows)


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


# By page of docs/, its generated parts.
PARTS: dict[str, dict[str, Callable[[], str]]] = {
    "cli.md": {"commands": commands},
    "boards.md": {"boards": board_table},
    "operators.md": {"formats": formats, "kernels": kernels, "learned": learned},
    "learners.md": {"learners": learner_list, "published": published},
    "link.md": {"messages": messages},
}


def main() -> None:
    """Write all parts, or those of the pages that are named."""
    for page in sys.argv[1:] or PARTS:
        for mark, made in PARTS[page].items():
            marks.place(ROOT / "docs" / page, mark, made())


if __name__ == "__main__":
    main()

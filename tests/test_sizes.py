"""No file, function, signature or nesting is larger than a reader can hold: no exceptions."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

HOUSE = Path(__file__).parents[1]
ROOMS = ("pytools", "sim", "tests", "tools")
SUFFIXES = (".py", ".c", ".h")
FILE_LINES = 600
GENERATED = "`python -m spikelet.link.generate`"
FUNCTION_LINES = 60
PARAMETERS = 8
NESTING = 4
# `@app.command()` decorates what is called with a command's options, however many they are.
ENTRY_POINT = "command"

Function = ast.FunctionDef | ast.AsyncFunctionDef
BLOCKS = (
    ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.TryStar,
    ast.Match,
)  # fmt: skip


def parameters(function: Function) -> int:
    """How many parameters a signature has, `self`, `*` and `**` included."""
    spec = function.args
    one_each = [spec.vararg, spec.kwarg]
    return len(spec.posonlyargs + spec.args + spec.kwonlyargs) + 2 - one_each.count(None)


def nesting(node: ast.AST) -> int:
    """Depth of blocks within a node; `elif` is as deep as its `if`."""
    deepest = 0
    for child in ast.iter_child_nodes(node):
        is_elif = isinstance(child, ast.If) and isinstance(node, ast.If) and node.orelse == [child]
        block = isinstance(child, BLOCKS) and not is_elif
        deepest = max(deepest, nesting(child) + block)
    return deepest


def is_entry_point(function: Function) -> bool:
    return any(
        isinstance(d, ast.Call) and isinstance(d.func, ast.Attribute) and d.func.attr == ENTRY_POINT
        for d in function.decorator_list
    )


def large_in_python(text: str) -> Iterator[str]:
    """What exceeds a limit within a Python file, one line each."""
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, Function):
            continue
        name = f"{node.lineno}: {node.name}"
        if (lines := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LINES:
            yield f"{name}: {lines} lines"
        if (count := parameters(node)) > PARAMETERS and not is_entry_point(node):
            yield f"{name}: {count} parameters"
        if (depth := nesting(node)) > NESTING:
            yield f"{name}: {depth} blocks within one another"


def large_in_c(text: str) -> Iterator[str]:
    """The same of a C file as clang-format leaves it: a body ends at the first `}` of a line."""
    for body in re.finditer(r"^(\w[^\n;]*\([^;{]*\)\s*)\{\n(.*?)^\}", text, re.M | re.S):
        name = (
            f"{text.count(chr(10), 0, body.start()) + 1}: {body[1].partition('(')[0].split()[-1]}"
        )
        if (lines := body[0].count("\n") + 1) > FUNCTION_LINES:
            yield f"{name}: {lines} lines"


def large(path: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    within = large_in_python if path.suffix == ".py" else large_in_c
    written = GENERATED not in text[:200]  # nobody reads the others
    if (lines := text.count("\n")) > FILE_LINES and written:
        yield f"{lines} lines"
    yield from within(text)


def test_what_is_large_is_understood() -> None:
    short = "def f(a, b, c, d, e, f, g, *h):\n" + "    pass\n" * 59
    assert [*large_in_python(short)] == []
    assert [*large_in_python(short + "    pass\n")] == ["1: f: 61 lines"]
    wide = "def f(self, a, b, /, c, d, *e, f, g, **h): pass\n"
    assert [*large_in_python(wide)] == ["1: f: 9 parameters"]
    assert [*large_in_python(f"@app.command()\n{wide}")] == []
    assert [*large_in_python(f"@functools.cache\n{wide}")] == ["2: f: 9 parameters"]
    deep = "def f():\n if a:\n  for b in c:\n   while d:\n    with e:\n"
    assert [*large_in_python(f"{deep}     pass\n")] == []
    within = [
        f"{deep}     try: pass\n     finally: pass\n",
        f"{deep}     match f:\n      case 1: 2",
    ]
    for text in within:
        assert [*large_in_python(text)] == ["1: f: 5 blocks within one another"]
    ladder = "def f():\n if a: pass\n" + " elif b: pass\n" * 9
    assert [*large_in_python(ladder)] == []
    body = "static int f(int a,\n             int b) {\n" + "    a += b;\n" * 57
    assert [*large_in_c(f"int b;\n{body}}}\n")] == []
    assert [*large_in_c(f"int b;\n{body}\n}}\n")] == ["2: f: 61 lines"]


def test_nothing_is_too_large() -> None:
    files = [p for room in ROOMS for p in sorted((HOUSE / room).rglob("*")) if p.suffix in SUFFIXES]
    assert [f"{p.relative_to(HOUSE)}:{what}" for p in files for what in large(p)] == []

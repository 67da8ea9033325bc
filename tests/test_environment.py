"""docs/environment.md names every environment variable that the code reads, and no other."""

from __future__ import annotations

import ast
import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1]
PAGE = HOUSE / "docs" / "environment.md"
PYTHON = ("pytools", "sim", "tools", "tests", "models")
C = ("firmware", "boards", "sim", "tests/c")
OURS = re.compile(r"SPIKELET_[A-Z]+(_[A-Z]+)*")


def read_by_python(text: str) -> Iterator[str]:
    """Names that `os.environ` is asked for, constants of the module resolved."""
    if "environ" not in text and "getenv" not in text:
        return
    tree = ast.parse(text)
    constants: dict[str, object] = {}
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(name)], value=value):
                with contextlib.suppress(ValueError):
                    constants[name] = ast.literal_eval(value)
    loops = {}
    for node in ast.walk(tree):
        match node:
            case ast.comprehension(ast.Name(name), ast.Name(values)) if values in constants:
                loops[name] = constants[values]
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(ast.Attribute(attr="environ"), "get"), args=[
                ast.Name(name)
            ]) if name in loops:  # fmt: skip
                yield from loops[name]
            case (
                ast.Call(func=ast.Attribute(ast.Attribute(attr="environ"), "get"), args=[key, *_])
                | ast.Call(func=ast.Attribute(attr="getenv"), args=[key, *_])
                | ast.Subscript(ast.Attribute(attr="environ"), key, ctx=ast.Load())
                | ast.Compare(key, [ast.In() | ast.NotIn()], [ast.Attribute(attr="environ")])
            ):
                yield eval(compile(ast.Expression(key), "key", "eval"), {}, constants)


def read_by_c(text: str) -> Iterator[str]:
    yield from re.findall(r'getenv\("(\w+)"\)', text)
    yield from (name for name in re.findall(r'"(\w+)"', text) if OURS.fullmatch(name))


def read() -> set[str]:
    files = [p for room in PYTHON for p in (HOUSE / room).rglob("*.py")]
    names = {name for p in files for name in read_by_python(p.read_text(encoding="utf-8"))}
    files = [p for room in C for p in (HOUSE / room).rglob("*.[ch]")]
    return names | {name for p in files for name in read_by_c(p.read_text(encoding="utf-8"))}


def test_what_reads_the_environment_is_understood() -> None:
    code = (
        'import os\nA = "ONE"\nB = ("TWO",)\nos.environ.get(A)\nos.environ[B[0]]\n'
        'os.getenv("THREE")\n"FOUR" in os.environ\nC = ("FIVE", "SIX")\n'
        "any(os.environ.get(name) for name in C)\n"
        'os.environ["SET"] = ""\n'
        'def f(environ): environ.setdefault("LEFT", "")\n'
    )
    assert set(read_by_python(code)) == {"ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX"}
    assert set(read_by_c('x = "SPIKELET_A"; getenv("B"); "C"')) == {"SPIKELET_A", "B"}


@pytest.mark.quick
def test_the_page_names_every_variable_and_no_other() -> None:
    listed = re.findall(r"^\| `([A-Z_]+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(listed) == len(set(listed))
    assert set(listed) == read()


def test_the_page_names_the_variables_of_make() -> None:
    section = PAGE.read_text(encoding="utf-8").partition("## Variables of make")[2]
    makefile = (HOUSE / "Makefile").read_text(encoding="utf-8")
    assert set(re.findall(r"`([A-Z_]+)` \(", section)) == set(
        re.findall(r"^([A-Z_]+) \?=", makefile, re.MULTILINE)
    )

"""`make quick` reaches every room: each folder of the product has a quick test in tests/."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from quick import has_quick_tests

TESTS = Path(__file__).parent
PRODUCT = TESTS.parent / "pytools" / "spikelet"
# Beside the rooms of the product: the C kernels, and the README.
MORE = {"kernels", "acceptance"}


def rooms(folder: Path) -> set[str]:
    return {path.parent.name for path in folder.glob("*/__init__.py")}


@pytest.mark.quick
def test_every_room_has_a_quick_test() -> None:
    with_quick = {path.parent.name for path in TESTS.glob("*/test_*.py") if has_quick_tests(path)}
    assert rooms(PRODUCT) | MORE <= with_quick


@pytest.mark.quick
def test_every_front_end_has_a_quick_test() -> None:
    texts = [
        path.read_text(encoding="utf-8")
        for path in (TESTS / "frontends").glob("test_*.py")
        if has_quick_tests(path)
    ]
    for framework in rooms(PRODUCT / "frontends"):
        imports = re.compile(rf"\b(import {framework}\b|frontends\.{framework}\b)|{framework}_")
        assert any(imports.search(text) for text in texts), framework


def test_the_mark_is_found_where_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "test_it.py"
    for text, has in (
        ("@pytest.mark.quick\ndef test(): pass\n", True),
        ("CASES = [pytest.param(1, marks=[pytest.mark.quick])]\n", True),
        ("@pytest.mark.long\ndef test(): pass\n", False),
    ):
        path.write_text(text)
        assert has_quick_tests(path) is has

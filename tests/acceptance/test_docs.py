"""The documentation: it builds strictly, what is generated is up to date, what it names exists."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import pages
from support import need

sys.path.insert(0, str(pages.ROOT / "tools"))

import marks
import picture
import reference

PARTS = [
    (page, mark, made) for page, part in reference.PARTS.items() for mark, made in part.items()
]


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    need("mkdocs")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=pages.ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    made = {path.parent.name for path in tmp_path.glob("*/index.html")}
    written = {name.removesuffix(".md") for name in pages.PAGES} - {"README", "index"}
    assert written | {"contributing", "design", "security", "changelog"} <= made


@pytest.mark.parametrize(("page", "mark", "made"), PARTS, ids=[f"{p}-{m}" for p, m, _ in PARTS])
def test_what_is_generated_is_up_to_date(page: str, mark: str, made: Callable[[], str]) -> None:
    text = pages.PAGES[page].read_text(encoding="utf-8")
    assert marks.replace(text, mark, made()) == text, "make it again: python tools/reference.py"


def test_the_picture_is_up_to_date() -> None:
    drawn = picture.PICTURE.read_text(encoding="utf-8")
    assert drawn == picture.picture(), "make it again: python tools/picture.py"


def test_marks_are_replaced_once() -> None:
    page = "a\n<!-- x -->\nold\n<!-- /x -->\nb\n"
    assert marks.replace(page, "x", "new") == page.replace("old", "new")
    for wrong in ("a\n", page + page):
        with pytest.raises(ValueError, match="no single pair of x marks"):
            marks.replace(wrong, "x", "new")


def rows(page: str, mark: str) -> list[list[str]]:
    """The cells of a generated table, without its head."""
    (text,) = re.findall(rf"<!-- {mark} -->(.*?)<!-- /{mark} -->", page, re.DOTALL)
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line] for line in lines[2:]]


def test_readmes_figures_are_those_of_the_benchmarks() -> None:
    short = rows(pages.README.read_text(encoding="utf-8"), "peers")
    whole = rows(pages.PAGES["benchmarks.md"].read_text(encoding="utf-8"), "int8")
    assert len(short) == len(whole) == 12
    for row, (_, _, mismatches, instructions, *_, code, _, _, ram) in zip(
        short, whole, strict=True
    ):
        assert mismatches == "0"
        pairs = [(instructions, 1e6, ".2f", "M"), (code, 1e3, ".1f", "KB"), (ram, 1e3, ".1f", "KB")]
        told = [
            f"{int(number.replace(',', '')) / unit:{form}} {word}"
            for pair, unit, form, word in pairs
            for number in re.findall("[0-9,]+", pair)
        ]
        assert row[1:] == told


@pytest.mark.quick
def test_every_block_says_what_it_is() -> None:
    for name in pages.PAGES:
        fences = re.findall(r"^```.*$", pages.PAGES[name].read_text(encoding="utf-8"), re.MULTILINE)
        blocks = pages.blocks(name)
        assert len(fences) == 2 * len(blocks), name
        assert {block.language for block in blocks} <= pages.LANGUAGES, name


@pytest.mark.quick
def test_every_command_that_is_named_exists() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in pages.PAGES.values())
    named = set(re.findall(r"(?:^|`)spikelet (\w+)", text, re.MULTILINE))
    assert set(reference.COMMANDS) == named


def test_every_target_of_make_that_is_named_exists() -> None:
    makefile = (pages.ROOT / "Makefile").read_text(encoding="utf-8")
    for name, path in pages.PAGES.items():
        text = path.read_text(encoding="utf-8")
        for target in re.findall(r"(?:^|`)make ([a-z][a-z-]*)", text, re.MULTILINE):
            assert f"\n{target}:" in makefile, f"{name}: make {target}"


@pytest.mark.quick
def test_readme_fits_and_its_links_lead_somewhere() -> None:
    text = pages.README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    links = re.findall(r"\]\((?!\w+:|#)([^)#\s]+)", text)
    assert len(links) > 15
    assert [link for link in links if not (pages.ROOT / link).exists()] == []

"""A learner that is made after a published method says what differs."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

import reference

import pages
from cli_support import Spikelet
from spikelet.learn.learner import learners

SOURCE = re.compile(r"et al\.|Sources?:|\b(19|20)\d\d\b")


@pytest.mark.parametrize("name", learners())
def test_a_learner_whose_source_is_named_says_what_differs(name: str) -> None:
    kind = learners()[name]
    told = f"{sys.modules[kind.__module__].__doc__} {kind.__doc__}"
    assert bool(kind.AFTER) == bool(SOURCE.search(told)), "names a source, but not the difference"
    assert bool(kind.DIFFERS) == bool(kind.AFTER)
    assert "\n" not in kind.DIFFERS and not kind.DIFFERS.endswith(".")
    if kind.AFTER:
        assert SOURCE.search(kind.AFTER) and "AFTER" in vars(kind) and "DIFFERS" in vars(kind)


def test_page_and_command_tell_the_difference(spikelet: Spikelet) -> None:
    page = pages.PAGES["learners.md"].read_text(encoding="utf-8")
    assert reference.published() in page, "make it again: python tools/reference.py"
    rows = {row["name"]: row for row in spikelet("learners", "--json").json["learners"]}
    for name, kind in learners().items():
        assert rows[name].get("after", "") == kind.AFTER
        assert rows[name].get("differs", "") == kind.DIFFERS
    listed = " ".join(spikelet("learners", "ladder").out.split())
    assert learners()["ladder"].DIFFERS in listed

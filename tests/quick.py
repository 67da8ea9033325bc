"""Which files hold quick tests: asked before a file is imported, which takes most of the time."""

from __future__ import annotations

import re
from pathlib import Path

MARK = re.compile(r"^[^#\n\"]*\bpytest\.mark\.quick\b", re.MULTILINE)


def has_quick_tests(path: Path) -> bool:
    return MARK.search(path.read_text(encoding="utf-8")) is not None

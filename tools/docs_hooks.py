"""Hooks of mkdocs: pages that stand at the root of the house, and links that also work on GitHub.

A link is written as GitHub follows it, from the file that it stands in. On the site it leads to the
page of that file, or to GitHub where the file is no page.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
GITHUB = "https://github.com/spikelet/spikelet/blob/main"
# Files at the root that are pages of the site.
PAGES = {
    "CONTRIBUTING.md": "contributing.md",
    "DESIGN.md": "design.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
    "README.md": "index.md",
}
_LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")
_log = logging.getLogger("mkdocs.hooks.docs")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages that stand at the root."""
    for source, page in PAGES.items():
        if page != "index.md":
            files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Lead links to pages of the site, or to GitHub."""
    path = Path(page.file.abs_src_path or "")

    def led(link: re.Match[str]) -> str:
        target, anchor = link[1], link[2] or ""
        there = Path(os.path.normpath(path.parent / target))
        inside = os.path.relpath(there, ROOT)
        if not there.exists():
            _log.warning("%s: there is no %s", path.relative_to(ROOT), target)
        if inside.startswith("docs/") and there.is_file():
            return f"]({inside.removeprefix('docs/')}{anchor})"
        return f"]({PAGES.get(inside, f'{GITHUB}/{inside}')}{anchor})"

    return _LINK.sub(led, markdown)

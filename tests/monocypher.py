"""Monocypher's C, where `make monocypher` has fetched it; tests that need it skip, loudly."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from spikelet.board.build import usable_cache
from support import MISSING


def monocypher() -> Path:
    """The folder that holds monocypher.c and optional/monocypher-ed25519.c."""
    if importlib.util.find_spec("cryptography") is None:
        MISSING.add("cryptography")
        pytest.skip("cryptography is missing: pip install 'spikelet[sign]'")
    folder = usable_cache() / "monocypher-3.1.2"
    if not (folder / "optional" / "monocypher-ed25519.c").is_file():
        MISSING.add("monocypher")
        pytest.skip("Monocypher's C is not in the cache: run `make monocypher`")
    return folder


def sources(folder: Path) -> list[str]:
    """What is compiled, and where its headers are: arguments of a compiler."""
    c = [folder / "monocypher.c", folder / "optional" / "monocypher-ed25519.c"]
    return [f"-I{folder}", f"-I{folder / 'optional'}", *map(str, c)]

"""A recipe's name, and the package that it has become."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spikelet.package import Package


def recipe_name(folder: Path) -> str:
    """The recipe's name, as far as it can be read: a fault in it is told by the training."""
    try:
        recipe = tomllib.loads((folder / "recipe.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return folder.name
    return str(recipe.get("name", folder.name))


def package_facts(package: Package, path: Path) -> dict[str, Any]:
    """A package, for JSON."""
    manifest = package.manifest
    return {
        "package": str(path),
        "bytes": path.stat().st_size,
        "package_sha256": package.sha256,
        "model": package.graph.name,
        "float_accuracy": manifest.get("float_accuracy"),
        "integer_accuracy": manifest.get("integer_accuracy"),
        "drift": manifest.get("drift"),
        "seed": manifest.get("seed"),
        "manifest": manifest,
    }

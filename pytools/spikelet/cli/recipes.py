"""Recipes by path or by name, and the package that one has become."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikelet.errors import UsageError
from spikelet.paths import models_dir

if TYPE_CHECKING:
    from spikelet.package import Package


def model_path(name: str) -> Path:
    """A recipe's folder: a path, or the name of a model that comes with Spikelet."""
    path = Path(name)
    if (path / "recipe.toml").is_file():
        return path
    shipped = sorted(p.parent.name for p in models_dir().glob("*/recipe.toml"))
    if name in shipped:
        return models_dir() / name
    near = difflib.get_close_matches(name, shipped, n=1, cutoff=0.4)
    raise UsageError(
        f"model {name!r}: no folder with a recipe.toml, and no model that comes with Spikelet",
        f"did you mean {near[0]!r}?" if near else "a wrong path",
        f"there are: {', '.join(shipped)}; `spikelet models` describes them",
    )


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

"""`spikelet train`: a recipe becomes a package."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from spikelet.cli.options import JsonOption, SeedOption
from spikelet.cli.places import check_file, given_path
from spikelet.cli.shown import accuracy_rows
from spikelet.cli.streaming import training
from spikelet.cli.terminal import Terminal, facts
from spikelet.errors import UsageError
from spikelet.package import Package
from spikelet.paths import models_dir
from spikelet.train import train


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


def command(
    model_dir: Annotated[
        str,
        typer.Argument(
            metavar="MODEL_DIR",
            help="A folder with recipe.toml and model.py, or the name of a shipped model.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="PATH", parser=given_path, help="Default: NAME.spk."),
    ] = None,
    seed: SeedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a recipe and write the package NAME.spk."""
    terminal = Terminal.open(as_json)
    folder = model_path(model_dir)
    check_file(out or Path(f"{_name(folder)}.spk"))
    package = training(terminal, folder, lambda epoch: train(folder, seed, epoch))
    out = out or Path(f"{package.graph.name}.spk")
    package.save(out)
    terminal.result(
        package_facts(package, out),
        facts(
            f"{out}",
            {
                "model": package.graph.name,
                **accuracy_rows(package.manifest),
                "tested on": package.manifest.get("test_part"),
                "seed": package.manifest.get("seed"),
                "sha256": package.sha256,
            },
        ),
    )


def _name(folder: Path) -> str:
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

"""`spikelet models`: the recipes that come with Spikelet."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from spikelet.cli import loading
from spikelet.cli.options import JsonOption, application
from spikelet.errors import UsageError
from spikelet.paths import models_dir

app = application()


@app.command("models")
def command(as_json: JsonOption = False) -> None:
    """List the models that `spikelet train` knows by name."""
    with loading(as_json):
        from spikelet.cli.terminal import Fitted, Terminal, table
    terminal = Terminal.open(as_json)
    rows = [_row(path) for path in sorted(models_dir().glob("*/recipe.toml"))]
    made = table(
        "", "model", "kind", "data", ">steps", "encoder", "readout", ">seed", "description"
    )
    made.title = None
    for row in rows:
        made.add_row(*("" if row[key] is None else str(row[key]) for key in _SHOWN))
    terminal.result({"models": rows}, Fitted(made, LESS_IMPORTANT, ("description",)))


LESS_IMPORTANT = ("seed", "readout", "encoder", "steps", "data")
_SHOWN = ("name", "kind", "data", "steps", "encoder", "readout", "seed", "description")


def _row(path: Path) -> dict[str, Any]:
    try:
        recipe = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise UsageError(f"recipe {path}: {e}", "not a TOML file", "mend it") from e
    network = recipe.get("spiking", recipe.get("network"))
    spiking = network or {}
    usual = None if "spiking" in recipe else "spike_count"  # None: what its output is
    return {
        "name": path.parent.name,
        "description": recipe.get("description", ""),
        "kind": "int8" if network is None else "spiking",
        "data": recipe.get("data", {}).get("name"),
        "steps": spiking.get("steps"),
        "encoder": None if network is None else spiking.get("encoder", "direct"),
        "readout": None if network is None else spiking.get("readout", usual),
        "seed": recipe.get("seed", 0),
        "folder": str(path.parent),
    }

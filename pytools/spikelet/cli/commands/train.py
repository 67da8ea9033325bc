"""`spikelet train`: a recipe becomes a package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spikelet.cli import loading
from spikelet.cli.completion import models
from spikelet.cli.options import JsonOption, PackageOutOption, SeedOption, application
from spikelet.cli.places import check_file

app = application()


@app.command("train")
def command(
    model_dir: Annotated[
        str,
        typer.Argument(
            metavar="MODEL_DIR",
            help="A folder with recipe.toml and model.py, or the name of a shipped model.",
            show_default=False,
            autocompletion=models,
        ),
    ],
    out: PackageOutOption = None,
    seed: SeedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a recipe and write the package NAME.spk."""
    with loading(as_json):
        from spikelet.api import train
        from spikelet.cli.recipes import package_facts, recipe_name
        from spikelet.cli.render import accuracy_rows
        from spikelet.cli.streaming import training
        from spikelet.cli.terminal import Terminal, facts
        from spikelet.train import model_path
    terminal = Terminal.open(as_json)
    folder = model_path(model_dir)
    check_file(out or Path(f"{recipe_name(folder)}.spk"))
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

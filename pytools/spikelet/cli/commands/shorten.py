"""`spikelet shorten`: a package that stops at the first step whose answer is sure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spikelet.cli import loading
from spikelet.cli.options import JsonOption, PackageArg, TrustedOption, application
from spikelet.cli.places import check_file, given_path

app = application()

DataOption = Annotated[
    Path,
    typer.Option(
        metavar="PATH", parser=given_path, show_default=False,
        help="An .npz file with x (N, ...) and y (N,): samples that were not trained on.",
    ),
]  # fmt: skip
OutOption = Annotated[
    Path | None,
    typer.Option("-o", "--out", metavar="PATH", parser=given_path, help="Default: NAME-exit.spk."),
]


@app.command("shorten")
def command(
    package: PackageArg,
    data: DataOption,
    loss: Annotated[
        float,
        typer.Option(min=0, max=100, help="Points of accuracy that may be lost on these samples."),
    ] = 0.3,
    out: OutOption = None,
    trusted: TrustedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a spiking network stop at the first step whose best score leads by enough.

    How much is enough is chosen on the samples, one integer a step.
    """
    with loading(as_json):
        from spikelet.cli.terminal import Terminal, facts, number, percent
        from spikelet.early_exit import with_early_exit
        from spikelet.errors import UsageError
        from spikelet.package import Package
        from spikelet.streams import data_stream
    terminal, base = Terminal.open(as_json), Package.load(package, trusted)
    stream = data_stream(base, data)
    if stream.labels is None:
        raise UsageError(f"{data}: no y", "the loss is counted on labels", "add y (N,)")
    out = out or Path(f"{base.graph.name}-exit.spk")
    check_file(out)
    made = with_early_exit(base, stream.inputs, stream.labels, loss / 100)
    made.save(out)
    found = made.manifest["early_exit"]
    result = {"package": str(package), "out": str(out), "package_sha256": made.sha256, **found}
    rows = {
        "steps, mean": f"{number(found['mean_steps'], digits=2)} of {base.graph.steps}, on "
        f"{found['samples']} samples",
        "accuracy": f"{percent(found['accuracy'])}, {percent(found['accuracy_all_steps'])} with "
        "all steps",
        "try it": f"spikelet run {out}",
    }
    terminal.result(result, facts(str(out), rows))

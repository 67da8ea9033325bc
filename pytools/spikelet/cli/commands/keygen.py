"""`spikelet keygen`: a pair of keys that packages and deltas are signed and trusted by."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spikelet.cli import loading
from spikelet.cli.options import JsonOption, application
from spikelet.cli.places import given_path

app = application()


@app.command("keygen")
def command(
    key: Annotated[
        Path,
        typer.Argument(
            metavar="KEY", parser=given_path, show_default=False,
            help="Where the private key goes; the public one becomes KEY.pub.",
        ),
    ],
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Make an Ed25519 key pair: KEY signs and stays with you, KEY.pub is what others trust."""
    with loading(as_json):
        from spikelet.cli.terminal import Terminal, facts
        from spikelet.signing import make_keys
    terminal = Terminal.open(as_json)
    public = make_keys(key)
    rows = {"private": f"{key}: whoever reads it can sign", "public": str(public)}
    terminal.result({"private": str(key), "public": str(public)}, facts("keys", rows))

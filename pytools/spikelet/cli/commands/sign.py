"""`spikelet sign`: who made a package or a delta, and how new it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from spikelet.cli import loading
from spikelet.cli.options import JsonOption, application
from spikelet.cli.places import given_path

app = application()

BaseOption = Annotated[
    Path | None,
    typer.Option(
        "--package", metavar="PKG", parser=given_path, show_default=False,
        help="With a delta: its base. FILE.state is written, too, signed with the same counter: "
        "what a device that has the key takes over.",
    ),
]  # fmt: skip


@app.command("sign")
def command(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", parser=given_path, show_default=False,
            help="A package, NAME.spk, or a delta, NAME.spkd.",
        ),
    ],
    key: Annotated[
        Path,
        typer.Option(
            metavar="KEY", parser=given_path, show_default=False,
            help="The private key, which `spikelet keygen` made.",
        ),
    ],
    counter: Annotated[
        int | None,
        typer.Option(
            min=1, max=2**32 - 1, show_default=False,
            help="What is trusted never goes back to a lower one of this name. Default: one more "
            "than the signature that lies beside the file, from 1 on.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", show_default=False,
            help="Of a delta, what its counter counts. Default: the file's, without .spkd.",
        ),
    ] = None,
    package: BaseOption = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Sign a file: FILE.sig is written beside it, and --trusted KEY.pub asks for it."""
    with loading(as_json):
        from spikelet.cli.terminal import Terminal, facts
        from spikelet.files import save
        from spikelet.learn.delta import Delta
        from spikelet.package import Package
        from spikelet.signing import DELTA, PACKAGE, STATE_SUFFIX, sign, signature_path
    terminal = Terminal.open(as_json)
    state = None
    if file.suffix.lower() == ".spkd":
        base = None if package is None else Package.unsigned(package)
        delta = None if base is None else Delta.unsigned(file, base)  # before anything is written
        made = sign(file, key, DELTA, name or file.stem, counter)
        if base is not None and delta is not None:
            state = file.with_name(file.name + STATE_SUFFIX)
            save(state, delta.signed_state(base, key, made.counter))
    else:
        _check_unasked({"--package": package, "--name": name})
        made = sign(file, key, PACKAGE, Package.unsigned(file).graph.name, counter)
    result = {
        "file": str(file), "signature": str(signature_path(file)), "kind": made.kind,
        "name": made.name, "counter": made.counter, "key": made.key, "sha256": made.sha256,
        "state": None if state is None else str(state),
    }  # fmt: skip
    rows = {**result, "trust it": f"spikelet run {file} --trusted KEY.pub"}
    terminal.result(result, facts(f"{made.kind} {made.name}, signed", rows))


def _check_unasked(options: Mapping[str, object]) -> None:
    from spikelet.errors import UsageError

    for option, value in options.items():
        if value is not None:
            raise UsageError(
                f"{option} {value} with a package",
                f"{option} is of a delta; a package is signed under the name of its model",
                f"leave {option} out",
            )

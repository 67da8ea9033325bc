"""`spikelet sign`: who made a package, a delta or a learned state, and how new it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spikelet.cli import loading
from spikelet.cli.options import JsonOption, application
from spikelet.cli.places import given_path

if TYPE_CHECKING:
    from spikelet.signing import Signature

_TRUSTING = {  # what asks for the signature of each kind of file
    "package": "run {}", "delta": "run PKG --delta {}", "state": "learn PKG --load-state {}"
}  # fmt: skip

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
            help="A package, NAME.spk, a delta, NAME.spkd, or a learned state, NAME.npz. Beside a "
            "state FILE.state is written, too: what a device that has the key takes over.",
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
            help="Of a delta or state, what its counter counts. Default: the file's, without its "
            "ending.",
        ),
    ] = None,
    package: BaseOption = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Sign a file: FILE.sig is written beside it, and --trusted KEY.pub asks for it."""
    with loading(as_json):
        from spikelet.cli.terminal import Terminal, facts
        from spikelet.signing import signature_path
    terminal = Terminal.open(as_json)
    kind = file.suffix.lower()
    if kind == ".spkd":
        made, beside = _delta(file, key, counter, name, package)
    elif kind == ".npz":
        _check_unasked({"--package": package}, "state", "names the package that learned it")
        made, beside = _state(file, key, counter, name)
    else:
        asked = {"--package": package, "--name": name}
        _check_unasked(asked, "package", "is signed under the name of its model")
        made, beside = _package(file, key, counter), None
    result = {
        "file": str(file), "signature": str(signature_path(file)), "kind": made.kind,
        "name": made.name, "counter": made.counter, "key": made.key, "sha256": made.sha256,
        "state": None if beside is None else str(beside),
    }  # fmt: skip
    rows = {**result, "trust it": f"spikelet {_TRUSTING[made.kind].format(file)} --trusted KEY.pub"}
    terminal.result(result, facts(f"{made.kind} {made.name}, signed", rows))


def _package(file: Path, key: Path, counter: int | None) -> Signature:
    from spikelet.package import Package
    from spikelet.signing import PACKAGE, sign

    return sign(file, key, PACKAGE, Package.unsigned(file).graph.name, counter)


def _delta(
    file: Path, key: Path, counter: int | None, name: str | None, package: Path | None
) -> tuple[Signature, Path | None]:
    """The signature, and what was written for a device, where the base is known."""
    from spikelet.learn.delta import Delta
    from spikelet.package import Package
    from spikelet.signing import DELTA, sign

    name = name or file.stem
    if package is None:
        return sign(file, key, DELTA, name, counter), None
    base = Package.unsigned(package)
    delta = Delta.unsigned(file, base)  # before anything is written
    made = sign(file, key, DELTA, name, counter)
    return made, _for_device(file, delta.signed_state(base, key, made.counter))


def _state(
    file: Path, key: Path, counter: int | None, name: str | None
) -> tuple[Signature, Path | None]:
    """The signature, and what was written for a device."""
    from spikelet.learn.state import LearnedState
    from spikelet.signing import STATE, sign

    state = LearnedState.unsigned(file)
    made = sign(file, key, STATE, name or file.stem, counter)
    return made, _for_device(file, state.signed_state(key, made.counter))


def _for_device(file: Path, sealed: bytes) -> Path:
    from spikelet.files import save
    from spikelet.signing import device_path

    path = device_path(file)
    save(path, sealed)
    return path


def _check_unasked(options: Mapping[str, object], what: str, why: str) -> None:
    from spikelet.errors import UsageError

    for option, value in options.items():
        if value is not None:
            raise UsageError(
                f"{option} {value} with a {what}",
                f"a {what} {why}",
                f"leave {option} out",
            )

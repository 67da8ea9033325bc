"""`spikelet export`: an int8 package as an ONNX file, for other runtimes to compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spikelet.cli import loading
from spikelet.cli.options import JsonOption, PackageArg, application
from spikelet.cli.places import check_file, given_path
from spikelet.errors import UsageError

app = application()


@app.command("export")
def command(
    package: PackageArg,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="Default: NAME.onnx.", parser=given_path),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write an int8 package as an ONNX file in QDQ form."""
    with loading(as_json):
        from spikelet.cli.terminal import Terminal, facts, number
        from spikelet.files import write_whole
        from spikelet.frontends.onnx import export as onnx_export
        from spikelet.package import Package
    terminal = Terminal.open(as_json)
    loaded = Package.load(package)
    out = out or Path(f"{loaded.graph.name}.onnx")
    if out.suffix.lower() != ".onnx":
        raise UsageError(
            f"{out}: {out.suffix or 'no suffix'} is not a format that can be written",
            next="formats: .onnx",
        )
    check_file(out)
    data = onnx_export.export(loaded.graph)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, data)
    result = {
        "package": str(package),
        "package_sha256": loaded.sha256,
        "file": str(out),
        "bytes": len(data),
        "opset": onnx_export.OPSET,
        "layers": len(loaded.graph.nodes),
    }
    rows = {
        "model": loaded.graph.name,
        "layers": len(loaded.graph.nodes),
        "form": f"QDQ, opset {onnx_export.OPSET}, images as (N, C, H, W), float at both ends",
        "size": number(len(data), "B"),
        "package": loaded.sha256,
    }
    terminal.result(result, facts(str(out), rows))

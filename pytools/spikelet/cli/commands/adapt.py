"""`spikelet adapt`: train the values of an adapter on the host; the package stays as it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from spikelet.cli import loading
from spikelet.cli.options import (
    JsonOption,
    PackageArg,
    TrustedOption,
    application,
)
from spikelet.cli.places import check_file, given_path

if TYPE_CHECKING:
    from spikelet.learn.delta import Delta
    from spikelet.train.adapt import Adapted

app = application()

DataOption = Annotated[
    Path,
    typer.Option(
        metavar="PATH", parser=given_path, show_default=False,
        help="An .npz file with x (N, ...) and y (N,): samples to adapt to.",
    ),
]  # fmt: skip
KindOption = Annotated[
    Literal["low_rank", "depthwise", "sparse", "scale_bias", "ladder", "head"],
    typer.Option(
        help="low_rank: two matrices a layer; depthwise: a 3 x 3 convolution of each channel; "
        "sparse: some weights of each output; scale_bias: a gain and a bias of each output, folded "
        "into the layer; ladder: a narrow network beside it; head: a matrix of the last layer."
    ),
]
RankOption = Annotated[
    str | None,
    typer.Option(
        metavar="RANK[,RANK...]", show_default=False,
        help="Of low_rank; the weights an output of sparse; the width of ladder: 1 to 128. "
        "Default: 4. low_rank and sparse take one a layer, 0 for none.",
    ),
]  # fmt: skip
BytesOption = Annotated[
    int | None,
    typer.Option(
        "--bytes", min=1, metavar="N", show_default=False,
        help="Of low_rank: the ranks of layers by their gradients, as far as N bytes go; those of "
        "a head are not counted.",
    ),
]  # fmt: skip
BitsOption = Annotated[
    Literal["1", "8"] | None,
    typer.Option(
        help="Of low_rank, depthwise and sparse: of an element. Default: 1, of depthwise 8.",
        show_default=False,
    ),
]
HeadOption = Annotated[
    bool, typer.Option("--head", help="With these: a whole matrix for the last layer.")
]
OutOption = Annotated[
    Path | None,
    typer.Option("-o", "--out", metavar="PATH", parser=given_path, help="Default: NAME.spkd."),
]
PlacesOption = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH", parser=given_path, show_default=False,
        help="Write the package with places for such values, too: what is flashed or exported.",
    ),
]  # fmt: skip


@app.command("adapt")
def command(
    package: PackageArg,
    data: DataOption,
    kind: KindOption = "low_rank",
    rank: RankOption = None,
    nbytes: BytesOption = None,
    bits: BitsOption = None,
    head: HeadOption = False,
    epochs: Annotated[int, typer.Option(min=1, help="Over the samples.")] = 60,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of what is drawn.")] = 0,
    out: OutOption = None,
    places: PlacesOption = None,
    trusted: TrustedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train an adapter of a package: some hundred bytes that a device takes into RAM.

    `spikelet run PKG --delta NAME.spkd` builds the package with places for them, sends them and
    compares all with golden.
    """
    with loading(as_json):
        from spikelet.cli.terminal import Terminal, percent
        from spikelet.errors import UsageError
        from spikelet.graph.adapted import form
        from spikelet.learn.delta import Delta, prepared
        from spikelet.package import Package
        from spikelet.streams import data_stream
        from spikelet.train.adapt import Training, adapt
        from spikelet.train.ranks import ranks_for
    terminal = Terminal.open(as_json)
    base = Package.load(package, trusted)
    stream = data_stream(base, data)
    if stream.labels is None:
        raise UsageError(f"{data}: no y", "an adapter is trained on labels", "add y (N,)")
    adapter = form(kind, _ranks(rank), bits, head)
    out = out or Path(f"{base.graph.name}.spkd")
    for path in filter(None, (out, places)):
        check_file(path)
    codes = stream.inputs[base.graph.inputs[0].name]
    if nbytes is not None:
        if rank is not None:
            raise UsageError("--rank and --bytes", "bytes choose ranks", "give one of them")
        adapter = ranks_for(base.graph, adapter, codes, stream.labels, nbytes, seed)
    with terminal.err.status("training") as status:
        made = adapt(
            base.graph, adapter, codes, stream.labels,
            Training(epochs=epochs, seed=seed),
            lambda epoch, now: status.update(f"training: epoch {epoch + 1}, {percent(now)}"),
        )  # fmt: skip
    delta = Delta.of(base.graph, adapter, made.values)
    delta.save(out)
    if places is not None:
        prepared(base, adapter).save(places)
    result = {"package": str(package), "delta": str(out), "samples": len(stream)}
    terminal.result(*_shown(delta, made, result))


def _ranks(text: str | None) -> int | list[int] | None:
    """What `--rank` says: of all layers, or of each."""
    from spikelet.errors import UsageError

    if text is None:
        return None
    try:
        ranks = [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(
            f"--rank {text}", "it is no number, nor several", "give one, or one a layer: 8,4,0,2"
        ) from None
    if len(ranks) > 1:
        return ranks
    if ranks[0] < 1:
        raise UsageError(f"--rank {text}", "no layer would change", "give 1 to 128")
    return ranks[0]


def _shown(delta: Delta, made: Adapted, given: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """What is printed, for machines and for people."""
    from spikelet.cli.terminal import facts, number, percent

    sizes = delta.nbytes
    result: dict[str, Any] = {
        **given,
        "base_sha256": delta.base_sha256,
        "delta_sha256": delta.sha256,
        **delta.adapter.to_json(),
        "delta_bytes": sizes["delta"],
        "head_bytes": sizes["head"],
        "held_out": made.held,
        "accuracy_before": made.before,
        "accuracy": made.after,
    }
    rows = {
        "base": delta.graph,
        "values": f"{number(sizes['delta'], 'B')}, head {number(sizes['head'], 'B')}",
        "before": f"{percent(made.before)} of {made.held} samples held out",
        "after": f"{percent(made.after)}; they chose the epoch",
        "try it": f"spikelet run {given['package']} --delta {given['delta']}",
    }
    return result, facts(str(given["delta"]), rows)

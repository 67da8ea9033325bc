"""What a person is shown of the bits that layers were given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import RenderableType

from spikelet.cli.terminal import Fitted, facts, number, percent, table
from spikelet.run.allocation import UNITS, WIDTHS, Allocation


def allocation_summary(found: Allocation, out: Path) -> dict[str, Any]:
    """The object that `spikelet allocate --json` prints."""
    package = {"package": str(out), "package_sha256": found.package.sha256}
    return {**package, "model": found.package.graph.name, **found.to_json()}


def render_allocation(found: Allocation, source: str, out: Path) -> list[RenderableType]:
    """Layers, ways to choose with the random control beside them, and the package."""
    shown = "error" if "error" in found.layers[0]["error"] else next(iter(found.layers[0]["error"]))
    layers = table(
        f"{UNITS[found.budget]} and {shown} of each layer", "layer", ">weights", ">bits",
        *(f">{found.budget} {w}" for w in WIDTHS), *(f">{shown} {w}" for w in WIDTHS if w < 8),
    )  # fmt: skip
    for row in found.layers:
        layers.add_row(
            row["name"], number(row["weights"]), str(row["bits"]),
            *(number(row["cost"][w]) for w in WIDTHS),
            *(f"{row['error'][shown][w]:.3g}" for w in WIDTHS if w < 8),
        )  # fmt: skip
    ways = table(
        "chosen by", "criterion", "bits by layer", ">weight bits", f">{found.budget}", ">noise",
        ">labels alike", ">accuracy",
    )  # fmt: skip
    whole = found.ways[0].weight_bits
    for way in found.ways:
        bits = " ".join(str(b) for b in way.bits.values()) if "random" not in way.criterion else ""
        ways.add_row(
            way.criterion, bits, f"{100 * way.weight_bits / whole:.1f} %", number(way.cost),
            f"{way.noise:.4f}", percent(way.agreement), percent(way.accuracy),
        )  # fmt: skip
    return [
        Fitted(layers, ("weights",)),
        "",
        Fitted(ways, ("labels alike",)),
        "",
        facts(
            str(out),
            {
                "chosen by": found.chosen.criterion,
                "budget": f"{number(found.limit)} {UNITS[found.budget]}",
                "takes": f"{number(found.measured)}, measured",
                "samples": source,
                "accuracy before": percent(found.accuracy and found.accuracy[0]),
                "accuracy": percent(found.accuracy and found.accuracy[1]),
                **{f"not by {name}": why for name, why in found.skipped.items()},
                "sha256": found.package.sha256,
            },
        ),
    ]

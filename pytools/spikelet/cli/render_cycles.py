"""What a person is shown of an estimate of cycles."""

from __future__ import annotations

from typing import Any

from rich.console import RenderableType

from spikelet.cli.terminal import Fitted, facts, number, table, verdict
from spikelet.package import Package
from spikelet.run.cycles import Prediction

LESS_IMPORTANT = ("kernel", "instructions", "share")


def cycles_summary(package: Package, made: Prediction) -> dict[str, Any]:
    """The object that `spikelet cycles --json` prints."""
    return {"model": package.graph.name, "package_sha256": package.sha256, **made.to_json()}


def render_cycles(package: Package, made: Prediction) -> list[RenderableType]:
    """The estimate, what it assumes, and a row a layer."""
    low, high = made.span
    spread = "" if low == high else f"   ({number(low)} to {number(high)} by the manual's ranges)"
    waits = sum(layer.waits for layer in made.layers)
    rows = table("layers", "layer", "kernel", ">instructions", ">cycles", ">share")
    for layer in made.layers:
        if layer.name:
            share = 100 * layer.total / max(made.cycles, 1.0)
            rows.add_row(
                layer.name, layer.kernel, number(layer.instructions), number(layer.total),
                f"{share:.2f} %",
            )  # fmt: skip
    return [
        facts(
            f"{package.graph.name} on a {made.core}, estimated from one sample",
            {
                "mismatches": verdict(made.mismatches),
                "cycles an inference": f"{number(made.cycles)}{spread}",
                "  waiting for flash": number(waits) if made.flash.wait else None,
                "instructions": number(made.instructions),
                "  cycles each": number(made.cycles / max(made.instructions, 1), digits=2),
                "executed": made.where,
                "assumed": "\n".join(made.assumptions),
            },
        ),
        "",
        Fitted(rows, LESS_IMPORTANT),
    ]

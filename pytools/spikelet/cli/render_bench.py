"""What a person is shown of a bench."""

from __future__ import annotations

from typing import Any

from rich.console import RenderableType

from spikelet.cli.render import (
    UNITS,
    build_rows,
    general_kernels,
    render_differences,
    weights_exercised,
)
from spikelet.cli.terminal import Fitted, facts, number, percent, table, verdict
from spikelet.text import counted

COUNTED_BY = {"device": "the device, equal to golden's counts", "golden": "golden"}
LESS_IMPORTANT = ("output", "operator", "RAM B", "flash B", "per op", "kernel", "ops", "share")


def render_bench(bench: dict[str, Any]) -> list[RenderableType]:
    """The summary, and a row a layer."""
    ticks, work, unit = bench["ticks"], bench["neurobench"], UNITS[bench["tick"]]
    spread = None
    if ticks["mean"] is not None:
        spread = f"{number(ticks['mean'])}   ({number(ticks['min'])} to {number(ticks['max'])})"
    step, toolchain = bench["instructions_per_tick"], bench["build"].get("toolchain")
    spiking: dict[str, object] = {
        "  per effective synaptic op": number(
            bench["instructions_per_effective_synaptic_operation"], "instructions", 2
        ),
        "effective ACs": number(work["effective_acs"]),
        "effective MACs": number(work["effective_macs"]),
        "dense synaptic ops": number(work["dense"]),
        "membrane updates": number(work["membrane_updates"]),
        "activation sparsity": percent(work["activation_sparsity"]),
        "connection sparsity": percent(work["connection_sparsity"]),
        "footprint": number(work["footprint_bytes"], "B"),
        "work counted by": COUNTED_BY[work["counted_by"]],
    }
    dense: dict[str, object] = {
        "  per MAC": number(bench["instructions_per_mac"], "instructions", 2),
        "MACs": number(bench["macs"]) if bench["macs"] else None,
    }
    shown: list[RenderableType] = [
        facts(
            f"{bench['model']} on {bench['board']} ({bench['machine']}), "
            f"{counted(bench['samples'], 'sample')}{f', {toolchain}' if toolchain else ''}",
            {
                "mismatches": verdict(bench["mismatches"]),
                "weights exercised": weights_exercised(bench),
                f"{unit} an inference": spread,
                "  counted in steps of": number(step, digits=2) if step not in (None, 1) else None,
                **(spiking if work["dense"] else dense),
                **build_rows(bench["build"]),
                "stack, measured": number(bench["stack_bytes"], "B"),
                "RAM in all": number(bench["ram_in_all_bytes"], "B"),
            },
        ),
        "",
        _layers(bench),
        *general_kernels(bench["layers"], f"of {bench['board']}"),
    ]
    if bench["differences"]:
        shown.append(render_differences(bench["differences"]))
    return shown


def _layers(bench: dict[str, Any]) -> RenderableType:
    unit, measured = UNITS[bench["tick"]], bench["layer_measurement"]
    if measured is None:
        counts = "is measured as a whole" if bench["ticks"]["mean"] else "counts no ticks"
        return f"board {bench['board']} {counts}: no figures by layer"
    made = table(
        f"layers, mean of {counted(measured['samples'], 'sample')}",
        "layer", "operator", "kernel", "output", f">{unit}", ">share", ">ops", ">per op",
        ">flash B", ">RAM B",
    )  # fmt: skip
    total, rest = measured["total"], max(0, measured["rest"])
    for row in bench["layers"]:
        made.add_row(
            row["name"],
            row["op"],
            row["kernel"],
            row["output"],
            number(max(0, row["ticks"])),  # less than what measuring it varies by
            percent(max(0, row["ticks"]) / total),
            number(row["effective_ops"] or row["macs"] or None) or "",
            number(row["ticks_per_effective_op"] or row["ticks_per_mac"], digits=2) or "",
            number(row["flash_bytes"]) if row["flash_bytes"] else "",
            number(row["ram_bytes"]),
        )
    made.add_row("rest", "", "", "", number(rest), percent(rest / total))
    made.add_row("total", "", "", "", number(total), percent(1.0), style="bold")
    return Fitted(made, LESS_IMPORTANT)

"""`spikelet bench`: what an inference costs, layer by layer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType

from spikelet.board import find_board
from spikelet.cli.bands import in_bands
from spikelet.cli.options import (
    ArenaOption,
    BoardOption,
    JsonOption,
    LimitOption,
    MachineOption,
    PackageArg,
    ToolchainOption,
)
from spikelet.cli.places import given_path
from spikelet.cli.shown import (
    build_rows,
    differences_shown,
    general_kernels,
    weights_exercised,
)
from spikelet.cli.streaming import disagree, stream
from spikelet.cli.terminal import Fitted, Terminal, facts, number, percent, table, verdict
from spikelet.errors import UsageError
from spikelet.package import Package
from spikelet.run import SessionFolder, Target, connected, make, package_stream
from spikelet.run.bench import LAYER_SAMPLES, bench_summary, effective_work, layer_ticks
from spikelet.run.options import RunOptions

UNITS = {"none": "ticks", "instruction": "instructions", "cycle": "cycles", "us": "us"}
LESS_IMPORTANT = ("output", "operator", "RAM B", "flash B", "per op", "ops", "share")


def command(
    package: PackageArg,
    board: BoardOption,
    limit: LimitOption = None,
    machine: MachineOption = "auto",
    session: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", parser=given_path, help="Default: spikelet-sessions/MODEL-BOARD-bench."
        ),
    ] = None,
    toolchain: ToolchainOption = "auto",
    arena: ArenaOption = None,
    as_json: JsonOption = False,
) -> None:
    """Instructions or cycles, per inference and per layer, and sizes of the image."""
    terminal = Terminal.open(as_json)
    loaded, found = Package.load(package), find_board(board)
    if found.transport == "serial":
        raise UsageError(
            f"bench: board {found.name} is hardware",
            "per-layer figures need two images, one after the other",
            "`spikelet run --port` counts the cycles of whole inferences",
        )
    loaded = in_bands(terminal, loaded, arena, found)
    samples = package_stream(loaded).head(limit)
    options = RunOptions(
        package=package, board=board, machine=machine, toolchain=toolchain, limit=limit,
        arena=arena, session=session,
    )  # fmt: skip
    path = options.place(loaded.graph.name, f"{found.name}-bench")
    folder = SessionFolder(path)
    with terminal.err.status("building"):
        release = make(loaded, found, path / "build", toolchain=toolchain)
        trace = make(loaded, found, path / "build-trace", toolchain=toolchain, trace=True)
    target = Target(found, release, machine)
    result, outcome = stream(terminal, options, loaded, target, samples, folder, whole=False)
    measured = [s.ticks for s in outcome.samples[:LAYER_SAMPLES]]
    with (
        terminal.err.status("measuring the layers"),
        connected(Target(found, trace, machine), loaded) as (device, _),
    ):
        ticks = layer_ticks(loaded, device, samples, measured)
    work = effective_work(loaded, samples.inputs)
    bench = bench_summary(result, outcome, work, ticks, result["build"]["layers"])
    terminal.result(bench, *_shown(bench))
    if bench["mismatches"]:
        disagree(terminal, bench["mismatches"])


def _shown(bench: dict[str, Any]) -> list[RenderableType]:
    ticks, work, unit = bench["ticks"], bench["neurobench"], UNITS[bench["tick"]]
    spread = None
    if ticks["mean"] is not None:
        spread = f"{number(ticks['mean'])}   ({number(ticks['min'])} to {number(ticks['max'])})"
    step = bench["instructions_per_tick"]
    spiking: dict[str, object] = {
        "  per effective synaptic op": number(
            bench["instructions_per_effective_synaptic_operation"], "instructions", 2
        ),
        "effective ACs": number(work["effective_acs"]),
        "effective MACs": number(work["effective_macs"]),
        "dense synaptic ops": number(work["dense"]),
        "membrane updates": number(work["membrane_updates"]),
        "activation sparsity": percent(work["activation_sparsity"]),
        "footprint": number(work["footprint_bytes"], "B"),
    }
    dense: dict[str, object] = {
        "  per MAC": number(bench["instructions_per_mac"], "instructions", 2),
        "MACs": number(bench["macs"]) if bench["macs"] else None,
    }
    shown: list[RenderableType] = [
        facts(
            f"{bench['model']} on {bench['board']} ({bench['machine']}), "
            f"{bench['samples']} samples, {bench['build']['toolchain']}",
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
        shown.append(differences_shown(bench["differences"]))
    return shown


def _layers(bench: dict[str, Any]) -> RenderableType:
    unit, measured = UNITS[bench["tick"]], bench["layer_measurement"]
    if measured is None:
        return f"board {bench['board']} counts no ticks: no figures by layer"
    made = table(
        f"layers, mean of {measured['samples']} samples",
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

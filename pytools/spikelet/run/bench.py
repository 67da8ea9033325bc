"""What an inference costs, layer by layer.

A trace build can keep, in place of the digest of what an operator wrote, the ticks that the model
had taken by then. The cost of one execution is the difference of two successive ones, less what the
probe call itself takes: that is measured too, as the difference between the trace and the release
image over all probes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spikelet.board import Board
from spikelet.codegen import COUNTS, DIGESTS, generate, totals
from spikelet.errors import Disagreement, UsageError
from spikelet.graph import Array, Graph, Phase
from spikelet.graph.counters import Counter, counters, counts
from spikelet.link.device import Device
from spikelet.link.errors import impossible
from spikelet.metrics import NeuroBench, of_counts
from spikelet.package import Package
from spikelet.run.replay import sample_deadline
from spikelet.run.session import TICKS, Outcome
from spikelet.run.session_folder import SessionFolder
from spikelet.run.workflow import SessionTarget, connect
from spikelet.streams import SampleStream

LAYER_SAMPLES = 4  # samples whose layers are measured one by one


@dataclass(frozen=True)
class LayerTicks:
    """Ticks of the operators, means a sample.

    Attributes:
        samples: how many samples were measured.
        layers: by operator, of a whole inference in which it runs. The first operator of a step
            carries the step's loop, the first of all the reset of the states.
        rest: after the last operator.
        probe: of one probe call of the trace build, already taken off the others.
        total: of the release image, the sum of `rest` and of the `layers` that ran in it.
    """

    samples: int
    layers: dict[str, float]
    rest: float
    probe: float
    total: float

    def scale(self, factor: float) -> LayerTicks:
        """The same in another unit, of which a tick is `factor`."""
        layers = {name: factor * ticks for name, ticks in self.layers.items()}
        rest, probe, total = factor * self.rest, factor * self.probe, factor * self.total
        return LayerTicks(self.samples, layers, rest, probe, total)


def stops(graph: Graph) -> list[tuple[int, int]]:
    """Every (step, operator) in order of execution."""
    numbers: dict[Phase, list[int]] = {phase: [] for phase in Phase}
    for number, node in enumerate(graph.order):
        numbers[graph.phase(node)].append(number)
    return [
        *((0, number) for number in numbers[Phase.ONCE]),
        *((t, number) for t in range(graph.steps) for number in numbers[Phase.STEP]),
        *((graph.steps - 1, number) for number in numbers[Phase.END]),
    ]


def layer_ticks(
    package: Package,
    device: Device,
    stream: SampleStream,
    release: list[int],
    deadline_s: float = 30.0,
) -> LayerTicks | None:
    """Measure every operator on a trace build; None on a device without a tick.

    Args:
        package: what the device runs.
        device: a trace build.
        stream: its first `len(release)` samples are measured.
        release: ticks of these samples on the release image.
        deadline_s: of one run.

    Raises:
        UsageError: the device is no trace build.
        LinkDead: the link died.
    """
    graph, hello = package.graph, device.hello
    if TICKS[hello.tick_unit] == "none" or not release:
        return None
    if not hello.trace:
        raise UsageError(
            "bench: the device cannot stop between its layers",
            "its firmware is not a trace build",
            "flash the one that `spikelet build --layers` makes",
        )
    places = stops(graph)
    widths = [len(node.outs) for node in graph.order]
    columns = np.cumsum([0, *widths])  # the first of each operator
    cells = [(t, columns[number]) for t, number in places]
    rows = []
    for index in range(len(release)):
        inputs = {t.name: graph.wire(t, stream.inputs[t.name][index]) for t in graph.inputs}
        result = device.run(inputs=inputs, timed=True, deadline_s=deadline_s)
        table = np.frombuffer(device.get(DIGESTS), "<u4").reshape(graph.steps, -1)
        # 0 where an operator was not run: the answer was sure in an earlier step.
        rows.append(
            [*np.maximum.accumulate([0, *(int(table[cell]) for cell in cells)]), result.ticks]
        )
    steps = np.diff(np.array(rows, np.int64), axis=1)  # (samples, places + 1)
    if (steps < -1).any():  # a difference of two whole counts may be one less than what passed
        raise impossible(device.transport.name, "that its count of ticks goes back between layers")
    spent = steps.mean(axis=0)
    total = float(np.mean(release))
    ran = _ran(graph, {t.name: stream.inputs[t.name][: len(release)] for t in graph.inputs})
    every = np.append(ran[:, [number for _, number in places]], np.ones((len(ran), 1)), axis=1)
    probe = float((steps * every).sum() - sum(release)) / float(every[:, :-1].sum())
    layers = dict.fromkeys((node.name for node in graph.order), 0.0)
    for (_, number), ticks in zip(places, spent[:-1], strict=True):
        layers[graph.order[number].name] += float(ticks) - probe
    return LayerTicks(len(release), layers, float(spent[-1]), probe, total)


def _ran(graph: Graph, inputs: dict[str, Array]) -> Array:
    """(samples, operators) whether a release image executes an operator; a trace build does."""
    deciding = {node.when[0] for node in graph.order if node.when is not None}
    samples = len(next(iter(inputs.values())))
    if not deciding:
        return np.ones((samples, len(graph.order)), np.bool_)
    known = {**inputs, **{k: v[0] for k, v in graph.run(inputs, trace=True).trace.items()}}
    columns = [
        np.ones(samples, np.bool_)
        if node.when is None
        else known[node.when[0]].reshape(samples) == node.when[1]
        for node in graph.order
    ]
    return np.stack(columns, axis=1)


def effective_work(
    package: Package,
    inputs: dict[str, Array],
    device: Device | None = None,
    deadline_s: float = 30.0,
) -> NeuroBench:
    """NeuroBench's metrics on these inputs, from the device's counts where it is a trace build.

    Args:
        package: what the device runs.
        inputs: by name, (N, *shape), of an input of each step (N, T, *shape).
        device: a trace build; None: golden alone counts.
        deadline_s: of one run.

    Raises:
        Disagreement: a count of the device is not golden's.
        LinkDead: the link died.
    """
    graph, kept = package.graph, counters(package.graph)
    samples = graph.check_inputs(inputs)
    if not kept:  # no work depends on the data
        return of_counts(graph, kept, np.zeros((samples, 0)), np.full(samples, graph.steps))
    made: list[Array] = []
    steps: list[Array] = []
    for part in graph.parts(samples, trace=True):
        some = {name: values[part] for name, values in inputs.items()}
        execution = graph.run(some, trace=True)
        golden = counts(graph, kept, execution, some)
        if device is not None:
            for row, ours in enumerate(golden):
                sample = {t.name: graph.wire(t, some[t.name][row]) for t in graph.inputs}
                device.run(inputs=sample, deadline_s=deadline_s)
                theirs = np.frombuffer(device.get(COUNTS), "<u8")
                _check_counts(kept, part.start + row, ours, theirs)
        made.append(golden)
        steps.append(execution.steps)
    counted_by = "golden" if device is None else "device"
    return of_counts(graph, kept, np.concatenate(made), np.concatenate(steps), counted_by)


def _check_counts(kept: Sequence[Counter], sample: int, golden: Array, device: Array) -> None:
    """Refuse counts (counters,) of a device that are not golden's."""
    for counter, ours, theirs in zip(kept, golden.tolist(), device.tolist(), strict=True):
        if ours != theirs:
            raise Disagreement(
                f"sample {sample}, layer {counter.node.name}: the device counts {theirs:,} "
                f"{counter.counted} of {counter.tensor.name}, golden {ours:,}",
                "the device does not compute what golden does, or counts wrong",
                "`spikelet run --layers` names the first layer and step that differ",
            )


def with_layers(
    package: Package,
    board: Board,
    target: SessionTarget | None,
    stream: SampleStream,
    summary: dict[str, Any],
    outcome: Outcome,
) -> dict[str, Any]:
    """Measure the layers on a trace build; see `bench_summary`.

    Args:
        package: what was run.
        board: what it ran on.
        target: its trace build; None where there is none: no layer is measured, golden counts.
        stream: the samples that were run.
        summary: of the run of the release image.
        outcome: of the same run.

    Raises:
        UsageError: the device is not the one that was run before.
        Disagreement: its counts are not golden's.
    """
    ticks, work = None, None
    if target is not None:
        measured = [s.ticks for s in outcome.samples[:LAYER_SAMPLES]]
        with connect(target, package) as (device, machine):
            if summary.get("unique_id") not in (None, unique_id := device.hello.unique_id.hex()):
                raise UsageError(
                    f"{target.port}: this is device {unique_id}, and the session is of "
                    f"{summary['unique_id']}",
                    "another device is on the port now",
                    "connect the same one, or bench this one anew without --layers",
                )
            deadline_s = sample_deadline(package.graph, target.speed(machine).mips)
            if outcome.ticks is not None:
                ticks = layer_ticks(package, device, stream, measured, deadline_s)
            work = effective_work(package, stream.inputs, device, deadline_s)
    if work is None:
        work = effective_work(package, stream.inputs)
    rows = summary["build"].get("layers") or _layer_table(package, board)
    return bench_summary(summary, outcome, work, ticks, rows)


def _layer_table(package: Package, board: Board) -> list[dict[str, Any]]:
    """Of an image that was not built here."""
    with tempfile.TemporaryDirectory(prefix="spikelet-bench-") as folder:
        made = generate(package.graph, package.sha256, Path(folder), target=board.target)
    return [layer.as_dict() for layer in made.layers]


def recorded_bench(
    folder: SessionFolder, package: Package, board: Board
) -> tuple[dict[str, Any], Outcome]:
    """What a release image was measured at before: its summary, and what of the run is needed.

    Raises:
        UsageError: there is no such session, it broke off, or is of another package or board, or
            has no ticks.
    """
    head = folder.head()
    same = {"package_sha256": package.sha256, "board": board.name, "complete": True}
    for key, value in same.items():
        if head.get(key) != value:
            raise UsageError(
                f"session {folder.path} has {key} {head.get(key)}, this bench {value}",
                "--layers adds to the session of the release image",
                "flash the release image and bench without --layers first",
            )
    figures = {unit: head.get(f"{unit}s_per_inference") for unit in ("instruction", "cycle")}
    figures["us"] = head.get("microseconds_per_inference")
    unit = next((unit for unit, figure in figures.items() if figure is not None), None)
    if unit is None:
        raise UsageError(
            f"session {folder.path} has no figure of an inference",
            "it ran on a trace build, or the board counts no ticks",
            "flash the release image and bench without --layers first",
        )
    outcome = Outcome(ticks=figures[unit], tick_unit=unit)
    outcome.per_tick = head.get("instructions_per_tick") or 1.0
    outcome.add(folder.samples())
    return head, outcome


def bench_summary(
    summary: dict[str, Any],
    outcome: Outcome,
    work: NeuroBench,
    ticks: LayerTicks | None,
    table: list[dict[str, Any]],
) -> dict[str, Any]:
    """The object that `spikelet bench --json` prints: that of `run`, and what the layers cost.

    Args:
        summary: of the run of the release image.
        outcome: of the same run.
        work: NeuroBench's metrics of the same samples.
        ticks: of the layers as the device counts them, None where it has no tick.
        table: rows of the layer table, as JSON.
    """
    counted = outcome.samples if outcome.ticks is not None else []
    every = [outcome.per_tick * s.ticks for s in counted]
    ticks = ticks.scale(outcome.per_tick) if ticks else None
    operations = work.effective_acs + work.effective_macs
    weighted = totals([row for row in table if row["weight_bits"]])
    macs = weighted["inference"]["macs"] if "inference" in weighted else 0
    dense = macs and not work.dense  # of spiking networks, what is effective counts
    instructions = outcome.ticks if outcome.tick_unit == "instruction" else None
    return {
        **summary,
        "tick": outcome.tick_unit,
        "ticks": {
            "mean": outcome.ticks,
            "min": min(every, default=None),
            "max": max(every, default=None),
        },
        "weight_bytes": summary["build"].get("weight_bytes"),
        "code_bytes": summary["build"].get("code_bytes"),
        "neurobench": work.to_json(),
        "ram_in_all_bytes": (
            summary["ram_bytes"] + summary["stack_bytes"]
            if summary["ram_bytes"] and summary["stack_bytes"]
            else None
        ),
        "macs": macs,
        "totals": totals(table),
        "instructions_per_mac": instructions / macs if instructions and dense else None,
        "instructions_per_effective_synaptic_operation": (
            instructions / operations if instructions and operations else None
        ),
        "layers": [_layer_row(row, work, ticks) for row in table],
        "layers_compared": summary["layers"],
        "layer_measurement": ticks and {
            "samples": ticks.samples,
            "rest": ticks.rest,
            "probe": ticks.probe,
            "total": ticks.total,
        },
    }  # fmt: skip


def _layer_row(row: dict[str, Any], work: NeuroBench, ticks: LayerTicks | None) -> dict[str, Any]:
    cost = ticks.layers[row["name"]] if ticks else None
    effective = work.layer_operations.get(row["name"])
    return {
        **row,
        "ticks": cost,
        "effective_ops": effective,
        "ticks_per_effective_op": cost / effective if cost and effective else None,
        "ticks_per_mac": cost / row["macs"] if cost and row["macs"] else None,
    }

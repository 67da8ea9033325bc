"""A session as one self-contained HTML page: no network, no script."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from spikelet.codegen import TITLES, totals
from spikelet.errors import UsageError
from spikelet.files import save
from spikelet.graph import Array, Role
from spikelet.metrics import error_text
from spikelet.run.compare_sides import changes, compare_sides, read_side
from spikelet.run.learning.learning_record import (
    BlockEnd,
    Evaluated,
    LearningRecord,
    Line,
    Step,
    is_learning,
)
from spikelet.run.session_folder import Sample, SessionFolder, sample_error

CLASSES = 32  # above that the confusion matrix is too large to read
PIXELS = 4096  # of an input that is drawn
WRONG = 24  # misclassified samples that are listed
DIFFERENCES = 20
PANELS = 24  # layers whose spikes or membranes are drawn
SYMBOLS = 16
# Keys, titles and units of what is computed from a learning session's log.
METRICS = (
    ("performance_maintenance", "performance maintenance", "points"),
    ("performance_maintenance_terminal", "the same, against terminal performance", "points"),
    ("forward_transfer_ratio", "forward transfer, ratio", ""),
    ("forward_transfer_contrast", "forward transfer, contrast", ""),
    ("backward_transfer_ratio", "backward transfer, ratio", ""),
    ("backward_transfer_contrast", "backward transfer, contrast", ""),
    ("performance_recovery", "performance recovery", ""),
    ("relative_performance", "relative performance", ""),
    ("sample_efficiency", "sample efficiency", ""),
)


def write_report(
    folder: SessionFolder,
    out: Path,
    *,
    against: Path | None = None,
    bench: SessionFolder | None = None,
) -> dict[str, Any]:
    """Write the page; what it shows, as plain values.

    Args:
        folder: a session, complete or broken off.
        out: the page.
        against: an earlier session, which the page compares this one with; both are complete.
        bench: a session that was benched, whose figures by layer are shown; by default this one,
            where it was.

    Raises:
        UsageError: it is not a session's folder; the bench is of another package or board; or one
            of the two sessions is not complete.
    """
    head = folder.head()
    measured = _bench(head, folder if bench is None else bench, bench is not None)
    if is_learning(folder.path):
        lines = LearningRecord(folder).lines()
        view = session_view(head, _as_samples(lines), {}, measured)
        view["learning"] = learning_view(head, lines)
        view["mismatches"] = sum(line.mismatches for line in lines)
        view["total"] = head.get("to_learn", view["samples"])
    else:
        view = session_view(head, folder.samples(), folder.shown_sample(), measured)
    if against is not None:
        view["comparison"] = _comparison(against, folder.path)
    if not view["differences"] and view["learning"] is None:
        view["differences"] = [str(d) for d in folder.differences()[:DIFFERENCES]]
    page = page_of(view)
    save(out, page.encode(errors="replace"))
    return view


def page_of(view: Mapping[str, Any]) -> str:
    """The HTML of what `session_view` says."""
    return _environment().get_template("session_page.html.j2").render(view)


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    environment.filters["percent"] = _percent
    environment.filters["span"] = _span
    return environment


def _number(value: float | None, digits: int = 0) -> str:
    """With narrow no-break spaces between groups of three."""
    return "–" if value is None else f"{value:,.{digits}f}".replace(",", "\u202f")


def _percent(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{round(100 * value, digits) + 0.0:.{digits}f}\u202f%"


def _span(seconds: float) -> str:
    """A time in words, as exact as anyone needs it."""
    if seconds < 60:
        return f"{seconds:.1f}\u202fs"
    minutes = round(seconds / 60)
    return (
        f"{minutes // 60}\u202fh {minutes % 60}\u202fmin" if minutes > 59 else f"{minutes}\u202fmin"
    )


def _bench(head: Mapping[str, Any], folder: SessionFolder, given: bool) -> dict[str, Any]:
    """What the layers were measured at; empty where they were not."""
    bench = folder.bench()
    if given and not bench:
        raise UsageError(
            f"--bench {folder.path}: the session was not benched",
            "it is of `spikelet run`, or the bench broke off",
            "`spikelet bench PKG --board B` leaves one",
        )
    for key in ("package_sha256", "board"):
        if given and bench.get(key) != head.get(key):
            raise UsageError(
                f"--bench {folder.path}: {key} {bench.get(key)}, this session has {head.get(key)}",
                "a bench of another package or board",
                "bench the same package on the same board",
            )
    return bench


def _comparison(earlier: Path, this: Path) -> dict[str, Any]:
    """What differs from an earlier session: its origin, the figures, and the layers."""
    compared = compare_sides(read_side(earlier), read_side(this), [])
    whole, by_layer = changes(compared)
    return {**compared, "whole": whole, "by_layer": by_layer}


def session_view(
    head: Mapping[str, Any],
    samples: Sequence[Sample],
    shown: Mapping[str, Array],
    bench: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """All that the page shows, from a session's records."""
    release = head.get("release") or {}
    image = release.get("build") or head.get("build") or {}
    layers = image.get("layers") or []
    labelled = [s for s in samples if s.label >= 0]
    manifest = head.get("manifest") or {}
    correct = sum(s.device == s.label for s in labelled)
    golden = sum(s.golden == s.label for s in labelled)
    mismatches = sum(s.mismatches for s in samples)
    return {
        "model": head.get("model", "?"),
        "board": head.get("board", "?"),
        "machine": head.get("machine"),
        "complete": bool(head.get("complete")),
        "layers_compared": head.get("layers") is True,
        "steps": head.get("steps"),
        "data": head.get("data"),
        "samples": len(samples),
        "total": head.get("total", len(samples)),
        "mismatches": mismatches + release.get("mismatches", 0),
        "weights_exercised": head.get("weights_exercised"),
        "weights": head.get("weights"),
        "samples_wrong": sum(s.mismatches > 0 for s in samples),
        "differences": [d["text"] for d in head.get("differences", [])[:DIFFERENCES]],
        "labelled": len(labelled),
        "correct": correct,
        "accuracy": correct / len(labelled) if labelled else None,
        "golden_accuracy": golden / len(labelled) if labelled else None,
        "manifest": manifest,
        "cost": _cost(head, release, image),
        "error": error_text(sample_error(samples)),
        "names_classes": head.get("names_classes", True),
        "confusion": _confusion(labelled, manifest),
        "class_name": _class_names(manifest),
        "wrong": [s for s in labelled if s.device != s.label][:WRONG],
        "wrong_count": len(labelled) - correct,
        "saturations": sum(s.saturations for s in samples) if _has_membranes(head) else None,
        "layer_columns": _layer_columns(layers),
        "layer_phases": _layer_phases(layers, head.get("steps")),
        "bench": _bench_view(bench or {}),
        "layer_totals": [(TITLES[run], sums) for run, sums in totals(layers).items()],
        "sample": _sample_section(head, shown, samples),
        "memory": _memory(image, head, release),
        "link": head.get("link"),
        "device": head.get("device"),
        "build": image,
        "package_sha256": head.get("package_sha256", ""),
        "data_sha256": head.get("data_sha256", ""),
        "versions": head.get("versions") or {},
        "trained_with": manifest.get("versions") or {},
        "learning": None,
        "comparison": None,
        "recorded": {key: head.get(key) for key in ("date", "duration_s", "host", "port")},
    }


def _as_samples(lines: Sequence[Line]) -> list[Sample]:
    """Samples that were learned, with the device's predictions before."""
    return [
        Sample(
            index=line.index,
            label=line.label,
            golden=line.prediction,
            device=line.prediction,
            mismatches=line.mismatches,
            ticks=line.ticks,
            saturations=line.saturations,
        )
        for line in lines
        if isinstance(line, Step)
    ]


def learning_view(head: Mapping[str, Any], lines: Sequence[Line]) -> dict[str, Any]:
    """Curves, accuracies after each task, baselines, costs; of a broken-off run what there is."""
    from spikelet.run import figures

    evaluations = [line for line in lines if isinstance(line, Evaluated)]
    ends = [line for line in lines if isinstance(line, BlockEnd)]
    learning = head.get("learning") or {}
    count = len(evaluations[0].samples) if evaluations else 0
    tasks = head.get("tasks") or [f"task {i}" for i in range(count)]
    accuracy = np.array(
        [np.array(line.correct) / np.array(line.samples) for line in evaluations]
    ).reshape(-1, count)
    owners = [end.task for end in ends][: max(len(evaluations) - 1, 0)]
    sizes = Counter(line.block for line in lines if isinstance(line, Step))
    learned = np.cumsum([0, *(sizes[i] for i in range(len(owners)))]).tolist()
    beside = {row["name"]: row["acc"] for row in learning.get("baselines", [])}
    phases = [i for i, task in enumerate(owners) if i + 1 == len(owners) or owners[i + 1] != task]
    return {
        **learning,
        "tasks": tasks,
        "curves": figures.learning_curves(tasks, learned, accuracy, owners, beside)
        if owners
        else None,
        "rows": [
            {"name": name, "cells": [round(100 * float(v), 1) for v in accuracy[i]]}
            for name, i in [
                ("before", 0), *((f"after {tasks[owners[i]]}", i + 1) for i in phases)
            ]
        ]
        if evaluations
        else [],
        "shown_tasks": figures.MOST_TASKS,
        "options_text": ", ".join(f"{k} {v}" for k, v in (learning.get("options") or {}).items()),
        "step": next(
            (
                (head[f"{unit}_per_learning_step"], unit)
                for unit in ("instructions", "cycles", "microseconds")
                if head.get(f"{unit}_per_learning_step") is not None
            ),
            None,
        ),
        "metrics": [
            (title, learning[key], unit)
            for key, title, unit in METRICS
            if learning.get(key) is not None
        ],
    }  # fmt: skip


def _cost(
    head: Mapping[str, Any], release: Mapping[str, Any], image: Mapping[str, Any]
) -> dict[str, Any]:
    def of(key: str) -> Any:
        value = release.get(key)
        return head.get(key) if value is None else value

    unit, value = next(
        (
            (name, of(f"{name}_per_inference"))
            for name in ("instructions", "cycles", "microseconds")
            if of(f"{name}_per_inference") is not None
        ),
        ("instructions", None),
    )
    return {
        "unit": unit,
        "per_inference": value,
        "step": (of("instructions_per_tick") or 1) if unit == "instructions" else 1,
        "flash_bytes": image.get("flash_bytes"),
        "weight_bytes": image.get("weight_bytes"),
        "ram_bytes": image.get("ram_bytes"),
        "stack_bytes": of("stack_bytes"),
    }


def _class_names(manifest: Mapping[str, Any]) -> Callable[[int], str]:
    """What a class is called: its name where the package has one, else its number."""
    names = manifest.get("class_names") or ()

    def name(number: int) -> str:
        if number < 0:
            return "unknown"
        return str(names[number] if number < len(names) else number)

    return name


def _confusion(labelled: Sequence[Sample], manifest: Mapping[str, Any]) -> dict[str, Any] | None:
    """Rows by true class, columns by the device's; None without labels."""
    if not labelled:
        return None
    highest = max(max(s.label, s.device) for s in labelled)
    classes = max(int(manifest.get("classes") or 0), highest + 1)
    counts = Counter((s.label, s.device) for s in labelled)
    if classes > CLASSES:
        pairs = [(pair, n) for pair, n in counts.most_common() if pair[0] != pair[1]]
        return {"classes": classes, "rows": None, "pairs": pairs[:10]}
    rows = []
    for true in range(classes):
        row = [counts[true, guess] for guess in range(classes)]
        of = sum(row)
        rows.append(
            {
                "true": true,
                "samples": of,
                "recall": row[true] / of if of else None,
                "cells": [{"n": n, "share": round(100 * n / of) if of else 0} for n in row],
            }
        )
    return {"classes": classes, "rows": rows, "pairs": []}


def _sample_section(
    head: Mapping[str, Any], shown: Mapping[str, Array], samples: Sequence[Sample]
) -> dict[str, Any] | None:
    if "index" not in shown:
        return None
    from spikelet.run import figures

    index = int(shown["index"])
    kinds = {t["name"]: t for t in head.get("tensors", [])}
    every: dict[str, tuple[Array, Array]] = {}
    for key, golden in shown.items():
        name = key.removeprefix("golden.")
        if key != name and f"device.{name}" in shown:
            every[name] = (golden, shown[f"device.{name}"])
    # What has steps and neurons can be drawn.
    pairs = {n: p for n, p in every.items() if p[0].ndim == 2 and len(p[0]) > 1}
    spikes = {n: p for n, p in pairs.items() if n in kinds and _spikes(kinds[n])}
    layer = {n: kinds.get(n, {}).get("layer") for n in pairs}
    fired = {layer[n]: golden for n, (golden, _) in spikes.items()}
    traces = []
    for name, (golden, device) in pairs.items():
        if name in kinds and _membrane(kinds[name]):
            threshold = shown.get(f"threshold.{name}")
            traces.append((name, golden, device, fired.get(layer[name]), threshold))
    result = next((s for s in samples if s.index == index), None)
    steps = int(head.get("steps") or max((len(g) for g, _ in pairs.values()), default=1))
    return {
        "index": index,
        "record": result,
        "compared": sum(golden.size for golden, _ in every.values()),
        "wrong": sum(int((golden != device).sum()) for golden, device in every.values()),
        "image": _input(head, shown),
        "raster": (
            figures.raster(_drawn([(n, *pair) for n, pair in spikes.items()]), steps)
            if spikes
            else None
        ),
        "membranes": figures.membranes(_drawn(traces)) if traces else None,
        "left_out": max(len(spikes), len(traces)) - PANELS,
    }


def _drawn(layers: list[Any]) -> list[Any]:
    """As many layers as a page has room for, in order; those that differ go first.

    layers: name, golden, device, and what else is drawn of each.
    """
    wrong = [not np.array_equal(golden, device) for _, golden, device, *_ in layers]
    first = sorted(range(len(layers)), key=lambda i: not wrong[i])[:PANELS]
    return [layers[i] for i in sorted(first)]


def _spikes(tensor: Mapping[str, Any]) -> bool:
    """Whether it holds spikes, of neurons or of an encoder, of this step and not of an earlier."""
    kept = tensor.get("kind") == "state" or tensor["name"].endswith(".previous")
    return tensor.get("dtype") == "bit" and not kept


def _membrane(tensor: Mapping[str, Any]) -> bool:
    """Whether it is a membrane; sessions of version 0.1.0 tell no roles."""
    if "role" in tensor:
        return bool(tensor["role"] == Role.MEMBRANE)
    return bool(tensor["name"].endswith(".membrane") or tensor.get("op") == "leaky_readout")


def _input(head: Mapping[str, Any], shown: Mapping[str, Array]) -> str | None:
    from spikelet.run import figures

    shape = tuple((head.get("manifest") or {}).get("image_shape") or ())
    for name, values in shown.items():
        if name.startswith("input.") and name != "input.seed":
            if len(shape) in (2, 3) and values.size == math.prod(shape):
                values = values.reshape(shape)
            if values.ndim == 2 and values.size <= PIXELS:
                return figures.image(values)
            if values.ndim == 3 and values.shape[-1] in (1, 3) and values[..., 0].size <= PIXELS:
                return figures.image(values if values.shape[-1] == 3 else values[..., 0])
    return None


def _has_membranes(head: Mapping[str, Any]) -> bool:
    return any(_membrane(t) for t in head.get("tensors", []))


def _layer_columns(layers: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Keys and titles of the counts that some layer has."""
    titles = {
        "weight_bits": "bits",
        "macs": "MACs",
        "synaptic_ops": "syn. ops",
        "updates": "updates",
        "flash_bytes": "flash B",
    }
    return [(key, title) for key, title in titles.items() if any(row[key] for row in layers)]


def _layer_phases(
    layers: Sequence[Mapping[str, Any]], steps: int | None
) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """The layers in order, those that run at one time together: when that is, and their rows."""
    from spikelet.run.figures import PHASES

    said = {**PHASES, "step": f"in every one of {steps} steps"} if steps else PHASES
    groups = groupby(layers, lambda row: str(row["phase"]))
    return [(said.get(phase, phase), list(rows)) for phase, rows in groups]


def _bench_view(bench: Mapping[str, Any]) -> dict[str, Any] | None:
    """Ticks of each layer of a bench and their shares; None where none were measured."""
    measured = bench.get("layer_measurement")
    if not measured:
        return None
    total = measured["total"] or 1.0
    ticks = {row["name"]: row["ticks"] for row in bench["layers"] if row["ticks"] is not None}
    return {
        "unit": {"us": "microseconds"}.get(bench["tick"], f"{bench['tick']}s"),
        "layers": {name: {"ticks": cost, "share": cost / total} for name, cost in ticks.items()},
        "rest": {"ticks": measured["rest"], "share": measured["rest"] / total},
        "total": measured["total"],
        "samples": measured["samples"],
    }


def _memory(
    image: Mapping[str, Any], head: Mapping[str, Any], release: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Bars of flash and RAM, sections, largest symbols, the arena; None without an image."""
    if not image.get("flash_bytes"):
        return None
    from spikelet.run import figures

    limits = image.get("memory") or {}
    weights, arena_bytes = image["weight_bytes"], image["arena_bytes"]
    stack = release.get("stack_bytes") or head.get("stack_bytes") or 0
    reserved = limits.get("stack_reserved_bytes") or stack
    flash = [("weights and constants", weights), ("code", image["flash_bytes"] - weights)]
    ram = [
        ("arena", arena_bytes),
        ("link, agent and startup", image["ram_bytes"] - arena_bytes),
        ("stack, used", stack),
        ("stack, spare", max(0, reserved - stack)),
    ]
    layers = image.get("layers", [])
    slots = image.get("arena", [])
    return {
        "bars": [
            _bar("Flash", flash, limits.get("flash_bytes")),
            _bar("RAM", ram, limits.get("ram_bytes")),
        ],
        "sections": image.get("sections", []),
        "symbols": image.get("symbols", [])[:SYMBOLS],
        "slots": slots,
        "arena_bytes": arena_bytes,
        "arena_bound_bytes": image.get("arena_bound_bytes"),
        "arena": figures.arena(slots, layers, arena_bytes) if slots and layers else None,
    }


def _bar(name: str, parts: Sequence[tuple[str, int]], limit: int | None) -> dict[str, Any]:
    """Parts as shares of what is used, and what is used as a share of all that the board has."""
    used = sum(size for _, size in parts)
    return {
        "name": name,
        "used": used,
        "limit": limit,
        "share": used / limit if limit else None,
        "parts": [
            {"name": part, "bytes": size, "colour": colour, "share": 100 * size / used}
            for colour, (part, size) in enumerate(parts, 1)
            if size > 0
        ],
    }

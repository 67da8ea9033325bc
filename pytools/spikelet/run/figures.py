"""The report's figures, as SVG that takes its colours and its type from the page around it.

No figure has a legend: what its marks mean stands in the page's caption, so that nothing lies over
the data. A name is drawn only where there is room for all of it; the page's tables have them all.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from itertools import combinations, groupby, product
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, MaxNLocator
from matplotlib.transforms import Bbox

from spikelet.graph import Array

# Colours drawn here, and the page's variables that take their place.
INK, MUTED, RULE, GOLDEN, DEVICE, BAD, FILL = (
    "#101010", "#707070", "#d0d0d0", "#2060a0", "#c05010", "#c00020", "#a0b0c0",
)  # fmt: skip
_VARIABLES = {
    INK: "ink", MUTED: "muted", RULE: "rule", GOLDEN: "golden", DEVICE: "device", BAD: "bad",
    FILL: "fill",
}  # fmt: skip
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "spikelet",
    "path.simplify": False,
    "font.size": 8.0,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "text.parse_math": False,
    "figure.dpi": 72,  # SVG's, so that what is measured here is what is drawn
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
}
WIDTH = 7.6  # inches
MOST_SPIKES = 20000  # in one panel; more are thinned by neurons
TRACES = 4  # neurons shown of a layer
MOST_TASKS = 12  # with a panel of their own
MOST_TICKS = 28  # names of operators below an axis
LONGEST_BOX, LONGEST_TICK, LONGEST_TITLE = 16, 24, 60  # characters of a name, at most
NEAR = 4  # boxes that may cover parts of another one that is named
MARGIN = 2.0  # points around a name
STRIP_ROWS = 3  # of names of phases above each other
# When operators run, as `Phase` has it, in words.
PHASES = {
    "once": "once an inference", "step": "in every step", "end": "after the last step",
    "learn": "a learning step", "commit": "a commit",
}  # fmt: skip


def svg(figure: Figure, name: str, label: str) -> str:
    """A figure as an element for the page, without any reference to the outside.

    Args:
        figure: drawn with the colours above.
        name: unique on the page; its ids start with it.
        label: what it shows, for those who do not see it.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    text = text.replace("xlink:href", "href")
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'href="#', f'href="#{name}-', text)
    text = re.sub(r"url\(#", f"url(#{name}-", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    text = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", text)
    text = re.sub(r"\n\s*", "\n", text)
    return re.sub(
        r'<svg [^>]*?width="([\d.]+)pt"[^>]*?>',
        lambda m: _opening(m.group(0), label),
        text,
        count=1,
    )


def _opening(tag: str, label: str) -> str:
    match = re.search(r'viewBox="[^"]*"', tag)
    box = match.group(0) if match else ""
    safe = label.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return f'<svg {box} role="img" aria-label="{safe}">'


def raster(layers: Sequence[tuple[str, Array, Array]], steps: int) -> str:
    """Spikes over time; layers as (name, golden, device), each array (T, neurons).

    A spike that golden and device share is drawn in ink; one that only one of them has is marked,
    and counted in the layer's title.
    """
    heights = [min(2.4, 0.45 + 0.016 * golden.shape[1]) for _, golden, _ in layers]
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH, sum(heights) + 0.35 * len(layers)), layout="constrained")
        axes = figure.subplots(len(layers), 1, sharex=True, squeeze=False, height_ratios=heights)
        for axis, height, (name, golden, device) in zip(axes[:, 0], heights, layers, strict=True):
            _spikes(axis, golden, device)
            axis.yaxis.set_major_locator(
                MaxNLocator(int(3 * height) or 1, integer=True, min_n_ticks=1)
            )
            axis.set_ylabel("neuron")
            axis.set_title(_raster_title(name, golden, device), loc="left", fontsize=8)
            axis.set_ylim(golden.shape[1] - 0.5, -0.5)
        axes[-1, 0].set_xlim(-0.5, steps - 0.5)
        axes[-1, 0].xaxis.set_major_locator(MaxNLocator(10, integer=True, min_n_ticks=1))
        axes[-1, 0].set_xlabel("time step")
    counts = ", ".join(f"{name} {int(golden.sum())}" for name, golden, _ in layers)
    return svg(figure, "raster", f"Spike raster; spikes by layer: {counts}")


def _spikes(axis: Axes, golden: Array, device: Array) -> None:
    thin = max(1, int(golden.sum()) // MOST_SPIKES)
    shared = np.argwhere((golden & device)[:, ::thin].astype(bool))
    half = 0.42 if golden.shape[1] <= 128 else 0.42 * golden.shape[1] / 128
    rows = shared[:, 1] * thin
    # One path, broken between the spikes.
    x = np.stack([shared[:, 0], shared[:, 0], np.full(len(shared), np.nan)], axis=1)
    y = np.stack([rows - half, rows + half, np.full(len(shared), np.nan)], axis=1)
    axis.plot(x.ravel(), y.ravel(), color=INK, linewidth=1.4, solid_capstyle="butt")
    for only, marker in ((device > golden, "x"), (golden > device, "o")):
        steps, neurons = np.nonzero(only)
        axis.plot(steps, neurons, marker, color=BAD, markersize=5, fillstyle="none")


def _raster_title(name: str, golden: Array, device: Array) -> str:
    only = (("\N{MULTIPLICATION SIGN} only device", device > golden),
            ("\N{WHITE CIRCLE} only golden", golden > device))  # fmt: skip
    counts = [f"{who}: {spikes.sum()}" for who, spikes in only if spikes.any()]
    return ", ".join([_short(name, LONGEST_TITLE), f"{golden.shape[1]} neurons", *counts])


def _short(name: str, most: int) -> str:
    """A name that leaves room for what is beside it; the page has all of it."""
    return name if len(name) <= most else name[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"


def membranes(
    layers: Sequence[tuple[str, Array, Array, Array | None, Array | None]],
) -> str:
    """Membranes over time, device over golden.

    Args:
        layers: (name, golden (T, n), device (T, n), spikes (T, n) or None, threshold (n,) or None).
    """
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH, 1.9 * len(layers)), layout="constrained")
        parts = figure.subfigures(len(layers), 1, squeeze=False)[:, 0]
        for part, (name, golden, device, spikes, threshold) in zip(parts, layers, strict=True):
            part.suptitle(_short(name, LONGEST_TITLE), x=0.01, ha="left", fontsize=8)
            row = part.subplots(1, TRACES)
            chosen = _most_telling(golden, device, spikes)
            for axis, neuron in zip(row, chosen, strict=False):
                _trace(axis, golden[:, neuron], device[:, neuron])
                if spikes is not None:
                    fired = np.flatnonzero(spikes[:, neuron])
                    top = axis.get_xaxis_transform()
                    axis.vlines(fired, 0.94, 1.0, color=INK, linewidth=1.2, transform=top)
                if threshold is not None:
                    level = threshold[neuron] if len(threshold) > 1 else threshold[0]
                    axis.axhline(level, color=MUTED, linewidth=0.7, linestyle=(0, (4, 3)))
                axis.set_title(f"[{neuron}]", loc="left", fontsize=7.5)
                axis.set_xlabel("time step")
            for axis in row[len(chosen) :]:
                axis.set_axis_off()
            row[0].set_ylabel("membrane, code")
    names = ", ".join(name for name, *_ in layers)
    wrong = sum(int((golden != device).sum()) for _, golden, device, *_ in layers)
    return svg(
        figure, "membranes", f"Membrane traces of {names}; {wrong} values differ from golden"
    )


def _trace(axis: Axes, golden: Array, device: Array) -> None:
    steps = np.arange(len(golden))
    axis.plot(steps, golden, color=GOLDEN, linewidth=2.4, alpha=0.45, solid_joinstyle="round")
    axis.plot(steps, device, ".", color=DEVICE, markersize=3.4)
    axis.margins(y=0.14)
    axis.yaxis.set_major_formatter(EngFormatter(sep=""))
    axis.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    wrong = np.flatnonzero(golden != device)
    if len(wrong):
        axis.plot(wrong, device[wrong], "x", color=BAD, markersize=6)


def _most_telling(golden: Array, device: Array, spikes: Array | None) -> list[int]:
    """Neurons that differ, then those that spike most, then those that move most."""
    wrong = (golden != device).sum(axis=0)
    fired = np.zeros(golden.shape[1], np.int64)
    if spikes is not None:
        fired = spikes.sum(axis=0, dtype=np.int64)
    moved = np.abs(np.diff(golden.astype(np.int64), axis=0)).sum(axis=0)
    order = np.lexsort((-moved, -fired, -wrong))
    return sorted(int(i) for i in order[:TRACES])


def arena(
    slots: Sequence[Mapping[str, Any]], layers: Sequence[Mapping[str, Any]], size: int
) -> str:
    """The arena: bytes upward, operators from left to right, one box a tensor's lifetime.

    Args:
        slots: tensor, offset, bytes, first, last: an operator's number, -1 before the first one.
        layers: name and phase of each operator, in order.
        size: of the arena, bytes.
    """
    count = len(layers)
    ticks = range(-1, count + 1, -(-(count + 2) // MOST_TICKS))
    names = ["start", *(_short(row["name"], LONGEST_TICK) for row in layers), "end"]
    phases = [
        (PHASES.get(phase, phase), min(run) - 0.5, max(run) + 0.5)
        for phase, group in groupby(range(count), lambda number: layers[number]["phase"])
        if (run := list(group))
    ]
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH, 3.1), layout="constrained")
        axis = figure.subplots()
        boxes = []
        for slot in slots:
            first, last = max(slot["first"], -1), min(slot["last"], count)
            across, up = (first - 0.46, last - first + 0.92), (slot["offset"], slot["bytes"])
            axis.broken_barh([across], up, facecolor=FILL, linewidth=0, zorder=1)
            # Where two share bytes at a time, both outlines are to be seen.
            axis.broken_barh([across], up, facecolor="none", edgecolor=INK, linewidth=0.5, zorder=2)
            boxes.append(Bbox.from_bounds(across[0], up[0], across[1], up[1]))
        axis.set_xlim(-1.5, count + 0.5)
        axis.set_ylim(0, max(size, 1))
        axis.set_xticks(ticks, [names[tick + 1] for tick in ticks], rotation=35, ha="right")
        axis.tick_params(axis="x", labelsize=7)
        axis.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}".replace(",", " ")))
        axis.set_ylabel("byte of the arena")
        if len(phases) > 1:
            _separate(axis, phases)
            _strip(axis, phases)
        _name_boxes(axis, [slot["tensor"] for slot in slots], boxes)
    return svg(figure, "arena", f"Arena of {size} bytes: {len(slots)} tensors by lifetime")


def _settled(axis: Axes) -> Any:
    """Lay its figure out, so that places in it are known; what measures texts."""
    figure: Any = axis.figure
    canvas: Any = FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    return canvas.get_renderer()


def _name_boxes(axis: Axes, names: Sequence[str], boxes: Sequence[Bbox]) -> None:
    """Each name in its box, level or upright, where no other box covers the place.

    Args:
        axis: its limits are set.
        names: of the boxes.
        boxes: in the axis' units.
    """
    renderer = _settled(axis)
    drawn = [axis.transData.transform_bbox(box) for box in boxes]
    back = axis.transData.inverted()
    for number, name in enumerate(names):
        others = [box for i, box in enumerate(drawn) if i != number]
        room = _room(drawn[number], others)
        if room is None or min(room.width, room.height) < 7 + MARGIN:
            continue
        middle = back.transform((room.x0 + room.width / 2, room.y0 + room.height / 2))
        for said, angle in product(dict.fromkeys((name, _short(name, LONGEST_BOX))), (0, 90)):
            text = axis.text(
                middle[0], middle[1], said, ha="center", va="center", fontsize=7, rotation=angle
            )
            text.set_in_layout(False)
            taken = text.get_window_extent(renderer)
            if taken.width + MARGIN < room.width and taken.height + MARGIN < room.height:
                break
            text.remove()


def _room(box: Bbox, others: Sequence[Bbox]) -> Bbox | None:
    """The largest part of a box that none of the others covers; None where too many do."""
    near = [other for other in others if _meet(box, other)]
    if len(near) > NEAR:
        return None
    xs, ys = (
        sorted({low, high, *(edge for pair in edges for edge in pair if low < edge < high)})
        for low, high, edges in (
            (box.x0, box.x1, [(other.x0, other.x1) for other in near]),
            (box.y0, box.y1, [(other.y0, other.y1) for other in near]),
        )
    )
    parts = (
        Bbox.from_extents(left, low, right, high)
        for left, right in combinations(xs, 2)
        for low, high in combinations(ys, 2)
    )
    free = [part for part in parts if not any(_meet(part, other) for other in near)]
    return max(free, key=lambda part: part.width * part.height, default=None)


def _meet(a: Bbox, b: Bbox) -> bool:
    """Whether two boxes have more than an edge in common."""
    return bool(a.x0 < b.x1 and b.x0 < a.x1 and a.y0 < b.y1 and b.y0 < a.y1)


def _separate(axis: Axes, spans: Sequence[tuple[str, float, float]]) -> None:
    """A line where each phase but the first begins, behind the data."""
    for _, first, _ in spans[1:]:
        axis.axvline(first, color=MUTED, linewidth=0.7, linestyle=(0, (1, 2)), zorder=0)


def _strip(axis: Axes, spans: Sequence[tuple[str, float, float]], above: float = 3.0) -> None:
    """Names of phases over an axis, in up to three rows; `_separate` draws the lines.

    Args:
        axis: its limits are set.
        spans: names, and where they begin and end, from left to right.
        above: points between the axis and the names.
    """
    renderer = _settled(axis)
    ends = [axis.bbox.x0] * STRIP_ROWS
    for name, first, _ in spans:
        text = axis.annotate(
            _short(name, LONGEST_TICK), (first, 1.0), fontsize=7, color=MUTED, va="bottom",
            xycoords=("data", "axes fraction"), xytext=(0, 0), textcoords="offset points",
            annotation_clip=False,
        )  # fmt: skip
        width = text.get_window_extent(renderer).width
        start = axis.transData.transform((first, 0))[0]
        left = min(start + MARGIN, axis.bbox.x1 - width)
        row = next((i for i, end in enumerate(ends) if left >= end), None)
        if row is None:
            text.remove()  # its line is there
            continue
        ends[row] = left + width + 3 * MARGIN
        text.set_position((left - start, above + 9 * row))


def image(values: Array) -> str:
    """An input (H, W), dark where it is large, or (H, W, 3) in its colours."""
    low, high = float(values.min()), float(values.max())
    scaled = (values.astype(np.float64) - low) / (high - low) if high > low else values > 0
    scaled = np.asarray(scaled, np.float64)
    height, width = values.shape[:2]
    if values.ndim == 3:
        colours = np.rint(255 * scaled).astype(np.uint8)
        filled = [[f'fill="#{bytes(pixel).hex()}"' for pixel in row] for row in colours]
    else:
        filled = [[f'fill-opacity="{v:.2f}"' if v > 0 else "" for v in row] for row in scaled]
    cells = "".join(
        f'<rect x="{x}" y="{y}" width="1" height="1" {fill}/>'
        for y, row in enumerate(filled)
        for x, fill in enumerate(row)
        if fill
    )
    return (
        f'<svg class="input" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="The input, {height} by {width}" shape-rendering="crispEdges">'
        f'<rect width="{width}" height="{height}" fill="var(--paper)"/>'
        f'<g fill="var(--ink)">{cells}</g></svg>'
    )


def learning_curves(
    tasks: Sequence[str],
    learned: Sequence[int],
    accuracy: Array,
    owners: Sequence[int],
    beside: Mapping[str, float],
) -> str:
    """Accuracies before and after each block: the mean of all tasks, then each task by itself.

    The phases, before and each task in turn, are told apart by lines, and named over the first
    panel.

    Args:
        tasks: their names.
        learned: (B + 1,) samples that were learned before each evaluation.
        accuracy: (B + 1, T) shares.
        owners: (B,) the task of each block.
        beside: final ACC of baselines by name.
    """
    shown = min(len(tasks), MOST_TASKS)
    heights = [2.1, *[0.62] * shown]
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH, sum(heights) + 0.4), layout="constrained")
        axes = figure.subplots(1 + shown, 1, sharex=True, squeeze=False, height_ratios=heights)[
            :, 0
        ]
        mean = accuracy.mean(axis=1)
        axes[0].plot(learned, 100 * mean, "o-", color=DEVICE, linewidth=1.8, markersize=3)
        for name, value in _spread(beside):
            axes[0].axhline(100 * beside[name], color=MUTED, linewidth=0.7, linestyle=(0, (4, 3)))
            axes[0].annotate(
                f"{name} {100 * beside[name]:.1f}", (1.0, 100 * value), fontsize=7, color=MUTED,
                xycoords=("axes fraction", "data"), xytext=(4, 0), textcoords="offset points",
                va="center", annotation_clip=False,
            )  # fmt: skip
        axes[0].set_title("all tasks, those to come included: accuracy, %", loc="left", fontsize=8)
        for task, axis in enumerate(axes[1:]):
            for block, owner in enumerate(owners):
                if owner == task:
                    axis.axvspan(
                        learned[block], learned[block + 1], color=FILL, alpha=0.5, linewidth=0
                    )
            axis.plot(learned, 100 * accuracy[:, task], "o-", color=GOLDEN, markersize=2.4)
            axis.set_title(_short(tasks[task], LONGEST_TITLE), loc="left", fontsize=7.5)
        before = -0.09 * learned[-1]
        axes[-1].set_xlim(before, learned[-1])
        axes[-1].set_xlabel("samples learned; shaded: of this task")
        phases = [("before", before, 0.0), *_phases(tasks, learned, owners)]
        for axis in axes:
            axis.set_ylim(-6, 106)
            axis.set_yticks([0, 50, 100])
            _separate(axis, phases)
        places = np.asarray(MaxNLocator(8, integer=True).tick_values(0, learned[-1]))
        axes[-1].set_xticks(places[places <= learned[-1]])
        _strip(axes[0], phases, above=14.0)
    last = ", ".join(
        f"{name} {100 * value:.1f} %" for name, value in zip(tasks, accuracy[-1], strict=True)
    )
    return svg(figure, "curves", f"Learning curves; at the end: {last}")


def _phases(
    tasks: Sequence[str], learned: Sequence[int], owners: Sequence[int]
) -> list[tuple[str, float, float]]:
    """Blocks of one task in a row are one phase: its name, and the samples before and after it."""
    runs = [list(run) for _, run in groupby(range(len(owners)), lambda block: owners[block])]
    return [(tasks[owners[r[0]]], learned[r[0]], learned[r[-1] + 1]) for r in runs]


def _spread(values: Mapping[str, float]) -> list[tuple[str, float]]:
    """Names with places for their labels, apart from each other."""
    placed: list[tuple[str, float]] = []
    for name, value in sorted(values.items(), key=lambda item: item[1]):
        low = placed[-1][1] + 0.1 if placed else -1.0
        placed.append((name, max(value, low)))
    return placed


def standalone(text: str) -> str:
    """A figure as a file of its own, in the colours of a light page."""
    for colour, variable in _VARIABLES.items():
        text = text.replace(f"var(--{variable})", colour)
    style = "text { font-family: sans-serif; fill: #101010; }"
    return text.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).replace(
        ">", f"><style>{style}</style><rect width='100%' height='100%' fill='#ffffff'/>", 1
    )

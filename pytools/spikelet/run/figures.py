"""The report's figures, as SVG that takes its colours and its type from the page around it."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

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

    A spike that golden and device share is drawn in ink; one that only one of them has is marked.
    """
    heights = [min(2.4, 0.45 + 0.016 * golden.shape[1]) for _, golden, _ in layers]
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH, sum(heights) + 0.35 * len(layers)), layout="constrained")
        axes = figure.subplots(len(layers), 1, sharex=True, squeeze=False, height_ratios=heights)
        for axis, (name, golden, device) in zip(axes[:, 0], layers, strict=True):
            _spikes(axis, golden, device)
            axis.set_ylabel("neuron")
            axis.set_title(f"{name}, {golden.shape[1]} neurons", loc="left", fontsize=8)
            axis.set_ylim(golden.shape[1] - 0.5, -0.5)
        axes[-1, 0].set_xlim(-0.5, steps - 0.5)
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
    for only, marker, who in ((device > golden, "x", "device"), (golden > device, "o", "golden")):
        steps, neurons = np.nonzero(only)
        if len(steps):
            axis.plot(
                steps, neurons, marker, color=BAD, markersize=5, fillstyle="none",
                label=f"only {who}",
            )  # fmt: skip
            axis.legend(frameon=False, loc="upper right", fontsize=7)


def membranes(
    layers: Sequence[tuple[str, Array, Array, Array | None, Array | None]],
) -> str:
    """Membranes over time, device over golden.

    Args:
        layers: (name, golden (T, n), device (T, n), spikes (T, n) or None, threshold (n,) or None).
    """
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH, 1.75 * len(layers)), layout="constrained")
        axes = figure.subplots(len(layers), TRACES, sharex=True, squeeze=False)
        for row, (name, golden, device, spikes, threshold) in zip(axes, layers, strict=True):
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
                axis.set_title(f"{name} [{neuron}]", loc="left", fontsize=7.5)
            for axis in row[len(chosen) :]:
                axis.set_axis_off()
            row[0].set_ylabel("membrane, code")
        for axis in axes[-1]:
            axis.set_xlabel("time step")
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


def arena(slots: Sequence[Mapping[str, Any]], operators: Sequence[str], size: int) -> str:
    """The arena: bytes upward, operators from left to right, one box a tensor's lifetime."""
    count = len(operators)
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
        axis = figure.subplots()
        for slot in slots:
            first, last = max(slot["first"], -1), min(slot["last"], count)
            axis.broken_barh(
                [(first - 0.46, last - first + 0.92)], (slot["offset"], slot["bytes"]),
                facecolor=FILL, edgecolor=INK, linewidth=0.5,
            )  # fmt: skip
            if slot["bytes"] >= size / 18:
                axis.text(
                    (first + last) / 2, slot["offset"] + slot["bytes"] / 2, slot["tensor"],
                    ha="center", va="center", fontsize=7,
                )  # fmt: skip
        axis.set_xlim(-1.5, count + 0.5)
        axis.set_ylim(0, size)
        axis.set_xticks(range(-1, count + 1), ["start", *operators, "end"], rotation=35, ha="right")
        axis.set_ylabel("byte of the arena")
    return svg(figure, "arena", f"Arena of {size} bytes: {len(slots)} tensors by lifetime")


def image(values: Array) -> str:
    """An input (H, W), dark where it is large, or (H, W, 3) in its colours."""
    low, high = float(values.min()), float(values.max())
    scaled = (values.astype(np.float64) - low) / ((high - low) or 1.0)
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
    """Accuracies after each block: the mean of all tasks, then each task by itself.

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
            axis.set_title(tasks[task], loc="left", fontsize=7.5)
        for axis in axes:
            axis.set_ylim(-6, 106)
            axis.set_yticks([0, 50, 100])
        axes[-1].set_xlim(0, learned[-1])
        axes[-1].set_xlabel("samples learned; shaded: of this task")
    last = ", ".join(
        f"{name} {100 * value:.1f} %" for name, value in zip(tasks, accuracy[-1], strict=True)
    )
    return svg(figure, "curves", f"Learning curves; at the end: {last}")


def _spread(values: Mapping[str, float]) -> list[tuple[str, float]]:
    """Names with places for their labels, apart from each other."""
    placed: list[tuple[str, float]] = []
    for name, value in sorted(values.items(), key=lambda item: item[1]):
        low = placed[-1][1] + 0.075 if placed else -1.0
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

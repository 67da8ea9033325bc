"""The layer table as text and HTML, and the graph as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from spikelet.codegen.layers import TITLES, totals
from spikelet.graph import Graph

# Titles and keys of the columns; figures are set right.
WORDS = {"layer": "name", "operator": "op", "output": "output", "phase": "phase"}
FIGURES = {
    "bits": "weight_bits",
    "MACs": "macs",
    "syn. ops": "synaptic_ops",
    "updates": "updates",
    "flash B": "flash_bytes",
    "RAM B": "ram_bytes",
}
# The picture, in pixels.
ROW, HEAD, LANE, BAR = 22, 26, 9, 84
COLOUR, EDGE = "#3b7dd8", "#8a8f98"
MOST_ROWS = 80  # drawn; the table has all

Rows = Sequence[Mapping[str, Any]]


def _cells(rows: Rows) -> list[list[str]]:
    """Title, rows, and a row a sum; columns without a word are left out."""
    cells = [[*WORDS, *FIGURES]]
    for row in rows:
        figures = [f"{row[key]:,}" if row[key] else "" for key in FIGURES.values()]
        cells.append([*(str(row[key]) for key in WORDS.values()), *figures])
    for run, sums in totals(rows).items():
        figures = [f"{sums[key]:,}" if sums.get(key) else "" for key in FIGURES.values()]
        cells.append([TITLES[run], *[""] * (len(WORDS) - 1), *figures])
    phases = {row["phase"] for row in rows}
    used = [
        any(line[i] for line in cells[1:]) and (title != "phase" or len(phases) > 1)
        for i, title in enumerate(cells[0])
    ]
    return [[cell for cell, use in zip(line, used, strict=True) if use] for line in cells]


def layer_text(rows: Rows) -> str:
    """The layer table in plain text.

    rows: of the layer table, as JSON holds them.
    """
    cells = _cells(rows)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for line in cells:
        laid = [
            cell.ljust(width) if title in WORDS else cell.rjust(width)
            for title, cell, width in zip(cells[0], line, widths, strict=True)
        ]
        lines.append("  ".join(laid).rstrip())
    rule = "-" * max(map(len, lines))
    lines.insert(1, rule)
    lines.insert(2 + len(rows), rule)
    return "\n".join(lines)


def layer_html(rows: Rows) -> str:
    """The layer table as an HTML table."""
    cells, summed = _cells(rows), len(totals(rows))

    def line(tag: str, texts: Sequence[str], bold: bool = False) -> str:
        made = ""
        for title, text in zip(cells[0], texts, strict=True):
            side = "left" if title in WORDS else "right"
            weight = ";font-weight:bold" if bold else ""
            made += f'<{tag} style="text-align:{side}{weight}">{escape(text)}</{tag}>'
        return f"<tr>{made}</tr>"

    head, body = line("th", cells[0]), cells[1:]
    lines = [line("td", texts, i >= len(body) - summed) for i, texts in enumerate(body)]
    return f"<table><thead>{head}</thead><tbody>{''.join(lines)}</tbody></table>"


def graph_svg(graph: Graph, rows: Rows) -> str:
    """The operators from top to bottom; who reads whom; bars of constants, work and output.

    Args:
        graph: the network.
        rows: its layer table, as JSON holds it.

    Colours of text are those of the page, so that it can be read on a dark one.
    """
    inputs = [*graph.inputs, *graph.every_target]
    place = {t.name: i for i, t in enumerate(inputs)}
    names = [t.name for t in inputs]
    notes = [f"{t.dtype} {'x'.join(map(str, t.shape))}" for t in inputs]
    shown = list(zip(graph.order, rows, strict=True))[: MOST_ROWS - len(inputs)]
    edges: list[tuple[int, int]] = []
    for node, row in shown:
        edges += [(place[name], len(names)) for name in node.inputs if name in place]
        place.update({t.name: len(names) for t in node.outs})
        names.append(node.name)
        notes.append(f"{row['op']}  {row['output']}")
    lanes = _lanes(edges)
    left = 14 + LANE * max(lanes.values(), default=0)
    name_width = 7 * max(map(len, names)) + 18
    note_width = 7 * max(map(len, notes)) + 18
    bars = left + name_width + note_width
    width, height = bars + 3 * (BAR + 80), HEAD + ROW * len(names) + 4
    parts = [_edge(edge, lane, left) for edge, lane in lanes.items()]
    outputs = {place[name] for name in graph.outputs if name in place}
    for i, (name, note) in enumerate(zip(names, notes, strict=True)):
        y = HEAD + ROW * i + ROW // 2
        fill = "none" if i < len(inputs) else COLOUR
        parts.append(f'<circle cx="{left}" cy="{y}" r="4" fill="{fill}" stroke="{COLOUR}"/>')
        if i in outputs:
            parts.append(f'<circle cx="{left}" cy="{y}" r="7" fill="none" stroke="{COLOUR}"/>')
        parts.append(_text(left + 14, y, name, 'font-weight="bold"'))
        parts.append(_text(left + 14 + name_width, y, note))
    columns = {
        "constants, bytes": [row["flash_bytes"] for _, row in shown],
        "operations": [row["macs"] + row["synaptic_ops"] + row["updates"] for _, row in shown],
        "output, bytes": [row["ram_bytes"] for _, row in shown],
    }
    for number, (title, values) in enumerate(columns.items()):
        x = bars + number * (BAR + 80)
        parts.append(_text(x, HEAD // 2, title, 'fill-opacity="0.7" font-size="11"'))
        parts += _bars(x, values, len(inputs))
    left_out = len(rows) - len(shown)
    more = f" The last {left_out} operators are not drawn." if left_out else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" style="max-width:100%;height:auto" '
        'font-family="ui-monospace,monospace" font-size="12" fill="currentColor" role="img" '
        f'aria-label="{escape(graph.title(), quote=True)}.{more}">{"".join(parts)}</svg>'
        + (f"<p>{more}</p>" if more else "")
    )


def _lanes(edges: Sequence[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """How far left of the operators each edge runs, so that no two lie over each other."""
    lanes: dict[tuple[int, int], int] = {}
    for first, last in sorted(set(edges), key=lambda edge: (edge[1] - edge[0], edge)):
        crossed = {lane for (a, b), lane in lanes.items() if lane and a < last and first < b}
        free = next(n for n in range(1, len(crossed) + 2) if n not in crossed)
        lanes[first, last] = 0 if last - first == 1 else free
    return lanes


def _edge(edge: tuple[int, int], lane: int, x: int) -> str:
    top, bottom = (HEAD + ROW * i + ROW // 2 for i in edge)
    style = f'fill="none" stroke="{EDGE}" stroke-width="1.4"'
    if not lane:
        return f'<path d="M{x} {top + 5}V{bottom - 5}" {style}/>'
    side = x - LANE * lane
    bend = min(8, ROW // 2)
    return (
        f'<path d="M{x - 4} {top}C{side} {top} {side} {top} {side} {top + bend}V{bottom - bend}'
        f'C{side} {bottom} {side} {bottom} {x - 4} {bottom}" {style}/>'
    )


def _bars(x: int, values: Sequence[int], skipped: int) -> list[str]:
    """A column of bars, to scale."""
    most, made = max(values, default=0), []
    for i, value in enumerate(values):
        if not value:
            continue
        y = HEAD + ROW * (i + skipped) + ROW // 2
        long = max(1.0, BAR * value / most)
        made.append(
            f'<rect x="{x}" y="{y - 6}" width="{long:.1f}" height="12" fill="{COLOUR}" '
            'fill-opacity="0.55"/>'
        )
        made.append(_text(round(x + long + 5), y, f"{value:,}"))
    return made


def _text(x: int, y: int, text: str, more: str = "") -> str:
    return f'<text x="{x}" y="{y}" dominant-baseline="central" {more}>{escape(text)}</text>'

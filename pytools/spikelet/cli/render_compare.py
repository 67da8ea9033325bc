"""What a person is shown of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from spikelet.cli.terminal import facts, number, table
from spikelet.run.compare_sides import Change, changes

HASH = 16  # characters of one that are shown
PACKAGES = "flash: constants; RAM: arena"


def render_comparison(result: Mapping[str, Any]) -> list[RenderableType]:
    """What they are of, the figures, and the layers that differ."""
    a, b = result["a"], result["b"]
    about: dict[str, object] = {"A": _origin(a), "B": _origin(b)}
    for key in result["differs"]:
        about[f"{key.replace('_', ' ')} differs"] = f"{_short(a[key])}   {_short(b[key])}"
    steps = {side.get("instructions_per_tick") or 1 for side in (a, b)}
    if max(steps) > 1:
        about["instructions"] = f"counted in steps of {number(max(steps), digits=1)}"
    if result["kind"] == "package":
        about["of packages"] = PACKAGES
    whole = table("", "figure", ">A", ">B", ">change", ">")
    figures, by_layer = changes(result)
    for row in figures:
        whole.add_row(row.figure, *_cells(row))
    return [facts("comparison", about), whole, _layers(by_layer, bool(result["layers"]))]


def _layers(rows: Sequence[Change], known: bool) -> RenderableType:
    """Layers in which a figure differs, one row a figure."""
    if not rows:
        return Text("no figure of a layer differs" if known else "no layers are known", "dim")
    made = table("layers that differ", "layer", "figure", ">A", ">B", ">change", ">")
    for layer, group in groupby(rows, lambda row: row.layer):
        for i, row in enumerate(group):
            made.add_row("" if i else layer, row.figure, *_cells(row))
    return made


def _cells(row: Change) -> tuple[str | Text, ...]:
    """Both values, the difference, and its share of the first."""
    values = [number(v, row.unit, row.digits) or "" for v in (row.a, row.b)]
    change = row.change
    if change is None:
        return (*values, "", "")
    style = "red" if row.worse else "green"
    sign = "+" if change > 0 else "-"
    share = "" if row.share is None else f"{100 * row.share:+.2f} %"
    return (
        *values, Text(f"{sign}{number(abs(change), digits=row.digits)}", style), Text(share, style),
    )  # fmt: skip


def missed_text(bars: Sequence[Mapping[str, Any]]) -> str:
    """Which bars are missed, one a line."""
    return "\n".join(
        f"missed {bar['bar']}: {bar['figure']} is {bar['b']:.10g}, the bar is at "
        f"{bar['limit']:.10g}" + ("" if bar["a"] is None else f", A has {bar['a']:.10g}")
        for bar in bars
        if bar["missed"]
    )


def _origin(side: Mapping[str, Any]) -> str:
    of = (side.get("model"), side.get("board"), side.get("date"))
    return f"{side['name']}   ({', '.join(filter(None, of))})"


def _short(value: Any) -> str:
    if value is None:
        return "-"
    text = str(value)
    return text[:HASH] if len(text) == 64 else text

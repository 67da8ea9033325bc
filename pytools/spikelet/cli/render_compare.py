"""What a person is shown of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from spikelet.cli.terminal import facts, number, table
from spikelet.run.compare_sides import FIGURES, LAYER_FIGURES

DIGITS = {"accuracy": 2}
HASH = 16  # characters of one that are shown
PACKAGES = "flash: constants; RAM: arena"
TITLES = {"named": "differences named", "ram": "RAM", "macs": "MACs", "microseconds": "us"}
# More of it is better.
BETTER = ("accuracy",)


def render_comparison(result: Mapping[str, Any]) -> list[RenderableType]:
    """What they are of, the figures, and the layers that differ."""
    a, b = result["a"], result["b"]
    about: dict[str, object] = {"A": _origin(a), "B": _origin(b)}
    for key in result["differs"]:
        about[f"other {key.replace('_', ' ')}"] = f"{_short(a[key])}   {_short(b[key])}"
    if result["kind"] == "package":
        about["of packages"] = PACKAGES
    whole = table("", "figure", ">A", ">B", ">change", ">")
    for name, unit in FIGURES.items():
        pair = result["figures"][name]
        if pair["a"] is None and pair["b"] is None:
            continue
        digits = DIGITS.get(name, 0)
        whole.add_row(
            TITLES.get(name, name),
            *(number(pair[side], unit, digits) or "" for side in "ab"),
            *_change(name, pair),
        )
    shown: list[RenderableType] = [facts("comparison", about), whole]
    return [*shown, *_layers(result["layers"])]


def _layers(layers: Sequence[Mapping[str, Any]]) -> list[RenderableType]:
    """Layers in which a figure differs, one row a figure."""
    made = table("layers that differ", "layer", "figure", ">A", ">B", ">change", ">")
    for layer in layers:
        name = layer["name"]
        if len(layer["in"]) == 1:
            made.add_row(name, f"only in {layer['in'][0].upper()}", "", "", "", "")
            continue
        for figure in LAYER_FIGURES:
            pair = layer[figure]
            if pair["a"] == pair["b"]:
                continue
            cells = (number(pair[side]) or "" for side in "ab")
            made.add_row(name, TITLES.get(figure, figure), *cells, *_change(figure, pair))
            name = ""
    if made.row_count:
        return [made]
    return [Text("no layer differs" if layers else "no layers are known", "dim")]


def _change(figure: str, pair: Mapping[str, float | None]) -> tuple[Text, Text]:
    """The difference, and its share of the first."""
    change, before = pair["change"], pair["a"]
    if not change:
        return Text(""), Text("")
    worse = (change < 0) == (figure in BETTER)
    style = "red" if worse else "green"
    digits = DIGITS.get(figure, 0)
    sign = "+" if change > 0 else "-"
    share = f"{100 * change / before:+.2f} %" if before and figure not in BETTER else ""
    return Text(f"{sign}{number(abs(change), digits=digits)}", style), Text(share, style)


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

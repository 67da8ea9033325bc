"""docs/spiking-delays.md: what delays are worth, how late they are, and what they cost.

    python tools/delays_plot.py

It trains the recipe of the page with delays of neurons, of synapses and with none, three seeds
each, in some minutes. What delays cost is read from docs/spiking.md, where
`tools/delay_bench.py --write` puts it.
"""

from __future__ import annotations

import datetime
import re
import sys
import tempfile
from pathlib import Path
from statistics import mean

import numpy as np
from marks import place, table
from matplotlib.figure import Figure

from spikelet.package import Package
from spikelet.run.figures import standalone, svg
from spikelet.train import train

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "spiking-delays.md"
COSTS = ROOT / "docs" / "spiking.md"
SEEDS = (0, 1, 2)
COLOURS = ("#707070", "#2060a0", "#c05010", "#a0b0c0")
# What makes the page's network, with a delay a neuron, one of another kind: pattern, replacement.
LINE = r"    x = net\.delay\(.*\n"
OTHERS = {
    "one a neuron": (),
    "one a synapse": (
        (LINE, ""),
        (
            r"linear\(x, HIDDEN\)",
            "linear(x, HIDDEN, delays=torch.randint(0, LATEST + 1, (HIDDEN, HIDDEN)).numpy())",
        ),
    ),
    "none": (
        (LINE, ""),
        (r'learn = \["delay", "leak"\]', 'learn = ["leak"]'),
        (r"\[delays\]\n(.+\n)+\n", ""),
    ),
}


def trained(folder: Path, kind: str) -> list[Package]:
    """The page's network with delays of a kind, by seed."""
    text = PAGE.read_text("utf-8")
    for pattern, other in OTHERS[kind]:
        text, changed = re.subn(pattern, other, text)
        if not changed:
            sys.exit(f"{PAGE.name} has nothing like {pattern}, which `{kind}` replaces")
    for path, block in re.findall(r'^```\w+ title="(.*?)"\n(.*?)^```$', text, re.M | re.S):
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block, encoding="utf-8")
    return [train(folder / "rows", seed) for seed in SEEDS]


def _row(name: str, packages: list[Package]) -> list[str]:
    found = [float(each.manifest["integer_accuracy"]) for each in packages]
    return [name, f"{mean(found):.4f}", " ".join(f"{one:.4f}" for one in found)]


def _costs() -> tuple[list[float], dict[str, list[int]]]:
    """Shares of spiking inputs in %, and instructions a step by kind of delay."""
    part = COSTS.read_text("utf-8").split("<!-- delays -->")[1].split("<!-- /delays -->")[0]
    lines = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in part.splitlines()
        if "|" in line
    ]
    shares = [float(cell.removesuffix(" %")) for cell in lines[0][1:-1]]
    return shares, {row[0]: [int(cell.replace(",", "")) for cell in row[1:-1]] for row in lines[2:]}


def _draw(package: Package) -> Figure:
    figure = Figure(figsize=(9, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    (delays,) = (node.arrays()["steps"] for node in package.graph.nodes if node.KIND == "delay")
    places = np.arange(int(delays.max()) + 1)
    left.bar(places, np.bincount(delays), 0.8, color=COLOURS[1])
    left.set_xlabel("delay, steps", fontsize=8)
    left.set_ylabel("neurons", fontsize=8)
    shares, kinds = _costs()
    for (name, values), colour in zip(kinds.items(), COLOURS, strict=True):
        right.plot(shares, values, ".-", color=colour, lw=1.2)
        right.annotate(name, (shares[-1], values[-1]), (4, -3), color=colour, fontsize=7,
                       textcoords="offset points", annotation_clip=False)  # fmt: skip
    right.set(xscale="log", yscale="log", xticks=shares)
    right.set_xlim(shares[0], 4 * shares[-1])
    right.set_xticklabels([f"{share:g} %" for share in shares])
    right.yaxis.set_major_formatter(lambda value, _: f"{value / 1000:g} k")
    right.minorticks_off()
    right.set_xlabel("inputs that spike in a step", fontsize=8)
    right.set_ylabel("instructions a step", fontsize=8)
    for axis in (left, right):
        axis.tick_params(labelsize=7)
    return figure


def main() -> None:
    """Train, write the table, draw."""
    with tempfile.TemporaryDirectory() as folder:
        packages = {kind: trained(Path(folder) / kind, kind) for kind in OTHERS}
    rows = [_row(f"delays: {kind}", found) for kind, found in packages.items()]
    made = f"Made on {datetime.date.today()} by `python tools/delays_plot.py`."
    head = ["", "accuracy, mean", "seeds 0, 1, 2"]
    place(PAGE, "worth", f"{table(head, rows)}\n\n{made}")
    label = "Learned delays, and instructions a step over the share of spiking inputs"
    text = standalone(svg(_draw(packages["one a neuron"][0]), "spiking-delays", label))
    (ROOT / "docs" / "spiking-delays.svg").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""docs/fewer-bits.svg: errors over bytes of weights, and instructions, of the models of models/.

    python tools/bits_plot.py

Ours are read from their packages and from the tables of boards in their READMEs; BitNetMCU's
trained networks were measured on the same test part (commit def8bc4, RV32IMAC, -O2).
"""

from __future__ import annotations

import re
from pathlib import Path

from bench import is_spiking
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from spikelet.package import Package
from spikelet.run.figures import standalone, svg
from spikelet.train.recipe_figures import weight_bytes

ROOT = Path(__file__).resolve().parents[1]
BOARD = "virt-rv32"
OURS, THEIRS = "#1f5fa8", "#b06a1c"
TITLES = {"mnist": "MNIST", "speech_commands_v2_test": "twelve spoken words"}
# Bytes of weights, accuracy, instructions.
PEERS = {
    "mnist": [
        ("BitNetMCU 1 bit", 1_100, 0.9421, 43_800),
        ("BitNetMCU 12 KB", 12_000, 0.9902, 280_000),
        ("BitNetMCU CNN", 3_200, 0.9890, 317_000),
        ("BitNetMCU CNN 11 KB", 11_000, 0.9954, 1_267_000),
    ]
}
Point = tuple[str, int, float, int]


def ours() -> dict[str, list[Point]]:
    """By data set, the models with a package whose data set has one of few bits."""
    found: dict[str, list[Point]] = {}
    for path in sorted((ROOT / "models").glob("*/*.spk")):
        if is_spiking(path.parent):
            continue
        package = Package.load(path)
        page = (path.parent / "README.md").read_text(encoding="utf-8")
        row = re.search(rf"^\| {BOARD} \| \d+ \| ([\d,]+) \|", page, re.MULTILINE)
        data = package.manifest.get("data")
        if row is None or data not in TITLES:
            continue
        accuracy = float(package.manifest["integer_accuracy"])
        point = (path.stem, weight_bytes(package.graph), accuracy, int(row[1].replace(",", "")))
        found.setdefault(data, []).append(point)
    return found


def _draw(points: dict[str, list[Point]]) -> Figure:
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    axes = figure.subplots(1, len(points), squeeze=False)[0]
    for axis, (data, own) in zip(axes, points.items(), strict=True):
        peers = PEERS.get(data, [])
        most = max(point[3] for point in own + peers)
        for named, marker, colour, side in ((own, "o", OURS, -1), (peers, "s", THEIRS, 1)):
            for name, size, accuracy, instructions in named:
                area = 30 + 90 * (instructions / most) ** 0.5
                at = (size, 100 * (1 - accuracy))
                axis.scatter(*at, s=area, marker=marker, color=colour, alpha=0.8)
                axis.annotate(
                    f"{name}\n{instructions / 1e6:.3g} M", at, (7 * side, -4 - 3 * side),
                    fontsize=7, textcoords="offset points", ha="right" if side < 0 else "left",
                )  # fmt: skip
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:g}")
        axis.xaxis.set_minor_locator(NullLocator())
        axis.margins(x=0.45, y=0.15)
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5, 9)))
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.yaxis.set_minor_locator(NullLocator())
        axis.invert_yaxis()
        axis.set_title(TITLES[data], fontsize=9)
        axis.set_xlabel("weights, KB", fontsize=8)
        axis.set_ylabel("errors on the test part, %, fewer above", fontsize=8)
        axis.tick_params(labelsize=7, which="both")
    return figure


def main() -> None:
    """Draw it."""
    label = "Errors over bytes of weights; beside each point its instructions on RV32"
    text = standalone(svg(_draw(ours()), "fewer-bits", label))
    (ROOT / "docs" / "fewer-bits.svg").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

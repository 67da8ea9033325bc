"""docs/spiking-cnn.svg: what the network of docs/spiking-cnn.md spikes on one digit.

    python tools/spiking_cnn_plot.py

It trains the recipe of the page, in some ten seconds.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpecFromSubplotSpec

from spikelet.graph import Array
from spikelet.package import Package
from spikelet.run.figures import standalone, svg
from spikelet.train import train

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "spiking-cnn.md"
SAMPLE = 3
MAPS = {"lif1": "8x8", "lif3": "3x3"}  # layers whose maps are drawn


def trained() -> Package:
    """The network of the page."""
    text = PAGE.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        for path, block in re.findall(r'^```\w+ title="(.*?)"\n(.*?)^```$', text, re.M | re.S):
            file = Path(folder) / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block, encoding="utf-8")
        return train(Path(folder) / "cnn")


def _draw(package: Package) -> Figure:
    one = {name: values[SAMPLE : SAMPLE + 1] for name, values in package.inputs.items()}
    trace = package.graph.run(one, trace=True).trace
    steps = package.graph.steps
    figure = Figure(figsize=(9, 2.9), layout="constrained")
    grid = figure.add_gridspec(1, 2 + len(MAPS), width_ratios=[1, 2, 2, 1.6])
    axis = figure.add_subplot(grid[0])
    axis.imshow(one["x"][0, :, :, 0], cmap="Greys")
    axis.set_title("the pixels", fontsize=8)
    axis.set_axis_off()
    for number, (name, size) in enumerate(MAPS.items(), 1):
        counts = trace[f"{name}.spikes"][:, 0].sum(axis=0)  # (H, W, C)
        channels = counts.shape[-1]
        inner = GridSpecFromSubplotSpec(4, -(-channels // 4), grid[number], wspace=0.1, hspace=0.1)
        for channel in range(channels):
            axis = figure.add_subplot(inner[channel])
            axis.imshow(counts[:, :, channel], cmap="Blues", vmin=0, vmax=steps)
            axis.set_axis_off()
            if channel == 0:
                axis.set_title(f"{name}: {channels} maps of {size}", fontsize=8, loc="left")
    _scores(figure, grid[-1], trace["sum"][:, 0], package)
    return figure


def _scores(figure: Figure, place: object, scores: Array, package: Package) -> None:
    """The running sum of each class over the steps."""
    axis = figure.add_subplot(place)
    real = scores * package.manifest["units"]["sum"]
    best, second = np.argsort(-real[-1])[:2]
    for digit, line in enumerate(real.T):
        axis.plot(range(1, len(line) + 1), line, lw=1.6 if digit == best else 0.8,
                  color="#2060a0" if digit == best else "#a0b0c0")  # fmt: skip
        if digit in (best, second):
            axis.annotate(str(digit), (len(line), line[-1]), (4, -3), fontsize=7,
                          textcoords="offset points")  # fmt: skip
    axis.set_title("sum of each digit", fontsize=8)
    axis.set_xlabel("step", fontsize=8)
    axis.set_xticks(range(1, len(real) + 1))
    axis.tick_params(labelsize=7)


def main() -> None:
    """Train and draw."""
    label = "A digit, the spikes of the first two layers of neurons, and the scores step by step"
    text = standalone(svg(_draw(trained()), "spiking-cnn", label))
    (ROOT / "docs" / "spiking-cnn.svg").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

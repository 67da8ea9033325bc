"""Draws docs/events.svg: a recording in its steps, and what early exit saves on digits_snn.

`python tools/events_plot.py` reads the first test recording of nmnist_small, whose folder
SPIKELET_DATA names, and trains digits_snn on four fifths of its training part (a minute);
thresholds are chosen on the fifth, and measured on the 360 test images.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from spikelet.early_exit import calibrate, judge, running_scores
from spikelet.graph import Array
from spikelet.package import Package
from spikelet.seeds import sample_seeds
from spikelet.train import model_path, train
from spikelet.train.data import DataSet, load
from spikelet.train.event_data import nmnist_recordings

OUT = Path(__file__).parents[1] / "docs" / "events.svg"
STEPS, BIN_US = 15, 21_000
LOSSES = (0.0, 0.003, 0.006, 0.01, 0.02, 0.04, 0.08, 0.15)


def scores_of(package: Package, data: DataSet) -> Array:
    """(T, N, classes) of a test part."""
    seeds = sample_seeds(int(package.manifest["seed"]), len(data.x_test))
    return running_scores(package.graph, {"x": data.x_test, "seed": seeds})


def curves(package: Package, data: DataSet) -> tuple[Array, Array]:
    """Accuracy behind each step; and rows of mean steps and accuracy with early exit."""
    held = data.held_out()
    chosen_on, scores = scores_of(package, held), scores_of(package, data)
    fixed = (scores.argmax(axis=-1) == data.y_test).mean(axis=1)
    exits = []
    for loss in LOSSES:
        found = calibrate(chosen_on, held.y_test, loss)
        here = judge(scores, data.y_test, found.leads)
        exits.append((here.mean_steps, here.accuracy))
    return fixed, np.array(exits)


def draw(fixed: Array, exits: Array) -> str:
    """The picture as SVG."""
    events = nmnist_recordings("test")[0]
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for channel, name, colour in ((0, "off", "#00796b"), (1, "on", "#ff7043")):
        own = np.flatnonzero(events.channel == channel)[::12]  # every twelfth: a smaller file
        left.plot(events.t[own] / 1000, events.x[own], ".", ms=1.5, color=colour, label=name)
    for step in range(STEPS + 1):
        left.axvline(step * BIN_US / 1000, color="0.85", lw=0.5, zorder=0)
    left.set(xlabel="ms", ylabel="column", title=f"a recording of N-MNIST, {STEPS} steps")
    left.legend(markerscale=5, loc="upper right")
    right.plot(np.arange(1, len(fixed) + 1), fixed, "o-", ms=3, color="0.5", label="fixed T")
    right.plot(*exits.T, "o-", ms=4, color="#00796b", label="early exit")
    right.set(xlabel="mean steps", ylabel="accuracy, 360 images", title="digits_snn")
    right.set_ylim(0.6, 1)
    right.legend(loc="lower right")
    with mpl.rc_context({"svg.hashsalt": "events", "svg.fonttype": "none"}):
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def main() -> int:
    """Train, measure, draw."""
    package = train(model_path("digits_snn"), part="validation")
    fixed, exits = curves(package, load("digits").flat())
    for steps, accuracy in exits:
        print(f"early exit: {accuracy:.4f} in {steps:.2f} steps")
    print("fixed T: " + ", ".join(f"{t + 1}: {a:.4f}" for t, a in enumerate(fixed)))
    lines = [line.rstrip() for line in draw(fixed, exits).splitlines()]
    OUT.write_text("\n".join(lines) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

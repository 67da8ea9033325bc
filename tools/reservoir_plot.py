"""docs/spiking-training.md: what a reservoir tells by how many states it has.

    python tools/reservoir_plot.py

It fits models/har_reservoir with other numbers of states, three seeds each, and logistic regression
on statistics of the same windows, in some minutes.
"""

from __future__ import annotations

import datetime
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

import numpy as np
from marks import place, table
from matplotlib.figure import Figure

from spikelet.graph import Array
from spikelet.package import Package
from spikelet.run.figures import standalone, svg
from spikelet.train import train
from spikelet.train.data import DataSet, load
from spikelet.train.recipe_figures import weight_bytes

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "spiking-training.md"
MODEL = ROOT / "models" / "har_reservoir"
INT8 = MODEL / "int8" / "har_cnn_small.spk"
GIVEN = "NEURONS = 100\n"  # in its model.py
STATES = (25, 50, 100, 200)
SEEDS = (0, 1, 2)
PENALTIES = (0.01, 0.1, 1.0, 10.0)  # inverse, of logistic regression
# Of each channel, and of the length of each sensor's vector the first two.
STATISTICS = "mean, deviation, mean step and percentiles"
PERCENTILES = (10, 25, 50, 75, 90)
FOLDS = 5
COLOURS = ("#2060a0", "#c05010", "#707070")


def fitted(states: int, folder: Path) -> list[Package]:
    """The reservoir with so many states, by seed."""
    text = (MODEL / "model.py").read_text("utf-8")
    if GIVEN not in text:
        raise ValueError(f"{MODEL / 'model.py'} has no line {GIVEN!r}")
    folder.mkdir()
    text = text.replace(GIVEN, f"NEURONS = {states}\n")
    (folder / "model.py").write_text(text, encoding="utf-8")
    recipe = (MODEL / "recipe.toml").read_text("utf-8")
    (folder / "recipe.toml").write_text(recipe, encoding="utf-8")
    return [train(folder, seed) for seed in SEEDS]


def statistics(data: DataSet, x: Array) -> Array:
    """(N, 78) of windows (N, 128, 9): see `STATISTICS`."""
    real = data.real(x).astype(np.float64)
    lengths = np.linalg.norm(real.reshape(len(real), -1, 3, 3), axis=3)
    return np.concatenate(
        [
            real.mean(axis=1),
            real.std(axis=1),
            np.abs(np.diff(real, axis=1)).mean(axis=1),
            *np.percentile(real, PERCENTILES, axis=1),
            lengths.mean(axis=1),
            lengths.std(axis=1),
        ],
        axis=1,
    )


def logistic_regression() -> float:
    """Accuracy on the test part; the penalty by cross-validation over people."""
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.model_selection import GroupKFold
    from sklearn.preprocessing import StandardScaler

    data = load("uci_har_subset")
    x, scaler = statistics(data, data.x_train), StandardScaler()
    folds = list(GroupKFold(FOLDS).split(x, data.y_train, data.groups))
    model = LogisticRegressionCV(
        Cs=list(PENALTIES),
        cv=folds,
        max_iter=3000,
        l1_ratios=(0,),
        scoring="accuracy",
        use_legacy_attributes=False,
    )
    model.fit(scaler.fit_transform(x), data.y_train)
    guessed = model.predict(scaler.transform(statistics(data, data.x_test)))
    return float(np.mean(guessed == data.y_test))


def _rows(by_states: dict[int, list[Package]]) -> Iterator[list[str]]:
    for states, packages in by_states.items():
        found = [float(each.manifest["integer_accuracy"]) for each in packages]
        size = f"{weight_bytes(packages[0].graph):,}"
        each = " ".join(f"{one:.4f}" for one in found)
        yield [f"reservoir of {states} states", size, f"{mean(found):.4f}", each]


def _draw(by_states: dict[int, list[Package]], levels: dict[str, float]) -> Figure:
    figure = Figure(figsize=(5.5, 3), layout="constrained")
    axis = figure.subplots()
    every = [[float(p.manifest["integer_accuracy"]) for p in one] for one in by_states.values()]
    states = list(by_states)
    axis.plot(states, [mean(each) for each in every], "-", color=COLOURS[0], lw=1.2)
    for at, each in zip(states, every, strict=True):
        axis.plot([at] * len(each), each, ".", color=COLOURS[0], ms=4)
    for (name, level), colour in zip(levels.items(), COLOURS[1:], strict=True):
        axis.axhline(level, color=colour, lw=0.8, ls="--")
        axis.annotate(name, (states[0], level), (0, 2), color=colour, fontsize=7,
                      textcoords="offset points")  # fmt: skip
    axis.set(xscale="log", xticks=states)
    axis.set_xticklabels([str(at) for at in states])
    axis.minorticks_off()
    axis.set_xlabel("states", fontsize=8)
    axis.set_ylabel("accuracy on the test part", fontsize=8)
    axis.tick_params(labelsize=7)
    return figure


def main() -> None:
    """Fit, write the table, draw."""
    with tempfile.TemporaryDirectory() as folder:
        by_states = {states: fitted(states, Path(folder) / str(states)) for states in STATES}
    regression, int8 = logistic_regression(), Package.load(INT8)
    network = float(int8.manifest["integer_accuracy"])
    rows = [
        *_rows(by_states),
        [f"logistic regression on 78 numbers ({STATISTICS}), float", "", f"{regression:.4f}", ""],
        ["int8 convolutions", f"{weight_bytes(int8.graph):,}", f"{network:.4f}", ""],
    ]
    made = f"Made on {datetime.date.today()} by `python tools/reservoir_plot.py`."
    head = ["", "weights, bytes", "accuracy, mean", "seeds 0, 1, 2"]
    place(PAGE, "states", f"{table(head, rows)}\n\n{made}")
    label = "Accuracy of a reservoir over its number of states, and of other networks"
    levels = {"int8 convolutions": network, "logistic regression on statistics": regression}
    text = standalone(svg(_draw(by_states, levels), "reservoir", label))
    (ROOT / "docs" / "reservoir.svg").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

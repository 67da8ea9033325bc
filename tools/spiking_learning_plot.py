"""docs/spiking-learning.svg and the table beside it: digits_snn meets digits upside down.

    python tools/spiking_learning_plot.py

Three ways to learn, over three streams, on the host's firmware; instructions are those of an
emulated RISC-V core.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from marks import place, table
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

from spikelet.run.figures import standalone, svg

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "spiking-learning.md"
STREAM = "iid,samples=600,evaluate=200,blocks=6"
SHORT = "iid,samples=20,evaluate=10,blocks=1"  # for instructions
SEEDS = (0, 1, 2)
COUNTED = "virt-rv32"
WAYS = {
    "both layers, errors through the weights": ("finetune,update=all", "#1f5fa8"),
    "both layers, direct feedback": ("finetune,update=all,feedback=direct", "#b06a1c"),
    "the last layer": ("finetune,update=head", "#5a8f3c"),
}
RATE = 0.003


def learn(learner: str, stream: str, board: str, data: Path) -> dict[str, Any]:
    """What `spikelet learn --json` says."""
    command = (
        sys.executable, "-m", "spikelet", "learn", str(data.parent / "digits_snn.spk"),
        "--board", board, "--learner", f"{learner},learning-rate={RATE}", "--data", str(data),
        "--stream", stream, "--no-baselines", "--session", str(data.parent / "session"), "--json",
    )  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def main(today: str) -> None:
    """Measure, draw, write down."""
    curves: dict[str, list[list[float]]] = {}
    rows = []
    with tempfile.TemporaryDirectory() as name:
        data = Path(name) / "upside_down.npz"
        digits = load_digits()
        x = np.round(digits.data / 16 * 255).astype(np.uint8)[:, ::-1]
        np.savez(data, x=x, y=digits.target)
        train = (
            "-m",
            "spikelet",
            "train",
            "models/digits_snn",
            "-o",
            str(data.parent / "digits_snn.spk"),
        )
        subprocess.run([sys.executable, *train], cwd=ROOT, check=True, stdout=sys.stderr)
        for way, (learner, _) in WAYS.items():
            runs = [learn(learner, f"{STREAM},seed={seed}", "native", data) for seed in SEEDS]
            counted = learn(learner, SHORT, COUNTED, data)
            curves[way] = [[row[0] for row in run["learning"]["curves"]] for run in runs]
            rows.append(
                [
                    way,
                    f"`{learner}`",
                    f"{mean(run[0] for run in curves[way]):.3f}",
                    f"{mean(run[-1] for run in curves[way]):.3f}",
                    f"{counted['learning']['needs']['arena_bytes']:,}",
                    f"{counted['instructions_per_inference']:,.0f}",
                    f"{counted['instructions_per_learning_step']:,.0f}",
                    str(sum(run["mismatches"] for run in [*runs, counted])),
                ]
            )
    (ROOT / "docs" / "spiking-learning.svg").write_text(_drawn(curves) + "\n", encoding="utf-8")
    head = [
        "what learns", "learner", "before", "after 600 samples", "arena, bytes", "an inference",
        "a learning step more", "mismatches",
    ]  # fmt: skip
    place(
        PAGE,
        "spiking-learning",
        f"{table(head, rows)}\n\nAccuracy on 200 digits that are never learned, mean of streams"
        f" with seeds {', '.join(map(str, SEEDS))}; rate {RATE}; instructions of {COUNTED}, QEMU's"
        f" count. Made on {today} by `python tools/figures.py spiking-learning`.",
    )


def _drawn(curves: dict[str, list[list[float]]]) -> str:
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axis = figure.subplots()
    for way, runs in curves.items():
        learned = np.linspace(0, 600, len(runs[0]))
        values = 100 * np.array(runs)
        colour = WAYS[way][1]
        axis.plot(learned, values.mean(axis=0), "o-", color=colour, markersize=3, label=way)
        axis.fill_between(
            learned, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.15, linewidth=0
        )
    axis.set_xlabel("samples learned")
    axis.set_ylabel("right of 200 others, %")
    axis.set_ylim(0, 102)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8, loc="lower right")
    last = ", ".join(
        f"{way} {100 * np.mean([r[-1] for r in runs]):.1f} %" for way, runs in curves.items()
    )
    return standalone(svg(figure, "spiking-learning", f"Digits upside down, at the end: {last}"))


if __name__ == "__main__":
    import datetime

    main(datetime.date.today().isoformat())

"""`make figures`: makes every table of the READMEs again, between their `figures` marks.

Trains every model over three seeds and runs the benchmark; some minutes.
"""

from __future__ import annotations

import datetime
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "out" / "bench"
MODELS = ("digits_snn", "digits_bernoulli")
SEEDS = ("0", "1", "2")


def output(*command: str) -> str:
    """Standard output of a Python module or script; the rest goes to the terminal."""
    done = subprocess.run([sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(done.returncode)
    return done.stdout.strip()


def place(path: Path, text: str) -> None:
    """Put `text` between the marks of a README."""
    page = path.read_text(encoding="utf-8")
    marked = f"<!-- figures -->\n{text}\n<!-- /figures -->"
    new, count = re.subn(
        r"<!-- figures -->\n.*?<!-- /figures -->", lambda _: marked, page, flags=re.DOTALL
    )
    if count != 1:
        sys.exit(f"{path}: no single pair of figures marks")
    path.write_text(new, encoding="utf-8")


def main() -> None:
    """Measure everything and write it down."""
    today = datetime.date.today().isoformat()
    accuracies = []
    for model in MODELS:
        arguments = ("-m", "spikelet.train.report", f"models/{model}", "--seeds", *SEEDS)
        text = output(*arguments)
        made = f"\n\nMade on {today} by `make figures` (`python {' '.join(arguments)}`)."
        place(ROOT / "models" / model / "README.md", text + made)
        (mean,) = [line for line in text.splitlines() if line.startswith("| mean |")]
        cells = [cell.strip() for cell in mean.strip("|").split("|")]
        accuracies.append(
            f"| [{model}](models/{model}) | {cells[1]} | {cells[2]} | {cells[3]} | {cells[4]} |"
        )
    for stale in OUT.glob("*.spk"):
        stale.unlink()
    costs = output("tools/bench.py", "--out", str(OUT.relative_to(ROOT))).split("\n\n")[0]
    place(
        ROOT / "README.md",
        "\n".join(
            [
                "Accuracy on the 360 held-out digits, mean of seeds 0, 1 and 2; drift is the mean"
                " size of integer less float, in points:",
                "",
                "| model | float | integer | drift | weights, bytes |",
                "| --- | --- | --- | --- | --- |",
                *accuracies,
                "",
                "Cost of one inference: retired instructions in QEMU with `-icount`,"
                " mean of the 360 digits, seed 0; bytes of the whole image with agent and link."
                " An effective AC is NeuroBench's: a non-zero input meets a non-zero weight.",
                "",
                costs,
                "",
                f"Made on {today} by `make figures`.",
            ]
        ),
    )


if __name__ == "__main__":
    main()

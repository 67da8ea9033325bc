"""`make figures`: makes every table of the READMEs again, between their marks.

Trains every spiking model over three seeds and runs the benchmarks; some minutes. `figures.py int8`
makes those of the int8 models only: the one beside other runtimes, where SPIKELET_MODELS names the
folder of reference models, and those of the packages that are kept in models/, whose accuracy is
measured again where SPIKELET_DATA names the folder of their data sets.
"""

from __future__ import annotations

import datetime
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import bench

from spikelet.package import Package

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


def place(path: Path, mark: str, text: str) -> None:
    """Put `text` between the marks of a README."""
    page = path.read_text(encoding="utf-8")
    marked = f"<!-- {mark} -->\n{text}\n<!-- /{mark} -->"
    pattern = rf"<!-- {mark} -->\n.*?<!-- /{mark} -->"
    new, count = re.subn(pattern, lambda _: marked, page, flags=re.DOTALL)
    if count != 1:
        sys.exit(f"{path}: no single pair of {mark} marks")
    path.write_text(new, encoding="utf-8")


def spiking(today: str) -> None:
    """Accuracy and cost of the spiking models."""
    accuracies = []
    for model in MODELS:
        arguments = ("-m", "spikelet.train.report", f"models/{model}", "--seeds", *SEEDS)
        text = output(*arguments)
        made = f"\n\nMade on {today} by `make figures` (`python {' '.join(arguments)}`)."
        place(ROOT / "models" / model / "README.md", "figures", text + made)
        (mean,) = [line for line in text.splitlines() if line.startswith("| mean |")]
        cells = [cell.strip() for cell in mean.strip("|").split("|")]
        accuracies.append(
            f"| [{model}](models/{model}) | {cells[1]} | {cells[2]} | {cells[3]} | {cells[4]} |"
        )
    for stale in OUT.glob("*.spk"):
        stale.unlink()
    costs = bench.table(bench.spiking(OUT), bench.SPIKING_COLUMNS)
    place(
        ROOT / "README.md",
        "figures",
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


def models(shipped: Mapping[Path, list[bench.Result]]) -> str:
    """The int8 models of models/ in a table."""
    boards = bench.INT8_BOARDS
    rows = [["model", "float", "int8", "drift", "weights, bytes", *boards]]
    rows += [["---"] * len(rows[0])]
    for folder, results in shipped.items():
        manifest = Package.load(folder / f"{folder.name}.spk").manifest
        before, after = manifest["float_accuracy"], manifest["integer_accuracy"]
        by_board = {result["board"]: result["instructions_per_inference"] for result in results}
        rows.append(
            [
                f"[{folder.name}](models/{folder.name})",
                f"{before:.4f}",
                f"{after:.4f}",
                f"{100 * (after - before):+.2f}",
                f"{results[0]['build']['weight_bytes']:,}",
                *(f"{by_board[board]:,.0f}" for board in boards),
            ]
        )
    text = (
        "Accuracy of the int8 models on their test parts, drift in points (for `ecg_cnn` see its"
        " macro-F1), and instructions of one inference on three boards, GCC:"
    )
    return "\n".join([text, "", *("| " + " | ".join(row) + " |" for row in rows)])


def int8(today: str) -> None:
    """Accuracy and cost of the int8 models."""
    made = f"Made on {today} by `make figures`."
    if beside := bench.references(OUT):
        text = (
            "Cost of one inference: retired instructions in QEMU with `-icount shift=0`, GCC 12.2;"
            " bytes of flash besides the weights, agent and link included; RAM is arena, link,"
            " agent and stack. In brackets TensorFlow Lite Micro with CMSIS-NN (Arm) or muRISCV-NN"
            " (RISC-V) on the same model, emulator and compiler. No memory plan takes less than the"
            " least arena."
        )
        costs = bench.table(beside, bench.PEER_COLUMNS)
        place(ROOT / "README.md", "int8", f"{text}\n\n{costs}\n\n{made}")
    shipped = bench.shipped()
    place(ROOT / "README.md", "models", f"{models(shipped)}\n\n{made}")
    for folder, results in shipped.items():
        costs = bench.table(results, bench.INT8_COLUMNS)
        place(folder / "README.md", "boards", f"{costs}\n\n{made}")
        if "SPIKELET_DATA" in os.environ:
            name = f"models/{folder.name}"
            arguments = ("-m", "spikelet.train.report", name, "--package")
            text = output(*arguments, f"{name}/{folder.name}.spk")
            place(folder / "README.md", "figures", f"{text}\n\n{made}")


def main() -> None:
    """Measure everything, or what is named, and write it down."""
    today = datetime.date.today().isoformat()
    OUT.mkdir(parents=True, exist_ok=True)
    for part in sys.argv[1:] or ("spiking", "int8"):
        {"spiking": spiking, "int8": int8}[part](today)


if __name__ == "__main__":
    main()

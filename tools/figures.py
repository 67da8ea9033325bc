"""`make figures`: regenerates every table of figures in README and docs, between their marks.

Without arguments all of them, which takes some minutes; otherwise the named ones:

    spiking   trains every spiking model over three seeds, and benchmarks it
    beside    the spiking packages of models/, each with an int8 network of as many bytes
    int8      the comparison with other runtimes (needs SPIKELET_MODELS), and the packages of
              models/ (accuracy is measured again if SPIKELET_DATA is set)
    learning  the table and the curves of learning on the device
    spiking-learning  the table and the curves of learning in spiking layers
    bits      docs/fewer-bits.svg: errors, bytes and instructions of the models
    cnn       docs/spiking-cnn.svg: what the network of that page spikes on a digit
    delays    docs/spiking-delays.md: what learned delays are worth and cost
    reservoir  docs/spiking-training.md: what a reservoir tells by its number of states
    bars      the bars of learning, as `tools/bars.py --json out/bars.json` measured them
"""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import bars
import bench
import bits_plot
import delays_plot
import reservoir_plot
import spiking_cnn_plot
import spiking_learning_plot
from marks import place, table

from spikelet.package import Package
from spikelet.run import SessionFolder, figures
from spikelet.run.learning.learning_record import LearningRecord
from spikelet.run.session_page import learning_view
from spikelet.train.recipe_figures import weight_bytes

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
OUT = ROOT / "out" / "bench"
MODELS = ("digits_snn", "digits_bernoulli", "digits_direct")
SEEDS = ("0", "1", "2")
TASKS = {
    "kws_ref_model": "keyword spotting",
    "pretrainedResnet_quant": "image classification",
    "vww_96_int8": "person detection",
    "ad01_int8": "anomaly detection",
}


def output(*command: str) -> str:
    """What a Python module or script prints; its standard error goes to the terminal."""
    done = subprocess.run([sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(done.returncode)
    return done.stdout.strip()


def spiking(today: str) -> None:
    """Accuracy and cost of the spiking models."""
    accuracies = []
    for model in MODELS:
        arguments = ("-m", "spikelet.train.recipe_figures", f"models/{model}", "--seeds", *SEEDS)
        text = output(*arguments)
        made = f"\n\nMade on {today} by `make figures` (`python {' '.join(arguments)}`)."
        place(ROOT / "models" / model / "README.md", "figures", text + made)
        (mean,) = [line for line in text.splitlines() if line.startswith("| mean |")]
        cells = [cell.strip() for cell in mean.strip("|").split("|")]
        accuracies.append(
            f"| [{model}](../models/{model}) | {cells[1]} | {cells[2]} | {cells[3]} | {cells[4]} |"
        )
    for stale in OUT.glob("*.spk"):
        stale.unlink()
    costs = bench.table(bench.spiking(OUT), bench.SPIKING_COLUMNS)
    place(
        DOCS / "benchmarks.md",
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
                f"[{folder.name}](../models/{folder.name})",
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


def peers(beside: Sequence[bench.Result]) -> str:
    """The comparison in one small table: a model and a core a row, the peer's figures behind."""
    cores = {"mps2-an386": "Cortex-M4", "virt-rv32": "RV32IMAC", "mps3-an547": "Cortex-M55"}
    rows = [
        [
            f"{TASKS[result['model']]}, {cores[result['board']]}",
            f"{result['instructions_per_inference'] / 1e6:.2f} M",
            f"{result['peer']['instructions'] / 1e6:.2f} M",
            f"{result['build']['code_bytes'] / 1e3:.1f} KB",
            f"{result['peer']['code'] / 1e3:.1f} KB",
            f"{result['ram_in_all_bytes'] / 1e3:.1f} KB",
            f"{result['peer']['ram'] / 1e3:.1f} KB",
        ]
        for result in beside
    ]
    head = ["model, core", "instructions", "TFLM", "code", "TFLM", "RAM in all", "TFLM"]
    return table(head, rows)


def int8(today: str) -> None:
    """Accuracy and cost of the int8 models."""
    made = f"Made on {today} by `make figures`."
    if beside := bench.references(OUT):
        text = (
            "Cost of one inference: retired instructions in QEMU with `-icount shift=0`, GCC 12.2;"
            " bytes of flash besides the weights, agent and link included; RAM is arena, link,"
            " agent and stack. In brackets TensorFlow Lite Micro with CMSIS-NN (Arm) or muRISCV-NN"
            " (RISC-V) on the same model, emulator and compiler. No memory plan takes less than the"
            " least arena. Half of vww_96_int8's MACs are left out at import, because no output"
            " depends on them."
        )
        costs = bench.table(beside, bench.PEER_COLUMNS)
        place(DOCS / "benchmarks.md", "int8", f"{text}\n\n{costs}\n\n{made}")
        place(ROOT / "README.md", "peers", f"{peers(beside)}\n\n{made}")
    shipped = bench.shipped_costs()
    place(DOCS / "benchmarks.md", "models", f"{models(shipped)}\n\n{made}")
    for folder, results in shipped.items():
        costs = bench.table(results, bench.INT8_COLUMNS)
        place(folder / "README.md", "boards", f"{costs}\n\n{made}")
        if "SPIKELET_DATA" in os.environ:
            name = f"models/{folder.name}"
            arguments = ("-m", "spikelet.train.recipe_figures", name, "--package")
            text = output(*arguments, f"{name}/{folder.name}.spk")
            place(folder / "README.md", "figures", f"{text}\n\n{made}")


def beside(today: str, only: Sequence[str] = ()) -> None:
    """Accuracy and cost of spiking packages and of an int8 network of as many bytes.

    Args:
        today: the date.
        only: names of models; all by default.
    """
    made = f"Made on {today} by `make figures`."
    for folder, networks in bench.beside(OUT, only).items():
        rows = []
        for path, results in networks.items():
            package, own = Package.load(path), path.stem == folder.name
            rows.append(
                [
                    path.stem if own else f"{path.stem}, int8 without time",
                    f"{package.manifest['integer_accuracy']:.4f}",
                    f"{weight_bytes(package.graph):,}",
                    str(package.graph.steps) if own else "",
                    *(f"{result['instructions_per_inference']:,.0f}" for result in results),
                    f"{results[0]['build']['weight_bytes']:,}",
                    f"{results[0]['build']['code_bytes']:,}",
                    f"{results[0]['build']['arena_bytes']:,}",
                    str(sum(result["mismatches"] for result in results)),
                ]
            )
        head = [
            "network", "accuracy", "weights, bytes", "steps", *bench.BESIDE_BOARDS,
            "constants in flash", "code", "arena", "mismatches",
        ]  # fmt: skip
        text = (
            "Accuracy on the whole test part; retired instructions of an inference in QEMU with"
            f" `-icount`, GCC, mean of {bench.BESIDE_SAMPLES} test samples; bytes on virt-rv32,"
            " code with agent and link."
        )
        place(folder / "README.md", "beside", f"{text}\n\n{table(head, rows)}\n\n{made}")
        if "SPIKELET_DATA" in os.environ and folder.name not in MODELS:
            name = f"models/{folder.name}"
            arguments = ("-m", "spikelet.train.recipe_figures", name, "--package")
            text = output(*arguments, f"{name}/{folder.name}.spk")
            place(folder / "README.md", "figures", f"{text}\n\n{made}")


LEARNING = "continual_digits"
LEARNING_STREAM = "class-incremental,first=5,tasks=6"
LEARNING_BOARD = "virt-rv32"
LEARNERS = ("streaming_lda", "fetril", "key_value", "nearest_mean")


def taught(package: Path, learner: str, seed: str, more: str = "") -> dict[str, Any]:
    """`spikelet learn` on the emulated board, as JSON."""
    stream = f"{LEARNING_STREAM},seed={seed}{more}"
    session = OUT.parent / "learning" / f"{learner}-{seed}"
    results: dict[str, Any] = json.loads(
        output(
            "-m", "spikelet", "learn", str(package), "--board", LEARNING_BOARD,
            "--learner", learner, "--stream", stream, "--session", str(session), "--json",
        )
    )  # fmt: skip
    return results


def learning(today: str) -> None:
    """Learning on the device: each learner over three seeds, the tutorial's curves."""
    made = f"Made on {today} by `make figures`."
    runs: dict[str, list[dict[str, Any]]] = {learner: [] for learner in LEARNERS}
    baselines: dict[str, list[dict[str, Any]]] = {"naive": [], "joint": []}
    for seed in SEEDS:
        package = OUT.parent / "learning" / f"{LEARNING}-{seed}.spk"
        output("-m", "spikelet", "train", f"models/{LEARNING}", "--seed", seed, "-o", str(package))
        for learner in LEARNERS:
            runs[learner].append(taught(package, learner, seed))
        for row in runs[LEARNERS[0]][-1]["learning"]["baselines"]:
            if row["name"] in baselines:
                baselines[row["name"]].append(row)
    head = (
        "learner", "ACC", "of seeds", "BWT, points", "maintenance", "sample efficiency",
        "learned state, bytes", "work RAM, bytes", "an inference", "a learning step more",
        "mismatches",
    )  # fmt: skip
    rows: list[tuple[str, ...]] = [
        (
            f"`{learner}`",
            *_acc([run["learning"] for run in records]),
            f"{100 * mean(run['learning']['bwt'] for run in records):+.1f}",
            f"{mean(run['learning']['performance_maintenance'] for run in records):+.1f}",
            f"{mean(run['learning']['sample_efficiency'] for run in records):.2f}",
            f"{records[0]['learning']['needs']['learned_bytes']:,}",
            f"{records[0]['learning']['needs']['work_bytes']:,}",
            f"{mean(run['instructions_per_inference'] for run in records):,.0f}",
            f"{mean(run['instructions_per_learning_step'] for run in records):,.0f}",
            str(sum(run["mismatches"] for run in records)),
        )
        for learner, records in runs.items()
    ]
    for name, what in (("naive", "online SGD head"), ("joint", "the same head, all at once")):
        lost = [row["bwt"] for row in baselines[name] if row["bwt"] is not None]
        bwt = f"{100 * mean(lost):+.1f}" if lost else ""
        rows.append((f"{name}: {what}, host", *_acc(baselines[name]), bwt, *[""] * 7))
    text = "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))
    samples = runs[LEARNERS[0]][0]
    place(
        ROOT / "models" / LEARNING / "README.md",
        "learning",
        f"Stream `{LEARNING_STREAM}`, {samples['samples']} samples, "
        f"{sum(samples['learning']['evaluation_samples'])} evaluated; seeds"
        f" {', '.join(SEEDS)} of training, stream and learner; options are the defaults, nothing"
        f" was tuned. Instructions on {LEARNING_BOARD}, means.\n\n{text}\n\n{made}",
    )
    package = OUT.parent / "learning" / f"{LEARNING}-0.spk"
    taught(package, "streaming_lda", "0", ",blocks=4")
    lines = LearningRecord(SessionFolder(OUT.parent / "learning" / "streaming_lda-0"))
    head_of = json.loads((lines.folder.path / "session.json").read_text(encoding="utf-8"))
    view = learning_view(head_of, lines.lines())
    (DOCS / "learning.svg").write_text(figures.standalone(view["curves"]) + "\n", encoding="utf-8")


def bars_table(today: str) -> None:
    """The bars of learning, where they were measured."""
    measured = OUT.parent / "bars.json"
    if measured.is_file():
        rows = bars.complete(json.loads(measured.read_text(encoding="utf-8"))["bars"])
        place(
            DOCS / "bars.md",
            "bars",
            f"{bars.table(rows)}\n\nEach run has its date; runs are of the code"
            " of that day. `native` is the firmware as a host process; twin, golden in numpy."
            f" Table made on {today} by `make bars figures`.",
        )


def _acc(runs: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    accs = [float(row["acc"]) for row in runs]
    return f"{mean(accs):.3f}", " ".join(f"{acc:.3f}" for acc in accs)


def main() -> None:
    """Measure everything, or what is named, and write it down."""
    today = datetime.date.today().isoformat()
    OUT.mkdir(parents=True, exist_ok=True)
    parts = {
        "spiking": spiking,
        "beside": beside,
        "int8": int8,
        "learning": learning,
        "spiking-learning": spiking_learning_plot.main,
        "bits": lambda today: bits_plot.main(),
        "cnn": lambda today: spiking_cnn_plot.main(),
        "delays": lambda today: delays_plot.main(),
        "reservoir": lambda today: reservoir_plot.main(),
        "bars": bars_table,
    }
    for part in sys.argv[1:] or parts:
        parts[part](today)


if __name__ == "__main__":
    main()

"""Cycles on RTL, the factors that are fitted on them, and how well others are predicted.

    python tools/cycles.py measure [OUT]   benches networks on RTL, into docs/cycles.csv
    python tools/cycles.py fit             factors.toml from it, and the tables of docs/cycles.md
    python tools/cycles.py m4              the table of the Cortex-M4 alone

`measure` takes a quarter of an hour; what lies in OUT (default out/cycles) is not measured again.
Networks of MLPerf Tiny come from SPIKELET_MODELS. The Cortex-M4 is estimated for them, beside what
the closed division measured on silicon.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import marks

from spikelet.package import Package
from spikelet.run.cycles import Prediction, predict
from spikelet.run.cycles.flash import Flash

HOUSE = Path(__file__).resolve().parents[1]
KEPT = HOUSE / "docs" / "cycles.csv"
PAGE = HOUSE / "docs" / "cycles.md"
FACTORS = HOUSE / "pytools" / "spikelet" / "run" / "cycles" / "factors.toml"
BOARDS = {"ibex": "ibex-rtl", "cv32e40p": "cv32e40p-rtl"}
FITTED = ("mnist_mlp", "digits_snn", "mnist_cnn", "ecg_cnn", "fashion_xnor")
HELD_OUT = (
    "digits_direct", "mnist_spiking_mlp", "mnist_rows", "mnist_rows_ternary", "mnist_xnor_cnn",
    "har_cnn", "kws_2bit", "kws_4bit", "kws_dscnn", "ad01_int8", "kws_ref_model",
    "pretrainedResnet_quant",
)  # fmt: skip
# Cycles on a Cortex-M4 in the closed division of MLPerf Tiny: other firmware, on silicon, a
# NUCLEO-L4R5ZI at 120 MHz, whose flash then takes five wait states (RM0432).
RECORD = {"kws_ref_model": 5.18e6, "pretrainedResnet_quant": 19.8e6, "ad01_int8": 0.575e6}
RECORD_WAIT = 5
# Cycles after which a kernel's own factor counts for half: probes cost some tens more or less,
# and a layer takes up to a tenth more by where its code lies.
DOUBTFUL = 2000.0
TINY = {"kws_ref_model": "kws", "pretrainedResnet_quant": "ic", "ad01_int8": "ad"}


def package_file(name: str, out: Path) -> Path:
    """Where a network's package is; one of MLPerf Tiny is imported first."""
    if name == "digits_snn":
        return HOUSE / "tests" / "fixtures" / "v0_1_0" / "digits_snn.spk"
    made = HOUSE / "models" / name / f"{name}.spk"
    if made.is_file():
        return made
    out.mkdir(parents=True, exist_ok=True)
    imported = out / f"{name}.spk"
    if not imported.is_file():
        source = Path(os.environ["SPIKELET_MODELS"]) / f"{name}.tflite"
        call = [sys.executable, "-m", "spikelet", "import", str(source), "-o", str(imported)]
        subprocess.run(call, check=True, stdout=subprocess.DEVNULL)
    return imported


def bench(name: str, board: str, out: Path) -> dict[str, Any]:
    """What `spikelet bench --limit 1` prints, kept in `out`."""
    file = out / f"{board}__{name}.json"
    if not file.is_file():
        call = [sys.executable, "-m", "spikelet", "bench", str(package_file(name, out))]
        call += ["--board", board, "--limit", "1", "--session", str(out / f"s-{board}-{name}")]
        made = subprocess.run([*call, "--json"], check=True, capture_output=True, text=True)
        file.write_text(made.stdout, encoding="utf-8")
    data: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if data["mismatches"]:
        raise SystemExit(f"{name} on {board}: {data['mismatches']} mismatches")
    return data


def measure(out: Path) -> None:
    """Write docs/cycles.csv: a row an operator, and a row of the whole with an empty layer."""
    rows = []
    for core, board in BOARDS.items():
        for name in (*FITTED, *HELD_OUT):
            data = bench(name, board, out)
            rows.append([core, name, "", "", f"{data['cycles_per_inference']:.0f}"])
            rows += [
                [core, name, row["name"], row["kernel"], f"{row['ticks']:.0f}"]
                for row in data["layers"]
                if row["ticks"] is not None
            ]
            print(rows[-len(data["layers"]) - 1][:2], f"{data['cycles_per_inference']:.0f}")
    with KEPT.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["core", "network", "layer", "kernel", "cycles"])
        writer.writerows(rows)


@dataclass(frozen=True)
class Measured:
    """Of one core and network: cycles of the whole, and by operator."""

    total: float
    layers: dict[str, float]


def kept() -> dict[tuple[str, str], Measured]:
    """What docs/cycles.csv holds."""
    found: dict[tuple[str, str], Measured] = {}
    with KEPT.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            key = (row["core"], row["network"])
            if row["layer"]:
                found[key].layers[row["layer"]] = float(row["cycles"])
            else:
                found[key] = Measured(float(row["cycles"]), {})
    return found


Table = dict[str, float]


def fit(predictions: dict[str, Prediction], measured: dict[str, Measured]) -> Table:
    """Measured cycles of a kernel over those of the manual, on the networks that are fitted.

    A kernel that was seen for few cycles is held near the mean of all.
    """
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for name in FITTED:
        for layer in predictions[name].layers:
            spent = measured[name].layers.get(layer.name, 0.0)
            if layer.kernel and layer.cycles[1] > 0 and spent > 0:
                for key in (layer.kernel, ""):
                    sums[key][0] += spent
                    sums[key][1] += layer.cycles[1]
    all_spent, all_said = sums.pop("")
    mean = all_spent / all_said
    return {"": mean} | {
        kernel: (spent + mean * DOUBTFUL) / (said + DOUBTFUL)
        for kernel, (spent, said) in sorted(sums.items())
    }


def total(prediction: Prediction, table: Table) -> float:
    """Cycles of a network by a table of factors."""
    mean = table.get("", 1.0)
    return sum(row.cycles[1] * table.get(row.kernel, mean) for row in prediction.layers)


def write_factors(tables: dict[str, Table]) -> None:
    """factors.toml."""
    lines = [
        "# Cycles on RTL for one of the core's manual, by kernel; an empty name is the mean, for",
        "# kernels that were not measured. Written by `python tools/cycles.py fit`, from",
        "# docs/cycles.csv, of these networks:",
        f"# {', '.join(FITTED)}.",
    ]
    for core, table in tables.items():
        lines += ["", f"[{core}]", *(f'"{name}" = {value:.4f}' for name, value in table.items())]
    FACTORS.write_text("\n".join(lines) + "\n", encoding="utf-8")


def error(predicted: float, measured: float) -> float:
    """Percent."""
    return 100 * (predicted / measured - 1)


def tables(out: Path) -> None:
    """Fit, write the factors, and the figures of docs/cycles.md."""
    measured = kept()
    made: dict[str, dict[str, Prediction]] = {}
    for core in BOARDS:
        made[core] = {}
        for name in (*FITTED, *HELD_OUT):
            package = Package.load(package_file(name, out))
            made[core][name] = predict(package, core, fitted=False)
            if made[core][name].mismatches:
                raise SystemExit(f"{name} on {core}: {made[core][name].mismatches} mismatches")
    of = {c: {n: measured[c, n] for n in (*FITTED, *HELD_OUT)} for c in BOARDS}
    fits = {core: fit(made[core], of[core]) for core in BOARDS}
    write_factors(fits)
    lines = [
        "| network | Ibex, RTL | by table | CV32E40P, RTL | not fitted on it | by its own table |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    worst: dict[tuple[str, str], float] = {}
    for name in (*FITTED, *HELD_OUT):
        ibex, other = (of[core][name].total for core in BOARDS)
        said = {
            "ibex": error(total(made["ibex"][name], fits["ibex"]), ibex),
            "moved": error(total(made["cv32e40p"][name], fits["ibex"]), other),
            "own": error(total(made["cv32e40p"][name], fits["cv32e40p"]), other),
        }
        group = "fitted" if name in FITTED else "held out"
        for key, value in said.items():
            if abs(value) > abs(worst.get((group, key), 0.0)):
                worst[group, key] = value
        label = name if name in FITTED else f"**{name}**"
        cells = [f"{said[key]:+.1f} %" for key in said]
        lines.append(
            f"| {label} | {ibex:,.0f} | {cells[0]} | {other:,.0f} | {cells[1]} | {cells[2]} |"
        )
    for group in ("fitted", "held out"):
        cells = [f"{worst.get((group, key), 0.0):+.1f} %" for key in ("ibex", "moved", "own")]
        lines.append(f"| worst, {group} | | {cells[0]} | | {cells[1]} | {cells[2]} |")
    marks.place(PAGE, "rtl", "\n".join(lines))
    print("\n".join(lines))
    cortex_m4(out)


def cortex_m4(out: Path) -> None:
    """The table of the Cortex-M4, into the page."""
    lines = [
        "| network | instructions | flash | estimate | least to most | waits | closed division "
        "| estimate / that |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, record in RECORD.items():
        package = Package.load(package_file(name, out))
        for wait in (0, RECORD_WAIT):
            said = predict(package, "cortex-m4", flash=Flash(wait))
            if said.mismatches:
                raise SystemExit(f"{name} on cortex-m4: {said.mismatches} mismatches")
            low, high = said.span
            waits = sum(layer.waits for layer in said.layers)
            lines.append(
                f"| {TINY[name]} | {said.instructions:,} | {wait} wait states "
                f"| {said.cycles:,.0f} | {low:,.0f} to {high:,.0f} | {waits:,.0f} | {record:,.0f} "
                f"| {said.cycles / record:.2f} |"
            )
    marks.place(PAGE, "m4", "\n".join(lines))
    print("\n".join(lines))


def main(words: list[str]) -> None:
    """`measure`, `fit` or `m4`."""
    out = Path(words[1]) if len(words) > 1 else HOUSE / "out" / "cycles"
    {"measure": measure, "fit": tables, "m4": cortex_m4}[words[0] if words else "fit"](out)


if __name__ == "__main__":
    main(sys.argv[1:])

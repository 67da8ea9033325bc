"""`make bench`: what the two models cost on every emulated board, as a table and as JSON.

Trains each model once (kept in the output folder), then asks `spikelet bench` for every toolchain
on QEMU with `-icount`, where instructions are counted exactly (on Arm in steps of a timer's tick).
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

BOARDS = {
    "digits_bernoulli": ("virt-rv32", "mps2-an386"),
    "digits_snn": (
        "virt-rv32",
        "sifive-e",
        "microbit",
        "mps2-an386",
        "mps2-an500",
        "mps3-an547",
    ),
}
TOOLCHAINS = ("gcc", "zig")


def spikelet(*arguments: str) -> dict[str, Any]:
    """One command's JSON; its progress goes to standard error."""
    command = [sys.executable, "-m", "spikelet", *arguments, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.returncode)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def measure(out: Path) -> list[dict[str, Any]]:
    """All benchmarks; packages that are there are used again."""
    found = []
    for model, boards in BOARDS.items():
        package = out / f"{model}.spk"
        if not package.is_file():
            spikelet("train", model, "-o", str(package))
        for board, toolchain in itertools.product(boards, TOOLCHAINS):
            arguments = ["bench", str(package), "--board", board, "--machine", "qemu"]
            found.append(spikelet(*arguments, "--toolchain", toolchain))
    return found


COLUMNS = {
    "model": lambda r: r["model"],
    "board": lambda r: r["board"],
    "toolchain": lambda r: r["build"]["toolchain"],
    "accuracy": lambda r: f"{r['accuracy']:.4f}",
    "mismatches": lambda r: str(r["mismatches"]),
    "instructions": lambda r: f"{r['instructions_per_inference']:,.0f}",
    "per effective AC": lambda r: f"{r['instructions_per_effective_synaptic_operation']:.2f}",
    "flash besides weights": lambda r: f"{r['build']['code_bytes']:,}",
    "weights": lambda r: f"{r['build']['weight_bytes']:,}",
    "RAM": lambda r: f"{r['ram_bytes']:,}",
    "stack": lambda r: f"{r['stack_bytes']:,}",
}


def table(results: list[dict[str, Any]]) -> str:
    """The results in Markdown."""
    rows = [list(COLUMNS), ["---"] * len(COLUMNS)]
    rows += [[column(result) for column in COLUMNS.values()] for result in results]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/bench"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    results = measure(arguments.out)
    path = arguments.out / "bench.json"
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(table(results))
    print(f"\n{path}")


if __name__ == "__main__":
    main()

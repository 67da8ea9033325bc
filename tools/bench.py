"""`make bench`: what models cost on emulated boards, as tables and as JSON.

Trains each spiking model once (kept in the output folder), imports the int8 models of the folder
SPIKELET_MODELS where it is set, takes the packages of models/ that are kept there, and asks
`spikelet bench` about all of them on QEMU with `-icount`, where instructions are counted exactly
(on Arm in steps of a timer's tick).
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SPIKING = {
    "digits_bernoulli": ("virt-rv32", "mps2-an386"),
    "digits_direct": ("virt-rv32", "mps2-an386"),
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
BESIDE_BOARDS = ("virt-rv32", "mps2-an386")  # that a spiking package and its int8 peer run on
# Beside a model, besides packages in its folder `int8`: others of models/, of the same data and
# about as large.
BESIDE = {
    "digits_bernoulli": ("digits_direct/int8/digits_dense",),
    "digits_snn": ("digits_direct/int8/digits_dense",),
    "har_delays": ("har_cnn/har_cnn",),
    "kws_spiking": ("kws_4bit/kws_4bit", "kws_dscnn/kws_dscnn"),
    "mnist_rows": ("mnist_cnn/mnist_cnn",),
    "mnist_rows_ternary": ("mnist_cnn/mnist_cnn",),
    "mnist_spiking_cnn": ("mnist_cnn_wide/mnist_cnn_wide",),
    "mnist_spiking_mlp": ("mnist_cnn_wide/mnist_cnn_wide", "mnist_xnor_mlp/mnist_xnor_mlp"),
    "nmnist_recurrent": ("nmnist_conv/int8/nmnist_cnn",),
}
BESIDE_SAMPLES = 20  # a spiking network takes what its spikes take
INT8_BOARDS = ("virt-rv32", "mps2-an386", "mps3-an547")
SMALL_BOARDS = ("sifive-e", "microbit")  # 16 KB of RAM: not every model fits
REFUSED = 2
INT8_SAMPLES = 4  # an int8 network takes nearly the same for any input

Result = dict[str, Any]


@dataclass(frozen=True)
class Peer:
    """TensorFlow Lite Micro 90b983c2 on the same model and core, measured in the same conditions.

    QEMU 7.2 with `-icount shift=0`, GCC 12.2, the better of -O2 and -O3; kernels are CMSIS-NN
    4ab83cc3 on Arm and muRISCV-NN 4eb6a1f6 (scalar) on RISC-V.

    Attributes:
        instructions: of an inference.
        code: bytes of flash besides the model.
        ram: bytes in all.
    """

    instructions: int
    code: int
    ram: int


PEERS = {
    ("kws_ref_model", "mps2-an386"): Peer(7_699_920, 53_896, 24_776),
    ("kws_ref_model", "virt-rv32"): Peer(14_918_448, 63_536, 24_412),
    ("kws_ref_model", "mps3-an547"): Peer(1_787_469, 45_272, 29_404),
    ("pretrainedResnet_quant", "mps2-an386"): Peer(29_863_400, 51_704, 56_952),
    ("pretrainedResnet_quant", "virt-rv32"): Peer(54_682_324, 61_216, 56_324),
    ("pretrainedResnet_quant", "mps3-an547"): Peer(4_811_093, 42_008, 57_084),
    # Bytes of these two are known to a hundred.
    ("vww_96_int8", "mps2-an386"): Peer(24_102_000, 53_900, 102_700),
    ("vww_96_int8", "virt-rv32"): Peer(44_734_371, 63_500, 102_300),
    ("vww_96_int8", "mps3-an547"): Peer(6_433_625, 45_300, 102_800),
    ("ad01_int8", "mps2-an386"): Peer(582_360, 29_400, 3_900),
    ("ad01_int8", "virt-rv32"): Peer(1_341_119, 36_900, 3_800),
    ("ad01_int8", "mps3-an547"): Peer(150_031, 21_400, 10_800),
}


def ask(*arguments: str) -> tuple[int, Result]:
    """One command's exit code and JSON; its progress goes to standard error."""
    command = [sys.executable, "-m", "spikelet", *arguments, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    result: Result = json.loads(done.stdout or "{}")
    return done.returncode, result


def spikelet(*arguments: str) -> Result:
    """The JSON of a command; exits with its code if it fails."""
    code, result = ask(*arguments)
    if code != 0:
        sys.exit(code)
    return result


def bench(package: Path, board: str, toolchain: str, *more: str) -> Result:
    """What one package costs on one board."""
    return spikelet(*_bench(package, board, toolchain), *more)


def _bench(package: Path, board: str, toolchain: str) -> tuple[str, ...]:
    arguments = ("bench", str(package), "--board", board, "--machine", "qemu")
    return (*arguments, "--toolchain", toolchain)


def spiking(out: Path) -> list[Result]:
    """The spiking models on each of their boards; packages that are there are used again."""
    return [
        bench(trained(model, out), board, toolchain)
        for model, boards in SPIKING.items()
        for board, toolchain in itertools.product(boards, TOOLCHAINS)
    ]


def trained(model: str, out: Path) -> Path:
    """A model's package in the folder `out`, where it is used again."""
    package = out / f"{model}.spk"
    if not package.is_file():
        spikelet("train", model, "-o", str(package))
    return package


def references(out: Path) -> list[Result]:
    """Costs of the reference models beside their peers; empty without SPIKELET_MODELS."""
    folder = os.environ.get("SPIKELET_MODELS")
    if folder is None:
        return []
    results = []
    for (model, board), peer in PEERS.items():
        package = out / f"{model}.spk"
        if not package.is_file():
            spikelet("import", str(Path(folder) / f"{model}.tflite"), "-o", str(package))
        result = bench(package, board, "gcc", "--limit", str(INT8_SAMPLES))
        results.append({**result, "model": model, "peer": vars(peer)})
    return results


def is_spiking(folder: Path) -> bool:
    """Whether a model's recipe has `[spiking]`; its package then stands beside an int8 one."""
    return "spiking" in tomllib.loads((folder / "recipe.toml").read_text(encoding="utf-8"))


def beside(out: Path, only: Sequence[str] = ()) -> dict[Path, dict[Path, list[Result]]]:
    """By folder of a spiking model: costs of its package and of its int8 peers, by file.

    Args:
        out: folder of packages that are not in models/; they are trained where they are not there.
        only: names of models; all by default.
    """
    shipped = {path.parent.name: path for path in sorted((ROOT / "models").glob("*/*.spk"))}
    names = {name for name, path in shipped.items() if is_spiking(path.parent)}
    found = {}
    for name in only or sorted(names.union(BESIDE)):
        folder = ROOT / "models" / name
        package = shipped[name] if name in shipped else trained(name, out)
        peers = [ROOT / f"models/{peer}.spk" for peer in BESIDE.get(name, ())]
        found[folder] = {
            each: [
                bench(each, board, "gcc", "--limit", str(BESIDE_SAMPLES)) for board in BESIDE_BOARDS
            ]
            for each in (package, *sorted(folder.glob("int8/*.spk")), *peers)
        }
    return found


def shipped_costs() -> dict[Path, list[Result]]:
    """By folder of models/, the costs of the int8 package that is kept there."""
    by_package = {}
    for package in sorted((ROOT / "models").glob("*/*.spk")):
        if package.stem == package.parent.name and not is_spiking(package.parent):
            results = by_package.setdefault(package.parent, [])
            for board in (*INT8_BOARDS, *SMALL_BOARDS):
                arguments = _bench(package, board, "gcc")
                code, result = ask(*arguments, "--limit", str(INT8_SAMPLES))
                if code == 0:
                    results.append(result)
                elif code != REFUSED or board in INT8_BOARDS:
                    sys.exit(code)
    return by_package


Column = Callable[[Result], str]
SIZES: dict[str, Column] = {
    "flash besides weights": lambda r: f"{r['build']['code_bytes']:,}",
    "weights": lambda r: f"{r['build']['weight_bytes']:,}",
}
SPIKING_COLUMNS: dict[str, Column] = {
    "model": lambda r: r["model"],
    "board": lambda r: r["board"],
    "toolchain": lambda r: r["build"]["toolchain"],
    "accuracy": lambda r: f"{r['accuracy']:.4f}",
    "mismatches": lambda r: str(r["mismatches"]),
    "instructions": lambda r: f"{r['instructions_per_inference']:,.0f}",
    "per effective AC": lambda r: f"{r['instructions_per_effective_synaptic_operation']:.2f}",
    **SIZES,
    "RAM": lambda r: f"{r['ram_bytes']:,}",
    "stack": lambda r: f"{r['stack_bytes']:,}",
}
INT8_COLUMNS: dict[str, Column] = {
    "board": lambda r: r["board"],
    "mismatches": lambda r: str(r["mismatches"]),
    "instructions": lambda r: f"{r['instructions_per_inference']:,.0f}",
    "per MAC": lambda r: f"{r['instructions_per_mac']:.2f}",
    **SIZES,
    "arena": lambda r: f"{r['build']['arena_bytes']:,}",
    "RAM in all": lambda r: f"{r['ram_in_all_bytes']:,}",
}


def _beside(own: float, peer: int) -> str:
    return f"{own:,.0f} ({peer:,})"


PEER_COLUMNS: dict[str, Column] = {
    "model": lambda r: r["model"],
    "board": lambda r: r["board"],
    "mismatches": lambda r: str(r["mismatches"]),
    "instructions": lambda r: _beside(r["instructions_per_inference"], r["peer"]["instructions"]),
    "per MAC": lambda r: f"{r['instructions_per_mac']:.2f}",
    "of the peer's": lambda r: f"{r['instructions_per_inference'] / r['peer']['instructions']:.0%}",
    "flash besides weights": lambda r: _beside(r["build"]["code_bytes"], r["peer"]["code"]),
    "arena": lambda r: f"{r['build']['arena_bytes']:,}",
    "least arena": lambda r: f"{r['build']['arena_bound_bytes']:,}",
    "RAM in all": lambda r: _beside(r["ram_in_all_bytes"], r["peer"]["ram"]),
}


def table(results: list[Result], columns: Mapping[str, Column]) -> str:
    """The results in Markdown."""
    rows = [list(columns), ["---"] * len(columns)]
    rows += [[column(result) for column in columns.values()] for result in results]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main() -> None:
    """Measure, print the tables, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/bench"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    results = spiking(out)
    print(table(results, SPIKING_COLUMNS))
    if beside := references(out):
        print(f"\n{table(beside, PEER_COLUMNS)}")
    for folder, costs in shipped_costs().items():
        print(f"\n{folder.name}\n{table(costs, INT8_COLUMNS)}")
        results += costs
    path = out / "bench.json"
    path.write_text(json.dumps([*results, *beside], indent=1) + "\n", encoding="utf-8")
    print(f"\n{path}")


if __name__ == "__main__":
    main()

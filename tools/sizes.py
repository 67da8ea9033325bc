"""What five packages take on three boards: code, weights, RAM and stack, in bytes.

`make bench` writes docs/sizes.csv, which is committed, so that a change shows what it moved.
`python tools/sizes.py --against` measures again and prints only what differs from that file;
`--against FILE` compares with another one. `--out FILE` writes elsewhere. Built with GCC and run in
QEMU on one of a package's own samples; about two minutes.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "docs" / "sizes.csv"
PACKAGES = {  # small and large int8 networks, a spiking one, one that learns
    "har_cnn": "models/har_cnn/har_cnn.spk",
    "ecg_cnn": "models/ecg_cnn/ecg_cnn.spk",
    "kws_dscnn": "models/kws_dscnn/kws_dscnn.spk",
    "digits_snn": "tests/fixtures/v0_1_0/digits_snn.spk",
    "clouds_streaming_lda": "tests/fixtures/v0_1_0/clouds_streaming_lda.spk",
}
BOARDS = ("virt-rv32", "mps2-an386", "mps3-an547")
COLUMNS = {  # of docs/sizes.csv: the figure of `spikelet bench --json`
    "code": "code_bytes",  # flash besides weights, agent and link included
    "weights": "weight_bytes",
    "ram": "ram_bytes",  # static, arena included
    "stack": "stack_bytes",  # what a run used of it
}

Sizes = dict[tuple[str, str], dict[str, int]]  # by package and board


def measure(path: str, board: str) -> dict[str, int]:
    """The sizes of one package on one board."""
    command = [sys.executable, "-m", "spikelet", "bench", path, "--board", board, "--json"]
    options = ["--machine", "qemu", "--toolchain", "gcc", "--limit", "1"]
    # A package's own samples, whatever data sets there are.
    environment = {name: text for name, text in os.environ.items() if name != "SPIKELET_DATA"}
    done = subprocess.run(
        [*command, *options], cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=False
    )
    if done.returncode != 0:
        sys.exit(done.returncode)
    result = json.loads(done.stdout)
    return {name: int(result[figure]) for name, figure in COLUMNS.items()}


def to_text(sizes: Mapping[tuple[str, str], Mapping[str, int]]) -> str:
    """The file's text."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["package", "board", *COLUMNS])
    rows.writerows([*key, *(row[name] for name in COLUMNS)] for key, row in sizes.items())
    return text.getvalue()


def read(text: str) -> Sizes:
    """What `to_text` wrote."""
    return {
        (row.pop("package"), row.pop("board")): {name: int(size) for name, size in row.items()}
        for row in csv.DictReader(io.StringIO(text))
    }


def changes(before: Sizes, after: Sizes) -> list[str]:
    """A line for each size that differs, and for each row that only one side has."""
    return [
        *_gone(before, after, "is gone"),
        *_gone(after, before, "is new"),
        *_differ(before, after),
    ]


def _gone(sizes: Sizes, other: Sizes, what: str) -> Iterable[str]:
    return (f"{' on '.join(key)} {what}" for key in sizes if key not in other)


def _differ(before: Sizes, after: Sizes) -> Iterable[str]:
    for key in before.keys() & after.keys():
        for name, size in after[key].items():
            if (change := size - before[key][name]) != 0:
                yield f"{' on '.join(key)}: {name} {before[key][name]:,} -> {size:,} ({change:+,})"


def main() -> None:
    """Measure; write the file, or print what moved."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--against", nargs="?", const=KEPT, type=Path, metavar="FILE")
    parser.add_argument("--out", default=KEPT, type=Path, metavar="FILE")
    asked = parser.parse_args()
    before = None if asked.against is None else read(asked.against.read_text(encoding="utf-8"))
    sizes = {
        (name, board): measure(path, board) for name, path in PACKAGES.items() for board in BOARDS
    }
    if before is None:
        asked.out.write_text(to_text(sizes), encoding="utf-8")
        print(asked.out)
        return
    print("\n".join(sorted(changes(before, sizes)) or ["no size moved"]))


if __name__ == "__main__":
    main()

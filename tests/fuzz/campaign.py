"""Runs fuzzing targets, each up to so many executions, and says what ran: `make fuzz`.

    python tests/fuzz/campaign.py [--runs N | --seconds S | --keep] [--jobs N] [--out FOLDER]
        [TARGET ...]

Targets in C (`tests/c`, libFuzzer) and in Python (`fuzz_importers.py`, atheris) run as many at once
as there are cores, each as a row of processes with a seed of their own. FOLDER keeps what they
found worth keeping (`corpus/TARGET`), what broke them (`findings/TARGET`) and what ran so far
(`counts.json`): a campaign that was stopped goes on where it was. Each begins with
`corpus/TARGET.tar.xz` (of C, in `tests/c`), which `--keep` writes anew from what FOLDER holds, made
small, and with the seeds of its format. Exit code 1 if any target has a finding.
"""

from __future__ import annotations

import argparse
import io
import json
import lzma
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

HERE = Path(__file__).resolve().parent
KEPT_BYTES = 3000  # of an input
EXECUTED = re.compile(r"stat::number_of_executed_units: (\d+)")
_counts_file = threading.Lock()


@dataclass(frozen=True)
class Target:
    """How a target runs: what it reads, the longest input (bytes), executions of one process."""

    reads: str
    max_len: int
    chunk: int
    is_c: bool = True


TARGETS = {
    "link": Target("frames, by a device without a key", 768, 500_000),
    "keyed": Target("frames, by a device with a key", 768, 500_000),
    "storage": Target("storage with any contents", 256, 1_000_000),
    "delta": Target("deltas of four forms in a C library, plain and signed", 512, 1_000_000),
    # atheris 3.0.0 holds on to what instrumented lines compare: not too long in one process.
    "tflite": Target("models of TensorFlow Lite", 1 << 16, 100_000, is_c=False),
    "onnx": Target("models of ONNX", 1 << 16, 100_000, is_c=False),
    "spk": Target("packages", 1 << 16, 100_000, is_c=False),
    "spkd": Target("delta files", 1 << 16, 100_000, is_c=False),
}


@dataclass
class Count:
    """What ran of a target: executions, seconds that they took, inputs that broke it."""

    executions: int = 0
    seconds: float = 0.0
    findings: int = 0


def command(name: str, build: Path, out: Path) -> list[str]:
    """The fuzzer and its folders, without limits."""
    target, corpus = TARGETS[name], out / "corpus" / name
    findings = out / "findings" / name
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    flags = [f"-max_len={target.max_len}", f"-artifact_prefix={findings}/", "-print_final_stats=1"]
    return [*_program(name, build), *flags, str(corpus), str(unpack(name, build / "kept"))]


def _program(name: str, build: Path) -> list[str]:
    if TARGETS[name].is_c:
        return [str(build / f"fuzz_{name}_libfuzzer")]
    return [sys.executable, str(HERE / "fuzz_importers.py"), name]


def archive(name: str) -> Path:
    """Where a target's inputs are kept."""
    return (HERE.parent / "c" if TARGETS[name].is_c else HERE) / "corpus" / f"{name}.tar.xz"


def unpack(name: str, folder: Path) -> Path:
    """A folder in `folder` with the inputs that are kept of a target."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive(name)) as kept:
        kept.extractall(folder, filter="data")
    return folder / name


def keep(name: str, build: Path, out: Path) -> None:
    """Write a target's archive anew: of what is kept and what was found, what reaches most.

    What a format's seeds reach is not kept, and of files none of more than KEPT_BYTES.
    """
    with tempfile.TemporaryDirectory() as temporary:
        small, given = Path(temporary) / name, Path(temporary) / "given"
        small.mkdir()
        given.mkdir()
        if not TARGETS[name].is_c:
            from fuzz_importers import write_seeds  # not needed for C, and slow

            write_seeds(name, small)
        seeds = {path.name for path in small.iterdir()}
        for folder in (unpack(name, build / "kept"), out / "corpus" / name):
            for path in folder.iterdir() if folder.is_dir() else ():
                if path.stat().st_size <= KEPT_BYTES and path.name not in seeds:
                    shutil.copy(path, given)
        words = [*_program(name, build), f"-max_len={TARGETS[name].max_len}", "-merge=1"]
        subprocess.run([*words, str(small), str(given)], check=True, stderr=subprocess.DEVNULL)
        with tarfile.open(archive(name), "w:xz", preset=9 | lzma.PRESET_EXTREME) as made:
            for path in sorted(small.iterdir()):
                if path.name not in seeds:
                    info = tarfile.TarInfo(f"{name}/{path.name}")
                    info.size = path.stat().st_size
                    made.addfile(info, io.BytesIO(path.read_bytes()))
    print(f"{archive(name)}: {archive(name).stat().st_size} bytes", flush=True)


def run(name: str, words: Sequence[str], count: Count, runs: int, seconds: float) -> int:
    """One process of a target, added to its count; answers its exit code."""
    limits = [f"-runs={runs}", f"-seed={1 + count.executions % (1 << 31)}"]
    if seconds:
        limits.append(f"-max_total_time={max(1, round(seconds))}")
    began = time.monotonic()
    done = subprocess.run([*words, *limits], stderr=subprocess.PIPE, text=True, errors="replace")
    executed = EXECUTED.findall(done.stderr)
    count.executions += int(executed[-1]) if executed else 0
    count.seconds += time.monotonic() - began
    if done.returncode or not executed:
        count.findings += 1
        said = f"{name}: exit code {done.returncode} of\n  {shlex.join([*words, *limits])}\n"
        print(said + done.stderr[-6000:], flush=True)
        return done.returncode or 1
    return 0


def read_counts(out: Path) -> dict[str, Count]:
    """By target, what ran so far."""
    file = out / "counts.json"
    held = json.loads(file.read_text()) if file.exists() else {}
    return {name: Count(**values) for name, values in held.items()}


def _write_count(name: str, count: Count, out: Path) -> None:
    """Beside those of other targets, which run at the same time."""
    with _counts_file:
        counts = {**read_counts(out), name: count}
        (out / "counts.json").write_text(json.dumps({k: asdict(v) for k, v in counts.items()}))


def campaign(name: str, build: Path, out: Path, runs: int, seconds: float) -> int:
    """Run a target until it has run so often in all, or so long now; exit code 1 at a finding.

    Args:
        name: of TARGETS.
        build: folder of the targets in C.
        out: folder that is kept.
        runs: executions, with those of earlier campaigns.
        seconds: of this campaign, whatever the executions; 0 for none.
    """
    with _counts_file:
        count = read_counts(out).get(name, Count())
    words, end = command(name, build, out), time.monotonic() + seconds
    most, code = TARGETS[name].chunk, 0
    while not code:
        left = end - time.monotonic() if seconds else 0
        chunk = most if seconds else min(most, runs - count.executions)
        if chunk <= 0 or (seconds and left < 0.5):
            break
        code = run(name, words, count, chunk, left)
        _write_count(name, count, out)
        print(f"{name}: {count.executions} executions", flush=True)
    return code


def summary(names: Sequence[str], out: Path) -> str:
    """One line for each target: executions, seconds, executions a second, findings."""
    counts = read_counts(out)
    lines = [f"{'target':8} {'executions':>12} {'seconds':>9} {'a second':>9} {'findings':>9}"]
    for name in names:
        count = counts.get(name, Count())
        rate = count.executions / count.seconds if count.seconds else 0
        lines.append(
            f"{name:8} {count.executions:12} {count.seconds:9.0f} {rate:9.0f} {count.findings:9}"
        )
    return "\n".join(lines)


def main() -> int:
    """Run all of the targets that are named, whatever one of them finds."""
    cores = os.cpu_count() or 1
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("targets", nargs="*", default=list(TARGETS), help=", ".join(TARGETS))
    limit = parser.add_mutually_exclusive_group()
    limit.add_argument("--runs", type=int, default=10_000_000, help="of each, with those before")
    limit.add_argument("--seconds", type=float, default=0, help="of each, whatever ran before")
    limit.add_argument("--keep", action="store_true", help="write the archives; run nothing")
    parser.add_argument("--jobs", type=int, default=cores, help="targets at once; else %(default)s")
    parser.add_argument("--out", type=Path, default=Path("out/fuzz"))
    parser.add_argument("--build", type=Path, default=HERE.parents[1] / "build" / "tests-c")
    given = parser.parse_args()
    out, build = given.out.resolve(), given.build.resolve()
    if given.keep:
        for name in given.targets:
            keep(name, build, out)
        return 0
    with ThreadPoolExecutor(given.jobs) as pool:
        run_one = partial(campaign, build=build, out=out, runs=given.runs, seconds=given.seconds)
        codes = list(pool.map(run_one, given.targets))
    print(summary(given.targets, out))
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())

"""Soak of the link: tensors to and from the real agent over a wire with bit errors.

    python tests/soak_link.py --frames 1000000 --ber 1e-5 --json soak.json
    python tests/soak_link.py --curve --frames 20000 --json curve.json --plot goodput.png

Every tensor is written, read back and compared, and every run's output is compared with the
model's twin in Python. `wrong` counts tensors that were accepted with a wrong byte; it must be 0.
Goodput counts each tensor byte once, however often it was sent.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
import zlib
from collections.abc import Sequence
from pathlib import Path

from link_agent import build_device, echo_outputs, start
from spikelet.errors import LinkDead
from spikelet.link import Device

CURVE = (0.0, 1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 2e-4, 4e-4)
MOST_DEATHS = 20


def exchange(device: Device, image: bytes, crc: int, mix: bytes) -> int:
    """Run an image, write and read tensors; how many things came back wrong."""
    wrong = int(device.run(inputs={"image": image}, deadline_s=20).outputs_crc != crc)
    device.put("mix", mix)
    back = device.get_many(["image", "mix"])
    return wrong + (back["image"] != image) + (back["mix"] != mix)


def soak(device_elf: Path, frames: int, ber: float, seed: int) -> dict[str, float]:
    """Runs until the host has received `frames` good frames; the figures of it."""
    rng = random.Random(seed)
    # An image costs its twin some work: a few are made once, and come in random order.
    images = [rng.randbytes(300) for _ in range(16)]
    crcs = [zlib.crc32(echo_outputs(image)[1]) for image in images]
    wrong = deaths = runs = 0
    bad = retries = sent = moved = got = 0
    seconds = 0.0
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        faults = ["--seed", str(seed), "--report", str(report), "--ber", str(ber)]
        with start(device_elf, faults) as machine:
            device = Device(machine.transport)
            while device.stats.frames < frames and deaths <= MOST_DEATHS:
                runs += 1
                pick = rng.randrange(len(images))
                try:
                    wrong += exchange(device, images[pick], crcs[pick], rng.randbytes(1200))
                except LinkDead:  # five tries in a row were lost: likely only far above 1e-4
                    deaths += 1
            stats = device.stats
            got, bad, retries, sent = stats.frames, stats.bad_frames, stats.retries, stats.sent
            moved, seconds = stats.bytes, stats.seconds
        counts = json.loads(report.read_text())
    return {
        "ber": ber,
        "seed": seed,
        "frames": got,
        "sent": sent,
        "bad_frames": bad,
        "retries": retries,
        "flipped_bits": sum(part.get("flip", 0) for part in counts.values()),
        "tensor_bytes": moved,
        "runs": runs,
        "wrong": wrong,
        "link_deaths": deaths,
        "seconds": round(time.monotonic() - started, 3),
        "goodput_bytes_per_s": round(moved / seconds) if seconds else 0,
        "efficiency": round(moved / (sum(part["bytes"] for part in counts.values()) or 1), 4),
    }


def plot(rows: Sequence[dict[str, float]], path: Path) -> None:
    """Goodput and the share of wire bytes that were tensor bytes, against the bit error rate."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    floor = 1e-7  # where an error-free wire is drawn on the logarithmic axis
    x = [row["ber"] or floor for row in rows]
    figure, axis = pyplot.subplots(figsize=(7, 4), layout="constrained")
    axis.semilogx(x, [row["goodput_bytes_per_s"] / 1000 for row in rows], "o-", label="goodput")
    axis.set(xlabel="bit error rate (leftmost: none)", ylabel="goodput, kB/s", ylim=(0, None))
    share = axis.twinx()
    share.semilogx(x, [row["efficiency"] for row in rows], "s--", color="tab:orange")
    share.set(ylabel="tensor bytes / wire bytes (dashed)", ylim=(0, 1))
    axis.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--ber", type=float, default=1e-5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--curve", action="store_true", help="the same at several bit error rates")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--plot", type=Path, help="draw the curve here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        device_elf = build_device(Path(folder) / "device")
        rates = CURVE if args.curve else (args.ber,)
        rows = [soak(device_elf, args.frames, ber, args.seed) for ber in rates]
    text = json.dumps(rows, indent=1)
    print(text)
    if args.json is not None:
        args.json.write_text(text + "\n", encoding="utf-8")
    if args.plot is not None:
        plot(rows, args.plot)
    return 1 if any(row["wrong"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())

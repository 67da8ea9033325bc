"""Goodput of the link on a line of 921,600 baud: `python tools/link_goodput.py --write`.

The device is the real agent in this process, the line's time is simulated (tests/virtual_line.py):
the same figures on every machine. A run takes no time; latency is that of a round trip.
"""

from __future__ import annotations

import sys
import tempfile
from collections import deque
from collections.abc import Callable
from pathlib import Path

HOUSE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(HOUSE / "tests"), str(HOUSE / "tools")]

from marks import measured_table  # noqa: E402

from link_agent import C_TESTS  # noqa: E402
from spikelet.codegen import generate  # noqa: E402
from spikelet.link import Device, RunResult  # noqa: E402
from spikelet.package import Package  # noqa: E402
from virtual_line import VirtualDevice, build_library  # noqa: E402

BAUD = 921_600
BYTES_A_S = BAUD / 10
LATENCIES_MS = (0, 2, 16)
RINGS = (256, 512, 2048)
LARGE = 12_000  # bytes of a large input
DIGITS = HOUSE / "tests" / "fixtures" / "v0_1_0" / "digits_snn.spk"


def stream(device: Device, inputs: dict[str, bytes], samples: int) -> None:
    """Runs a sample so often, as a session does."""
    started: deque[Callable[[], RunResult]] = deque()
    for _ in range(samples):
        started.append(device.start_run(inputs))
        while len(started) >= device.runs_ahead:
            device.outputs(started.popleft()())
    while started:
        device.outputs(started.popleft()())


def digits(folder: Path, ring: int) -> tuple[Path, dict[str, bytes]]:
    """digits_snn as a library, and a sample of it in its wire layout."""
    package = Package.load(DIGITS)
    generate(package.graph, package.sha256, folder)
    flags = (
        f"-DSPK_LINK_RING={ring}",
        f"-I{folder}",
        f"-I{HOUSE / 'firmware'}",
        "-w",
        "-Wno-error",
    )
    library = build_library(folder / f"digits-{ring}.so", flags, folder / "model.c")
    graph = package.graph
    return library, {t.name: graph.wire(t, package.vectors[t.name][0]) for t in graph.inputs}


def large(folder: Path, ring: int) -> tuple[Path, dict[str, bytes]]:
    """The model of the link's tests with an input of `LARGE` bytes."""
    text = (C_TESTS / "model_echo.c").read_text(encoding="utf-8")
    model = folder / "large.c"
    model.write_text(text.replace("N = 300,", f"N = {LARGE},"), encoding="utf-8")
    library = build_library(folder / f"large-{ring}.so", (f"-DSPK_LINK_RING={ring}",), model)
    return library, {"image": bytes(i * 7 & 0xFF for i in range(LARGE))}


def measured(
    library: Path, inputs: dict[str, bytes], round_trip_s: float, samples: int
) -> tuple[float, float]:
    """Samples a second, and the share of the line that is tensor bytes to the device."""
    line = VirtualDevice(library, BAUD, round_trip_s / 2)
    device = Device(line, clock=line.clock)
    began = line.now
    stream(device, inputs, samples)
    seconds = line.now - began
    if line.lost or device.stats.retries:
        raise RuntimeError(f"{line.lost} bytes lost, {device.stats.retries} retries")
    size = sum(len(data) for data in inputs.values())
    return samples / seconds, samples * size / seconds / BYTES_A_S


def curve() -> list[list[str]]:
    """A row for each ring and latency."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for ring in RINGS:
            big, small = large(Path(folder), ring), digits(Path(folder), ring)
            for latency in LATENCIES_MS:
                share = measured(*big, latency / 1000, 30)[1]
                rate = measured(*small, latency / 1000, 300)[0]
                rows.append([f"{ring:,} B", f"{latency} ms", f"{100 * share:.0f} %", f"{rate:.0f}"])
    return rows


def main() -> int:
    """Prints the table."""
    head = ["ring", "round trip", "large inputs, of the line", "digits_snn, samples/s"]
    about = str(__doc__).splitlines()[0]
    measured_table(about, HOUSE / "docs" / "link.md", "goodput", head, curve)
    return 0


if __name__ == "__main__":
    sys.exit(main())

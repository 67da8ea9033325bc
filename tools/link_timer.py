"""The retransmission timer over rates and latencies: `python tools/link_timer.py --write`.

The device is the real agent in this process, the line's time is simulated (tests/virtual_line.py):
the same figures on every machine. A session runs samples of 300 bytes, each for 20 ms, and reads a
tensor of 1,200 bytes, first on a line that loses nothing, where nothing may be sent twice, then on
one that loses a frame in twenty both ways.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

HOUSE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(HOUSE / "tests"), str(HOUSE / "tools")]

from marks import measured_table  # noqa: E402

from link_agent import echo_outputs  # noqa: E402
from spikelet.link import Device  # noqa: E402
from spikelet.link.faults import CLEAN, Faults  # noqa: E402
from spikelet.link.faulty import FaultyTransport  # noqa: E402
from virtual_line import VirtualDevice, build_library  # noqa: E402

BAUDS = (9600, 57_600, 115_200, 460_800, 921_600, 2_000_000)
ROUND_TRIPS_MS = (0, 2, 16, 100, 300)
RING = 2048
SAMPLES = 20
RUN_S = 0.02
LOST = 0.05
CONNECT_S = 60.0


@dataclass(frozen=True)
class Figures:
    """What a session on one line took.

    Attributes:
        again: frames that were sent again.
        lost: frames that the line lost.
        wrong: answers that were not golden's.
        seconds: of the samples.
        overflown: bytes for which the device's ring had no room.
    """

    again: int
    lost: int
    wrong: int
    seconds: float
    overflown: int


def library(folder: Path) -> Path:
    """The agent with the model of the link's tests."""
    return build_library(folder / f"echo-{RING}.so", (f"-DSPK_LINK_RING={RING}",))


def measured(device_library: Path, baud: int, round_trip_s: float, faults: Faults) -> Figures:
    """One session."""
    inner = VirtualDevice(device_library, baud, round_trip_s / 2, RUN_S)
    line = FaultyTransport(inner, faults, faults, 1, inner.clock)
    device = Device(line, CONNECT_S, clock=inner.clock)
    known, before, began = device.stats.retries, line.counts.get("drop", 0), inner.now
    images = [bytes((17 * i + number) & 0xFF for i in range(300)) for number in range(SAMPLES)]
    started = [device.start_run({"image": image}, deadline_s=CONNECT_S) for image in images]
    wrong = 0
    for finish, image in zip(started, images, strict=True):
        wrong += finish().outputs != {"sum": echo_outputs(image)[1]}
    wrong += device.get("mix") != echo_outputs(images[-1])[0]
    lost = line.counts.get("drop", 0) - before
    again = device.stats.retries - known
    return Figures(again, lost, wrong, inner.now - began, inner.lost)


def grid() -> list[list[str]]:
    """A row for each rate and latency.

    Raises:
        RuntimeError: a wrong answer, or bytes for which the ring had no room.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        made = library(Path(folder))
        for baud in BAUDS:
            for latency in ROUND_TRIPS_MS:
                clean = measured(made, baud, latency / 1000, CLEAN)
                lossy = measured(made, baud, latency / 1000, Faults(drop=LOST))
                if clean.wrong or lossy.wrong or clean.overflown:
                    raise RuntimeError(f"{baud} baud, {latency} ms: {clean}, {lossy}")
                rows.append(
                    [
                        f"{baud:,}", f"{latency} ms", f"{clean.again}",
                        f"{clean.seconds:.2f} s", f"{lossy.lost}", f"{lossy.again}",
                        f"{lossy.seconds:.2f} s",
                    ]
                )  # fmt: skip
    return rows


def main() -> int:
    """Prints the table."""
    head = [
        "baud", "round trip", "sent again", "20 samples", "5 % lost: frames", "sent again",
        "20 samples",
    ]  # fmt: skip
    about = str(__doc__).splitlines()[0]
    measured_table(about, HOUSE / "docs" / "link.md", "timer", head, grid)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A session over a bad wire that a seed draws, and what is wrong with how it ended."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from link_agent import C_TESTS, echo_outputs
from spikelet.board import Firmware, build, find_board
from spikelet.errors import LinkDead
from spikelet.link import Device, DeviceReset, Transport, TransportClosed
from spikelet.link.faults import drawn
from spikelet.link.faulty import FaultyTransport
from virtual_line import VirtualDevice, build_library

SCENARIOS, QEMU_SCENARIOS = 1000, 50
CONNECT_S, RUN_S = 5.0, 5.0  # deadlines
DIAGNOSIS_S = 8.0  # for finding out what is wrong with the line, and what the device says of it
RUNS = 5
DEADLINE_S = CONNECT_S + (RUNS + 1) * (RUN_S + 10) + DIAGNOSIS_S
# Words of the cause by kind, where it is a setting.
SETTINGS = {
    "seven-bit": "7 bits", "xon-xoff": "XON/XOFF", "newline": "CR and LF", "other-baud": "baud",
}  # fmt: skip
IMAGES = [random.Random(number).randbytes(300) for number in range(RUNS)]
GOLDEN = [echo_outputs(image) for image in IMAGES]


def play(device: Device) -> int:
    """A session's samples; how many answers were wrong."""
    started = [device.start_run({"image": image}, deadline_s=RUN_S) for image in IMAGES]
    wrong = 0
    for finish, (_, sums) in zip(started, GOLDEN, strict=True):
        ran = finish()
        wrong += (ran.outputs or device.get_many(["sum"])) != {"sum": sums}
    return wrong + (device.get("mix") != GOLDEN[-1][0])


def qemu_image(folder: Path) -> Firmware:
    """The agent on a board whose UART QEMU emulates (PL011)."""
    shutil.copy(C_TESTS / "model_echo.c", folder / "model.c")
    return build(folder, find_board("lm3s6965evb"), folder / "build", toolchain="gcc")


def native_library(folder: Path) -> Path:
    """The agent for this process, with a ring of 2 KB."""
    return build_library(folder / "device.so", ("-DSPK_LINK_RING=2048",))


def slow_line(library: Path) -> tuple[Transport, Callable[[], float]]:
    """A device in this process on a line of 115,200 baud, and the clock of both."""
    inner = VirtualDevice(library, baud=115200, latency_s=0.002, run_s=0.01)
    return inner, inner.clock


def problems(seed: int, inner: Transport, clock: Callable[[], float]) -> tuple[str, str, list[str]]:
    """One session: its kind, how it ended, and what is wrong with that."""
    kind, to_device, to_host = drawn(seed)
    line = FaultyTransport(inner, to_device, to_host, seed, clock)
    began, wrong, error = clock(), 0, None
    try:
        wrong = play(Device(line, CONNECT_S, clock=clock))
    except LinkDead as dead:
        error = dead
    found = [f"{wrong} wrong answers"] if wrong else []
    if clock() - began > DEADLINE_S:
        found.append(f"took {clock() - began:.1f} s")
    found += _misnamed(kind, line, error)
    end = "right" if error is None else type(error).__name__
    where = f"seed {seed}, {kind} ({to_device} | {to_host})"
    return kind, end, [f"{where}: {text}" for text in found]


def _misnamed(kind: str, line: FaultyTransport, error: LinkDead | None) -> list[str]:
    if error is None:
        return ["passes"] if kind in ("seven-bit", "other-baud") else []
    found = []
    if not (error.what and error.cause and error.next):
        found.append("an error without cause or next step")
    if kind == "unplug" and not isinstance(error, TransportClosed | DeviceReset):
        found.append(f"unplugged, and it is {error!r}")
    if kind in SETTINGS and line.counts.get("set") and SETTINGS[kind] not in error.cause:
        found.append(f"not named: {error.cause}")
    named = [name for name, words in SETTINGS.items() if words in error.cause]
    if kind not in SETTINGS and named and "wrong baud?" not in error.cause:
        found.append(f"blamed: {error.cause}")
    return found


def play_all(
    seeds: Iterable[int], line: Callable[[], tuple[Transport, Callable[[], float]]]
) -> tuple[Counter[tuple[str, str]], list[str]]:
    """A session for each seed on what `line` gives, with its clock.

    Returns:
        How often each kind ended how, and what is wrong with that.
    """
    ends: Counter[tuple[str, str]] = Counter()
    found: list[str] = []
    for seed in seeds:
        kind, end, wrong = problems(seed, *line())
        ends[kind, end] += 1
        found += wrong
    return ends, found

"""A thousand seeded faults between a host and the real agent, in simulated time.

Each ends in the right answers or in a named error within its deadline, and where a setting of the
line is the cause the error names it.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from link_agent import echo_outputs
from once import Once
from spikelet.errors import LinkDead
from spikelet.link import Device, DeviceReset, TransportClosed
from spikelet.link.faults import CLEAN, KINDS, NEWLINES, Faults, at_other_rate, drawn
from spikelet.link.faulty import FaultyTransport
from support import need
from virtual_line import VirtualDevice, build_library

SCENARIOS = 1000
CONNECT_S, RUN_S = 5.0, 5.0  # deadlines
DIAGNOSIS_S = 6.0  # for finding out what is wrong with the line
RUNS = 5
# Words of the cause by kind, where it is a setting.
SETTINGS = {
    "seven-bit": "7 bits", "xon-xoff": "XON/XOFF", "newline": "CR and LF", "other-baud": "baud",
}  # fmt: skip
IMAGES = [random.Random(number).randbytes(300) for number in range(RUNS)]
GOLDEN = [echo_outputs(image) for image in IMAGES]


@pytest.fixture(scope="module")
def library(once: Once) -> Path:
    need("gcc")
    flags = ("-DSPK_LINK_RING=2048",)
    return once("link-library", lambda folder: build_library(folder / "device.so", flags))


def play(device: Device) -> int:
    """A session's samples; how many answers were wrong."""
    started = [device.start_run({"image": image}, deadline_s=RUN_S) for image in IMAGES]
    wrong = 0
    for finish, (_, sums) in zip(started, GOLDEN, strict=True):
        wrong += finish().outputs != {"sum": sums}
    return wrong + (device.get("mix") != GOLDEN[-1][0])


def session(line: FaultyTransport, inner: VirtualDevice) -> tuple[int, LinkDead | None]:
    """Wrong answers, and how it ended."""
    try:
        device = Device(line, CONNECT_S, clock=inner.clock)
        return play(device), None
    except LinkDead as error:
        return 0, error


def problems(seed: int, library: Path, ends: Counter[str]) -> list[str]:
    kind, to_device, to_host = drawn(seed)
    inner = VirtualDevice(library, baud=115200, latency_s=0.002, run_s=0.01)
    line = FaultyTransport(inner, to_device, to_host, seed, inner.clock)
    wrong, error = session(line, inner)
    ends[f"{kind}: {'right' if error is None else type(error).__name__}"] += 1
    found = []
    if wrong:
        found.append(f"{wrong} wrong answers")
    if inner.now > CONNECT_S + (RUNS + 1) * (RUN_S + 10) + DIAGNOSIS_S:
        found.append(f"took {inner.now:.1f} s")
    if error is not None:
        if not (error.what and error.cause and error.next):
            found.append("an error without cause or next step")
        if kind == "unplug" and not isinstance(error, TransportClosed | DeviceReset):
            found.append(f"unplugged, and it is {error!r}")
        if kind in SETTINGS and line.counts.get("set") and SETTINGS[kind] not in error.cause:
            found.append(f"not named: {error.cause}")
        named = [name for name, words in SETTINGS.items() if words in error.cause]
        if kind not in SETTINGS and named and "wrong baud?" not in error.cause:
            found.append(f"blamed: {error.cause}")
    elif kind in ("seven-bit", "other-baud"):
        found.append("passes")
    return [f"seed {seed}, {kind} ({to_device} | {to_host}): {text}" for text in found]


def test_a_thousand_scenarios(library: Path) -> None:
    ends: Counter[str] = Counter()
    found = [text for seed in range(SCENARIOS) for text in problems(seed, library, ends)]
    print(dict(sorted(ends.items())))
    assert found == []
    for kind in KINDS:
        assert sum(count for end, count in ends.items() if end.startswith(f"{kind}:")) > 60
    for kind in ("drop", "flip", "duplicate", "swap", "stall", "truncate", "garbage"):
        assert ends[f"{kind}: right"] > 20, kind
    assert ends["unplug: TransportClosed"] > 5
    assert ends["reset: DeviceReset"] > 5


def test_a_clean_line_has_no_faults(library: Path) -> None:
    inner = VirtualDevice(library, baud=115200, latency_s=0.002)
    line = FaultyTransport(inner, CLEAN, CLEAN, 0, inner.clock)
    device = Device(line, CONNECT_S, clock=inner.clock)
    assert play(device) == 0
    assert (device.stats.retries, device.stats.bad_frames, inner.lost) == (0, 0, 0)


def test_what_a_line_makes_of_bytes() -> None:
    data = bytes(range(256))
    assert at_other_rate(data, 1.0) == data
    assert at_other_rate(data, 2.0) != data != at_other_rate(data, 0.5)
    assert {len(drawn(seed)) for seed in range(30)} == {3}
    assert {drawn(seed)[0] for seed in range(30)} == set(KINDS)
    assert drawn(11) == drawn(11) and str(drawn(12)[1:]) and str(CLEAN) == "none"
    assert set(NEWLINES) >= {"cr-to-lf", "lf-to-crlf"}
    assert str(Faults(drop=0.1, newline="no-cr")) == "drop 0.1, newline no-cr"

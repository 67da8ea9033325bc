"""A thousand seeded faults between a host and the real agent, in simulated time.

Each ends in the right answers or in a named error within its deadline, and where a setting of the
line is the cause the error names it.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from once import Once
from scenarios import CONNECT_S, SCENARIOS, native_library, play, play_all, slow_line
from spikelet.link import Device
from spikelet.link.faults import CLEAN, KINDS, NEWLINES, Faults, at_other_rate, drawn
from spikelet.link.faulty import FaultyTransport
from support import need
from virtual_line import VirtualDevice


@pytest.fixture(scope="module")
def library(once: Once) -> Path:
    need("gcc")
    return once("link-library", native_library)


def test_a_thousand_scenarios(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.urandom", random.Random(0).randbytes)  # nonces: the seed says it all
    ends, found = play_all(range(SCENARIOS), lambda: slow_line(library))
    print(dict(sorted(ends.items())))
    assert found == []
    for kind in KINDS:
        assert sum(count for (of, _), count in ends.items() if of == kind) > 60
    for kind in ("drop", "flip", "duplicate", "swap", "stall", "truncate", "garbage"):
        assert ends[kind, "right"] > 20, kind
    assert ends["unplug", "TransportClosed"] > 5
    assert ends["reset", "DeviceReset"] > 5


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

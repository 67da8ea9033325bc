"""Another rate of the line: asked for, confirmed, refused, or given up by both; simulated time."""

from __future__ import annotations

from pathlib import Path

import pytest

from once import Once
from spikelet.errors import UsageError
from spikelet.link import Device, FdTransport, LinkTimeout
from spikelet.link.errors import RateFailed
from spikelet.link.faults import Faults
from spikelet.link.faulty import FaultyTransport
from spikelet.link.messages import BAUD_CONFIRM_MS
from support import need
from virtual_line import VirtualDevice, build_library

BOOT = 115_200
DATA = bytes(range(200))


@pytest.fixture(scope="module")
def library(once: Once) -> Path:
    need("gcc")
    flags = ("-DSPK_LINK_RING=2048",)
    return once("link-library", lambda folder: build_library(folder / "device.so", flags))


def echo_s(line: VirtualDevice, device: Device) -> float:
    began = line.now
    assert device.echo_many([DATA] * 20) == [DATA] * 20
    return line.now - began


def test_both_change_and_go_back_at_the_end(library: Path) -> None:
    line = VirtualDevice(library, BOOT)
    device = Device(line, clock=line.clock)
    slow_s = echo_s(line, device)
    device.set_baud(1_000_000)
    assert (line.baud, line.rate()) == (1_000_000, 1_000_000)
    assert echo_s(line, device) < slow_s / 8
    line.now += 2 * BAUD_CONFIRM_MS / 1000  # it is confirmed, and stays
    echo_s(line, device)
    assert device.stats.retries == 0 and line.lost == 0
    device.close()
    assert (line.baud, line.rate()) == (BOOT, BOOT)


@pytest.mark.parametrize("latency_s", [0.0, 0.15])
@pytest.mark.parametrize("baud", [9600, 921_600, 2_000_000])
def test_it_is_asked_for_at_once(library: Path, latency_s: float, baud: int) -> None:
    line = VirtualDevice(library, BOOT, latency_s)
    device = Device(line, clock=line.clock, baud=baud)
    assert (line.baud, line.rate()) == (baud, baud)
    assert device.echo(DATA) == DATA
    assert device.stats.retries == 0


def test_a_device_is_found_at_the_rate_that_a_broken_session_left(library: Path) -> None:
    line = VirtualDevice(library, BOOT)
    Device(line, clock=line.clock, baud=1_000_000)
    line.set_baud(BOOT)  # another program opens the port
    with pytest.raises(LinkTimeout, match="answers at 1000000 baud"):
        Device(line, 3.0, clock=line.clock)
    again = Device(line, clock=line.clock, baud=1_000_000)
    assert again.echo(DATA) == DATA
    other = VirtualDevice.set_baud
    other(line, BOOT)
    third = Device(line, clock=line.clock, baud=1_000_000)
    third.close()
    assert (line.baud, line.rate()) == (1_000_000, 1_000_000)  # not this session's to change


def test_what_the_clock_cannot_divide_is_refused_by_its_nearest(library: Path) -> None:
    line = VirtualDevice(library, BOOT)
    device = Device(line, clock=line.clock)
    for baud, nearest in ((3_000_000, 2_000_000), (1_920_000, 1_846_153)):
        with pytest.raises(UsageError, match=f"nearest rate of its clock is {nearest}"):
            device.set_baud(baud)
    assert device.echo(DATA) == DATA
    assert (line.baud, line.rate()) == (BOOT, BOOT)


def test_a_line_that_is_too_slow_leaves_both_at_the_old_rate(library: Path) -> None:
    line = VirtualDevice(library, BOOT, limit=500_000)
    device = Device(line, clock=line.clock)
    began = line.now
    with pytest.raises(RateFailed, match="both are at 115200 again"):
        device.set_baud(1_000_000)
    assert line.now - began < 5.0
    assert (line.baud, line.rate()) == (BOOT, BOOT)
    assert device.echo(DATA) == DATA
    device.set_baud(460_800)
    assert device.echo(DATA) == DATA


@pytest.mark.parametrize("seed", range(24))
def test_a_lossy_line_ends_at_one_rate(library: Path, seed: int) -> None:
    """Whatever is lost, host and device agree in the end: requests, replies, both."""
    inner = VirtualDevice(library, BOOT, latency_s=0.002)
    lossy = Faults(drop=0.3)
    line = FaultyTransport(inner, lossy, lossy, seed, inner.clock)
    device = Device(line, 30.0, clock=inner.clock)
    try:
        device.set_baud(921_600)
        assert (line.baud, inner.rate()) == (921_600, 921_600)
    except RateFailed:
        assert (line.baud, inner.rate()) == (BOOT, BOOT)
    assert inner.now < 30.0
    assert device.tensor("image").bytes == 300


def test_a_reset_brings_the_first_rate_back(library: Path) -> None:
    line = VirtualDevice(library, BOOT)
    device = Device(line, clock=line.clock, baud=1_000_000)
    device.reset()
    assert (line.baud, line.rate()) == (1_000_000, 1_000_000)  # asked for again
    line._c.memory_boot()  # a watchdog
    with pytest.raises(LinkTimeout, match="the device was reset: it answers at 115200 baud"):
        device.echo(DATA)
    device.reconnect()
    assert device.echo(DATA) == DATA


def test_a_line_without_a_rate(device: Device) -> None:
    assert isinstance(device.transport, FdTransport)
    with pytest.raises(UsageError, match="this line has no rate"):
        device.set_baud(BOOT)

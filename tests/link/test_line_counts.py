"""What a device counts on its line, and what an error says of it and of a reset."""

from __future__ import annotations

from pathlib import Path

import pytest

from link_agent import start
from once import Once
from spikelet.cli.render import link_line
from spikelet.link import Device, DeviceReset, LinkTimeout
from spikelet.link.diagnosis import line_finding, reset_finding
from spikelet.link.replies import LineReply
from support import need
from virtual_line import VirtualDevice, build_library

QUIET = LineReply(0, 0, 0, 0, 9, 0)


@pytest.fixture(scope="module")
def library(once: Once) -> Path:
    need("gcc")
    flags = ("-DSPK_LINK_RING=2048",)
    return once("link-library", lambda folder: build_library(folder / "device.so", flags))


def test_counts_come_from_the_board(library: Path) -> None:
    line = VirtualDevice(library)
    device = Device(line, clock=line.clock)
    good = device.line_counts()
    assert good[:4] == (0, 0, 0, 0) and good.frames_good > 1 and good.frames_bad == 0
    line._c.memory_wrong(7, 2)
    assert device.line_counts()[:4] == (7, 2, 0, 0)
    assert device.line_health() == {
        "overruns": 7, "garbled": 2, "dropped": 0, "stuck": 0,
        "frames_good": good.frames_good + 2, "frames_bad": 0,
    }  # fmt: skip


def test_a_timeout_names_what_the_device_counted(
    library: Path,
) -> None:
    line = VirtualDevice(library, run_s=3.0)
    device = Device(line, clock=line.clock)
    line._c.memory_wrong(7, 0)
    with pytest.raises(LinkTimeout) as caught:
        device.start_run({"image": bytes(300)}, deadline_s=2.4)()
    assert "receiver was full 7 times" in caught.value.cause
    assert "lower --baud" in caught.value.next


@pytest.mark.parametrize(
    ("field", "cause"),
    [
        ("overruns", "was full 3 times"), ("garbled", "3 bytes came"),
        ("dropped", "no room for 3"), ("stuck", "stuck 3 times"),
    ],
)  # fmt: skip
def test_each_count_has_a_cause(field: str, cause: str) -> None:
    line = QUIET._replace(**{field: 3})
    found = line_finding(line)
    assert found is not None and cause in found[0] and found[1]
    link = {"frames": 1, "bad_frames": 0, "retries": 0, "goodput_bytes_per_s": 1.0}
    assert cause in link_line({**link, "line": line._asdict()})
    quiet = link_line({**link, "line": QUIET._asdict()})
    assert quiet == link_line({**link, "line": None}) == link_line(link)


def test_a_reset_names_its_cause(device_elf: Path, library: Path) -> None:
    with start(device_elf) as machine:
        device = Device(machine.transport)
        device.put("bomb", b"\1\0\0\0\0\0\0\0")  # a step resets the device
        with pytest.raises(DeviceReset, match="another program asked the device to"):
            device.run()
    line = VirtualDevice(library)
    virtual = Device(line, clock=line.clock)
    line._c.memory_boot()
    with pytest.raises(DeviceReset) as caught:
        virtual.echo(b"x")
    assert caught.value.cause == "its supply failed, or somebody pressed its reset button"
    fault = reset_finding(2, 7, 0x1234, 0x10)
    assert fault is not None and "cause 0x7 at pc 0x00001234, address 0x00000010" in fault[0]
    watchdog = reset_finding(3, 2, 0x1234, 0)
    assert watchdog is not None and "watchdog" in watchdog[0] and "0x00001234" in watchdog[0]
    nowhere = reset_finding(3, 0, 0, 0)
    assert nowhere is not None and "pc" not in nowhere[0] and "cannot tell where" in nowhere[1]

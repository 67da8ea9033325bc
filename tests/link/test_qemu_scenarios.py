"""Seeded faults between a host and a board whose UART QEMU emulates (PL011), in real time.

As `test_scenarios.py`: each ends in the right answers or in a named error within its deadline.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from once import Once
from scenarios import QEMU_SCENARIOS, play, play_all, qemu_image
from spikelet.board import Machine, start
from spikelet.errors import UsageError
from spikelet.link import Device, open_transport
from spikelet.link.faults import KINDS
from support import need

# Those that end soon; where a setting is wrong the connecting takes its whole deadline.
SOME = tuple(KINDS.index(kind) for kind in ("truncate", "reset", "lose", "duplicate"))


@pytest.fixture(scope="module")
def machine(once: Once) -> Iterator[Machine]:
    need("qemu-system-arm")
    need("arm-none-eabi-gcc")

    with start(once("link-qemu", qemu_image), "qemu") as machine:
        yield machine


def survive(machine: Machine, seeds: range | tuple[int, ...]) -> Counter[tuple[str, str]]:
    ends, found = play_all(seeds, lambda: (machine.transport, time.monotonic))
    print(dict(sorted(ends.items())))
    assert found == []
    assert play(Device(machine.transport, 30.0)) == 0  # whatever befell it, the board works on
    return ends


def test_some_scenarios(machine: Machine) -> None:
    assert sum(survive(machine, SOME).values()) == len(SOME)


@pytest.mark.long
def test_fifty_scenarios(machine: Machine) -> None:
    ends = survive(machine, range(QEMU_SCENARIOS))
    for kind in KINDS:
        assert sum(count for (of, _), count in ends.items() if of == kind) >= 3
    assert sum(count for (_, end), count in ends.items() if end == "right") > QEMU_SCENARIOS // 4


@pytest.fixture
def port(machine: Machine) -> Iterator[str]:
    """The machine behind a serial port of this computer."""
    pty = pytest.importorskip("pty")
    master, slave = pty.openpty()
    ended = threading.Event()

    def relay() -> None:
        while not ended.is_set():
            there = machine.transport.read(4096, 0.005)
            if there:
                os.write(master, there)
            if select.select([master], [], [], 0.0)[0]:
                machine.transport.write(os.read(master, 4096))

    thread = threading.Thread(target=relay)
    thread.start()
    yield os.ttyname(slave)
    ended.set()
    thread.join()
    os.close(master)
    os.close(slave)


def test_a_port_and_a_board_change_their_rate(port: str) -> None:
    """Neither pty nor QEMU keeps the rate: what is tried is that both sides set it, and agree."""
    line = open_transport(port)
    device = Device(line, 30.0, baud=921_600)
    assert line.baud == 921_600 and play(device) == 0
    with pytest.raises(UsageError, match="cannot change to 50000000 baud"):
        device.set_baud(50_000_000)
    assert device.line_counts()[:4] == (0, 0, 0, 0)
    device.set_baud(230_400)
    assert line.baud == 230_400 and play(device) == 0
    device.close()
    assert line.baud == 115_200

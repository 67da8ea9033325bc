"""Firmware around probe_model, built once for each board and toolchain."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from once import Once
from probes import PROBE, Probe, tool_of
from spikelet.board import Firmware, Machine, build, start
from support import need


@pytest.fixture(scope="session")
def firmware(once: Once) -> Callable[..., Firmware]:
    def make(board: str, toolchain: str) -> Firmware:
        need(tool_of(board, toolchain))
        return once(
            f"probe-{board}-{toolchain}", lambda folder: build(PROBE, board, folder, toolchain)
        )

    return make


@pytest.fixture
def probe(firmware: Callable[..., Firmware]) -> Iterator[Callable[..., Probe]]:
    """Starts a machine; every one is stopped at the end of the test."""
    running: list[Machine] = []

    def run(board: str, toolchain: str, machine: str) -> Probe:
        image = firmware(board, toolchain)
        spec = image.board.machines[machine]
        need(spec.module or (spec.argv[0] if "{" not in spec.argv[0] else "python3"))
        running.append(start(image, machine))
        return Probe(running[-1])

    yield run
    for machine in running:
        machine.stop()

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from link_agent import build_device, sanitizing_compilers, start
from once import Once
from spikelet.link import Device


def _flags() -> list[str]:
    """Sanitized where a compiler can: a broken rule then ends the device, and with it the test."""
    if sanitizing_compilers():
        return ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    return ["-O2"]


@pytest.fixture(scope="session")
def device_elf(once: Once) -> Path:
    return once("link-device", lambda folder: build_device(folder / "elf", _flags()))


@pytest.fixture(scope="session")
def ahead_elf(once: Once) -> Path:
    """A ring of 2 KB, with which four replies are kept."""
    flags = [*_flags(), "-DSPK_LINK_RING=2048"]
    return once("link-ahead", lambda folder: build_device(folder / "elf", flags))


@pytest.fixture(scope="session")
def fast_elf(once: Once) -> Path:
    return once("link-fast", lambda folder: build_device(folder / "elf", ["-O2"]))


@pytest.fixture(scope="session")
def trace_elf(once: Once) -> Path:
    return once("link-trace", lambda folder: build_device(folder / "elf", _flags(), trace=True))


@pytest.fixture(scope="session")
def learner_elf(once: Once) -> Path:
    return once("link-learner", lambda folder: build_device(folder / "elf", _flags(), learn=True))


@pytest.fixture
def learner(learner_elf: Path) -> Iterator[Device]:
    with start(learner_elf) as machine:
        yield Device(machine.transport)


@pytest.fixture
def device(device_elf: Path) -> Iterator[Device]:
    with start(device_elf) as machine:
        yield Device(machine.transport)

"""The same requests over a UART of silicon: a byte that comes too late is lost, and none is.

The machine is that of board virt-rv32 with a paced serial port: receive interrupts, 16 bytes of
FIFO, 921,600 baud, 20 million instructions a second; an erase or a write of storage stops the core
for 100 ms.
"""

from __future__ import annotations

import importlib.util
import inspect
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from link_agent import C_TESTS
from once import Once
from spikelet.board import Firmware, Machine, build, start
from spikelet.board.spec import Board, derived_board
from spikelet.link import Device, LinkTimeout
from support import need

FIFO, BAUD, MIPS = 16, 921_600, 20
STALL_US, STALL_AT = 100_000, 0x0010_0008
LOST = re.compile(
    r"(\d+) bytes lost, at most (\d+) of \d+ in the FIFO, (\d+) interrupts, (\d+) resets"
)
COUNTED = re.compile(r"(\d+) overruns, (\d+) garbled, (\d+) dropped, (\d+) stuck")
# What is of the other board: its name, its clock, how long it takes in real time.
ELSEWHERE = {
    "test_hello", "test_a_reset_in_the_middle_brings_the_committed_model_back",
    "test_an_interrupted_session_says_what_became_of_its_learning",
}  # fmt: skip


def board(fifo: int, baud: int, mips: int) -> Board:
    argv = ["{python}", "{sim}/rv32_unicorn.py", "{elf}", "--flash", "{flash}", "--ram", "{ram}"]
    argv += ["--storage", "{storage}", "--stats", "--paced", f"{fifo}:{baud}:{mips}"]
    return derived_board(
        {
            "extends": "virt-rv32", "name": "virt-rv32", "description": "with a UART of silicon",
            "defines": {"SPK_STALL_US": STALL_US, "SPK_STALL_AT": STALL_AT},
            "machines": {"unicorn": {"argv": argv}},
        }
    )  # fmt: skip


Start = Callable[..., Machine]
RESET_MOST = 64  # bytes of short requests


@pytest.fixture
def paced(once: Once) -> Iterator[Start]:
    """Starts a machine with model_echo; at the end nothing was lost on it, unless `loses`."""
    need("unicorn")
    running: list[Machine] = []
    losing: list[Machine] = []

    def run(
        learns: bool, line: tuple[int, int, int] = (FIFO, BAUD, MIPS), loses: bool = False
    ) -> Machine:
        def made(folder: Path) -> Firmware:
            shutil.copy(C_TESTS / "model_echo.c", folder / "model.c")
            return build(folder, board(*line), folder, defines=["SPK_LEARN"] if learns else [])

        machine = start(once(f"paced-{line}-{learns}", made), "unicorn")
        running.append(machine)
        losing.extend([machine] * loses)
        return machine

    yield run
    for machine in running:
        lost, most, interrupts, resets, *counted = figures(machine)
        assert interrupts > 0 and most <= FIFO
        # What a host sends while a device starts may meet one that does not listen yet.
        assert machine in losing or (lost <= resets * RESET_MOST and not any(counted))


def figures(machine: Machine) -> list[int]:
    """(lost, most in the FIFO, interrupts, resets, overruns, garbled, dropped, stuck)."""
    machine.stop()
    text = machine.stderr_text()
    parts = LOST.search(text), COUNTED.search(text)
    assert all(parts), text
    return [int(number) for part in parts if part for number in part.groups()]


@pytest.fixture
def device(paced: Start) -> Iterator[Device]:
    yield Device(paced(learns=False).transport)


@pytest.fixture
def learner(paced: Start) -> Iterator[Device]:
    yield Device(paced(learns=True).transport)


def chosen_from(module: ModuleType) -> dict[str, Callable[..., None]]:
    """Tests that ask for nothing but a device, and their parameters."""
    own = {"device", "learner"}
    chosen = {}
    for name, function in inspect.getmembers(module, inspect.isfunction):
        asked = set(inspect.signature(function).parameters)
        marks = getattr(function, "pytestmark", [])
        given = {n for m in marks if m.name == "parametrize" for n in _names(m.args[0])}
        if name.startswith("test_") and asked & own and asked <= own | given:
            chosen[name] = function
    return {name: function for name, function in chosen.items() if name not in ELSEWHERE}


def _names(argument: str | tuple[str, ...]) -> list[str]:
    return [n.strip() for n in argument.split(",")] if isinstance(argument, str) else [*argument]


def sibling(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        f"paced_{name}", Path(__file__).with_name(f"{name}.py")
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


globals().update(chosen_from(sibling("test_device")) | chosen_from(sibling("test_learn")))


def test_a_core_that_is_too_slow_loses_bytes_and_says_so(paced: Start) -> None:
    """The machine does lose: a byte in 50 instructions, and an interrupt takes more for each."""
    machine = paced(learns=False, line=(4, BAUD, 5), loses=True)
    device = Device(machine.transport)
    with pytest.raises(LinkTimeout):
        device.echo(bytes(range(200)))
    lost, _, _, _, overruns, *_ = figures(machine)
    assert lost > 0 and overruns > 0


def test_most_that_may_be_under_way_fits(paced: Start) -> None:
    """Windows of the longest frames in both directions, over and over, with runs between them."""
    machine = paced(learns=False)
    device = Device(machine.transport)
    for round_ in range(40):
        sent = [bytes((round_ + i) % 256 for i in range(243))] * 8
        assert device.echo_many(sent) == sent
        device.run(inputs={"image": bytes(300)})
    assert device.stats.bad_frames == 0

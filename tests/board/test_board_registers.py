"""Firmware of boards that no emulator has, against register models of their parts."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from link_agent import C_TESTS
from once import Once
from probes import PROBE, Probe, tool_of
from spikelet.board import Board, Firmware, Machine, MachineDied, boards, build, start
from spikelet.board.spec import derived_board
from spikelet.errors import LinkDead
from spikelet.link import Device, LearnAction
from spikelet.package import Package
from spikelet.run import SessionFolder, SessionTarget, make, package_stream, run
from support import need

MODELS = Path(__file__).resolve().parents[2] / "models"
MACHINE = "registers"
LONG = {"nucleo-h743zi"}  # the second of a family
BOARDS = [name for name, board in boards().items() if MACHINE in board.machines]
QUICK = [pytest.param(n, marks=[pytest.mark.long] * (n in LONG)) for n in BOARDS]
MISTAKES = [
    ("nucleo-l4r5zi", "reg_set(RCC_APB1ENR2, APB1ENR2_LPUART1);", "", "before its clock is on"),
    ("nucleo-l4r5zi", "ACR_5_WAITS = 5,", "ACR_5_WAITS = 1,", "wait states"),
    ("nucleo-l4r5zi", "reg_clear(PWR_CR5, CR5_R1MODE);", "", "without the boost"),
    ("nucleo-l4r5zi", "reg_set(PWR_CR2, CR2_IOSV);", "", "while the transmitter is off"),
    ("nucleo-h743zi", "reg_set(RCC_APB1LENR, APB1LENR_USART3);", "", "before its clock is on"),
    ("nucleo-h743zi", "ACR_2_WAITS = 2 |", "ACR_2_WAITS = 1 |", "wait states"),
    ("nucleo-h743zi", "reg_set(PWR_D3CR, D3CR_VOS1);", "", "without VOS1"),
    ("nucleo-h743zi", "stm32_pin(GPIOD, 8,", "stm32_pin(GPIOD, 10,", "the transmitter is off"),
    (
        "esp32-c3",
        "    watchdogs_off();\n",
        "    (void)watchdogs_off;\n",
        "a watchdog of the boot ROM",
    ),
    ("esp32-c3", "reg_write(TIMG0_WDTWPROTECT, wdt_key);", "", "without its key"),
    (
        "esp32-c3",
        "_WDTCONFIG0, WDT_CONF_UPDATE_EN);",
        "_WDTCONFIG0, 0);",
        "without WDT_CONF",
    ),
    ("esp32-c3", "PAD_RX = 1 << 9 |", "PAD_RX = 1 << 12 |", "while the transmitter is off"),
]
COUNTED = re.compile(r"(\d+) interrupts, (\d+) bytes lost, (\d+) resets, (\d+) Hz, (\d+) baud")
Start = Callable[[Firmware], Machine]


@pytest.fixture
def started() -> Iterator[Start]:
    need("unicorn")
    running: list[Machine] = []

    def begin(made: Firmware) -> Machine:
        running.append(start(made, MACHINE))
        return running[-1]

    yield begin
    for machine in running:
        machine.stop()


def counting(board: Board) -> Board:
    """The board, whose machine says at the end what it counted."""
    argv = [*board.machines[MACHINE].argv, "--stats"]
    return derived_board(
        {"extends": board.name, "name": board.name, "machines": {MACHINE: {"argv": argv}}}
    )


def figures(machine: Machine) -> list[int]:
    """(interrupts, bytes lost, resets, Hz of the core, baud)."""
    machine.transport.close()
    machine.process.wait(30)
    machine.stop()
    found = COUNTED.search(machine.stderr_text())
    assert found, machine.stderr_text()
    return [int(number) for number in found.groups()]


def probe(once: Once, name: str, changes: dict[str, int] | None = None) -> Firmware:
    need(tool_of(name, "zig"))
    board = counting(boards()[name])
    board = board.model_copy(update={"defines": {**board.defines, **(changes or {})}})
    made: Firmware = once(
        f"registers-{name}-{changes}", lambda room: build(PROBE, board, room, "zig")
    )
    return made


def test_the_boards_without_an_emulator_have_register_models() -> None:
    assert set(BOARDS) >= {"nucleo-l4r5zi", "nucleo-h743zi", "esp32-c3"}


@pytest.mark.parametrize("name", BOARDS)
def test_the_image_sets_clock_and_uart_and_receives_by_interrupts(
    name: str, once: Once, started: Start
) -> None:
    board = boards()[name]
    machine = started(probe(once, name))
    host = Probe(machine)
    info = host.device.hello
    assert board.mhz and info.tick_hz == round(board.mhz * 1e6)
    assert host.result("divide", 12345) == host.result("divide", 12345)
    ticks = [host.obey("loop", rounds).ticks for rounds in (1000, 9000)]
    assert ticks[1] > 5 * ticks[0] > 0
    interrupts, lost, resets, hz, baud = figures(machine)
    assert interrupts > 0 and (lost, resets) == (0, 0)
    assert hz == round(board.mhz * 1e6) and abs(baud / board.baud - 1) < 0.02


@pytest.mark.parametrize("name", QUICK)
def test_a_request_resets_the_part(name: str, once: Once, started: Start) -> None:
    machine = started(probe(once, name))
    host = Probe(machine)
    first = host.device.hello.boot_id
    assert host.device.reset().boot_id == first + 1
    _, lost, resets, *_ = figures(machine)
    assert (lost, resets) == (0, 1)


@pytest.mark.parametrize("name", QUICK)
def test_a_sample_equals_golden(name: str, tmp_path: Path) -> None:
    need("unicorn")
    need(tool_of(name, "zig"))
    package = Package.load(MODELS / "mnist_mlp" / "mnist_mlp.spk")
    board = counting(boards()[name])
    built = make(package, board, tmp_path / "build", toolchain="zig")
    samples = package_stream(package).head(1)
    target, folder = SessionTarget(board, built, MACHINE), SessionFolder(tmp_path / "session")
    summary, _ = run(package, target, samples, folder)
    assert (summary["samples"], summary["mismatches"]) == (1, 0)


@pytest.mark.long
@pytest.mark.parametrize("name", BOARDS)
def test_a_uart_clock_that_is_not_what_the_board_says_is_noticed(
    name: str, once: Once, started: Start
) -> None:
    hz = boards()[name].defines["SPK_UART_HZ"]
    machine = started(probe(once, name, {"SPK_UART_HZ": hz * 2}))
    with pytest.raises(LinkDead):
        Device(machine.transport)


@pytest.mark.long
@pytest.mark.parametrize(("name", "line", "instead", "says"), MISTAKES)
def test_what_a_manual_forbids_stops_the_model(
    name: str, line: str, instead: str, says: str, tmp_path: Path, started: Start
) -> None:
    """A board's own C with one mistake: the models see clocks, flash, pins and watchdogs."""
    need(tool_of(name, "zig"))
    folder = tmp_path / name
    shutil.copytree(boards()[name].folder, folder)
    source = folder / "board.c"
    text = source.read_text(encoding="utf-8")
    assert text.count(line) == 1
    source.write_text(text.replace(line, instead), encoding="utf-8")
    board = counting(boards()[name]).model_copy(update={"folder": folder})
    made = build(PROBE, board, tmp_path / "image", "zig")
    with pytest.raises(MachineDied, match=says):
        Device(started(made).transport)


@pytest.mark.long
@pytest.mark.parametrize("name", BOARDS)
def test_what_is_learned_is_in_the_flash_of_the_model(
    name: str, once: Once, started: Start
) -> None:
    need(tool_of(name, "zig"))

    def made(room: Path) -> Firmware:
        shutil.copy(C_TESTS / "model_echo.c", room / "model.c")
        return build(room, counting(boards()[name]), room, "zig", defines=["SPK_LEARN"])

    machine = started(once(f"registers-learn-{name}", made))
    device = Device(machine.transport)
    image = bytes(range(256)) + bytes(44)
    for label in (4, 0, 2):
        device.learn(label, {"image": image})
    before = device.learn_state(LearnAction.COMMIT)
    device.reset()
    after = device.learn_state()
    assert (after.crc, after.steps, after.is_committed) == (before.crc, 3, True)


@pytest.mark.parametrize("name", BOARDS)
def test_no_cycles_are_told_of_a_model(name: str) -> None:
    """Its time is bytes of code; `spikelet run` without a port starts it."""
    board = boards()[name]
    assert not board.machines[MACHINE].counts and board.transport == "machine"

"""Rosters: what is read, what is refused, and who holds a device."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from serial.tools import list_ports
from serial.tools.list_ports_common import ListPortInfo

import pages
from cli_support import small_package
from spikelet.board.held import DeviceHeld, device_place, held, held_port
from spikelet.board.roster import load_roster, reserve, reserve_free
from spikelet.errors import UsageError
from spikelet.link.errors import PortError
from spikelet.run.workflow import SessionTarget, connect

GOOD = """
[devices.left]
board = "microbit"
serial = "9900"
baud = 9600
flash = ["pyocd", "load", "--uid", "{serial}", "{elf}"]
power_cycle = ["uhubctl", "-a", "cycle", "-p", "{name}"]

[devices.right]
board = "microbit"
port = "/dev/ttyACM7"

[devices.emulated]
board = "virt-rv32"
machine = "auto"
"""


def roster(folder: Path, text: str = GOOD) -> Path:
    path = folder / "bench.toml"
    path.write_text(text)
    return path


@pytest.fixture(autouse=True)
def _own_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks of this test alone."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


@pytest.mark.quick
def test_what_a_roster_says(tmp_path: Path) -> None:
    left, right, emulated = load_roster(roster(tmp_path)).devices
    assert (left.name, left.board.name, left.where, left.baud) == (
        "left", "microbit", "USB 9900", 9600,
    )  # fmt: skip
    assert left.command(left.flash, "/dev/x", elf="a.elf") == [
        "pyocd", "load", "--uid", "9900", "a.elf",
    ]  # fmt: skip
    assert left.command(left.power_cycle, None)[-1] == "left"
    assert (right.where, emulated.where) == ("/dev/ttyACM7", "machine auto")
    of_board = load_roster(roster(tmp_path)).of_board
    assert of_board("microbit") == (left, right) and len(of_board(None)) == 3
    with pytest.raises(UsageError, match=r"no device with board native.*\n.*microbit, virt-rv32"):
        of_board("native")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[devices.a]\nboard = 1\nport = 'x'", r"devices\.a\.board: it is a board's name"),
        ("[devices.a]\nboard = 'microbot'\nport = 'x'", "did you mean 'microbit'"),
        ("[devices.a]\nport = 'x'", r"devices\.a\.board: Field required"),
        ("[devices.a]\nboard = 'native'", "needs one of port, serial and machine; it has none"),
        (
            "[devices.a]\nboard = 'native'\nport = 'x'\nserial = '1'",
            "it has port and serial",
        ),
        ("[devices.a]\nboard = 'native'\nmachine = 'qemu'", "no machine 'qemu'; it has: auto, n"),
        ("[devices.a]\nboard = 'native'\nmachine = 'pty'\nbaud = 9600", "baud is of hardware"),
        ("[devices.a]\nboard = 'native'\nport = 'x'\nports = 1", "ports: there is no such field"),
        ("[devices.'a b']\nboard = 'native'\nport = 'x'", r"devices\.a b\.name: String should m"),
        (
            "[devices.a]\nboard = 'native'\nport = 'x'\nflash = ['tool', '{file}']",
            r"\{file\} is no placeholder; there are \{name\}, .*\{elf\}, \{hex\}, \{bin\}",
        ),
        (
            "[devices.a]\nboard = 'native'\nport = 'x'\npower_cycle = ['tool', '{elf}']",
            r"power_cycle: \{elf\} is no placeholder",
        ),
        (
            "[devices.a]\nboard = 'native'\nport = 'x'\nflash = ['tool', '{elf']",
            "devices.a.flash: expected '}'",
        ),
        (
            "[devices.a]\nboard = 'native'\nport = 'x'\n[devices.b]\nboard = 'native'\nport = 'x'",
            r"devices\.b: x is that of a, too",
        ),
        ("[device.a]\nboard = 'native'", r"device: there is no such table.*\n.*no \[devices"),
        ("a = 1\n", "a: there is no such table"),
        ("[devices.a\n", "cannot read the roster"),
        ("devices = 3\n", r"it has no \[devices\.NAME\]"),
        ("[devices]\na = 3\n", r"devices\.a\.table: there is no such field"),
    ],
)
def test_what_is_refused(text: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        load_roster(roster(tmp_path, text))
    assert caught.value.next


def test_a_board_is_found_beside_the_roster(tmp_path: Path) -> None:
    board = tmp_path / "mine"
    board.mkdir()
    (board / "board.toml").write_text(
        'name = "mine"\ndescription = "ours"\nextends = "mps2-an386"\n'
    )
    found = load_roster(roster(tmp_path, "[devices.a]\nboard = './mine'\nport = 'x'")).devices
    assert found[0].board.name == "mine"


def test_the_roster_of_the_docs_is_one(tmp_path: Path) -> None:
    (text,) = [b.text for b in pages.blocks("test-bench.md") if b.language == "toml"]
    names = [device.name for device in load_roster(roster(tmp_path, text)).devices]
    assert names == ["left", "right", "emulated"]


def usb(device: str, number: str) -> ListPortInfo:
    info = ListPortInfo(device)
    info.serial_number = number
    return info


def test_a_usb_serial_number_leads_to_its_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = [usb("/dev/ttyACM3", "1111"), usb("/dev/ttyACM4", "9900")]
    monkeypatch.setattr(list_ports, "comports", lambda: there)
    left, right, _ = load_roster(roster(tmp_path)).devices
    with reserve(left) as held:
        assert held.port == "/dev/ttyACM4"
    there[1] = usb("/dev/ttyACM7", "9900")  # where the roster says that the other device is
    with reserve(left) as held, pytest.raises(DeviceHeld), reserve(right):
        assert held.port == "/dev/ttyACM7"
    there.append(usb("/dev/ttyACM5", "9900"))
    with pytest.raises(PortError, match="2 ports: /dev/ttyACM5, /dev/ttyACM7"), reserve(left):
        pass
    del there[1:]
    with (
        pytest.raises(PortError, match="left: no port has the USB serial") as caught,
        reserve(left),
    ):
        pass
    assert caught.value.next == "numbers here: 1111 (/dev/ttyACM3)"


HOLD = """
import sys, tempfile, time
from pathlib import Path
tempfile.tempdir = sys.argv[1]
from spikelet.board.roster import load_roster, reserve
with reserve(load_roster(Path(sys.argv[2])).devices[1]):
    print("held", flush=True)
    time.sleep(float(sys.argv[3]))
"""


@contextmanager
def holder(tmp_path: Path, seconds: float) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the second device."""
    words = [sys.executable, "-c", HOLD, str(tmp_path), str(roster(tmp_path)), str(seconds)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("place", ["port = '/dev/ttyACM7'", "port = 'socket://here:1'",
                                   "serial = '1'", "machine = 'auto'"])  # fmt: skip
def test_every_kind_of_device_is_held_by_whoever_names_it(tmp_path: Path, place: str) -> None:
    text = f"[devices.a]\nboard = 'native'\n{place}\n"
    (first,), (again,) = (load_roster(roster(tmp_path, text)).devices for _ in range(2))
    port = first.port

    def use() -> None:
        with held(device_place(first.port, first.serial, f"{first.roster} a"), "it"):
            pass

    use()
    with held(device_place(port, first.serial, f"{again.roster} a"), "it"):
        with pytest.raises(DeviceHeld, match=r"device a .* is held by process"), reserve(first):
            pass
        if port is not None:  # whoever names the port alone
            with pytest.raises(DeviceHeld, match=f"port {port} is held by"), held_port(port):
                pass
            target = SessionTarget(first.board, port=port)
            with pytest.raises(DeviceHeld), connect(target, small_package()):
                pass
    use()


def test_a_device_that_another_process_holds_is_waited_for_and_named(tmp_path: Path) -> None:
    _, right, emulated = load_roster(roster(tmp_path)).devices
    told: list[str] = []
    with holder(tmp_path, 60) as process:
        with pytest.raises(DeviceHeld) as caught, reserve(right, 0.2, told.append):
            pass
        assert caught.value.what == (
            f"device right (/dev/ttyACM7) is held by process {process.pid}; waited 0.2 s"
        )
        assert set(told) == {f"process {process.pid}"} and caught.value.exit_code == 3
        with reserve_free((right, emulated)) as held:
            assert held.device is emulated
        with pytest.raises(DeviceHeld) as caught, reserve_free((right,), 0.1):
            pass
        assert caught.value.what == (
            f"device right (/dev/ttyACM7) is held by process {process.pid}; waited 0.1 s"
        )
        process.send_signal(signal.SIGKILL)
        process.wait()
        with reserve(right, 5.0) as held:  # a lock dies with its holder
            assert held.port == "/dev/ttyACM7"
    with holder(tmp_path, 0.5), reserve(right, 30.0) as held:
        assert held.port == "/dev/ttyACM7"

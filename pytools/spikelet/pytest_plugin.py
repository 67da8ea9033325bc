"""pytest plugin: the fixture `spikelet_device`, a board that holds a package.

    pytest --spikelet-package mine.spk --spikelet-board virt-rv32
    pytest --spikelet-package mine.spk --spikelet-roster bench.toml

Every run of pytest loads this file where Spikelet is installed: it imports nothing of Spikelet
until a test asks for the fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from spikelet.api import Package
    from spikelet.board import Board
    from spikelet.run.checked_device import CheckedDevice
    from spikelet.run.workflow import BuiltImage, SessionTarget

SCOPES = ("function", "class", "module", "package", "session")


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options, in a group of their own in `pytest --help`."""
    group = parser.getgroup("spikelet", "boards that run a network (Spikelet)")
    group.addoption(
        "--spikelet-package", metavar="PKG", type=Path,
        help="what the device holds, NAME.spk; or define a fixture spikelet_package",
    )  # fmt: skip
    group.addoption(
        "--spikelet-board", metavar="BOARD", action="append",
        help="a board's name, or its folder; where it is given again, tests run on each",
    )  # fmt: skip
    group.addoption(
        "--spikelet-roster", metavar="FILE", type=Path,
        help="a test bench: the first device of it that is the board and is free",
    )  # fmt: skip
    group.addoption(
        "--spikelet-scope", choices=SCOPES, default="function",
        help="how long a device is kept: function (default) connects anew for each test",
    )  # fmt: skip
    group.addoption(
        "--spikelet-wait", metavar="SECONDS", type=float, default=60.0,
        help="for a device of the roster that another process holds (default: 60)",
    )  # fmt: skip
    group.addoption(
        "--spikelet-layers", action="store_true",
        help="trace builds: `check` compares every layer in every step",
    )  # fmt: skip


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test runs on each of the boards."""
    boards = metafunc.config.getoption("spikelet_board")
    if boards and "spikelet_device" in metafunc.fixturenames:
        scope = metafunc.config.getoption("spikelet_scope")
        names = [Path(board).name for board in boards]
        metafunc.parametrize("spikelet_device", boards, indirect=True, ids=names, scope=scope)


def _scope(fixture_name: str, config: pytest.Config) -> Any:
    return config.getoption("spikelet_scope")


@pytest.fixture(scope="session")
def spikelet_package(pytestconfig: pytest.Config) -> Package:
    """The package of --spikelet-package; a fixture of the same name takes its place."""
    from spikelet import load

    with _told():
        return load(_given(pytestconfig, "spikelet_package", "--spikelet-package PKG"))


@pytest.fixture(scope="session")
def _spikelet_bench(
    pytestconfig: pytest.Config,
    spikelet_package: Package,
    tmp_path_factory: pytest.TempPathFactory,
) -> _Bench:
    return _Bench(pytestconfig, spikelet_package, tmp_path_factory)


@pytest.fixture(scope=_scope)
def spikelet_device(
    request: pytest.FixtureRequest, _spikelet_bench: _Bench
) -> Iterator[CheckedDevice]:
    """A device that holds `spikelet_package`, whose weights have been compared with it.

    A board's image is built once in a run. A device of a roster with a port was flashed before; it
    is held against other processes meanwhile. One that holds something else fails each test that
    asks for it.
    """
    from spikelet.link.errors import DeviceDiffers, ModelMismatch

    known: dict[str, str] = {}
    with _told(), ExitStack() as stack:
        connection = _spikelet_bench.connect(getattr(request, "param", None), known)
        try:
            device = stack.enter_context(connection)
        except (DeviceDiffers, ModelMismatch) as error:
            yield _Refused(f"{error}")  # type: ignore[misc]
            return
        finally:  # of a test that fails in its set-up, too
            if isinstance(request.node, pytest.Item):  # properties in the JUnit file
                request.node.user_properties += known.items()
        yield device


class _Refused:
    """In place of a device that does not hold the package: whoever uses it fails."""

    def __init__(self, why: str) -> None:
        self.why = why

    def __getattr__(self, name: str) -> NoReturn:
        pytest.fail(self.why, pytrace=False)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """A test whose device does not hold the package fails: no error of the set-up."""
    device = getattr(item, "funcargs", {}).get("spikelet_device")
    if isinstance(device, _Refused):
        pytest.fail(device.why, pytrace=False)


class _Bench:
    """What a run of pytest has: the package, the boards or the roster, the images."""

    def __init__(
        self, config: pytest.Config, package: Package, folders: pytest.TempPathFactory
    ) -> None:
        self.config, self.package, self.folders = config, package, folders
        self.layers: bool = config.getoption("spikelet_layers")
        self.images: dict[str, BuiltImage] = {}

    @contextmanager
    def connect(self, board: str | None, known: dict[str, str]) -> Iterator[CheckedDevice]:
        """A device of that board, connected; notes what is known of it, as properties."""
        from spikelet.run.checked_device import CheckedDevice
        from spikelet.run.workflow import connect

        with (
            self._target(board, known) as (name, target),
            connect(target, self.package) as (link, machine),
        ):
            speed = target.speed(machine)
            folder = self.folders.mktemp("spikelet-session")
            known["spikelet_device"] = name or machine
            yield CheckedDevice(self.package, link, target.board, name or machine, speed, folder)

    @contextmanager
    def _target(
        self, board: str | None, known: dict[str, str]
    ) -> Iterator[tuple[str, SessionTarget]]:
        """The device's name on the bench, and what a session runs on."""
        from spikelet.board import find_board
        from spikelet.board.roster import load_roster, reserve_free
        from spikelet.run.workflow import SessionTarget

        file = self.config.getoption("spikelet_roster")
        if file is None:
            on = find_board(
                board or _given(self.config, "spikelet_board", "--spikelet-board BOARD")
            )
            known["spikelet_board"] = on.name
            yield "", SessionTarget(on, self._image(on))
            return
        devices = load_roster(file).of_board(board)
        known["spikelet_board"] = ", ".join(dict.fromkeys(d.board.name for d in devices))
        known["spikelet_device"] = ", ".join(d.name for d in devices)
        with reserve_free(devices, self.config.getoption("spikelet_wait")) as reserved:
            device = reserved.device
            on = device.board
            known |= {"spikelet_board": on.name, "spikelet_device": device.name}
            yield (
                device.name,
                (
                    SessionTarget(on, self._image(on), device.machine)
                    if device.machine is not None
                    else SessionTarget(on, port=reserved.port, baud=device.baud, reserved=True)
                ),
            )

    def _image(self, board: Board) -> BuiltImage:
        from spikelet.run.workflow import make

        if board.name not in self.images:
            folder = self.folders.mktemp("spikelet-image")
            self.images[board.name] = make(self.package, board, folder, trace=self.layers)
        return self.images[board.name]


def _given(config: pytest.Config, option: str, how: str) -> Any:
    """The value of an option that this test needs."""
    value = config.getoption(option)
    if value is None:
        pytest.fail(f"pytest needs {how} for the fixture spikelet_device", pytrace=False)
    return value


@contextmanager
def _told() -> Iterator[None]:
    """An error of Spikelet says itself what to do: its traceback would hide that."""
    from spikelet.errors import SpikeletError

    try:
        yield
    except SpikeletError as error:
        raise pytest.fail.Exception(f"{error}", pytrace=False) from None

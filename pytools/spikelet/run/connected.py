"""A device that holds a package: a machine that is built and started, or what is behind a port."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spikelet.board import DEFAULT_BAUD, Board, boards, held_port
from spikelet.errors import UsageError
from spikelet.link import Device as Link
from spikelet.link import open_transport
from spikelet.package import Package
from spikelet.run.asked import as_board
from spikelet.run.learner import DeviceLearner
from spikelet.run.real_device import Device
from spikelet.run.session import TICKS
from spikelet.run.workflow import SessionTarget, connect, make


@contextmanager
def connected(
    board: str | Board,
    package: Package,
    layers: bool,
    port: str | None,
    baud: int | None,
    machine: str,
    device_key: Path | None = None,
) -> Iterator[Device]:
    """The device, for as long as the `with` lasts; see `spikelet.connect`."""
    if port is None and isinstance(board, str) and _is_port(board):
        port, board = board, _board_at(board, baud)
    on = as_board(board)
    with tempfile.TemporaryDirectory(prefix="spikelet-") as folder:
        if port is not None or on.transport == "serial":
            target = SessionTarget(on, port=port, baud=baud, keyed=device_key is not None)
        else:
            built = make(package, on, Path(folder), trace=layers, device_key=device_key)
            target = SessionTarget(on, built, machine)
        with connect(target, package) as (link, _):
            yield Device(package, DeviceLearner(package.graph, link))


def _is_port(text: str) -> bool:
    """Whether it names a port and no board: a URL, a device file or COM1."""
    if text in boards() or Path(text).is_dir():
        return False
    return "://" in text or text.startswith("/dev/") or re.fullmatch(r"COM\d+", text) is not None


def _board_at(port: str, baud: int | None) -> Board:
    """A board that says of itself what the device says; `connect` then compares all of it."""
    with held_port(port), Link(open_transport(port, DEFAULT_BAUD), baud=baud) as link:
        said = link.hello
    for board in boards().values():
        if (board.isa, TICKS.index(board.tick)) == (said.isa, said.tick_unit):
            return board
    raise UsageError(
        f"{port}: no board has a core {said.isa!a:.40} that counts {TICKS[said.tick_unit]}s",
        "a board of a folder of your own, or of a plug-in that is not installed",
        f"connect(BOARD, package, port={port!r})",
    )

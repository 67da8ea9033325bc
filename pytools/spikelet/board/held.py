"""Who uses a device: one process of this user at a time, whatever command or roster names it."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from spikelet.errors import LinkDead, UsageError
from spikelet.link.transport import usb_serial
from spikelet.locks import Locked, hold
from spikelet.paths import user_id


class DeviceHeld(LinkDead):
    """Another process uses the device."""


def device_place(port: str | None, serial: str | None = None, machine: str = "") -> str:
    """What a device is: its USB serial number, where its port leads to, or a machine's name."""
    if port is None and serial is None:
        return f"machine {machine}"
    number = serial or usb_serial(port or "")
    return f"usb-{number}" if number else real_port(port or "")


def real_port(port: str) -> str:
    """The device file that a port's name leads to; a URL is what it is."""
    return os.path.realpath(port) if port.startswith("/") else port


def waited(timeout_s: float) -> str:
    """What an error says of it."""
    return f"; waited {timeout_s:g} s" if timeout_s else ""


@contextmanager
def held(
    place: str,
    what: str,
    timeout_s: float = 0.0,
    on_wait: Callable[[str], None] | None = None,
) -> Iterator[None]:
    """Hold a device against all other processes of this user.

    Args:
        place: see `device_place`.
        what: the device in words.
        timeout_s: how long to wait for a process that holds it.
        on_wait: told with the holder in words while it waits.

    Raises:
        DeviceHeld: it is still held after that time.
    """
    try:
        with hold(_lock_file(place), timeout_s, on_wait):
            yield
    except Locked as holder:
        raise DeviceHeld(
            f"{what} is held by {holder}{waited(timeout_s)}",
            "another run or test uses it",
            "wait for its end; `run --roster` and pytest wait by themselves",
        ) from None


@contextmanager
def held_port(port: str | None) -> Iterator[None]:
    """Hold the device at a port; nothing where there is none. Raises DeviceHeld."""
    if port is None:
        yield
        return
    with held(device_place(port), f"port {port}"):
        yield


def _lock_file(place: str) -> Path:
    folder = Path(tempfile.gettempdir()) / f"spikelet-devices-{user_id()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    if folder.is_symlink() or folder.stat().st_uid != user_id():
        raise UsageError(
            f"{folder} belongs to somebody else",
            "locks of devices lie there",
            "remove it, or give another folder for temporary files with TMPDIR",
        )
    name = re.sub(r"[^A-Za-z0-9]+", "-", place)[-40:].strip("-")
    return folder / f"{name}-{hashlib.sha256(place.encode()).hexdigest()[:12]}"

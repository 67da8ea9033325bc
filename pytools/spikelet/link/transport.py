"""Byte streams to a device: serial ports (any pyserial URL), sockets, pipes, pseudo-terminals."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import time
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import serial
from serial.tools import list_ports

from spikelet.errors import UsageError
from spikelet.link.errors import LinkTimeout, PortError, TransportClosed

LAST_BYTES = 48  # kept for the error report
WRITE_TIMEOUT_S = 5.0
_SLICE_S = 0.02  # one wait on a port that cannot be polled


class Transport(Protocol):
    """What the client needs of a byte stream.

    Attributes:
        name: the port, as a person would name it.
        baud: bits a second; None where there is no such thing.
        last_bytes: the last bytes read, at most `LAST_BYTES`.
        bytes_in: bytes read since it was opened.
    """

    name: str
    baud: int | None
    last_bytes: bytes
    bytes_in: int

    def read(self, max_bytes: int, timeout_s: float) -> bytes:
        """What has arrived, as soon as anything has; b"" after `timeout_s`.

        Raises:
            TransportClosed: the other end is gone.
        """

    def write(self, data: bytes) -> None:
        """Hands over all of `data`.

        Raises:
            TransportClosed: the other end is gone.
            LinkTimeout: it takes no bytes.
        """

    def close(self) -> None:
        """Gives the port back; may be called twice."""


class Paced(Transport, Protocol):
    """A transport whose rate can be set."""

    def set_baud(self, baud: int) -> None:
        """Sets the rate, once all that was written has left.

        Raises:
            OSError: a rate that the port does not have.
        """


def set_rate(transport: Transport, baud: int) -> None:
    """Sets the rate of a transport that has one; see `Paced.set_baud`."""
    set_baud = getattr(transport, "set_baud", None)
    if set_baud is None:
        raise OSError(f"{transport.name} has no rate to set")
    set_baud(baud)


class _Stream:
    """What the transports share: the record of what was read."""

    def __init__(self, name: str, baud: int | None = None) -> None:
        self.name = name
        self.baud = baud
        self.last_bytes = b""
        self.bytes_in = 0

    def _record(self, data: bytes) -> bytes:
        self.bytes_in += len(data)
        self.last_bytes = (self.last_bytes + data)[-LAST_BYTES:]
        return data

    def _closed_error(self, error: OSError | None = None) -> TransportClosed:
        detail = f" ({error.strerror or error})" if error else ""
        return TransportClosed(
            f"{self.name}: closed by the other end{detail}",
            "the simulator's process ended, or the device was unplugged or reset its USB port",
            "look at the process's last output, or plug the device in again, and repeat",
        )


class FdTransport(_Stream):
    """A socket or file descriptors: what simulators, pipes and POSIX serial ports give.

    Args:
        source: a socket, or a descriptor to read from.
        sink: a descriptor to write to; None = the same as `source`.
        name: for reports.
        baud: for reports.
    """

    def __init__(
        self,
        source: socket.socket | int,
        sink: int | None = None,
        name: str = "",
        baud: int | None = None,
    ) -> None:
        self._owner = source if isinstance(source, socket.socket) else None
        self._in = source if isinstance(source, int) else source.fileno()
        self._out = self._in if sink is None else sink
        super().__init__(name or f"fd {self._in}", baud)
        os.set_blocking(self._in, False)
        os.set_blocking(self._out, False)
        self._readable = select.poll()
        self._readable.register(self._in, select.POLLIN)
        self._writable = select.poll()
        self._writable.register(self._out, select.POLLOUT)

    def read(self, max_bytes: int, timeout_s: float) -> bytes:
        """See `Transport.read`."""
        if self._in < 0:
            raise self._closed_error()
        if not self._readable.poll(max(0.0, timeout_s) * 1000):
            return b""
        try:
            data = os.read(self._in, max_bytes)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise self._closed_error(error) from error
        if not data:
            raise self._closed_error()
        return self._record(data)

    def write(self, data: bytes) -> None:
        """See `Transport.write`."""
        if self._out < 0:
            raise self._closed_error()
        view = memoryview(data)
        deadline = time.monotonic() + WRITE_TIMEOUT_S
        while view:
            try:
                view = view[os.write(self._out, view) :]
            except BlockingIOError:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise LinkTimeout(
                        f"{self.name}: {len(view)} bytes were not taken in {WRITE_TIMEOUT_S:g} s",
                        "the device or simulator does not read: it hangs, or flow control holds it",
                        "reset the device and repeat",
                    ) from None
                self._writable.poll(left * 1000)
            except OSError as error:
                raise self._closed_error(error) from error

    def close(self) -> None:
        """See `Transport.close`."""
        if self._in < 0:
            return
        descriptors = {self._in, self._out}
        self._in = self._out = -1
        if self._owner is not None:
            descriptors.discard(self._owner.fileno())
            self._owner.close()
        for descriptor in descriptors:
            with contextlib.suppress(OSError):
                os.close(descriptor)


class SerialTransport(_Stream):
    """Any port that pyserial opens. POSIX ports are read through their descriptor."""

    def __init__(self, port: Any, name: str) -> None:
        super().__init__(name, int(port.baudrate))
        self._port = port
        self._open = True
        self._poll: select.poll | None = None
        with contextlib.suppress(Exception):  # rfc2217, loop and Windows have no descriptor
            poll = select.poll()
            poll.register(port.fileno(), select.POLLIN)
            self._poll = poll
        if self._poll is None:
            port.timeout = _SLICE_S  # set once: an rfc2217 port negotiates anew at every change

    def read(self, max_bytes: int, timeout_s: float) -> bytes:
        """See `Transport.read`."""
        if not self._open:
            raise self._closed_error()
        try:
            if self._poll is None:
                data = self._wait(timeout_s)
                waiting = self._port.in_waiting if data else 0
                if waiting:
                    data += self._port.read(min(waiting, max_bytes - 1))
            elif self._poll.poll(max(0.0, timeout_s) * 1000):
                waiting = self._port.in_waiting
                data = self._port.read(min(max(1, waiting), max_bytes))
            else:
                data = b""
        except (OSError, TypeError) as error:  # pyserial raises TypeError on a port that vanished
            raise self._closed_error(error if isinstance(error, OSError) else None) from error
        return self._record(bytes(data))

    def _wait(self, timeout_s: float) -> bytes:
        """The next byte of a port without a descriptor, b"" after the time."""
        deadline = time.monotonic() + timeout_s
        while True:
            data: bytes = self._port.read(1)
            if data or time.monotonic() >= deadline:
                return data

    def write(self, data: bytes) -> None:
        """See `Transport.write`."""
        if not self._open:
            raise self._closed_error()
        try:
            self._port.write(data)
        except serial.SerialTimeoutException as error:
            raise LinkTimeout(
                f"{self.name}: {len(data)} bytes were not taken in {WRITE_TIMEOUT_S:g} s",
                "flow control holds the port, or the USB adapter hangs",
                "switch hardware flow control off, or plug the adapter in again",
            ) from error
        except OSError as error:
            raise self._closed_error(error) from error

    def set_baud(self, baud: int) -> None:
        """See `Paced.set_baud`."""
        try:
            self._port.flush()
            self._port.baudrate = baud
        except ValueError as error:
            raise OSError(f"{self.name}: {error}") from error
        self.baud = baud

    def close(self) -> None:
        """See `Transport.close`."""
        if self._open:
            self._open = False
            with contextlib.suppress(OSError):
                self._port.close()


def port_holders(path: str) -> list[tuple[int, str]]:
    """Processes that hold a device file open: (PID, name), as far as /proc shows them (Linux)."""
    try:
        target = Path(path).stat().st_rdev
    except OSError:
        return []
    holders = []
    for process in Path("/proc").glob("[0-9]*"):
        pid = int(process.name)
        with contextlib.suppress(OSError):
            if pid != os.getpid() and _holds(process, target):
                holders.append((pid, (process / "comm").read_text().strip()))
    # First who has locked it, as pyserial does: others that have it open may use it beside us.
    locker = _locker(path)
    return sorted(holders, key=lambda holder: (holder[0] != locker, holder[0]))


def _locker(path: str) -> int | None:
    """The process that has a lock (`flock`) on a file, as far as /proc shows it (Linux)."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        status = Path(path).stat()
        device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            kind, pid, where = (line.split()[i] for i in (1, 4, 5))
            if (kind, where) == ("FLOCK", device):
                return int(pid)
    return None


def _holds(process: Path, device: int) -> bool:
    """Whether a process (a folder of /proc) has a device open; OSError where that is hidden."""
    for link in (process / "fd").iterdir():
        with contextlib.suppress(OSError):
            name = str(link.readlink())
            if name.startswith("/dev/") and Path(name).stat().st_rdev == device:
                return True
    return False


def usb_serial(port: str) -> str | None:
    """The USB serial number of a port; None where it has none, or is no port of this computer."""
    here = os.path.realpath(port)
    ports = {os.path.realpath(p.device): p.serial_number for p in list_ports.comports()}
    return ports.get(here) or None


def usb_port(serial_number: str) -> str:
    """The port of the USB device with this serial number, as the system lists it now.

    Raises:
        PortError: no port has it, or more than one; the text lists what is there.
    """
    ports = list_ports.comports()
    there: list[str] = sorted(p.device for p in ports if p.serial_number == serial_number)
    if len(there) == 1:
        return there[0]
    if there:
        raise PortError(
            f"USB serial number {serial_number} has {len(there)} ports: {', '.join(there)}",
            "a probe with several serial lines, or two devices with one number",
            "name one by `port`, for instance its link in /dev/serial/by-id",
        )
    numbers = [f"{p.serial_number} ({p.device})" for p in ports if p.serial_number]
    raise PortError(
        f"no port has the USB serial number {serial_number}",
        "the device is not plugged in, or the number is mistyped",
        f"numbers here: {', '.join(numbers) or 'none'}",
    )


def _known_ports() -> str:
    names = [port.device for port in list_ports.comports()]
    return f"ports here: {', '.join(names)}" if names else "no serial port is present"


def _port_error(url: str, baud: int, error: Exception) -> PortError:
    """The clear form of whatever pyserial or the system said."""
    code = getattr(error, "errno", None)
    text = str(error)
    what = f"{url}: cannot be opened at {baud} baud ({text})"
    holders = port_holders(url)
    if code in (errno.EBUSY, errno.EAGAIN, errno.EWOULDBLOCK) or "exclusively lock" in text:
        if holders:
            held = ", ".join(f"PID {pid} ({name})" for pid, name in holders)
            return PortError(what, f"the port is held by {held}", f"stop it: kill {holders[0][0]}")
        return PortError(what, "another process holds the port", f"find it: sudo fuser -v {url}")
    if code in (errno.EACCES, errno.EPERM):
        group, helps = "dialout", True
        with contextlib.suppress(OSError, KeyError, ImportError):
            import grp

            status = Path(url).stat()
            group = str(status.st_gid)
            # Nobody should join root's group for a port, and a group without rights opens nothing.
            helps = status.st_gid != 0 and status.st_mode & 0o060 == 0o060
            group = grp.getgrgid(status.st_gid).gr_name
        if not helps:
            return PortError(
                what,
                f"permission denied: the port belongs to the group {group}, which is root's or "
                "may not open it",
                f"run as a user who may, or for this session: sudo chmod a+rw {url}; for good a "
                'udev rule: SUBSYSTEM=="tty", GROUP="dialout", MODE="0660"',
            )
        return PortError(
            what,
            f"permission denied: the port belongs to the group {group}",
            f"add yourself to {group}: sudo usermod -aG {group} $USER, then log in again",
        )
    if code == errno.ENOENT or "No such file" in text or "could not find" in text:
        return PortError(
            what, "the device is not plugged in, or has another name", f"choose: {_known_ports()}"
        )
    if code in (errno.ENOTTY, errno.EINVAL) or "configure port" in text:
        return PortError(
            what, "this is not a serial port, or it does not know that baud", _known_ports()
        )
    return PortError(what, "the port or its address is wrong", _known_ports())


def open_transport(url: str, baud: int = 115200, timeout_s: float = 5.0) -> Transport:
    """Opens a port by its pyserial URL: a device, `socket://host:port`, `rfc2217://`, `hwgrep://`.

    Raises:
        UsageError: the URL makes no sense.
        PortError: missing, busy or forbidden; the text names the holder or the group.
    """
    if url.startswith("socket://") and hasattr(select, "poll"):  # else pyserial polls it
        return _open_socket(url, timeout_s)
    try:
        port = serial.serial_for_url(url, baudrate=baud, timeout=0, do_not_open=True)
        if not url.startswith("rfc2217://"):  # which knows no such thing
            port.write_timeout = WRITE_TIMEOUT_S
        if isinstance(port, serial.Serial) and os.name == "posix":
            port.exclusive = True
        port.open()
    except ValueError as error:
        raise UsageError(
            f"{url!r} at {baud} baud is not a port ({error})",
            "a mistyped URL or baud",
            "use a device file, socket://host:port, rfc2217://host:port or hwgrep://text",
        ) from error
    except OSError as error:
        raise _port_error(url, baud, error) from error
    return SerialTransport(port, str(port.port or url))


def _open_socket(url: str, timeout_s: float) -> Transport:
    try:
        parts = urlsplit(url)
        host, number = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError(
            f"{url!r} is not an address ({error})", next="socket://host:port"
        ) from error
    if not host or not number:
        raise UsageError(
            f"{url!r} is not an address", "host or port is missing", "socket://host:port"
        )
    try:
        connection = socket.create_connection((host, number), timeout_s)
    except OSError as error:
        raise PortError(
            f"{url}: cannot connect ({error})",
            "the simulator or serial server is not running, or listens on another port",
            "start it, then repeat",
        ) from error
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return FdTransport(connection, name=url)

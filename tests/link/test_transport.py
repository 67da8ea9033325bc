"""Ports: what can go wrong when one is opened, read or lost."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest
import serial
import serial.rfc2217

from spikelet.errors import LinkDead, UsageError
from spikelet.link import (
    Device,
    FdTransport,
    LinkTimeout,
    PortError,
    Transport,
    TransportClosed,
    diagnosis,
    open_transport,
    transport,
)


def _pty() -> tuple[int, int, str]:
    master, slave = pty.openpty()
    tty.setraw(slave)
    return master, slave, os.ttyname(slave)


def test_a_missing_port_is_named() -> None:
    with pytest.raises(PortError, match="/dev/ttyNONE7") as caught:
        open_transport("/dev/ttyNONE7")
    assert caught.value.exit_code == 3
    assert "not plugged in" in caught.value.cause
    assert "port" in caught.value.next


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_busy_port_names_the_process_that_holds_it() -> None:
    master, slave, name = _pty()
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import serial, time; p = serial.Serial({name!r}, exclusive=True); "
            "print('held', flush=True); time.sleep(60)",
        ],
        stdout=subprocess.PIPE,
    )
    os.close(slave)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(PortError) as caught:
            open_transport(name)
        assert f"held by PID {holder.pid} (" in caught.value.cause
        assert caught.value.next == f"stop it: kill {holder.pid}"
    finally:
        holder.kill()
        holder.wait()
        os.close(master)


def test_a_forbidden_port_names_the_group() -> None:
    error = transport._port_error("/dev/null", 115200, PermissionError(13, "Permission denied"))
    assert "permission denied: the port belongs to the group root" in error.cause
    assert "sudo chmod" in error.next
    assert "usermod" not in error.next
    gone = transport._port_error("/dev/gone", 115200, PermissionError(13, "Permission denied"))
    assert "sudo usermod -aG dialout $USER" in gone.next


def test_what_is_not_a_port(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    with pytest.raises(PortError, match="not a serial port"):
        open_transport(str(plain))
    for url in ("socket://localhost", "socket://:99x", "nosuch://port"):
        with pytest.raises((UsageError, LinkDead)) as caught:
            open_transport(url)
        assert caught.value.exit_code in (2, 3)


def test_a_closed_socket_is_named() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
    with pytest.raises(PortError, match="cannot connect") as caught:
        open_transport(f"socket://127.0.0.1:{number}")
    assert "not running" in caught.value.cause


def _serve(elf: Path, source: int, sink: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([str(elf)], stdin=source, stdout=sink, start_new_session=True)


@pytest.mark.parametrize("polled", [True, False])
def test_a_session_over_tcp(fast_elf: Path, polled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not polled:  # as on Windows
        monkeypatch.delattr(select, "poll")
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"socket://127.0.0.1:{server.getsockname()[1]}"
        line = open_transport(url)
        peer, _ = server.accept()
    with peer:
        process = _serve(fast_elf, peer.fileno(), peer.fileno())
    device = Device(line)
    device.put("image", bytes(range(256)) + bytes(44))
    assert device.get("image") == bytes(range(256)) + bytes(44)
    assert device.transport.name == url
    device.close()
    assert process.wait(timeout=5) == 0


@pytest.mark.quick
def test_a_session_over_a_serial_port(fast_elf: Path) -> None:
    master, slave, name = _pty()
    process = _serve(fast_elf, master, master)
    os.close(master)
    device = Device(open_transport(name, baud=57600))
    os.close(slave)
    assert device.transport.baud == 57600
    image = bytes(range(256)) + bytes(44)
    for _ in range(20):
        device.run(inputs={"image": image})
        assert device.get("image") == image
    assert device.stats.retries == 0
    process.kill()
    process.wait()
    with pytest.raises(TransportClosed):
        device.get("image")
    device.close()
    device.close()


def test_silence_and_noise_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "WAIT_S", 0.05)  # nobody is there who could answer
    for noise, cause in (
        (b"", "port opened, no byte: firmware not running?"),
        (b"\x80\xfe\x00" * 40 + b"ROM v1.2\r\n", "bytes arrive but no valid frame: wrong baud?"),
    ):
        master, slave, name = _pty()
        line = open_transport(name, baud=115200)
        os.write(master, noise)
        with pytest.raises(LinkTimeout) as caught:
            Device(line, connect_deadline_s=0.4)
        line.close()
        assert caught.value.cause == cause
        assert f"port {name}, 115200 baud; frames good 0, bad" in caught.value.what
        if noise:
            assert b"ROM v1.2".hex(" ") in caught.value.what
            assert "ROM v1.2.." in caught.value.what
        os.close(master)
        os.close(slave)


def test_a_device_that_does_not_read_cannot_hang_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "WRITE_TIMEOUT_S", 0.2)
    host, other = socket.socketpair()
    line = FdTransport(host)
    started = time.monotonic()
    with pytest.raises(LinkTimeout, match=r"were not taken in 0\.2 s"):
        line.write(bytes(10_000_000))
    assert time.monotonic() - started < 2
    line.close()
    other.close()
    with pytest.raises(TransportClosed):
        line.write(b"x")
    with pytest.raises(TransportClosed):
        line.read(1, 0.0)


def test_ctrl_c_gives_the_port_back(fast_elf: Path) -> None:
    master, slave, name = _pty()
    process = _serve(fast_elf, master, master)
    with pytest.raises(KeyboardInterrupt), Device(open_transport(name)) as device:
        main = threading.main_thread().ident
        threading.Timer(0.1, signal.pthread_kill, (main, signal.SIGINT)).start()
        while True:
            device.get("mix")
    with Device(open_transport(name)) as device:  # the lock is free, the device answers
        assert device.echo(b"again") == b"again"
        fcntl.ioctl(slave, termios.TIOCOUTQ, b"\0" * 4)
    process.kill()
    process.wait()
    os.close(master)
    os.close(slave)


@pytest.fixture
def rfc2217_server() -> Iterator[str]:
    """A telnet port server whose serial port is a loop: what is written comes back."""
    listener = socket.create_server(("127.0.0.1", 0))
    done = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        connection.settimeout(0.02)
        loop = serial.serial_for_url("loop://", timeout=0)

        class Out:
            def write(self, data: bytes) -> None:
                connection.sendall(data)

        manager = serial.rfc2217.PortManager(loop, Out())
        while not done.is_set():
            with contextlib.suppress(TimeoutError):
                loop.write(b"".join(manager.filter(connection.recv(1024))))
            waiting = loop.read(loop.in_waiting)
            if waiting:
                connection.sendall(b"".join(manager.escape(waiting)))
        connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"rfc2217://127.0.0.1:{listener.getsockname()[1]}"
    done.set()
    thread.join()
    listener.close()


def _loops(port: Transport) -> None:
    sent = bytes(range(256))
    port.write(sent)
    received = b""
    for _ in range(50):
        received += port.read(4096, 0.1)
        if len(received) >= len(sent):
            break
    assert received == sent
    assert port.read(10, 0.05) == b""
    port.close()


def test_an_rfc2217_port(rfc2217_server: str) -> None:
    _loops(open_transport(rfc2217_server))


def test_a_port_without_a_descriptor() -> None:
    _loops(open_transport("loop://"))

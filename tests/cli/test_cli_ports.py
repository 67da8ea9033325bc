"""What a person may find behind a port, and what the command line says of it."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import serial

from cli_support import INPUTS, Spikelet, serve, small_package
from spikelet.board import build, find_board
from spikelet.codegen import generate
from spikelet.link import diagnosis
from spikelet.package import Package

MANY = 4_000


@pytest.fixture(scope="module")
def image(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _image(Package.load(package), tmp_path_factory.mktemp("image"))


def _image(package: Package, folder: Path) -> Path:
    board = find_board("native")
    generate(package.graph, package.sha256, folder, target=board.target)
    return build(folder, board, folder).elf


@contextlib.contextmanager
def _server(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """Calls `serve` with each connection, one after the other; the pyserial URL."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection, contextlib.suppress(OSError):
                        serve(connection)

        threading.Thread(target=accept, daemon=True).start()
        yield f"socket://127.0.0.1:{server.getsockname()[1]}"


def _alone(err: str) -> bool:
    """Whether no progress bar stands above the error."""
    return err.startswith("error: ")


def test_a_device_with_another_model(spikelet: Spikelet, package: Path, tmp_path: Path) -> None:
    other = small_package()
    other.manifest["seed"] = 99
    other.save(tmp_path / "other.spk")
    assert other.sha256 != Package.load(package).sha256
    with serve(_image(other, tmp_path / "other")) as (url, _):
        result = spikelet("run", package, "-b", "native", "--port", url, "--json")
    error = result.json["error"]
    assert (result.code, error["kind"]) == (2, "ModelMismatch")
    assert other.sha256[:16] in error["what"] and "flash" in error["next"]
    assert _alone(result.err)


def test_a_busy_port(spikelet: Spikelet, package: Path) -> None:
    master, slave = pty.openpty()
    tty.setraw(slave)
    name = os.ttyname(slave)
    script = (
        f"import serial, time; p = serial.Serial({name!r}, exclusive=True); "
        "print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        result = spikelet("run", package, "-b", "native", "--port", name, "--json")
    finally:
        holder.kill()
        holder.communicate()
        os.close(master)
        os.close(slave)
    assert result.code == 3 and name in result.json["error"]["what"]
    assert "held" in result.json["error"]["cause"] or "holds" in result.json["error"]["cause"]
    assert _alone(result.err)


def test_a_forbidden_port(
    spikelet: Spikelet, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(port: serial.Serial) -> None:
        raise serial.SerialException(13, f"could not open port {port.port}: Permission denied")

    monkeypatch.setattr(serial.Serial, "open", refuse)
    result = spikelet("run", package, "-b", "native", "--port", "/dev/null", "--json")
    error = result.json["error"]
    assert result.code == 3 and error["cause"].startswith("permission denied")
    assert "sudo chmod" in error["next"] and "usermod" not in error["next"]
    assert _alone(result.err)


def test_garbage_on_the_wire(
    spikelet: Spikelet, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosis, "WAIT_S", 0.05)  # nobody is there who could answer
    noise = np.random.default_rng(2).integers(0, 256, 4096).astype(np.uint8).tobytes()

    def babble(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection.sendall(noise[:64])
                time.sleep(0.02)

    with _server(babble) as url:
        result = spikelet("run", package, "-b", "native", "--port", url, "--json")
    assert result.code == 3 and result.json["error"]["next"]
    lines = result.err.splitlines()
    assert _alone(result.err) and "last bytes" not in lines[0]
    assert lines[1].startswith("  likely cause: ")
    assert lines[-1].startswith("  link: port socket://") and "last bytes" in lines[-1]


def test_a_device_that_resets_and_comes_back(
    spikelet: Spikelet, package: Path, image: Path
) -> None:
    x = np.random.default_rng(1).integers(0, 256, (MANY, INPUTS)).astype(np.uint8)
    np.savez("many.npz", x=x, y=np.arange(MANY) % 4)
    ours, theirs = socket.socketpair()
    device = subprocess.Popen([image], stdin=theirs, stdout=theirs)
    theirs.close()

    def relay(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            for source in select.select([ours, connection], [], [])[0]:
                data = source.recv(4096)
                if not data:
                    return
                (connection if source is ours else ours).sendall(data)

    with ours, _server(relay) as url:
        run = ["run", package, "-b", "native", "--port", url, "--data", "many.npz", "--json"]
        broken = subprocess.Popen(
            [sys.executable, "-m", "spikelet", *map(str, run), "--session", "s"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        samples = Path("s/samples.jsonl")
        deadline = time.monotonic() + 60
        while not samples.is_file() or samples.read_bytes().count(b"\n") < 50:
            assert broken.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        device.send_signal(signal.SIGILL)  # a fault: the firmware records it and starts again
        out, err = broken.communicate(timeout=60)
        assert broken.returncode == 3, err
        recorded = len(samples.read_text().splitlines())
        assert 50 <= recorded < MANY
        error = json.loads(out)["error"]
        assert f"{recorded} of {MANY} samples are recorded" in error["notes"][0]
        assert "Traceback" not in err
        resumed = spikelet(*run, "--session", "s", "--resume")
        device.kill()
        device.wait()
    assert resumed.code == 0, resumed.err
    assert (resumed.json["samples"], resumed.json["mismatches"]) == (MANY, 0)
    assert len(samples.read_text().splitlines()) == MANY

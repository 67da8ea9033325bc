"""Machines: processes that stand in for a board, with their link as a transport."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from spikelet.board.build import Firmware, usable_cache, zig_environment
from spikelet.board.rtl import modules as rtl_modules
from spikelet.board.rtl import simulator
from spikelet.board.spec import Board, MachineSpec
from spikelet.board.toolchain import ToolMissing, how_to_install
from spikelet.errors import LinkDead, UsageError
from spikelet.paths import sim_dir

if TYPE_CHECKING:
    from spikelet.link.transport import Transport

BOOT_S = 5.0  # until the firmware says its first word: it logs that it booted
STOP_S = 2.0  # what a machine gets to end by itself once its link is closed
STDERR_BYTES = 4000  # of the machine's last words


class MachineDied(LinkDead):
    """The process that stood in for the device ended on its own."""


def _missing(spec: MachineSpec) -> tuple[str, str]:
    """What keeps this machine from starting, and its cure; empty when nothing does."""
    wanted = rtl_modules(spec.rtl) if spec.rtl else [spec.module] if spec.module else []
    absent = [name for name in wanted if importlib.util.find_spec(name) is None]
    if absent:
        names = " ".join(name.replace("_", "-") for name in absent)
        return absent[0], f"{sys.executable} -m pip install {names}"
    program = spec.argv[0]
    if "{" not in program and shutil.which(program) is None:
        return program, how_to_install(program, spec.package)
    return "", ""


def machines(board: Board) -> list[str]:
    """The board's machines that can start on this computer, in order of preference."""
    if sys.platform == "win32":
        return []
    return [name for name, spec in board.machines.items() if not _missing(spec)[0]]


class Machine:
    """A running device. Use as a context manager, or call stop().

    Attributes:
        name: which of the board's machines it is.
        firmware: what runs on it.
        process: the process; of the leash, where there is one.
        transport: the link.
        port: path of the pseudo-terminal, or empty.
    """

    def __init__(
        self,
        firmware: Firmware,
        name: str,
        spec: MachineSpec,
        doing: Callable[[str], None] | None = None,
    ) -> None:
        self.firmware, self.name = firmware, name
        self._argv = _command(spec, firmware, doing)
        self.port = ""
        self.transport: Transport
        self._last_words = ""
        self._leash = spec.leash
        self._held: list[int] = []  # descriptors that keep the machine alive while they are open
        # Not closed by a `with`: it lives as long as the machine.
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            self._start(spec)
        except BaseException:
            self._release()
            self._stderr.close()
            raise

    def _start(self, spec: MachineSpec) -> None:
        from spikelet.link.transport import FdTransport, open_transport

        argv = self._argv
        passed: list[int] = []
        if spec.leash:
            reading, writing = os.pipe()
            self._held += [reading, writing]
            passed.append(reading)
            leash = str(sim_dir() / "leash.py")
            argv = [sys.executable, "-I", "-S", leash, str(reading), *argv]
        if spec.pty:
            import tty  # not on Windows, where nothing comes here

            # Held open here: the machine sees no hang-up while a host opens and closes the port.
            far, near = os.openpty()
            self._held.append(near)
            tty.setraw(near)
            self.port = os.ttyname(near)
            try:
                self.process = self._spawn(argv, far, far, passed)
            finally:
                os.close(far)
            try:
                self._await_boot(near)
                self.transport = open_transport(self.port)
            except BaseException:
                self._release()
                self._end()
                raise
        else:
            # Pipes: a socket takes a few hundred single bytes, and a simulator that finds it full
            # may drop what its UART sends.
            their_in, our_out = os.pipe()
            our_in, their_out = os.pipe()
            try:
                self.process = self._spawn(argv, their_in, their_out, passed)
            except BaseException:
                os.close(our_in)
                os.close(our_out)
                raise
            finally:
                os.close(their_in)
                os.close(their_out)
            if spec.leash:
                os.close(self._held.pop(0))
            try:
                self._await_boot(our_in)
            except BaseException:
                os.close(our_in)
                os.close(our_out)
                self._release()
                self._end()
                raise
            self.transport = FdTransport(our_in, our_out, name=f"machine {self.name}")

    def _await_boot(self, link: int) -> None:
        """Wait for the first byte, so that no request is lost on a device that still starts.

        Raises:
            MachineDied: the process ended instead.
        """
        first = select.poll()
        first.register(link, select.POLLIN)
        if any(event & select.POLLHUP for _, event in first.poll(BOOT_S * 1000)):
            self.check()

    def _spawn(
        self, argv: list[str], source: int, sink: int, passed: list[int]
    ) -> subprocess.Popen[bytes]:
        environment = {**os.environ, **zig_environment(), "SPIKELET_CACHE": str(usable_cache())}
        # A session of its own: Ctrl-C is for the host, which then ends its machine in order.
        return subprocess.Popen(
            argv,
            stdin=source,
            stdout=sink,
            stderr=self._stderr,
            pass_fds=passed,
            start_new_session=True,
            env=environment,
        )

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None

    def stderr_text(self) -> str:
        """The last of what the machine wrote on standard error."""
        if self._stderr.closed:
            return self._last_words
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - STDERR_BYTES))
        return self._stderr.read().decode(errors="replace").strip()

    def check(self) -> None:
        """Tell why the link died, if the machine itself is the reason.

        Raises:
            MachineDied: the process has ended; the text holds its exit code and last words.
        """
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(0.2)
        code = self.process.poll()
        if code is None:
            return
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        words = self.stderr_text()
        raise MachineDied(
            f"machine {self.name!r} of board {self.firmware.board.name} ended {how}"
            + (":\n    " + "\n    ".join(words.splitlines()) if words else ", without a word"),
            "the firmware or the simulator crashed, or somebody ended the process",
            f"run it by hand: {shlex.join(self._argv)}",
        )

    def stop(self) -> None:
        """Close the link, wait for the process, end it if it stays. May be called again."""
        if self._stderr.closed:
            return
        self.transport.close()
        self._release()
        self._end()
        self._last_words = self.stderr_text()
        self._stderr.close()

    def _release(self) -> None:
        while self._held:
            os.close(self._held.pop())

    def _end(self) -> None:
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        if self._leash:
            # A leash that was killed could not end what it held.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def _command(
    spec: MachineSpec, firmware: Firmware, doing: Callable[[str], None] | None
) -> list[str]:
    values = {"elf": str(firmware.elf), "python": sys.executable, "sim": str(sim_dir())}
    values["board"] = firmware.board.name
    if firmware.board.memory is not None:
        for name in ("flash", "ram", "storage"):
            region = getattr(firmware.board.memory, name)
            if region is not None:
                values[name] = f"{region.base:#x}:{region.bytes:#x}"
    if spec.rtl is not None:
        values["rtl"] = str(simulator(firmware.board, spec.rtl, doing))
        values["flash_wait"] = str(spec.rtl.flash_wait)
        values["ram_wait"] = str(spec.rtl.ram_wait)
    return [part.format(**values) for part in spec.argv]


def start(
    firmware: Firmware, machine: str = "auto", doing: Callable[[str], None] | None = None
) -> Machine:
    """Start a machine with this firmware.

    Args:
        firmware: what build() made.
        machine: name of one of the board's machines, or "auto" for the first that can start.
        doing: told what takes minutes: a simulator that is built first.

    Raises:
        UsageError: the board has no such machine, or no machine at all, or its simulator cannot be
            built.
        ToolMissing: what it needs is not installed.
        LinkDead: it did not start.
    """
    board = firmware.board
    if sys.platform == "win32":
        raise ToolMissing(
            f"board {board.name}: machines are not started on Windows",
            "they are processes on pipes that are polled, which Windows has not",
            "install and run Spikelet in WSL2 (`wsl --install`), or give a serial port with --port",
        )
    there = machines(board)
    if machine == "auto":
        if not there:
            raise ToolMissing(
                f"no machine of board {board.name} can start here",
                "it is hardware, or nothing of: " + ", ".join(board.machines),
                "give its serial port with --port, or run `spikelet doctor`",
            )
        machine = there[0]
    if machine not in board.machines:
        raise UsageError(
            f"board {board.name} has no machine {machine!r}; "
            f"it has: {', '.join(board.machines) or 'none'}"
        )
    spec = board.machines[machine]
    if machine not in there:
        what, cure = _missing(spec)
        raise ToolMissing(
            f"machine {machine!r} of board {board.name} needs {what}", "it is not installed", cure
        )
    if not Path(firmware.elf).is_file():
        raise UsageError(f"{firmware.elf} is gone", next="build it again")
    try:
        return Machine(firmware, machine, spec, doing)
    except OSError as error:
        raise LinkDead(
            f"machine {machine!r} of board {board.name} did not start: {error}",
            next="`spikelet doctor` checks what it needs",
        ) from error

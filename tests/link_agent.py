"""Compiles the agent, the link and the model of tests/c for this host, and starts them."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from spikelet.link import DeviceInfo, Expected, FdTransport
from spikelet.paths import boards_dir, firmware_dir, sim_dir

C_TESTS = Path(__file__).resolve().parent / "c"
WARNINGS = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wshadow"]
SANITIZE = ["-g1", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
TRACE = "-DSPK_TRACE"
LEARN = "-DSPK_LEARN"


def compilers() -> dict[str, list[str]]:
    """Compilers for this host; the one from PyPI is always there."""
    found = {name: [name] for name in ("gcc", "clang") if shutil.which(name)}
    found["zig"] = [sys.executable, "-m", "ziglang", "cc"]
    return found


def sanitizing_compilers() -> list[str]:
    """Those that bring an address sanitizer's run time."""
    return [name for name in compilers() if name != "zig"]


def compile_c(
    out: Path, sources: Iterable[Path], flags: Sequence[str] = (), compiler: str | None = None
) -> Path:
    """Compiles host C with all warnings as errors."""
    found = compilers()
    command = found[compiler or next(iter(found))]
    includes = [f"-I{firmware_dir() / part}" for part in ("include", "link", "store", "app")]
    files = [str(source) for source in sources]
    result = subprocess.run(
        [*command, *WARNINGS, *includes, *flags, *files, "-o", str(out)],
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{result.stderr}")
    return out


def agent_sources() -> list[Path]:
    """The link, the storage and the agent."""
    rooms = ("link", "store", "app")
    return sorted(source for room in rooms for source in firmware_dir().glob(f"{room}/*.c"))


def build_device(
    out: Path,
    flags: Sequence[str] = ("-O2",),
    compiler: str | None = None,
    trace: bool = False,
    learn: bool = False,
) -> Path:
    """The agent with model_echo.c on stdin and stdout; `learn`: it learns, with native storage."""
    sources = [*agent_sources(), C_TESTS / "model_echo.c", C_TESTS / "board_stdio.c"]
    sources += [boards_dir() / "native" / "storage.c"] if learn else []
    macros = [*([TRACE] if trace else []), *([LEARN] if learn else [])]
    return compile_c(out, sources, [*flags, *macros], compiler)


@dataclass
class Machine:
    """A running device, behind a bad wire where `faults` says so."""

    process: subprocess.Popen[bytes]
    transport: FdTransport

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> int:
        """Closes the link; the device ends by itself. Answers its exit code."""
        self.transport.close()
        try:
            return self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def start(device: Path, faults: Sequence[str] = (), name: str = "native") -> Machine:
    """Starts a device; `faults` are arguments of sim/faulty_link.py."""
    command = [str(device)]
    if faults:
        proxy = sim_dir() / "faulty_link.py"
        command = [sys.executable, str(proxy), *faults, "--", *command]
    host, other = socket.socketpair()
    with other:
        process = subprocess.Popen(
            command, stdin=other, stdout=other, start_new_session=True, env=dict(os.environ)
        )
    return Machine(process, FdTransport(host, name=name))


def expected_of(info: DeviceInfo, constants: bytes, trace: bool | None = None) -> Expected:
    """What an honest device must say that has said this before."""
    return Expected(
        package_sha256=info.package_sha256,
        model=info.model,
        board=info.isa,
        isa=info.isa,
        tick_unit=info.tick_unit,
        payload=info.payload,
        ring=info.ring,
        window=info.window,
        kept=info.kept,
        steps=info.steps,
        arena_bytes=info.arena_bytes,
        learns=info.learns,
        classes=5 if info.learns else 0,
        trace=trace,
        release=info.tensors,
        traced=info.tensors,
        constants=(("odd", constants[:5]), ("halves", constants[5:])),
    )


def echo_outputs(image: bytes, gate: int = 0, steps: int = 10) -> tuple[bytes, bytes]:
    """What model_echo.c leaves in (mix, sum): its twin in Python."""
    mix = [0] * len(image)
    for t in range(steps):
        mix = [(3 * m + i + t) & 0xFFFFFFFF for m, i in zip(mix, image, strict=True)]
    gated = sum(bit + 1 for bit in range(64) if gate >> bit & 1)
    sums = (sum(mix) & 0xFFFFFFFF, gated, steps)
    return _words(mix), _words(sums)


def _words(values: Iterable[int]) -> bytes:
    return b"".join(value.to_bytes(4, "little") for value in values)

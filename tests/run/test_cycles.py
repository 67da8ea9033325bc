"""Cycles of a core that is not there: what is executed, what it is, what it takes."""

from __future__ import annotations

import csv
import re
import subprocess
from pathlib import Path

import pytest

from spikelet.board import find_board
from spikelet.errors import UsageError
from spikelet.graph.ops.fully_connected import FullyConnected
from spikelet.package import Package
from spikelet.paths import models_dir
from spikelet.run import SessionFolder, SessionTarget, make, package_stream, run
from spikelet.run.cycles import predict
from spikelet.run.cycles.decode import Instruction, Kind, literal, rv32, thumb
from spikelet.run.cycles.fetching import waits
from spikelet.run.cycles.flash import Flash, FlashPort
from spikelet.run.cycles.timing import CORES, block_cost
from support import need

HOUSE = Path(__file__).resolve().parents[2]
DIGITS = HOUSE / "tests" / "fixtures" / "v0_1_0" / "digits_snn.spk"
# Mnemonics of objdump, by what their time depends on; all others are arithmetic.
THUMB = [
    (r"ldm|pop|ldrd", Kind.LOAD_MANY), (r"stm|push|strd", Kind.STORE_MANY),
    (r"ldr|tb[bh]", Kind.LOAD), (r"str", Kind.STORE), (r"[su]div", Kind.DIV),
    (r"mul|ml[as]|smul|smla|smm|umul|umla|smua|smus", Kind.MUL), (r"cbn?z|b(eq|ne|cs|cc|mi|pl|vs|"
     r"vc|hi|ls|ge|lt|gt|le)(\.[nw])?$", Kind.BRANCH), (r"b(\.[nw])?$|blx?$|bx$", Kind.JUMP),
    (r"b[lx](eq|ne|cs|cc|hi|ls|ge|lt|gt|le)$", Kind.JUMP),
    (r"ms?rs?$|msr|mrs|dsb|isb|dmb|cpsi|wfi", Kind.CSR),
]  # fmt: skip
RV32 = [
    (r"l[bhw]u?$|c\.lw", Kind.LOAD), (r"s[bhw]$|c\.sw", Kind.STORE), (r"mul$", Kind.MUL),
    (r"mulh", Kind.MULH), (r"div|rem", Kind.DIV),
    (r"b(eqz?|nez?|ltz?|gez?|lez|gtz|ltu|geu|gtu|leu|gt|le)$", Kind.BRANCH),
    (r"j$|jal$|jr$|jalr$|ret$|tail|call", Kind.JUMP), (r"csr|rdcycle|fence|ecall|ebreak|mret|wfi",
     Kind.CSR),
]  # fmt: skip


def said(mnemonic: str, patterns: list[tuple[str, Kind]]) -> Kind:
    return next((kind for pattern, kind in patterns if re.match(pattern, mnemonic)), Kind.ALU)


@pytest.mark.parametrize(
    ("board", "objdump", "thumbs"),
    [("mps2-an386", "arm-none-eabi-objdump", True), ("ibex-rtl", "riscv64-unknown-elf-objdump", 0)],
)
def test_instructions_are_what_objdump_says(
    board: str, objdump: str, thumbs: bool, tmp_path: Path
) -> None:
    need(objdump)
    package = Package.load(models_dir() / "har_cnn" / "har_cnn.spk")
    elf = make(package, find_board(board), tmp_path, toolchain="zig").firmware.elf
    text = subprocess.run([objdump, "-d", elf], capture_output=True, text=True, check=True).stdout
    rows = re.findall(r"^ *[0-9a-f]+:\t([0-9a-f ]+?)\s*\t([a-z][\w.]*)", text, re.MULTILINE)
    wrong, seen = set(), set()
    for code, mnemonic in rows:
        halves = code.split() if thumbs else [code[-4:], code[:-4]] if len(code) > 4 else [code]
        data = b"".join(int(h, 16).to_bytes(2, "little") for h in halves if h)
        kind = (thumb if thumbs else rv32)(data, 0)
        expected = said(mnemonic, THUMB if thumbs else RV32)
        special = mnemonic.startswith(("udf", "bkpt", "unimp", ".")) or expected is Kind.CSR
        if not special and (kind.kind is not expected or kind.size != len(data)):
            wrong.add((mnemonic, code, kind.kind))
        seen.add(kind.kind)
    assert not wrong
    assert len(rows) > 2000 and {Kind.LOAD, Kind.STORE, Kind.BRANCH, Kind.MUL} <= seen


def test_literals_are_where_objdump_says(tmp_path: Path) -> None:
    need("arm-none-eabi-gcc")
    need("arm-none-eabi-objdump")
    source, built = tmp_path / "literals.s", tmp_path / "literals.o"
    loads = ["ldr r0", "ldr r9", "ldrb r9", "ldrsb r3", "ldrh r9", "ldrsh r4", "vldr s3", "vldr d3"]
    text = "\n".join(f"{load}, before\nnop\n{load}, behind" for load in loads if load != "ldr r0")
    source.write_text(
        ".syntax unified\n.thumb\n.fpu fpv4-sp-d16\n.balign 4\nbefore: .word 1, 2\n"
        f"f:\n{text}\nnop\nldrd r4, r5, before\nldrd r4, r5, behind\nldr r0, behind\n"
        "tbb [pc, r0]\nldr r0, [r1, #4]\nldr r9, [r1, #4]!\npld behind\n"
        ".balign 4\nbehind: .word 3, 4\n"
    )
    subprocess.run(["arm-none-eabi-gcc", "-c", "-mcpu=cortex-m4", source, "-o", built], check=True)
    listing = subprocess.run(
        ["arm-none-eabi-objdump", "-d", built], capture_output=True, text=True, check=True
    ).stdout
    found = 0
    for line in listing.splitlines():
        row = re.match(r" *([0-9a-f]+):\t([0-9a-f ]+?)\s*\t(\S+)", line)
        if row is None or row[3] == ".word":
            continue
        at, data = int(row[1], 16), bytes.fromhex("".join(h[2:] + h[:2] for h in row[2].split()))
        named = re.search(r"[@;] \(?([0-9a-f]+) <(before|behind)", line)
        given = literal(data, 0, at)
        if row[3] == "tbb":
            assert given == 4
        elif row[3] != "pld" and named:
            assert given is not None and at + given == int(named[1], 16), line
            found += 1
        else:
            assert given is None, line
    assert found == 2 * len(loads) + 1


def test_a_block_takes_what_the_manual_says() -> None:
    m4, ibex, cv32 = (CORES[name] for name in ("cortex-m4", "ibex", "cv32e40p"))
    load, alu = Instruction(Kind.LOAD, 2), Instruction(Kind.ALU, 2)
    back = Instruction(Kind.LOAD, 4, writes_back=True)
    many = Instruction(Kind.LOAD_MANY, 2, 4, jumps=True)
    branch = Instruction(Kind.BRANCH, 2)
    assert block_cost(m4, [load] * 5, 0).run == (6, 6, 6)
    assert block_cost(m4, [back, load, alu], 0).run == (5, 5, 5)
    assert block_cost(m4, [many], 0).run == (6, 7, 8)  # 1 + N + P
    taken = block_cost(m4, [alu, branch], 0)
    assert (taken.run, taken.taken) == ((2, 2, 2), (1, 2, 3))
    assert block_cost(ibex, [load, Instruction(Kind.MUL, 4), branch], 2).run == (6, 6, 6)
    assert block_cost(ibex, [Instruction(Kind.MUL, 4)], 2).entered == 1
    use = Instruction(Kind.ALU, 2, sources=(10,))
    waits = [Instruction(Kind.LOAD, 2, target=10), use]
    assert block_cost(cv32, waits, 0).run[1] == 3
    assert block_cost(cv32, [*waits[:1], alu, use], 0).run[1] == 3


def test_loads_wait_where_each_instruction_takes_a_word() -> None:
    """By hand: with a word a cycle the buffer never holds more than the next one."""
    core = CORES["cv32e40p"]
    load, wide, short = (
        Instruction(kind, size) for kind, size in ((Kind.LOAD, 4), (Kind.ALU, 4), (Kind.ALU, 2))
    )
    assert waits(core, [wide, load, *[wide] * 8], 0) == 1
    assert waits(core, [wide, load, wide, wide, load, *[wide] * 8], 0) == 2
    assert waits(core, [short, short, Instruction(Kind.LOAD, 2), *[short] * 8], 0) == 0
    assert waits(core, [*[wide] * 8, load], 0) == 0  # nothing is behind it
    assert waits(core, [wide] * 8, 0) == 0


@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
@pytest.mark.parametrize(
    ("core", "board", "off"), [("ibex", "virt-rv32", 0.002), ("cortex-m4", "mps2-an386", 0.02)]
)
def test_what_is_executed_is_what_the_board_counts(
    core: str, board: str, off: float, toolchain: str, tmp_path: Path
) -> None:
    found = find_board(board)
    need(found.toolchains[toolchain].command[0])
    for machine in found.machines.values():
        need(machine.module or machine.argv[0])
    package = Package.load(DIGITS)
    made = predict(package, core, toolchain=toolchain, fitted=False)
    built = make(package, found, tmp_path / "build", toolchain=toolchain)
    summary, _ = run(
        package,
        SessionTarget(found, built),
        package_stream(package).head(1),
        SessionFolder(tmp_path / "session"),
    )
    assert made.mismatches == 0
    assert made.instructions == pytest.approx(summary["instructions_per_inference"], rel=off)
    assert sum(made.kinds.values()) == pytest.approx(made.instructions, abs=1)
    assert [row.name for row in made.layers if row.name] == [n.name for n in package.graph.order]


def test_flash_that_waits_costs_what_its_cache_misses() -> None:
    need("unicorn")
    package = Package.load(DIGITS)
    plain, some, small = (
        predict(package, flash=Flash(wait, 16, lines)) for wait, lines in ((0, 64), (4, 64), (4, 2))
    )
    assert plain.mismatches == some.mismatches == 0
    assert plain.instructions == some.instructions == small.instructions
    waits = [sum(row.waits for row in made.layers) for made in (plain, some, small)]
    assert waits[0] == 0 < waits[1] < 0.4 * plain.cycles < waits[2]
    assert some.cycles == pytest.approx(plain.cycles + waits[1])
    low, high = plain.span
    assert low < plain.cycles < high < 1.1 * low


def test_loads_from_flash_wait_for_lines_that_are_not_kept() -> None:
    port = FlashPort(Flash(5, 16, 64, 2), bytes(64), 0x1000)
    assert [port.load(at, 4) for at in (0x100, 0x10C, 0x10E, 0x110, 0x100)] == [1, 0, 1, 0, 0]
    assert [port.load(at, 4) for at in (0x120, 0x110, 0x100)] == [1, 1, 1]
    none = FlashPort(Flash(5, 16, 64, 0), bytes(64), 0x1000)
    assert [none.load(0x100, 4) for _ in range(3)] == [1, 1, 1]
    literal = FlashPort(Flash(5, 16, 64, 8), bytes.fromhex("0448") + bytes(62), 0x1000)
    assert [literal.enter((0x1000, 2)) for _ in range(2)] == [2, 0]  # the code, and its literal


def test_weights_that_are_read_once_wait_once_a_line() -> None:
    need("unicorn")
    package = Package.load(models_dir() / "mnist_mlp" / "mnist_mlp.spk")
    layers = [node for node in package.graph.nodes if isinstance(node, FullyConnected)]
    # Weights of a bit, and of each output a bias, a multiplier and a shift.
    read = sum(node.weight.size / 8 + 9 * len(node.bias) for node in layers)
    every = 1 << 16
    made = [predict(package, flash=Flash(1, 16, every, lines)) for lines in (8, every, 0)]
    assert [one.mismatches for one in made] == [0, 0, 0]
    names = {node.name for node in layers}
    few, all_kept, none = (
        sum(row.waits for row in one.layers if row.name in names) for one in made
    )
    assert read / 16 < all_kept < (read + 2048) / 16  # and less than 2 KB of instructions
    assert all_kept <= few < 1.1 * all_kept  # nothing is read twice but what outputs have
    assert read / 4 < none < 2 * read / 4


def test_what_cannot_be_estimated_is_refused() -> None:
    package = Package.load(DIGITS)
    with pytest.raises(UsageError, match="no core is called 'cortex-m5'"):
        predict(package, "cortex-m5")
    with pytest.raises(UsageError, match="estimated for cortex-m4 alone, not ibex"):
        predict(package, "ibex", flash=Flash(2))


def kept(core: str, network: str) -> float:
    with (HOUSE / "docs" / "cycles.csv").open(encoding="utf-8") as file:
        rows = [r for r in csv.DictReader(file) if not r["layer"]]
    return next(float(r["cycles"]) for r in rows if (r["core"], r["network"]) == (core, network))


@pytest.mark.parametrize("core", ["ibex", "cv32e40p"])
@pytest.mark.parametrize("network", ["mnist_rows", "digits_direct"])
def test_a_network_that_was_not_fitted_is_predicted_within_three_percent(
    core: str, network: str
) -> None:
    need("unicorn")
    package = Package.load(models_dir() / network / f"{network}.spk")
    for fitted in (True, False):  # by the core's table, and by its manual alone
        made = predict(package, core, fitted=fitted)
        assert made.mismatches == 0
        assert made.cycles == pytest.approx(kept(core, network), rel=0.03)

"""Where kernels' attributes lie: what the host counts with is what compilers do."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import every_learner
import int8_graphs
from every_kind import every_graph, others
from spikelet.codegen import generate
from spikelet.codegen.constants import Laid, list_constants
from spikelet.codegen.structs import Declared
from spikelet.graph import Graph, GraphError, c
from spikelet.graph.target import Target
from spikelet.paths import firmware_dir
from support import need

ARM = ["arm-none-eabi-gcc", "-mthumb"]
COMPILERS = {
    "host": [["gcc"], ["clang"]],
    "rv32imac": [
        ["riscv64-unknown-elf-gcc", "-march=rv32imac", "-mabi=ilp32"],
        ["clang", "--target=riscv32-unknown-elf", "-march=rv32imac"],
    ],
    "armv7e-m": [
        [*ARM, "-mcpu=cortex-m4"],
        ["clang", "--target=thumbv7em-none-eabi", "-mcpu=cortex-m4"],
    ],
    "armv8.1-m.main+mve": [[*ARM, "-mcpu=cortex-m55", "-mfloat-abi=hard"]],
}
FLAGS = ["-std=c11", "-ffreestanding", "-O1", "-fsyntax-only", "-Werror"]
FLAGS += [f"-I{firmware_dir()}", f"-I{firmware_dir() / 'include'}"]


@pytest.fixture(scope="module")
def every() -> tuple[Graph, ...]:
    return every_graph()


def assertions_of(model: str, target: Target) -> tuple[str, set[str]]:
    """C that includes what a model.c does, and asserts the place of each attribute in it."""
    macros = dict(re.findall(r"^#define (\w+) (\d+)$", model, re.MULTILINE))
    included = re.findall(r'^#include "(.+)"$', model, re.MULTILINE)
    headers = [h for h in included if "/" in h or h.startswith("spk_")]  # not the model's own
    structs = set(re.findall(r"^static const struct (\w+) \w+_config\w* =", model, re.MULTILINE))
    laid = Laid(headers, {name: int(value) for name, value in macros.items()}, target)
    lines = [f"#define {name} {value}" for name, value in macros.items()]
    lines += ["#include <stddef.h>", *(f'#include "{header}"' for header in headers)]
    for name in sorted(structs):
        for leaf in laid.leaves(name):
            place = f"offsetof(struct {name}, {leaf.path}) == {leaf.offset}"
            lines.append(f'_Static_assert({place}, "");')
            size = f"sizeof((struct {name} *)0)->{leaf.path} == {leaf.size}"
            lines.append(f'_Static_assert({size}, "");')
    return "\n".join([*lines, *laid.assertions(), ""]), structs


@pytest.mark.parametrize(
    "isa", [pytest.param(isa, marks=[pytest.mark.long] * ("arm" in isa)) for isa in COMPILERS]
)
def test_compilers_lay_attributes_out_as_the_host_does(
    isa: str, every: tuple[Graph, ...], tmp_path: Path
) -> None:
    files, structs, target = set[str](), set[str](), Target.parse(isa)
    for graph in every:
        made = generate(graph, "0" * 64, tmp_path, target=target)
        text, found = assertions_of(made.source.read_text(), target)
        files.add(text)
        structs |= found
    assert len(structs) >= 40, sorted(structs)
    paths = [tmp_path / f"{number}.c" for number in range(len(files))]
    for path, text in zip(paths, files, strict=True):
        path.write_text(text)
    for compiler in COMPILERS[isa]:
        need(compiler[0])
        done = subprocess.run(
            [*compiler, *FLAGS, *paths], capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 0, done.stderr[:3000]


@pytest.mark.parametrize("make", [others, lambda: every_learner.graph_of("ladder")])
def test_portable_c_holds_for_pointers_of_any_size(
    make: Callable[[], Graph], tmp_path: Path
) -> None:
    made = generate(make(), "0" * 64, tmp_path)
    assert "_Static_assert" not in made.source.read_text()
    for isa in ("host", "rv32imac"):
        known = generate(make(), "0" * 64, tmp_path, target=Target.parse(isa)).constants
        numbers = {n.name: n.data for n in known if "." in n.name}
        # There a run goes on over null pointers and over padding.
        both = [(n.data, numbers[n.name]) for n in made.constants if n.name in numbers]
        assert both and all(longer.startswith(data) for data, longer in both)


@pytest.mark.parametrize(
    ("isa", "arrays"),
    [("host", {"bias"}), ("armv7e-m", {"bias"}), ("armv8.1-m.main+mve", {"bias", "multiplier"})],
)
def test_what_rounds_to_even_has_no_other_factors_in_flash(
    isa: str, arrays: set[str], tmp_path: Path
) -> None:
    """Vectors have the numbers of their channels; where a channel has a structure, DSP has it."""
    made = generate(int8_graphs.even(), "0" * 64, tmp_path, target=Target.parse(isa))
    names = {constant.name.removeprefix("spk_const_") for constant in made.constants}
    kinds = {name.partition("_")[2] for name in names if re.fullmatch(r"layer\d+_[a-z]+", name)}
    tables = {"weight", "steps", "lines", "sources", "padding", "scale"}
    assert kinds - tables == arrays
    plain = generate(
        int8_graphs.depthwise(), "0" * 64, tmp_path / "plain", target=Target.parse(isa)
    )
    texts = [generated.source.read_text() for generated in (made, plain)]
    assert ["#define SPK_EVEN" in text for text in texts] == [True, False]


HEADER = """
#if WIDE
typedef int32_t number;
#else
typedef int16_t number;
#endif
enum kind { FIRST, SECOND = 4, THIRD };
struct inner {
    const void *p;
    uint8_t a, b;
};
struct outer {
    bool flag;      // and three bytes of nothing
    struct inner in;
    number n[2];
    int64_t wide;
    uint8_t kind; // enum kind
#ifdef ODD
    enum kind odd;
#endif
};
"""


def declare(tmp_path: Path, **macros: int) -> Declared:
    (tmp_path / "x.h").write_text(HEADER)
    made = Declared(macros)
    made.read([tmp_path], "x.h", set())
    return made


@pytest.mark.parametrize(
    ("wide", "pointer", "offsets", "size"),
    [
        (0, 4, [0, 4, 8, 9, 12, 16, 24], 32),
        (1, 4, [0, 4, 8, 9, 12, 24, 32], 40),
        (0, 8, [0, 8, 16, 17, 24, 32, 40], 48),
    ],
)
def test_fields_lie_by_their_width(
    wide: int, pointer: int, offsets: list[int], size: int, tmp_path: Path
) -> None:
    leaves, found = declare(tmp_path, WIDE=wide).layout("outer", pointer)
    names = ["flag", "in.p", "in.a", "in.b", "n", "wide", "kind"]
    assert [leaf.path for leaf in leaves] == names
    assert ([leaf.offset for leaf in leaves], found) == (offsets, size)


def test_bytes_of_attributes(tmp_path: Path) -> None:
    laid = Laid([], {}, Target.parse("rv32imac"))
    laid.declared = declare(tmp_path)
    fields: c.Fields = {
        "flag": True, "in": {"p": c.name("table"), "b": 7}, "n": (-2, 3), "kind": c.name("THIRD"),
    }  # fmt: skip
    first, table, rest = list_constants({"table": b"abc"}, {"x": ("outer", fields)}, laid)
    assert (first.name, first.data, first.at) == ("x.flag", b"\1", 0)
    assert (table.name, table.data, table.pointer, table.at) == ("table", b"abc", "x.in.p", 4)
    numbers = np.array([-2, 3], "<i2").tobytes()
    assert rest.data == b"\0\7\0\0" + numbers + bytes(8) + b"\5"
    assert laid.assertions()[0].startswith("_Static_assert(sizeof(struct outer) == 32")


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"n": (1 << 15, 0)}, "x.n = 32768, 0 does not fit the 4 bytes"),
        ({"in": {"a": 256}}, "x.in.a = 256 does not fit the 1 bytes"),
        ({"in": {"a": -1}}, "x.in.a = -1 does not fit"),
        ({"in": {"a": 0.5}}, "x.in.a = 0.5 does not fit"),
        ({"kind": c.name("NOBODY")}, "NOBODY is not known"),
        ({"in": {"p": c.name("elsewhere")}}, "points to elsewhere, which is no table"),
        ({"none": 1}, "struct outer has no field none"),
    ],
)
def test_what_does_not_fit_is_refused(fields: c.Fields, why: str, tmp_path: Path) -> None:
    laid = Laid([], {}, Target.parse("rv32imac"))
    laid.declared = declare(tmp_path)
    with pytest.raises(GraphError, match=why):
        list_constants({}, {"x": ("outer", fields)}, laid)


def test_an_enumeration_has_no_fixed_width(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="type enum kind has no fixed width"):
        declare(tmp_path, ODD=1).layout("outer", 4)

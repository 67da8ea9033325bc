"""Deltas that a device checks itself: Monocypher's Ed25519 against signatures of `cryptography`."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest

from emulated_call import STRINGS, Core
from link_agent import compilers
from monocypher import monocypher, sources
from signed_states import OK, Signed, cases, signed_states
from spikelet.errors import UsageError
from spikelet.graph.target import ANY, Target
from spikelet.run.exported import export_c
from spikelet.signing import SEAL_BYTES, public_bytes
from support import need

MAIN = """
#include <stdio.h>
#include "classifier.h"

// u32 bytes, u32 counter, state ... -> status, counter
int main(void) {
    static uint8_t state[1 << 16];
    uint32_t head[2];
    classifier_init();
    while (fread(head, 4, 2, stdin) == 2) {
        if (fread(state, 1, head[0], stdin) != head[0]) return 1;
        const int status = classifier_restore_signed(state, head[0], &head[1]);
        printf("%d %u\\n", status, head[1]);
    }
    return 0;
}
"""


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Signed:
    monocypher()
    return signed_states(tmp_path_factory.mktemp("keys"))


def library(signed: Signed, folder: Path, target: Target) -> Path:
    export_c(signed.placed, folder, target, name="classifier", device_key=signed.public)
    return folder


@pytest.mark.parametrize(
    "compiler",
    [
        "zig",
        *(pytest.param(c, marks=pytest.mark.long) for c in compilers() if c != "zig"),
    ],
)
def test_only_what_is_signed_and_not_older_is_taken_over(
    compiler: str, signed: Signed, tmp_path: Path
) -> None:
    made = library(signed, tmp_path / "library", ANY)
    main, exe = tmp_path / "main.c", tmp_path / "main"
    main.write_text(MAIN)
    sanitize = [] if compiler == "zig" else ["-fsanitize=address,undefined"]
    subprocess.run(
        [*compilers()[compiler], "-O1", *sanitize, "-fno-sanitize-recover=all",
         f"-I{made / 'include'}", *sources(monocypher()), str(made / "src" / "classifier.c"),
         str(main), "-o", str(exe)],
        check=True,
    )  # fmt: skip
    given = cases(signed, tmp_path)
    stream = b"".join(struct.pack("<II", len(s), held) + s for s, held, _ in given)
    done = subprocess.run([exe], input=stream, capture_output=True, text=False, check=True)
    lines = [tuple(map(int, line.split())) for line in done.stdout.decode().splitlines()]
    counters = [
        struct.unpack_from("<I", s, len(s) - SEAL_BYTES)[0] if status == OK else held
        for s, held, status in given
    ]
    assert lines == [(s, c) for (_, _, s), c in zip(given, counters, strict=True)]


def test_a_key_belongs_to_a_model_that_learns(signed: Signed, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing that a signed state"):
        export_c(signed.base, tmp_path / "a", ANY, device_key=signed.public)
    with pytest.raises(UsageError, match="not an Ed25519 public key"):
        export_c(signed.placed, tmp_path / "b", ANY, device_key=signed.key)
    assert not any((tmp_path / name).exists() for name in "ab")
    assert len(public_bytes(signed.public)) == 32


CORES = {
    "rv32imac": (
        "riscv64-unknown-elf-gcc",
        ["-march=rv32imac_zicsr", "-mabi=ilp32", "-Wl,--no-relax"],
    ),
    "cortex-m4": ("arm-none-eabi-gcc", ["-mcpu=cortex-m4", "-mthumb"]),
}
# At most: instructions, bytes of stack and of flash, all of the call, with GCC at -O2.
COSTS = {"rv32imac": (3_300_000, 2300, 47_500), "cortex-m4": (1_650_000, 2300, 35_000)}


@pytest.mark.parametrize("core", list(CORES))
def test_a_core_refuses_as_the_host_does(core: str, signed: Signed, tmp_path: Path) -> None:
    """The same C on an emulated core: what it answers, and what a good delta costs there."""
    compiler, flags = CORES[core]
    for tool in (compiler, "unicorn"):
        need(tool)
    made, elf = library(signed, tmp_path / "library", Target.of_core(core)), tmp_path / "image.elf"
    (tmp_path / "strings.c").write_text(STRINGS)
    subprocess.run(
        [compiler, *flags, "-O2", "-ffreestanding", "-ffunction-sections", "-nostdlib",
         "-fno-tree-loop-distribute-patterns", "-Wl,-e,classifier_restore_signed,--gc-sections",
         "-Wl,-Ttext=0x10000", "-Wl,--no-warn-rwx-segments", f"-I{made / 'include'}",
         *sources(monocypher()), str(made / "src" / "classifier.c"), str(tmp_path / "strings.c"),
         "-lgcc", "-o", str(elf)],
        check=True,
    )  # fmt: skip
    machine = Core(elf, core)
    given = cases(signed, tmp_path)
    given = [*given[:6], *given[10::11]]
    answers = [machine.call("classifier_restore_signed", state, held) for state, held, _ in given]
    assert [answer.status for answer in answers] == [status for _, _, status in given]
    good = answers[0]
    found = (good.instructions, good.stack_bytes, machine.code_bytes)
    print(f"{core}: {found[0]:,} instructions, {found[1]:,} bytes of stack, {found[2]:,} of flash")
    assert all(0.9 * most < cost <= most for cost, most in zip(found, COSTS[core], strict=True))


@pytest.mark.long
def test_cmake_is_told_where_monocypher_is(signed: Signed, tmp_path: Path) -> None:
    need("cmake")
    made, build = library(signed, tmp_path / "library", Target.of_core("host")), tmp_path / "build"
    configure = ["cmake", "-S", str(made), "-B", str(build)]
    without = subprocess.run(configure, capture_output=True, text=True)
    assert without.returncode and "-DCLASSIFIER_MONOCYPHER=FOLDER" in without.stderr
    for command in (
        [*configure, f"-DCLASSIFIER_MONOCYPHER={monocypher()}"], ["cmake", "--build", str(build)],
        [str(build / "classifier_example")],
    ):  # fmt: skip
        subprocess.run(command, check=True, capture_output=True)

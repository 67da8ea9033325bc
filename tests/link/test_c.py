"""The C side by itself: the shared vectors, and the receive path under random frames."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from link_agent import (
    C_TESTS,
    LEARN,
    SANITIZE,
    TRACE,
    agent_sources,
    compile_c,
    compilers,
)
from link_vectors import VECTORS
from monocypher import monocypher
from once import Once
from spikelet.paths import firmware_dir
from support import need

FUZZ = [*agent_sources(), C_TESTS / "model_echo.c", C_TESTS / "fuzz_link.c"]
FRAMES = 250_000


@pytest.mark.parametrize(("payload", "good", "bad"), [(244, 44, 119), (1024, 76, 87)])
@pytest.mark.parametrize("compiler", list(compilers()))
def test_vectors(tmp_path: Path, compiler: str, payload: int, good: int, bad: int) -> None:
    flags = [f"-DSPK_LINK_PAYLOAD={payload}", *(SANITIZE if compiler != "zig" else ["-O2"])]
    sources = [firmware_dir() / "link" / "spk_frame.c", C_TESTS / "test_frame.c"]
    program = compile_c(tmp_path / "test_frame", sources, flags, compiler)
    result = subprocess.run([program, VECTORS], capture_output=True, text=True, check=False)
    assert result.stdout == f"good {good} bad {bad} failures 0\n", result.stderr
    assert result.returncode == 0


BUILDS: dict[str, tuple[int, list[str]]] = {
    "release": (FRAMES, []),
    "trace": (FRAMES, [TRACE]),
    "learn": (FRAMES, [LEARN]),
    "learn-trace": (FRAMES // 2, [LEARN, TRACE]),
    "keyed": (FRAMES // 2, [LEARN, "-DSPK_SIGNED"]),
}
COMPILED = [(c, b) for c in ("gcc", "clang") for b in ("release", "trace")]
COMPILED += [("gcc", "learn"), ("clang", "learn-trace"), ("gcc", "keyed")]


@pytest.mark.parametrize("times", [1, pytest.param(4, marks=pytest.mark.long)])
@pytest.mark.parametrize(("compiler", "build"), COMPILED)
def test_random_frames(tmp_path: Path, compiler: str, build: str, times: int) -> None:
    need(compiler)
    frames, macros = times * BUILDS[build][0], BUILDS[build][1]
    program = compile_c(tmp_path / "fuzz_link", FUZZ, [*SANITIZE, *macros], compiler)
    command = [program, str(frames), "11"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"frames {frames} resets ")
    counts = dict(re.findall(r"type +(\d+) status +0: (\d+)", result.stdout))
    for served in ("1", "2", "3", "4", "5", "8", "9"):
        assert int(counts[served]) > frames // 1000, result.stdout


def test_random_frames_with_large_payloads(tmp_path: Path) -> None:
    need("gcc")
    flags = [*SANITIZE, "-DSPK_LINK_PAYLOAD=1024", "-DSPK_LINK_RING=256", "-DSPK_LINK_TX_CHUNK=16"]
    program = compile_c(tmp_path / "fuzz_link", FUZZ, flags, "gcc")
    result = subprocess.run([program, "200000", "5"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("agent.c", "size > tensor->bytes - offset", "size > 0xFFFF"),
        ("agent.c", "!writable(tensor)", "0"),
        ("spk_admit.h", "(bits & ~spk_spike_mask(tensor, offset)) == 0", "1"),
        ("agent.c", "if (request->size != size)", "if (0)"),
        ("agent.c", "return tensor->data != spk_model.label;", "return 1;"),
        ("agent.c", "spk_model.classes ? label >= (uint32_t)spk_model.classes", "0 ? 0"),
        ("agent.c", "if (good < size)", "if (0)"),
        ("spk_admit.h", "tensor->low <= order", "1"),
        ("spk_admit.h", "order <= tensor->high", "1"),
        (
            "spk_admit.h",
            "order <= tensor->high",
            "(order <= tensor->high || tensor->dtype == 7)",
        ),
        ("spk_admit.h", "tensor->dtype == SPK_I8 ||", ""),
        ("spk_admit.h", "|| tensor->dtype == SPK_I16", ""),
        ("spk_admit.h", "spk_order(bits, (enum spk_dtype)tensor->dtype)", "(int32_t)bits"),
        ("spk_admit.h", "[SPK_F16] = 2", "[SPK_F16] = 1"),
        ("spk_admit.h", "[SPK_U32] = 4", "[SPK_U32] = 2"),
        ("constants.c", "skip > spk_model.constant_bytes", "0"),
        ("constants.c", "left > spk_model.constant_bytes", "0"),
        ("constants.c", "i == count + 1", "i == count"),
        ("agent.c", "spk_learning_written();", ""),
        ("hello.c", "spk_learning_session(", "(void)("),
        ("spk_admit.h", "offset % element || size % element", "0"),
        ("learning.c", "crc != spk_load32(data + SPK_LEARN_STATE_CRC_AT)", "0"),
        ("spk_frame.c", "in->size < SPK_FRAME_MAX", "1"),
        ("spk_frame.c", "spk_crc32(0, in->frame, size) != CRC_RESIDUE", "0"),
    ],
)
def test_random_frames_find_a_missing_check(
    once: Once, tmp_path: Path, name: str, before: str, after: str
) -> None:
    """The fuzzer is worth something: without any one of these checks it fails."""
    need("gcc")
    unused = ["-Wno-unused-function", "-Wno-unused-parameter", "-Wno-unused-variable"]
    flags = [*SANITIZE, *unused, "-Wno-unused-but-set-variable", "-Wno-type-limits", LEARN]

    def compile_all(folder: Path) -> dict[str, Path]:
        return {
            source.name: compile_c(folder / f"{source.stem}.o", [source], [*flags, "-c"], "gcc")
            for source in FUZZ
        }

    objects = once("link-fuzz", compile_all)
    files = [*agent_sources(), firmware_dir() / "include" / "spk_admit.h"]
    for file in files:  # side by side, so that a source finds the header that was changed
        shutil.copy(file, tmp_path)
    text = (tmp_path / name).read_text()
    assert text.count(before) == 1
    (tmp_path / name).write_text(text.replace(before, after))
    changed = [path for path in tmp_path.glob("*.c") if path.name == name]
    if name.endswith(".h"):
        changed = [path for path in tmp_path.glob("*.c") if f'"{name}"' in path.read_text()]
    assert changed
    same = [made for source, made in objects.items() if tmp_path / source not in changed]
    program = compile_c(tmp_path / "fuzz_link", [*changed, *same], flags, "gcc")
    result = subprocess.run([program, "100000", "3"], capture_output=True, text=True, check=False)
    assert result.returncode != 0


@pytest.mark.long
def test_libfuzzer_target_runs(tmp_path: Path) -> None:
    need("clang")
    need("make")
    monocypher()
    python = f"PYTHON={sys.executable}"
    folders = [f"OUT={tmp_path}", f"CAMPAIGN={tmp_path / 'campaign'}"]
    command = ["make", "-C", C_TESTS, *folders, python, "fuzz", "FUZZ_RUNS=20000"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    ran = re.findall(r"^(\w+) +20000 +\d+ +\d+ +0$", result.stdout, re.MULTILINE)
    assert ran == ["link", "keyed", "storage", "delta"]

"""What fuzzing found worth keeping runs again, without clang; those of deltas in its own test."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from link_agent import C_TESTS, LEARN, SANITIZE, TRACE, agent_sources, compile_c
from spikelet.paths import firmware_dir
from support import need

FLAGS = [*SANITIZE, LEARN, "-DSPK_LIBFUZZER", "-DPADDING=10", "-DFLASH_PAGE_BYTES=128"]
FLAGS += ["-Wno-unused-function", "-Wno-type-limits"]
LINK = [*agent_sources(), C_TESTS / "fuzz_link.c"]
STORAGE = [
    *(firmware_dir() / name for name in ("store/spk_storage.c", "link/spk_frame.c")),
    *(firmware_dir() / name for name in ("app/learning.c", "app/constants.c")),
    C_TESTS / "fuzz_storage.c",
]
TARGETS = {
    "link": (LINK, [TRACE]),
    "keyed": (LINK, [TRACE, "-DSPK_SIGNED"]),
    "storage": (STORAGE, []),
}


def replay(name: str, folder: Path, beside: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a target on its inputs, with sources of another folder where that has them."""
    sources, flags = TARGETS[name]
    if beside is not None:
        sources = [beside / s.name if (beside / s.name).exists() else s for s in sources]
    sources = [*sources, C_TESTS / "model_echo.c", C_TESTS / "fuzz_replay.c"]
    program = compile_c(folder / name, sources, [*FLAGS, *flags], "gcc")
    with tarfile.open(C_TESTS / "corpus" / f"{name}.tar.xz") as archive:
        archive.extractall(folder / "kept", filter="data")
    files = sorted(path for path in (folder / "kept" / name).iterdir())
    done = subprocess.run([program, *files], capture_output=True, text=True, check=False)
    assert len(files) > 30
    assert done.returncode or done.stdout == f"inputs {len(files)}\n"
    return done


@pytest.mark.parametrize("name", TARGETS)
def test_kept_inputs_are_served_or_refused(name: str, tmp_path: Path) -> None:
    need("gcc")
    done = replay(name, tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "file", "before", "after"),
    [
        ("link", "agent.c", "!writable(tensor)", "0"),
        ("link", "spk_frame.c", "in->size < SPK_FRAME_MAX", "1"),
        ("keyed", "signed.c", "size > spk_signed_bytes - sealed.bytes", "0"),
        (
            "storage",
            "learning.c",
            "spk_agent_admitted(tensor, 0, tensor->data, tensor->bytes) != tensor->bytes",
            "0",
        ),
    ],
)
def test_kept_inputs_find_a_missing_check(
    name: str, file: str, before: str, after: str, tmp_path: Path
) -> None:
    need("gcc")
    changed = tmp_path / "changed"
    changed.mkdir()
    for path in agent_sources():
        shutil.copy(path, changed)
    text = (changed / file).read_text()
    assert text.count(before) >= 1
    (changed / file).write_text(text.replace(before, after, 1))
    assert replay(name, tmp_path, changed).returncode != 0

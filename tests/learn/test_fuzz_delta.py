"""Deltas of every form under any bytes in a C library; the fuzzer finds what is missing."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from delta_forms import FORMS, write_forms
from link_agent import C_TESTS, SANITIZE
from monocypher import monocypher, sources
from once import Once
from support import need

pytestmark = pytest.mark.long


def forms(folder: Path) -> Path:
    """The libraries, and Monocypher's objects."""
    write_forms(folder)
    for flag_or_file in sources(monocypher()):
        if flag_or_file.endswith(".c"):
            made = folder / f"{Path(flag_or_file).stem}.o"
            command = ["gcc", "-w", "-O2", *_includes(), "-c", flag_or_file, "-o", str(made)]
            subprocess.run(command, check=True)
    return folder


def _includes() -> list[str]:
    return [word for word in sources(monocypher()) if word.startswith("-I")]


def run(made: Path, folder: Path, runs: int) -> subprocess.CompletedProcess[str]:
    """Build the target for random inputs, and run it."""
    libraries = [
        word
        for name in FORMS
        for word in (f"-I{made / name / 'include'}", str(made / name / "src" / f"{name}.c"))
    ]
    program = folder / "fuzz_delta"
    subprocess.run(
        ["gcc", *SANITIZE, "-w", f"-I{made}", *_includes(), *libraries,
         str(C_TESTS / "fuzz_delta.c"), *map(str, made.glob("*.o")), "-o", str(program)],
        check=True,
    )  # fmt: skip
    return subprocess.run([program, str(runs)], capture_output=True, text=True)


@pytest.fixture(scope="module")
def made(once: Once) -> Path:
    need("gcc")
    monocypher()
    return once("delta-forms", forms)


def test_deltas_of_every_form_under_any_bytes(made: Path, tmp_path: Path) -> None:
    done = run(made, tmp_path, 3000)
    assert (done.returncode, done.stdout) == (0, "runs 3000\n"), done.stderr


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        ("include/spk_state.h", "if (state[i] != tag[i])", "if (0)"),
        ("include/spk_state.h", "!= learned[i].bytes) {", "== learned[i].bytes + 1u) {"),
        ("src/NAME.c", "if (bytes != NAME_SIGNED_BYTES)", "if (bytes < 76)"),
        ("src/NAME.c", "if (!spk_is_sealed(", "if (0 && !spk_is_sealed("),
        ("src/NAME.c", "if (spk_seal_counter(seal) < *counter)", "if (0)"),
        ("src/NAME.c", "*counter = spk_seal_counter(seal);", ""),
        ("include/spk_admit.h", "tensor->low <= order", "1"),
        ("include/spk_admit.h", "order <= tensor->high", "1"),
    ],
)
def test_a_missing_check_is_found(
    file: str, before: str, after: str, made: Path, tmp_path: Path
) -> None:
    changed = tmp_path / "forms"
    subprocess.run(["cp", "-r", made, changed], check=True)
    for name in FORMS:
        places = [changed / name / file.replace("NAME", name)]
        if file.startswith("include"):
            places = list((changed / name).rglob(Path(file).name))
        assert places
        for place in places:
            text = place.read_text()
            wanted = re.sub("NAME", name.upper(), before)
            assert text.count(wanted) == 1, place
            place.write_text(text.replace(wanted, after))
    assert run(changed, tmp_path, 20000).returncode != 0

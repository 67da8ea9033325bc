"""`spikelet export --c` as a user types it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from cli_support import Spikelet
from support import need

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "v0_1_0"
SNN = str(FIXTURES / "digits_snn.spk")


def test_a_library_for_a_core_by_its_name(spikelet: Spikelet, tmp_path: Path) -> None:
    done = spikelet("export", SNN, "--c", tmp_path / "lib", "--target", "cortex-m4", "--json")
    result = json.loads(done.out)
    assert result["target"] == "armv7e-m" and result["name"] == "digits_snn"
    assert {"include/digits_snn.h", "src/digits_snn.c", "README.md"} <= set(result["files"])
    header = (tmp_path / "lib/include/digits_snn.h").read_text()
    assert f"DIGITS_SNN_ARENA_BYTES {result['arena_bytes']}\n" in header
    assert result["package_sha256"] in header
    source = (tmp_path / "lib/src/digits_snn.c").read_text()
    assert "// `spikelet export --c` makes it again. 16 time steps an inference.\n" in source


def test_on_a_board_its_readme_says_what_an_inference_takes(
    spikelet: Spikelet, tmp_path: Path
) -> None:
    need("zig")
    done = spikelet("export", SNN, "--c", tmp_path, "--board", "virt-rv32", "--name", "digits")
    assert done.code == 0, done.err
    text = (tmp_path / "README.md").read_text()
    assert "| instructions an inference (virt-rv32, zig) |" in text
    assert "digits_invoke();" in text


def test_a_learner_goes_into_the_library(spikelet: Spikelet, tmp_path: Path) -> None:
    need("gcc")
    need("cmake")
    package = str(FIXTURES / "clouds.spk")
    learner = ("--learn", "nearest_mean", "--classes", "4")
    done = spikelet("export", package, "--c", tmp_path, "--target", "host", *learner)
    assert done.code == 0, done.err
    for command in (["cmake", "-S", ".", "-B", "build"], ["cmake", "--build", "build"]):
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    said = subprocess.run([tmp_path / "build/clouds_example"], capture_output=True, text=True)
    assert said.returncode == 0 and ", 0 of " in said.stdout


@pytest.mark.parametrize("target", ["portable", "cortex-m4"])
def test_the_line_to_try_it_is_one_that_works(
    spikelet: Spikelet, target: str, tmp_path: Path
) -> None:
    need("cmake")
    need("gcc" if target == "portable" else "arm-none-eabi-gcc")
    toolchain = Path(__file__).resolve().parents[1] / "library" / "m4.cmake"
    done = spikelet("export", SNN, "--c", "it's $HOME", "--target", target)
    said = done.out[done.out.index("cmake -S") : done.out.index("package")]
    words = " ".join(said.replace("FILE:", "#").partition("#")[0].split())
    line = words.replace("=FILE", f"={toolchain}")
    ended = subprocess.run(["sh", "-ec", line], capture_output=True, text=True, cwd=tmp_path)
    assert ended.returncode == 0, f"{line}\n{ended.stderr}"
    assert (", 0 of " in ended.stdout) == (target == "portable")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--c", "{}/lib"], "a C library is made for one core"),
        (["--c", "{}/lib", "--target", "cortex-m4", "--board", "native"], "--target and --board"),
        (["--c", "{}/lib", "--target", "pentium"], "'pentium' is not a known instruction set"),
        (["--c", "{}/lib", "--target", "host", "--name", "a b"], "no name of a C library"),
        (["--c", "{}/lib", "--target", "host", "-o", "x.onnx"], "two formats"),
        (["--target", "host"], "--target goes with --c"),
        (["--keep-inputs"], "--keep-inputs goes with --c"),
        (["--c", "{}/lib", "--target", "host", "--name", "main"], "'main' is no name of a C"),
    ],
)
def test_what_does_not_go_together_is_refused(
    spikelet: Spikelet, options: list[str], text: str, tmp_path: Path
) -> None:
    done = spikelet("export", SNN, *(option.format(tmp_path) for option in options))
    assert done.code == 2 and text in done.err
    assert not any(tmp_path.iterdir())

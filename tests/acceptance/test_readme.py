"""The README to the letter: three people, one package."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import numpy as np
import pytest

import pages
from spikelet.package import Package
from support import need

LIBRARY = Path(__file__).resolve().parents[1] / "library"


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The folder of someone who typed every block, and what was printed."""
    for module in ("torch", "sklearn", "zig", "unicorn"):
        need(module)
    folder = tmp_path_factory.mktemp("readme")
    return folder, pages.execute(pages.blocks("README.md"), folder)


def test_the_researcher_runs_a_package_that_is_golden(walked: tuple[Path, list[str]]) -> None:
    folder, told = walked
    *_, mismatches, accuracy = told[0].split()
    assert mismatches == "0" and float(accuracy) > 0.85
    assert "digits" in (folder / "report.html").read_text(encoding="utf-8")


def test_the_engineers_lines_give_goldens_bytes_on_a_cortex_m4(
    walked: tuple[Path, list[str]],
) -> None:
    for tool in ("cmake", "arm-none-eabi-gcc", "qemu-system-arm"):
        need(tool)
    folder = walked[0] / "program"
    folder.mkdir()
    (block,) = [block.text for block in pages.blocks("README.md") if block.language == "c"]
    package = Package.load(walked[0] / "digits.spk")
    sample = package.inputs["x"][0]
    tensor = package.graph.inputs[0]
    reals = (sample.astype(float) - tensor.zero_point) * tensor.scale
    includes, _, body = block.partition("\n\n")
    (folder / "main.c").write_text(
        f"{includes}\n#include <stdio.h>\n"
        f"static const float pixels[] = {{{', '.join(f'{real:.6f}f' for real in reals)}}};\n"
        f"int main(void) {{\n{body}\n"
        "for (int i = 0; i < DIGITS_OUTPUT_LINEAR_2_ELEMENTS; i++)\n"
        'printf("%d\\n", scores[i]);\nreturn 0;\n}\n'
    )
    (folder / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\nproject(app C)\n"
        "add_subdirectory(../digits digits)\nadd_executable(app main.c)\n"
        "target_link_libraries(app PRIVATE digits)\n"
    )
    toolchain = f"-DCMAKE_TOOLCHAIN_FILE={LIBRARY / 'm4.cmake'}"
    subprocess.run(["cmake", "-S", ".", "-B", "build", toolchain], cwd=folder, check=True)
    subprocess.run(["cmake", "--build", "build"], cwd=folder, check=True)
    said = subprocess.run(
        ["qemu-system-arm", "-M", "mps2-an386", "-semihosting-config", "enable=on,target=native",
         "-display", "none", "-kernel", "build/app"],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120,
    ).stdout  # fmt: skip
    assert np.array_equal(
        np.array(said.split(), int), package.vectors["golden.linear_2"][0].astype(int)
    )


def test_the_bench_tests_a_board_and_says_how_it_would_be_flashed(
    walked: tuple[Path, list[str]],
) -> None:
    assert "2 passed" in walked[1][-2]
    assert "digits" in walked[1][-1] and ".hex" in walked[1][-1]


def test_what_it_says_of_installing_is_so() -> None:
    text = pages.README.read_text(encoding="utf-8")
    project = tomllib.loads((pages.ROOT / "pyproject.toml").read_text())["project"]
    assert f"Python {project['requires-python'].removeprefix('>=')}+" in text
    for extras in re.findall(r"pip install '\.\[([\w,]+)\]'", text):
        assert set(extras.split(",")) <= set(project["optional-dependencies"])

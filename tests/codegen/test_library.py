"""The C library for other people's firmware, built as they would: CMake, their own main()."""

from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import pytest

import every_kind
from spikelet.board.toolchain import find_command
from spikelet.codegen import generate
from spikelet.codegen.emit import library_text
from spikelet.codegen.library import MANIFEST, _sample
from spikelet.codegen.plan import plan
from spikelet.errors import UsageError
from spikelet.frontends import tflite
from spikelet.graph import Graph, c
from spikelet.graph.target import ANY, Target
from spikelet.package import Package
from spikelet.run.exported import example_of, export_c
from spikelet.streams import _round_to_codes
from support import need, reference_model

HERE = Path(__file__).resolve().parents[1] / "library"
FIXTURES = HERE.parent / "fixtures" / "v0_1_0"
STRICT = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror")
SEMIHOSTING = ("-semihosting-config", "enable=on,target=native", "-display", "none")
# name: core, toolchain file, what runs the program, tools
TARGETS: dict[str, tuple[str, str | None, tuple[str, ...], tuple[str, ...]]] = {
    "host": ("host", None, (), ("gcc", "g++")),
    "m4": (
        "cortex-m4", "m4.cmake",
        ("qemu-system-arm", "-M", "mps2-an386", *SEMIHOSTING, "-kernel"),
        ("arm-none-eabi-gcc", "qemu-system-arm"),
    ),
    "rv32": (
        "rv32imac", "rv32.cmake",
        ("qemu-system-riscv32", "-M", "virt", "-bios", "none", *SEMIHOSTING, "-kernel"),
        ("riscv64-unknown-elf-gcc", "qemu-system-riscv32"),
    ),
}  # fmt: skip
CLANGS = {
    "clang": ("clang", "--target=thumbv7em-none-eabi", "-mcpu=cortex-m4"),
    "zig": (
        "zig",
        "cc",
        "-target",
        "thumb-freestanding-eabi",
        "-mcpu=cortex_m4",
        "-fno-sanitize=undefined",
        "-fno-unwind-tables",
    ),
}
MODELS = ("digits_snn", "clouds", "kws")


@functools.cache
def package(model: str) -> Package:
    """A spiking network, a learner, and a network of LiteRT's."""
    if model == "kws":
        return with_vectors(tflite.load(reference_model("kws_ref_model")).graph, 8)
    return Package.load(FIXTURES / f"{'clouds_replay' if model == 'clouds' else model}.spk")


def library(model: str, target: str, folder: Path, **options: Any) -> Path:
    export_c(package(model), folder, Target.of_core(TARGETS[target][0]), name=model, **options)
    return folder


def called(*command: object) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def built(source: Path, target: str, program: str, *options: str, flags: str = "") -> Path:
    """Configure and build a project with CMake, nothing else; the program."""
    _, toolchain, _, tools = TARGETS[target]
    for tool in ("cmake", *tools):
        need(tool)
    build = source / "build"
    chosen = [] if toolchain is None else [f"-DCMAKE_TOOLCHAIN_FILE={HERE / toolchain}"]
    cflags = f"-DCMAKE_C_FLAGS_INIT={flags}" if toolchain is None else f"-DCMAKE_C_FLAGS={flags}"
    called("cmake", "-S", source, "-B", build, *chosen, *([cflags] if flags else []), *options)
    called("cmake", "--build", build)
    return build / program


def ran(program: Path, target: str) -> str:
    """What it says: some emulators say it on standard error."""
    command = ["timeout", "120", *TARGETS[target][2], str(program)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize(
    ("model", "target"),
    [  # for every change each model is on the host, and one on each core
        pytest.param(model, target, marks=[pytest.mark.long] * (target not in ("host", core)))
        for model, core in zip(MODELS, ("m4", "rv32", "m4"), strict=True)
        for target in TARGETS
    ],
)
def test_the_example_gives_goldens_bytes(model: str, target: str, tmp_path: Path) -> None:
    folder = library(model, target, tmp_path / model)
    said = ran(built(folder, target, f"{model}_example"), target)
    match = re.fullmatch(rf"{model}: (\d+) samples, 0 of (\d+) bytes are wrong\n", said)
    assert match is not None and int(match[1]) == 8 and int(match[2]) >= 64


def test_a_wrong_byte_shows(tmp_path: Path) -> None:
    folder = library("digits_snn", "host", tmp_path / "lib")
    source = folder / "src" / "digits_snn.c"
    text = source.read_text()
    at = text.index("{\n    0x", text.index("spk_const_fc2_weight[")) + 6
    source.write_text(text[:at] + ("0x1" if text[at : at + 3] != "0x1" else "0x2") + text[at + 3 :])
    program = built(folder, "host", "digits_snn_example")
    done = subprocess.run([program], capture_output=True, text=True)
    assert done.returncode == 1 and "0 of" not in done.stdout


@pytest.mark.parametrize("target", ["host", pytest.param("m4", marks=pytest.mark.long)])
def test_a_cpp_program_with_a_buffer_of_its_own(target: str, tmp_path: Path) -> None:
    library("clouds", target, tmp_path / "clouds")
    shutil.copy(HERE / "use.cpp", tmp_path)
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\n"
        "project(use C CXX)\n"
        "add_subdirectory(clouds)\n"
        "target_compile_definitions(clouds PUBLIC CLOUDS_ARENA_CALLER)\n"
        "add_executable(use use.cpp)\n"
        "target_compile_features(use PRIVATE cxx_std_17)\n"
        f"target_compile_options(use PRIVATE {' '.join(STRICT)})\n"
        "target_link_libraries(use PRIVATE clouds)\n"
        "set_target_properties(use PROPERTIES LINKER_LANGUAGE C)\n"  # there is no libstdc++
    )
    assert ran(built(tmp_path, target, "use"), target) == "right\n"


# Nothing of this is other on a core, of which an example runs for every change.
@pytest.mark.parametrize(
    "target", ["host", *(pytest.param(core, marks=pytest.mark.long) for core in ("m4", "rv32"))]
)
def test_three_models_share_an_arena(target: str, tmp_path: Path) -> None:
    """One of them learns, between inferences of the others."""
    lines = ["cmake_minimum_required(VERSION 3.16)", "project(together C)"]
    largest = 0
    for model in MODELS:
        folder = library(model, target, tmp_path / model)
        shared = package(model)
        core_of = Target.of_core(TARGETS[target][0])
        places = plan(shared.graph, core_of)
        largest = max(largest, places.size - places.learned)
        _, core = library_text(shared.graph, shared.sha256, core_of, places, model)
        sample = "\n    ".join(_sample(core, example_of(shared, shared.vectors)))
        sample = re.sub(
            r"compare\((.*), (\w+\[i\]), sizeof .*\);", r"wrong += memcmp(\1, \2, sizeof \2) != 0;",
            sample,
        )  # fmt: skip
        text = (HERE / "together.c.in").read_text()
        values = {"name": model, "folder": folder, "sample": sample}
        (tmp_path / f"{model}.c").write_text(Template(text).substitute(values))
        lines.append(f"add_subdirectory({model})")
        lines.append(f"target_compile_definitions({model} PRIVATE {model.upper()}_ARENA=shared)")
    shutil.copy(HERE / "together.c", tmp_path)
    lines += [
        f"add_executable(together together.c {' '.join(f'{model}.c' for model in MODELS)})",
        f"target_compile_definitions(together PRIVATE SHARED_BYTES={largest})",
        f"target_link_libraries(together PRIVATE {' '.join(MODELS)})",
    ]
    (tmp_path / "CMakeLists.txt").write_text("\n".join(lines))
    assert ran(built(tmp_path, target, "together"), target) == "together: 0 wrong\n"


def test_the_arena_lies_in_a_section(tmp_path: Path) -> None:
    folder = library("digits_snn", "m4", tmp_path / "lib")
    section = '-DDIGITS_SNN_SECTION=\\".dtcm\\"'
    program = built(folder, "m4", "digits_snn_example", flags=f"-mcpu=cortex-m4 -mthumb {section}")
    sizes = called("arm-none-eabi-objdump", "-h", program)
    found = re.search(r"\.dtcm +([0-9a-f]+)", sizes)
    arena = re.search(r"ARENA_BYTES (\d+)", (folder / "include/digits_snn.h").read_text())
    assert found is not None and arena is not None and int(found[1], 16) == int(arena[1])
    assert " 0 of " in ran(program, "m4")


# For every change: clang without optimisation, below, and each kernel's registers and stack,
# tests/codegen/test_codegen.py.
@pytest.mark.long
@pytest.mark.parametrize("target", ["host", "m4"])
def test_a_build_without_optimisation_is_right(target: str, tmp_path: Path) -> None:
    folder = library("kws", target, tmp_path / "lib")
    program = built(folder, target, "kws_example", "-DCMAKE_BUILD_TYPE=Debug")
    assert " 0 of " in ran(program, target)


@pytest.mark.parametrize("compiler", CLANGS)
def test_clang_without_optimisation_is_right_on_a_core_with_dsp(
    compiler: str, tmp_path: Path
) -> None:
    """Every register that is left is one that the kernels' assembly takes."""
    for tool in (compiler, *TARGETS["m4"][3]):
        need(tool)
    command = find_command(CLANGS[compiler])
    assert command is not None
    folder = library("kws", "m4", tmp_path / "lib")
    flags = ["-O0", "-std=c11", "-ffreestanding", *c.FLAGS]
    called(*command, *flags, *STRICT, "-c", folder / "src/kws.c", "-o", tmp_path / "kws.o")
    own = [HERE / "m4_start.c", folder / "example/main.c", f"-I{folder / 'include'}"]
    called("arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb", "--specs=rdimon.specs", "-T",
           HERE / "m4.ld", "-nostartfiles", *own, tmp_path / "kws.o", "-o", tmp_path / "kws",
           )  # fmt: skip
    assert " 0 of " in ran(tmp_path / "kws", "m4")


# Targets whose C differs, and compilers of several cores, by the flags that choose one.
MADE_FOR = (
    "host", "portable", "cortex-m0", "cortex-m3", "cortex-m4", "cortex-m4f", "cortex-m33",
    "cortex-m55", "rv32imac", "rv32imafc_zbb",
)  # fmt: skip
COMPILERS = {
    "gcc": ((),),
    "arm-none-eabi-gcc": (
        ("-mcpu=cortex-m0",), ("-mcpu=cortex-m3",), ("-mcpu=cortex-m4",),
        ("-mcpu=cortex-m4", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"),
        ("-mcpu=cortex-m55", "-mfloat-abi=hard"), ("-mcpu=cortex-a9", "-mfloat-abi=soft"),
    ),
    "riscv64-unknown-elf-gcc": (
        ("-march=rv32imac", "-mabi=ilp32"), ("-march=rv64gc", "-mabi=lp64"),
        ("-march=rv32i", "-mabi=ilp32"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("compiler", COMPILERS)
def test_a_wrong_core_is_one_error_with_the_words_to_mend_it(compiler: str, tmp_path: Path) -> None:
    """Each target with each core: it is compiled, or there is one #error and nothing else."""
    need(compiler)
    graph = every_kind.MAKERS[0]()
    sources = {}
    for core in MADE_FOR:
        target = Target.of_core(core)
        export_c(with_vectors(graph), folder := tmp_path / core, target, name="tiny")
        sources[core] = str(folder / "src/tiny.c"), str(target)
    refused = set()
    for flags in COMPILERS[compiler]:
        for core, (source, target) in sources.items():
            command = [compiler, *flags, "-ffreestanding", "-fsyntax-only", source]
            done = subprocess.run(command, capture_output=True, text=True)
            errors = re.findall(r"error: (.*)", done.stderr)
            assert len(errors) == (done.returncode != 0), (core, flags, errors)
            if errors:
                refused.add((core, flags))
                assert errors[0].startswith("#error") and "--target" in errors[0], errors
                assert f"made for {target}," in errors[0], errors
    cores = {core for core, _ in refused}
    assert len(cores) >= 6 and "portable" not in cores
    assert ("host" in cores) == (compiler != "gcc")


def objects(folder: Path, compiler: Sequence[str], name: str) -> str:
    """What the linker sees of a library."""
    called(
        *compiler,
        "-std=c11",
        "-O2",
        *c.FLAGS,
        *STRICT,
        "-c",
        folder / f"src/{name}.c",
        "-o",
        folder / "lib.o",
    )
    return called("nm", "-g", folder / "lib.o")


@pytest.mark.parametrize(
    ("number", "compiler"),
    [  # for every change each is compiled by one of the two
        pytest.param(number, compiler, marks=[pytest.mark.long] * ((number + i) % 2))
        for number in range(len(every_kind.MAKERS))
        for i, compiler in enumerate(("gcc", "clang"))
    ],
)
def test_every_kind_is_a_library(number: int, compiler: str, tmp_path: Path) -> None:
    """No warning; outside of its prefix the linker sees nothing but memory functions."""
    need(compiler)
    graph = every_kind.MAKERS[number]()
    made = export_c(with_vectors(graph), tmp_path / "lib", Target.of_core("host"))
    for line in objects(tmp_path / "lib", [compiler], made.prefix).splitlines():
        kind, symbol = line.split()[-2:]
        if kind == "U":
            assert symbol in ("memcpy", "memset", "memmove"), symbol
        else:
            assert symbol.startswith(f"{made.prefix}_"), symbol
    for choice in (f"{made.prefix.upper()}_ARENA=mine", f"{made.prefix.upper()}_ARENA_CALLER"):
        called(compiler, "-std=c11", "-O2", *STRICT, f"-D{choice}", "-fno-strict-aliasing",
               "-fsyntax-only", tmp_path / "lib" / "src" / f"{made.prefix}.c")  # fmt: skip
    header = tmp_path / "lib" / "include" / f"{made.prefix}.h"
    called("g++", "-std=c++17", *STRICT, "-Wno-pragma-once-outside-header", "-fsyntax-only", "-x",
           "c++", header)  # fmt: skip


def with_vectors(graph: Graph, samples: int = 2) -> Package:
    """Samples anywhere in the inputs' ranges."""
    rng = np.random.default_rng(0)
    vectors = {}
    for tensor in graph.inputs:
        low, high = graph.admitted_range(tensor)
        drawn = rng.uniform(max(low, -1e4), min(high, 1e4), (samples, *tensor.shape))
        if tensor.choices:
            drawn = rng.choice(np.array(tensor.choices), drawn.shape)
        vectors[tensor.name] = np.floor(drawn).astype(tensor.numpy_dtype)
    return Package(graph, vectors=vectors)


def test_inputs_survive_where_that_is_asked_for(tmp_path: Path) -> None:
    need("gcc")
    graph = package("kws").graph
    plain, kept = plan(graph), plan(graph, keep_inputs=True)
    assert kept.size >= plain.size
    x = graph.inputs[0].name
    for name, slot in kept.slots.items():
        apart = slot.offset >= kept.slots[x].offset + kept.slots[x].size or (
            slot.offset + slot.size <= kept.slots[x].offset
        )
        assert name == x or apart, name
    folder = library("kws", "host", tmp_path / "lib", keep_inputs=True)
    main = folder / "example" / "main.c"
    text = main.read_text()
    again = "status = kws_invoke();"
    assert text.count(again) == 1
    main.write_text(text.replace(again, f"{again} {again}"))  # the second finds its input
    assert " 0 of " in ran(built(folder, "host", "kws_example"), "host")


def test_codes_are_those_of_the_host(tmp_path: Path) -> None:
    """Ties, both ends, infinities, what is no number."""
    need("gcc")
    graph, folder = package("kws").graph, library("kws", "host", tmp_path / "lib")
    tensor = graph.inputs[0]
    port = re.search(r"kws_input_(\w+)_code", (folder / "include/kws.h").read_text())
    assert port is not None
    steps = np.arange(-300, 300, 0.25)
    values = (steps * np.float64(tensor.scale)).astype(np.float32)
    values = np.concatenate([values, np.float32([np.inf, -np.inf, 3e38, -3e38])])
    low, high = graph.admitted_range(tensor)
    expected = np.clip(_round_to_codes(values, tensor), low, high)
    text = "\n".join(
        [
            f'#include "kws.h"\n#include <stdio.h>\nconst float values[{len(values) + 1}] = {{',
            *(f"{float(v).hex()}f," if np.isfinite(v) else f"{'-' * bool(v < 0)}1.0f/0.0f,"
              for v in values),
            "0.0f/0.0f};",
            f"int main(void) {{ for (int i = 0; i < {len(values) + 1}; i++)",
            f'printf("%d\\n", (int)kws_input_{port[1]}_code(values[i])); }}',
        ]
    )  # fmt: skip
    (tmp_path / "codes.c").write_text(text)
    called("gcc", tmp_path / "codes.c", folder / "src/kws.c", f"-I{folder / 'include'}", "-o",
           tmp_path / "codes")  # fmt: skip
    *found, nan = map(int, called(tmp_path / "codes").split())
    np.testing.assert_array_equal(found, expected)
    assert nan == low


def test_the_agents_model_is_the_library(tmp_path: Path) -> None:
    """One way to make C: model.c begins with what the library has."""
    for model in ("digits_snn", "clouds"):
        graph, sha256 = package(model).graph, package(model).sha256
        target = Target.parse("rv32imac")
        source = generate(graph, sha256, tmp_path / model, target=target).source.read_text()
        text, core = library_text(graph, sha256, target, plan(graph, target))
        assert source.startswith(core.text)
        header = (tmp_path / model / f"{core.interface.prefix}.h").read_text()
        assert header == core.interface.header()
        assert "spk_model spk_model" not in text


@pytest.mark.parametrize(("given", "prefix"), [("math", "model_math"), ("spk_x", "model_spk_x")])
def test_a_model_whose_name_is_taken_gets_another(given: str, prefix: str, tmp_path: Path) -> None:
    whole = package("digits_snn")
    named = Package(replace(whole.graph, name=given), whole.vectors, whole.manifest)
    assert export_c(named, tmp_path / "lib", ANY).prefix == prefix
    with pytest.raises(UsageError, match=f"'{given}' is no name of a C library"):
        export_c(whole, tmp_path / "other", ANY, name=given)


def test_other_files_are_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match=r"holds other files: thesis.tex"):
        export_c(package("digits_snn"), tmp_path, ANY)
    export_c(package("digits_snn"), tmp_path / "lib", ANY)
    export_c(package("digits_snn"), tmp_path / "lib", ANY)
    with pytest.raises(UsageError, match="no name of a C library"):
        export_c(package("digits_snn"), tmp_path / "other", ANY, name="a b")


def test_other_build_systems_find_what_they_ask_for(tmp_path: Path) -> None:
    folder = library("clouds", "m4", tmp_path / "clouds")
    properties = dict(
        line.split("=", 1) for line in (folder / "library.properties").read_text().splitlines()
    )
    # https://arduino.github.io/arduino-cli/latest/library-specification/
    needed = {"name", "version", "author", "maintainer", "sentence", "paragraph", "category", "url",
              "architectures", "includes"}  # fmt: skip
    assert set(properties) == needed
    assert re.fullmatch(r"\d+\.\d+\.\d+", properties["version"])
    assert properties["category"] == "Data Processing"
    assert (folder / "src" / properties["includes"]).is_file()
    manifest = json.loads((folder / "library.json").read_text())
    assert (folder / manifest["build"]["includeDir"] / manifest["headers"]).is_file()
    # scripts/schemas/module-schema.yml of Zephyr: a name, and places relative to the module
    module = (folder / "zephyr" / "module.yml").read_text()
    assert "name: clouds\n" in module
    for part in ("cmake", "kconfig"):
        place = re.search(rf"{part}: (\S+)", module)
        assert place is not None and (folder / place[1]).exists()
    for file in folder.rglob("*"):
        text = file.read_text() if file.is_file() else "SPDX"
        assert "SPDX" in text or "Apache" in text or file.name == "library.properties", file


@pytest.mark.long
def test_their_own_tools_take_the_manifests(tmp_path: Path) -> None:
    """PlatformIO and ESP-IDF's component manager, from PyPI, in an environment of their own."""
    folder, python = library("clouds", "m4", tmp_path / "clouds"), tmp_path / "venv" / "bin"
    called(sys.executable, "-m", "venv", tmp_path / "venv")
    called(python / "pip", "install", "--quiet", "platformio", "idf-component-manager")
    called(python / "compote", "manifest", "lint", folder / "idf_component.yml")
    called(python / "compote", "component", "pack", "--name", "clouds", "--project-dir", folder)
    # PlatformIO asks the network for the list of licences.
    check = (
        "from platformio.package.manifest import schema as s; "
        "s.ManifestSchema.load_spdx_licenses = staticmethod("
        "lambda: {'licenses': [{'licenseId': 'Apache-2.0'}]}); "
        "from platformio.package.pack import PackagePacker; "
        f"print(PackagePacker({str(folder)!r}).pack({str(tmp_path / 'packed.tar.gz')!r}))"
    )
    called(python / "python", "-c", check)
    with tarfile.open(tmp_path / "packed.tar.gz") as archive:
        assert {"library.json", "src/clouds.c", "include/clouds.h"} <= set(archive.getnames())


def test_a_state_of_another_model_is_refused_by_its_example(tmp_path: Path) -> None:
    folder = library("clouds", "host", tmp_path / "clouds")
    main = folder / "example" / "main.c"
    text = main.read_text()
    assert text.count("state[0] ^= 1;") == 2
    main.write_text(text.replace("state[0] ^= 1;", "state[CLOUDS_STATE_BYTES - 1] ^= 0;"))
    program = built(folder, "host", "clouds_example")
    done = subprocess.run([program], capture_output=True, text=True)
    assert done.returncode == 1  # a restore that should have failed did not


def there(folder: Path) -> dict[str, str]:
    """All files below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


def test_a_library_written_again_leaves_nothing_of_the_earlier(tmp_path: Path) -> None:
    """Another model under another name: no header, kernel or empty folder of the first stays."""
    folder, core = tmp_path / "lib", Target.of_core("cortex-m4")
    first = export_c(package("kws"), folder, core, name="first")
    own = {"build/first.o": "object", "notes.md": "mine", "src/kernels/mine.h": "mine"}
    for name, text in own.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    again = export_c(package("digits_snn"), folder, core, name="again")
    fresh = export_c(package("digits_snn"), tmp_path / "fresh", core, name="again")
    assert there(folder) == there(tmp_path / "fresh") | own
    assert set(again.files) == set(fresh.files) == set(there(tmp_path / "fresh"))
    assert "src/kernels/arch/conv2d_dsp.h" in first.files
    assert not (folder / "src/kernels/arch/conv2d_dsp.h").exists()
    assert all(any(each.iterdir()) for each in folder.rglob("*") if each.is_dir())


def test_what_a_library_does_not_own_is_neither_written_over_nor_removed(tmp_path: Path) -> None:
    folder, core = tmp_path / "lib", Target.of_core("host")
    export_c(package("digits_snn"), folder, core, name="first")
    (tmp_path / "thesis.tex").write_text("the only copy")
    (folder / "elsewhere").symlink_to(tmp_path)
    with (folder / MANIFEST).open("a") as manifest:
        manifest.write(f"../thesis.tex\n{tmp_path / 'thesis.tex'}\nelsewhere/thesis.tex\n")
    export_c(package("digits_snn"), folder, core, name="second")
    assert (tmp_path / "thesis.tex").read_text() == "the only copy"
    (folder / "include/third.h").write_text("mine")
    before = there(folder)
    with pytest.raises(UsageError, match=r"include/third.h is in the way"):
        export_c(package("digits_snn"), folder, core, name="third")
    assert there(folder) == before
    (folder / MANIFEST).unlink()
    with pytest.raises(UsageError, match=r"holds other files"):
        export_c(package("digits_snn"), folder, core, name="second")


def test_a_zip_holds_the_folder(tmp_path: Path) -> None:
    core = Target.of_core("cortex-m4")
    zips = [tmp_path / "first.zip", tmp_path / "new" / "second.zip"]
    for file in zips:
        made = export_c(package("digits_snn"), file, core, name="digits")
    assert zips[0].read_bytes() == zips[1].read_bytes()
    export_c(package("digits_snn"), tmp_path / "folder", core, name="digits")
    with zipfile.ZipFile(zips[0]) as archive:
        archive.extractall(tmp_path / "out")
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert there(tmp_path / "out" / "digits") == there(tmp_path / "folder")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["digits"]
    assert set(made.files) == set(there(tmp_path / "folder"))

"""A model as a C library for other people's firmware: a folder with all that a build needs."""

from __future__ import annotations

import contextlib
import io
import posixpath
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

from spikelet.codegen.emit import Core, library_text
from spikelet.codegen.emitter import C_TYPES
from spikelet.codegen.interface import Interface, Port, prefix_of
from spikelet.codegen.plan import plan
from spikelet.codegen.signed import nothing_to_sign
from spikelet.errors import UsageError
from spikelet.files import save, writing
from spikelet.graph import Array, Graph, GraphError, c
from spikelet.graph.target import Target
from spikelet.paths import firmware_dir, house_dir
from spikelet.plugins import kernel_dirs
from spikelet.version import __version__

MANIFEST = "MANIFEST"
_HEAD = """\
# Files that spikelet export wrote: it writes over them, and removes those that are no more.
# SPDX-License-Identifier: Apache-2.0
"""
_VERSION = "0.1.0"
_INCLUDED = re.compile(r"^\s*#\s*include\s+\"([^\"]+)\"", re.MULTILINE)


@dataclass(frozen=True)
class Example:
    """Samples, and what golden gives for each, that example/main.c runs.

    Attributes:
        inputs: by name, (N, *shape).
        outputs: by name, (N, *shape); of a model that learns, as they are before it learns each.
        labels: (N,) where the model learns classes.
        targets: by name, (N, *shape), where it learns from them.
        state_crc: CRC-32 of what was learned after all of them and a commit, as `NAME_save` has it.
    """

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]
    labels: Array | None = None
    targets: Mapping[str, Array] = field(default_factory=dict)
    state_crc: int | None = None


@dataclass(frozen=True)
class Library:
    """What was written.

    Attributes:
        folder: of it.
        prefix: of all that the linker sees.
        target: the core that it is for.
        files: relative to the folder.
        arena_bytes, learned_bytes: of RAM.
        constant_bytes: of flash.
    """

    folder: Path
    prefix: str
    target: Target
    files: list[str]
    arena_bytes: int
    learned_bytes: int
    constant_bytes: int


@dataclass(frozen=True)
class LibraryForm:
    """How a library is to be.

    Attributes:
        name: of the library, and what all its names begin with; by default the graph's.
        keep_inputs: an inference leaves its inputs as they were, which takes more RAM.
        key: public, 32 bytes: of a library that learns, which then has `NAME_restore_signed` and
            is built with Monocypher; none without.
        measured: rows of the README's table: what, and the figure.
    """

    name: str | None = None
    keep_inputs: bool = False
    key: bytes = b""
    measured: Sequence[tuple[str, str]] = ()


def write_library(
    graph: Graph,
    sha256: str,
    target: Target,
    folder: Path,
    example: Example,
    form: LibraryForm | None = None,
) -> Library:
    """Write a model as a C library.

    Args:
        graph: the integer graph; one that learns gives a library that learns.
        sha256: of the package.
        target: the core; a compiler for another one stops with one #error.
        folder: new, or a library that was written before, of which no old file stays; or a file
            NAME.zip, which holds the folder, as Arduino adds libraries.
        example: samples for example/main.c.
        form: how it is to be.

    Raises:
        UsageError: the folder holds something else, the name is no identifier of C, or a key is
            given where nothing is learned.
    """
    form = form or LibraryForm()
    if form.key and not graph.learns:
        raise nothing_to_sign(graph)
    zipped = folder.suffix.lower() == ".zip"
    before = set[str]() if zipped else _owned_files(folder)
    prefix = prefix_of(graph.name) if form.name is None else _checked_name(form.name)
    places = plan(graph, target, form.keep_inputs)
    text, core = library_text(graph, sha256, target, places, prefix, form.key)
    files = {f"include/{prefix}.h": core.interface.header(), f"src/{prefix}.c": text}
    # Arduino looks for headers in src alone.
    files[f"src/{prefix}.h"] = f'#include "../include/{prefix}.h" // SPDX: Apache-2.0\n'
    files |= _headers(text, {f"{prefix}.h"})
    files["example/vectors.h"] = _vectors(core, example)
    files |= _filled(core, target, example, form.measured)
    files["LICENSE"] = (house_dir() / "LICENSE").read_text(encoding="utf-8")
    files[MANIFEST] = _HEAD + "".join(f"{name}\n" for name in sorted(files))
    if zipped:
        _write_zip(folder, prefix, files)
    else:
        _write_folder(folder, files, before)
    face = core.interface
    return Library(
        folder, prefix, target, sorted(files), face.arena_bytes, places.learned, face.const_bytes
    )


def _owned_files(folder: Path) -> set[str]:
    """Files that an earlier export wrote there; only an empty folder has no list of them."""
    if not folder.exists():
        return set()
    if not folder.is_dir():
        raise UsageError(f"{folder} is a file", next="name a folder that is new, or NAME.zip")
    there = sorted(path.name for path in folder.iterdir())
    if not there:
        return set()
    try:
        text = (folder / MANIFEST).read_text(encoding="utf-8")
    except (OSError, ValueError):
        text = ""
    if not text.startswith(_HEAD):
        raise UsageError(
            f"{folder} holds other files: {', '.join(there[:3])}",
            f"a library is written into an empty folder, or over one whose {MANIFEST} lists it",
            "name a folder that is new",
        )
    inside, names = folder.resolve(), text.removeprefix(_HEAD).splitlines()
    files = {name for name in names if (inside / name).is_file()}
    return {name for name in files if (inside / name).resolve().is_relative_to(inside)}


def _write_folder(folder: Path, files: Mapping[str, str], before: set[str]) -> None:
    """Write the files, and remove what was written before and is not any more; all else stays."""
    unknown = files.keys() - before - {MANIFEST}
    if foreign := sorted(name for name in unknown if (folder / name).exists()):
        raise UsageError(
            f"{folder / foreign[0]} is in the way, and was not written by spikelet export",
            "a file of your own in the library's folder",
            "move it, or name another folder",
        )
    for name in before - files.keys():
        (folder / name).unlink(missing_ok=True)
        for above in list(Path(name).parents)[:-1]:
            with contextlib.suppress(OSError):  # others are in it, or it is gone
                (folder / above).rmdir()
    for name, content in files.items():
        with writing(folder):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content, encoding="utf-8", newline="\n")


def _write_zip(file: Path, prefix: str, files: Mapping[str, str]) -> None:
    """Write the folder as a zip, whose bytes do not depend on when."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(files.items()):
            info = zipfile.ZipInfo(f"{prefix}/{name}")
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(info, content)
    save(file, buffer.getvalue())


def _checked_name(name: str) -> str:
    """A name that was chosen, to the letter."""
    try:
        prefix = prefix_of(name)
    except GraphError as e:
        raise UsageError(
            f"{name!r} is no name of a C library", next="letters, digits and underscores: --name"
        ) from e
    if prefix != name:
        raise UsageError(
            f"{name!r} is no name of a C library",
            "C, its headers or the kernels have functions, headers or macros that begin with it",
            f"--name {prefix}, for example",
        )
    return prefix


def _headers(text: str, own: set[str]) -> dict[str, str]:
    """The headers that a text includes, and those that they do, by their place in the library.

    Each includes others by the way from itself to them, so that no path has to be given.
    """
    found: dict[str, str] = {}
    pending = [path for path in _INCLUDED.findall(text) if path not in own]
    while pending:
        path = pending.pop()
        if path in found:
            continue
        content = _read_header(path)
        for name in _INCLUDED.findall(content):
            pending.append(name)
            way = posixpath.relpath(name, posixpath.dirname(path))
            content = content.replace(f'#include "{name}"', f'#include "{way}"')
        found[path] = content
    return {f"src/{path}": content for path, content in found.items()}


def _read_header(path: str) -> str:
    for folder in kernel_dirs():
        if (folder / path).is_file():
            return (folder / path).read_text(encoding="utf-8")
    raise GraphError(f"there is no header {path}")


def _vectors(core: Core, example: Example) -> str:
    """example/vectors.h: the samples as bytes."""
    count = len(next(iter(example.inputs.values())))
    lines = [
        "// Samples of the package, and what golden gives for each.",
        "// SPDX-License-Identifier: Apache-2.0",
        "#include <stdint.h>",
        "",
        f"#define SAMPLES {count}",
    ]
    given = {**example.inputs, **example.targets, **example.outputs}
    for port in core.interface.ports:
        values = given[port.tensor.name]
        rows = [core.interface.graph.wire(port.tensor, value) for value in values]
        lines.append(f"// {c.remark(port.tensor.name)}")
        lines.append(f"static const uint8_t {_array(port)}[SAMPLES][{len(rows[0])}] = {{")
        lines += [f"    {{{_bytes(row)}}}," for row in rows]
        lines.append("};")
    if example.labels is not None:
        text = ", ".join(str(int(label)) for label in example.labels)
        lines.append(f"static const int32_t labels[SAMPLES] = {{{text}}};")
    if example.state_crc is not None:
        lines.append(f"#define STATE_CRC 0x{example.state_crc:08x}u")
    return "\n".join([*lines, ""])


def _array(port: Port) -> str:
    return f"{port.word}_{port.number}"


def _bytes(row: bytes) -> str:
    parts = [", ".join(str(byte) for byte in row[i : i + 24]) for i in range(0, len(row), 24)]
    return ",\n     ".join(parts)


_CRC = """
// CRC-32 as zlib has it.
static uint32_t crc32(const uint8_t *data, size_t size) {
    uint32_t crc = 0xFFFFFFFFu;

    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
        }
    }
    return ~crc;
}

static uint8_t state[${NAME}_STATE_BYTES];

// What was learned is what the twin learned; a state that is not the model's is refused.
static int check_state(void) {
    ${name}_save(state);
    wrong += (unsigned long)(crc32(state, sizeof state) != STATE_CRC);
    compared += 4;
    state[0] ^= 1;
    wrong += (unsigned long)(${name}_restore(state) != ${NAME}_ERROR_STATE);
    state[0] ^= 1;
    return ${name}_restore(state);
}
"""
_SIGNED_NOTE = """\

`restore_signed()` needs Monocypher (https://monocypher.org, 3 or 4): compile its `monocypher.c` and
`optional/monocypher-ed25519.c` with your firmware, and name both folders with `-I`. With CMake it
is one variable, which CMakeLists.txt describes.
"""
_MONOCYPHER = """
# ${name}_restore_signed() calls Monocypher. From its release (src) or package, version 3 or 4:
# -D${NAME}_MONOCYPHER=FOLDER, which holds monocypher.c and optional/monocypher-ed25519.c.
set(${NAME}_MONOCYPHER "" CACHE PATH "The folder of Monocypher's sources")
if(NOT EXISTS "$${${NAME}_MONOCYPHER}/optional/monocypher-ed25519.c")
  message(FATAL_ERROR "give -D${NAME}_MONOCYPHER=FOLDER: with monocypher.c and optional/")
endif()
add_library(${name}_monocypher STATIC "$${${NAME}_MONOCYPHER}/monocypher.c"
  "$${${NAME}_MONOCYPHER}/optional/monocypher-ed25519.c")
target_include_directories(${name}_monocypher PUBLIC "$${${NAME}_MONOCYPHER}"
  "$${${NAME}_MONOCYPHER}/optional")
target_compile_options(${name}_monocypher PRIVATE -ffunction-sections -fdata-sections)
target_link_libraries(${name} PRIVATE ${name}_monocypher)
"""
_ENDING = """\
    if (status == ${NAME}_OK) {
        status = ${name}_commit();
    }
    if (status == ${NAME}_OK) {
        status = check_state();
    }
"""


def _filled(
    core: Core, target: Target, example: Example, measured: Sequence[tuple[str, str]]
) -> dict[str, str]:
    """The files that stand in firmware/library, with the model's names and figures."""
    face = core.interface
    names = {"name": face.prefix, "NAME": face.macro}
    sentence = f"{face.prefix}: an integer network that Spikelet made"
    learns = face.graph.learns
    values = {
        **names,
        "version": _VERSION,
        "spikelet": __version__,
        "sha256": face.sha256,
        "target": str(target),
        "sentence": sentence,
        "flags": " ".join(c.FLAGS),
        "flag_list": ", ".join(f'"{flag}"' for flag in c.FLAGS),
        "arena": face.arena_bytes,
        "learned": face.places.learned,
        "constants": face.const_bytes,
        "monocypher": Template(_MONOCYPHER).substitute(names) if face.key else "",
        "signed": _SIGNED_NOTE if face.key else "",
        "learning": Template(_CRC).substitute(names) if learns else "",
        "samples": "".join(f"        {line}\n" for line in _sample(core, example)),
        "ending": Template(_ENDING).substitute(names) if learns else "",
        "usage": _usage(core),
        "figures": "".join(f"| {what} | {figure} |\n" for what, figure in measured),
        "layers": _layer_table(core),
    }
    templates = firmware_dir() / "library"
    paths = sorted(p for p in templates.rglob("*") if p.is_file())
    return {
        path.relative_to(templates).as_posix(): Template(
            path.read_text(encoding="utf-8")
        ).substitute(values)
        for path in paths
    }


def _sample(core: Core, example: Example) -> list[str]:
    """What main.c does with sample i."""
    face = core.interface
    name, macro = face.prefix, face.macro

    def copied(port: Port) -> str:
        array = f"{_array(port)}[i]"
        return f"memcpy({name}_{port.word}({port.number}), {array}, sizeof {array});"

    constant = [port for port in face.of("input") if not port.tensor.per_step]
    lines = list(map(copied, constant))
    stepped = face.graph.stream is not None or face.graph.keeps_state
    lines += _stepped(name, macro, face) if stepped else [f"status = {name}_invoke();"]
    lines += [
        f"compare({name}_output({p.number}), {_array(p)}[i], sizeof {_array(p)}[i]);"
        for p in face.of("output")
    ]
    if face.graph.learns:
        lines += map(copied, face.of("target"))
        label = "labels[i]" if example.labels is not None else ""
        lines += [f"if (status == {macro}_OK) {{", f"    status = {name}_learn({label});", "}"]
    return lines


def _stepped(name: str, macro: str, face: Interface) -> list[str]:
    """A sample whose input has other values in each step, or whose neurons go on."""
    copies = [
        f"    memcpy({name}_input({p.number}), {_array(p)}[i] + t * {p.tensor.nbytes}, "
        f"{p.tensor.nbytes});"
        for p in face.of("input")
        if p.tensor.per_step
    ]
    begin = f"i ? {name}_resume() : {name}_start()" if face.graph.keeps_state else f"{name}_start()"
    go_on = f" && !{name}_is_sure()" if face.graph.exit else ""
    return [
        f"status = {begin};",
        f"for (uint32_t t = 0; t < {macro}_STEPS && status == {macro}_OK{go_on}; t++) {{",
        *copies,
        f"    status = {name}_step();",
        "}",
        f"if (status == {macro}_OK) {{",
        f"    status = {name}_finish();",
        "}",
    ]


def _usage(core: Core) -> str:
    face = core.interface
    name, first, out = face.prefix, face.of("input")[0], face.of("output")[0]
    run = [f"{name}_invoke();"]
    if face.graph.stream is not None:
        run = [f"{name}_start();", f"{name}_step(); // in each step, with the input of that step"]
        run += [f"{name}_finish();"]
    lines = [
        f"{name}_init();",
        f"{C_TYPES[first.tensor.dtype]} *{first.name} = {name}_input_{first.name}();",
        f"// fill it: {face.macro}_INPUT_{first.name.upper()}_ELEMENTS elements",
        *run,
        f"const {C_TYPES[out.tensor.dtype]} *{out.name} = {name}_output_{out.name}();",
    ]
    if face.graph.learns:
        lines.append(f"{name}_learn({'label' if face.graph.classes else ''});")
    return "\n".join(lines)


def _layer_table(core: Core) -> str:
    rows = ["| layer | operator | output | MACs | flash |", "| --- | --- | --- | --- | --- |"]
    rows += [
        f"| {row.name} | {row.op} | {row.output} | {row.macs or row.synaptic_ops or ''} | "
        f"{row.flash_bytes or ''} |"
        for row in core.layers
    ]
    return "\n".join(rows)

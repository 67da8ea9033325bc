"""Fuzzing of the importers with atheris (libFuzzer for Python): `make fuzz`, or by hand

    python tests/fuzz/fuzz_importers.py tflite [CORPUS FOLDER] [libFuzzer's flags, such as -runs=0]

An importer returns or raises `UsageError`, within `SECONDS` and `MEGABYTES`. What breaks that is
left as crash-*, timeout-* or oom-* in the current folder: make it small (`-minimize_crash=1`), put
it into `regressions/`, where `test_regressions.py` replays it, and mend the importer.

Numbers at random hardly get past a flatbuffer's offsets, so half of the mutations know the schema
and change one dimension, index, scale, option or offset of a model that can be read.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "frontends")]

SECONDS, MEGABYTES = 5, 500
MAX_BYTES = 1 << 16
RUN_BELOW = 100_000  # elements and multiply-accumulates
_NUMBERS = (0, 1, 2, 3, 5, 127, 255, 256, 32767, 65535, 65536, 1 << 24, (1 << 31) - 1)
_WORDS = [*_NUMBERS, *(-n for n in _NUMBERS), -(1 << 31)]
_REALS = (0.0, -0.0, 1.0, -1.0, 0.1, 1e-30, 1e-45, 1e30, 3.4e38, float("inf"), float("nan"))

Parse = Callable[[bytes], object]
# A number in a file: what kind it is, where it stands, its struct format.
Place = tuple[str, int, str]
STRUCTURE = "structure"


def allowed(parse: Parse, data: bytes) -> bool:
    """Whether a file is read, True, or refused as it should be; any other error goes on."""
    from spikelet.errors import UsageError

    try:
        parse(data)
    except UsageError:
        return False
    return True


def tflite_places(data: bytes) -> Iterator[Place]:
    """The numbers of a flatbuffer that mean something, then those that hold it together."""
    import tflite

    model = tflite.Model.GetRootAs(data, 0)
    graph = model.Subgraphs(0)
    tables = [model._tab, graph._tab]
    yield from _vector(graph._tab, "inputs", 6, "<i")
    yield from _vector(graph._tab, "outputs", 8, "<i")
    for i in range(min(graph.TensorsLength(), 64)):
        tensor = graph.Tensors(i)
        quantisation = tensor.Quantization()
        tables += [tensor._tab] + ([quantisation._tab] if quantisation else [])
        yield from _vector(tensor._tab, "dims", 4, "<i")
        yield from _fields(tensor._tab, "tensor", {6: "<b", 8: "<i", 14: "<b"})
        if quantisation:
            yield from _vector(quantisation._tab, "scales", 8, "<f")
            yield from _vector(quantisation._tab, "zero points", 10, "<q")
            yield from _fields(quantisation._tab, "axis", {16: "<i"})
    for i in range(min(graph.OperatorsLength(), 64)):
        operator = graph.Operators(i)
        tables.append(operator._tab)
        yield from _vector(operator._tab, "operands", 6, "<i")
        yield from _vector(operator._tab, "operands", 8, "<i")
        yield from _fields(operator._tab, "opcode", {4: "<i"})
        options = operator.BuiltinOptions()
        if options is not None:
            yield from _fields(options, "options", {4 + 2 * k: "<i" for k in range(8)})
            yield from _fields(options, "options", {4 + 2 * k: "<b" for k in range(8)})
    for i in range(min(model.BuffersLength(), 64)):
        buffer = model.Buffers(i)._tab
        tables.append(buffer)
        yield from _vector(buffer, "values", 4, "<i")
    for table in tables:
        yield from _structure(table)


def _fields(table: Any, group: str, forms: Mapping[int, str]) -> Iterator[Place]:
    for slot, form in forms.items():
        offset = table.Offset(slot)
        if offset:
            yield group, table.Pos + offset, form


def _vector(table: Any, group: str, slot: int, form: str) -> Iterator[Place]:
    """The first elements of a vector, and its length."""
    offset = table.Offset(slot)
    if offset:
        start = table.Vector(offset)
        for i in range(min(table.VectorLen(offset), 8)):
            yield group, start + i * struct.calcsize(form), form
        yield STRUCTURE, start - 4, "<i"


def _structure(table: Any) -> Iterator[Place]:
    """Every entry of a vtable and every field as an offset."""
    vtable = table.Pos - struct.unpack_from("<i", table.Bytes, table.Pos)[0]
    for at in range(0, min(struct.unpack_from("<H", table.Bytes, vtable)[0], 64), 2):
        yield STRUCTURE, vtable + at, "<H"
        offset = struct.unpack_from("<H", table.Bytes, vtable + at)[0]
        if at >= 4 and offset:
            yield STRUCTURE, table.Pos + offset, "<i"


def mutated(data: bytes, places: Callable[[bytes], Iterator[Place]] | None, seed: int) -> bytes:
    """A change of one or a few numbers, at places that have a meaning where they are known."""
    rng = random.Random(seed)
    out = bytearray(data)
    groups: dict[str, list[tuple[int, str]]] = {}
    with contextlib.suppress(Exception):  # too damaged to be read: any place will do
        for group, at, form in places(data) if places else ():
            groups.setdefault(group, []).append((at, form))
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if len(out) < 16:
            break
        group = rng.choice([*groups, ""]) if groups else ""
        at, form = rng.choice(groups.get(group) or [(rng.randrange(len(out) // 4) * 4, "<i")])
        if not 0 <= at <= len(out) - struct.calcsize(form):
            continue
        old = struct.unpack_from(form, out, at)[0]
        new = _changed(old, form, rng, len(out))
        # A new dimension often stands in several tensors: the whole model gets it.
        everywhere = group == "dims" and rng.random() < 0.7
        for other, other_form in groups["dims"] if everywhere else [(at, form)]:
            with contextlib.suppress(struct.error, OverflowError):
                if struct.unpack_from(other_form, out, other)[0] == old or other == at:
                    struct.pack_into(other_form, out, other, new)
    return bytes(out)


def _changed(old: Any, form: str, rng: random.Random, length: int) -> Any:
    if form == "<f":
        return rng.choice((*_REALS, old * 2, old / 2, old * 1e6))
    value = rng.choice((rng.choice(_WORDS), old + rng.choice((-4, -1, 1, 4)), old * 2, length))
    bits = 8 * struct.calcsize(form)
    low, high = (0, (1 << bits) - 1) if form == "<H" else (-(1 << bits - 1), (1 << bits - 1) - 1)
    return max(min(value, high), low)


def tflite_seeds() -> Iterator[bytes]:
    """A model of every operator, and real ones where SPIKELET_MODELS names their folder."""
    import tflite_cases

    for path in sorted(Path(os.environ.get("SPIKELET_MODELS", "models-missing")).glob("*.tflite")):
        if path.stat().st_size <= MAX_BYTES:
            yield path.read_bytes()

    for make in tflite_cases.CASES.values():
        w, x, rng = tflite_cases.start(0, (1, 4, 5, 2))
        yield w.finish([x], make(w, x, rng))


def tflite_parse(data: bytes) -> object:
    """The importer; what it reads must run, too, where that is quick."""
    import numpy as np

    from spikelet.frontends.tflite import parse

    graph = parse(data).graph
    macs = sum(n.cost([graph.tensors[i] for i in n.inputs]).macs for n in graph.nodes)
    if macs + sum(t.size for t in graph.tensors.values()) < RUN_BELOW:
        graph.run({t.name: np.zeros((1, *t.shape), t.numpy_dtype) for t in graph.inputs})
    return graph


# By format: the importer, its valid files, where the numbers of one are.
TARGETS: dict[str, tuple[Parse, Callable[[], Iterator[bytes]], Callable[[bytes], Iterator[Place]]]]
TARGETS = {"tflite": (tflite_parse, tflite_seeds, tflite_places)}


def main() -> None:
    """Run libFuzzer on the format that the first argument names."""
    import atheris

    name, *rest = sys.argv[1:] or ["tflite"]
    parse, seeds, places = TARGETS[name]
    folders = [a for a in rest if not a.startswith("-")]
    with atheris.instrument_imports(
        include=["spikelet.frontends", "spikelet.graph", "flatbuffers"]
    ):
        import spikelet.frontends.tflite  # noqa: F401

    corpus = Path(folders[0] if folders else tempfile.mkdtemp(prefix="spikelet-fuzz-"))
    corpus.mkdir(parents=True, exist_ok=True)
    for i, seed in enumerate(seeds()):
        (corpus / f"seed{i:02d}").write_bytes(seed)
    for path in (HERE / "regressions").glob(f"*.{name}"):
        (corpus / path.name).write_bytes(path.read_bytes())
    parse(next(iter(seeds())))  # what is imported late is not this campaign's memory
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = used + (MEGABYTES << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        known = mutated(data, places, seed) if seed % 2 else atheris.Mutate(data, most)
        return bytes(known[:most])

    flags = [a for a in rest if a.startswith("-")]
    flags = [f"-timeout={SECONDS}", "-rss_limit_mb=0", f"-max_len={MAX_BYTES}", *flags]

    def test_one_input(data: bytes) -> None:
        allowed(parse, data)

    atheris.Setup([sys.argv[0], *flags, str(corpus)], test_one_input, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

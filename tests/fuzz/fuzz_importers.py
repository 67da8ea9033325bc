"""Fuzzing of what is read with atheris (libFuzzer for Python): `make fuzz`, or by hand

    python tests/fuzz/fuzz_importers.py FORMAT [CORPUS FOLDER] [libFuzzer's flags, as -runs=0]

FORMAT is one of TARGETS: model files of other tools, packages (spk), deltas (spkd). What reads them
returns or raises `UsageError`, within `SECONDS` and `MEGABYTES`. What breaks that is left as
crash-*, timeout-* or oom-* in the current folder: make it small (`-minimize_crash=1`), put it into
`regressions/`, where `test_regressions.py` replays it, and mend what reads it.

Numbers at random hardly get past a flatbuffer's offsets or a protobuf's lengths, so half of the
mutations know the schema and change one dimension, index, scale, option, attribute, name or edge of
a model that can be read. Float models are quantised, too, on a few random samples.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import math
import os
import random
import resource
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "frontends")]

from onnx_changes import MAX_BYTES, REALS, WORDS, mutate_onnx  # noqa: E402
from package_targets import (  # noqa: E402
    delta_parse,
    delta_seeds,
    keep_what_inputs_share,
    mutate_delta,
    mutate_package,
    package_parse,
    package_seeds,
)

SECONDS, MEGABYTES = 5, 500  # of the processor
HELD_SECONDS = 600  # of the clock, which goes on where a process has to wait
WHOLE_OF = 256  # of so many inputs, one goes through what follows reading, too
M_MMAP_THRESHOLD = -3  # of malloc.h
RUN_BELOW = 100_000  # elements and multiply-accumulates
Parse = Callable[[bytes], object]
Mutate = Callable[[bytes, int], bytes]  # a file and a seed
# A number in a file: what kind it is, where it stands, its struct format.
Place = tuple[str, int, str]
STRUCTURE = "structure"


def is_allowed(parse: Parse, data: bytes) -> bool:
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


def mutate_tflite(data: bytes, seed: int) -> bytes:
    """A change of one or a few numbers, at places that have a meaning where they are known."""
    rng = random.Random(seed)
    out, groups = bytearray(data), _groups(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if len(out) < 16:
            break
        group = rng.choice([*groups, ""]) if groups else ""
        at, form = rng.choice(groups.get(group) or [(rng.randrange(len(out) // 4) * 4, "<i")])
        if not 0 <= at <= len(out) - struct.calcsize(form):
            continue
        old = struct.unpack_from(form, out, at)[0]
        new = _change(old, form, rng, len(out))
        # A new dimension often stands in several tensors: the whole model gets it.
        everywhere = group == "dims" and rng.random() < 0.7
        for other, other_form in groups["dims"] if everywhere else [(at, form)]:
            with contextlib.suppress(struct.error, OverflowError):
                if struct.unpack_from(other_form, out, other)[0] == old or other == at:
                    struct.pack_into(other_form, out, other, new)
    return bytes(out)


@functools.lru_cache(2048)  # the same files are changed again and again
def _groups(data: bytes) -> dict[str, list[tuple[int, str]]]:
    groups: dict[str, list[tuple[int, str]]] = {}
    with contextlib.suppress(Exception):  # too damaged to be read: any place will do
        for group, at, form in tflite_places(data):
            groups.setdefault(group, []).append((at, form))
    return groups


def _change(old: Any, form: str, rng: random.Random, length: int) -> Any:
    if form == "<f":
        return rng.choice((*REALS, old * 2, old / 2, old * 1e6))
    value = rng.choice((rng.choice(WORDS), old + rng.choice((-4, -1, 1, 4)), old * 2, length))
    bits = 8 * struct.calcsize(form)
    low, high = (0, (1 << bits) - 1) if form == "<H" else (-(1 << bits - 1), (1 << bits - 1) - 1)
    return max(min(value, high), low)


def tflite_seeds() -> Iterator[bytes]:
    """A model of every operator, int8 and float; real ones where SPIKELET_MODELS tells a folder."""
    import tflite_cases
    from tflite_few_bits import four_bits
    from tflite_floats import CASES, to_float

    for path in sorted(Path(os.environ.get("SPIKELET_MODELS", "models-missing")).glob("*.tflite")):
        if path.stat().st_size <= MAX_BYTES:
            yield path.read_bytes()

    for path in sorted((HERE.parent / "fixtures" / "larq").glob("*.tflite")):
        yield path.read_bytes()
    for name, make in tflite_cases.CASES.items():
        w, x, rng = tflite_cases.start(0, (1, 4, 5, 2))
        data = w.finish([x], make(w, x, rng))
        yield data
        if name in ("conv_2d", "fully_connected"):
            yield four_bits(w).finish([x], w.ops[-1][2])
        if name in CASES and name not in ("transpose", "mean"):
            yield to_float(data)


def tflite_read(data: bytes) -> Any:
    """The importers: a graph, or a network in float."""
    from spikelet.frontends import tflite
    from spikelet.frontends.tflite import file as tflite_file
    from spikelet.frontends.tflite import floats as tflite_float

    if tflite_float.is_float(tflite_file.parse(data, "model")):
        return tflite_float.parse(data).network
    return tflite.parse(data).graph


def tflite_parse(data: bytes) -> object:
    """The importers; what they read must run, too, where that is quick."""
    from spikelet.graph import Graph

    found = tflite_read(data)
    if not isinstance(found, Graph):
        return _quantise(found, _work(found))
    _run(found)
    return found


def _run(graph: Any) -> None:
    macs = sum(n.cost().macs for n in graph.nodes)
    if macs + sum(t.size for t in graph.tensors.values()) < RUN_BELOW:
        graph.run({t.name: np.zeros((1, *t.shape), t.numpy_dtype) for t in graph.inputs})


def _work(network: Any) -> int:
    """Elements and multiply-accumulates of a float network."""
    from spikelet.quantise.meaning import shapes

    sizes = shapes(network)
    found = sum(math.prod(shape) for shape in sizes.values())
    for node in network.nodes:
        if node.op in ("Conv", "Gemm"):
            found += math.prod(sizes[node.name]) * math.prod(sizes[node.inputs[1]][1:])
    return found


def _quantise(network: Any, work: int) -> object:
    """Quantise a network on a few samples, where that is quick, and run its graph."""
    from spikelet.quantise import quantise

    if work >= RUN_BELOW:
        return network
    rng = np.random.default_rng(0)
    feeds = {
        name: rng.normal(0, 1, (3, *shape[1:])).astype(np.float32)
        for name, shape in network.inputs.items()
    }
    made = quantise(network, feeds)
    _run(made.graph)
    return made


_ONE = (1, 2, 4, 5)
# Float operators on x: name, initialisers by shape or values, attributes.
_NODES: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("Conv", [(3, 2, 3, 2), (3,)], {"pads": [1, 0, 1, 1], "strides": [2, 1]}),
    ("Conv", [(4, 1, 2, 2)], {"group": 2, "dilations": [1, 2]}),
    ("MatMul", [(5, 3)], {}),
    ("BatchNormalization", [(2,), (2,), (2,), [1.0, 2.0]], {"epsilon": 1e-3}),
    ("Add", [(2, 1, 1)], {}),
    ("Sub", [(1, 2, 4, 5)], {}),
    ("Mul", [()], {}),
    ("Div", [()], {}),
    ("PRelu", [(2, 1, 1)], {}),
    ("Clip", [np.float32(0), np.float32(6)], {}),
    ("LeakyRelu", [], {"alpha": 0.1}),
    ("HardSigmoid", [], {"alpha": 0.1, "beta": 0.4}),
    ("Elu", [], {"alpha": 1.0}),
    ("Sigmoid", [], {}),
    ("Softmax", [], {"axis": 1}),
    ("MaxPool", [], {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    ("AveragePool", [], {"kernel_shape": [3, 2], "pads": [1, 1, 1, 0], "count_include_pad": 1}),
    ("GlobalAveragePool", [], {}),
    ("ReduceMean", [np.array([2, 3])], {"keepdims": 0}),
    ("ReduceMax", [np.array([2, 3])], {"keepdims": 1}),
    ("Reshape", [np.array([1, -1, 4])], {}),
    ("Flatten", [], {"axis": 1}),
    ("Transpose", [], {"perm": [0, 2, 3, 1]}),
    ("Pad", [np.array([0, 0, 1, 0, 0, 0, 0, 2]), np.float32(0.5)], {"mode": "constant"}),
    ("Slice", [np.array([1]), np.array([4]), np.array([3]), np.array([2])], {}),
    ("Resize", ["", np.array([1, 1, 2, 2], np.float32)], {"mode": "nearest"}),
    ("Concat", ["x"], {"axis": 1}),
    ("Unsqueeze", [np.array([2])], {}),
]


def onnx_seeds() -> Iterator[bytes]:
    """Float models of an operator, each behind a Conv and before a Relu; int8 ones in QDQ form."""
    import tflite_cases
    from few_bits_files import CASES, packed_linear, qonnx_linear
    from onnx import TensorProto, helper, numpy_helper
    from tflite_networks import separable

    from spikelet.frontends import tflite
    from spikelet.frontends.onnx.export import export

    rng = np.random.default_rng(0)
    for kind, given, attributes in _NODES:
        values = {"w": rng.normal(0, 0.5, (2, 2, 1, 1)).astype(np.float32)}
        names = []
        for i, v in enumerate(given):
            names.append(v if isinstance(v, str) else f"c{i}")
            if isinstance(v, tuple | list):
                v = np.asarray(rng.normal(0, 1, v) if isinstance(v, tuple) else v, np.float32)
            if not isinstance(v, str):
                values[names[-1]] = np.asarray(v)
        nodes = [
            helper.make_node("Conv", ["x", "w"], ["first"]),
            helper.make_node(kind, ["first", *names], ["inner"], **attributes),
            helper.make_node("Relu", ["inner"], ["y"]),
        ]
        graph = helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, _ONE)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(v, k) for k, v in values.items()],
        )
        opsets = [helper.make_opsetid("", 18)]
        yield helper.make_model(graph, opset_imports=opsets).SerializeToString()
    for name in ("conv_2d", "depthwise_conv_2d", "fully_connected", "add_two", "mean", "softmax",
                 "average_pool_2d", "concatenation", "strided_slice", "leaky_relu"):  # fmt: skip
        w, x, drawn = tflite_cases.start(1, (1, 4, 5, 2))
        data = w.finish([x], tflite_cases.CASES[name](w, x, drawn))
        yield export(tflite.parse(data, name).graph)
    yield export(tflite.parse(separable(), "separable").graph)
    yield from (qonnx_linear(*case) for case in CASES)
    for typed in (False, True):
        yield packed_linear(TensorProto.INT4, [0x8F, 0x07, 0x1E], (2, 3), typed)
        yield packed_linear(TensorProto.UINT2, [0x78, 0x06], (2, 3), typed)


def onnx_read(data: bytes) -> Any:
    """The importer: a network in float."""
    from spikelet.frontends import onnx

    return onnx.parse(data).network


def onnx_parse(data: bytes) -> object:
    """The importer, and quantisation; what comes out must run, too, where that is quick."""
    network = onnx_read(data)
    return _quantise(network, _work(network))


@dataclass(frozen=True)
class Importer:
    """What is fuzzed: reads a file; the same and all that follows, which may take fifty times as
    long; valid files; a change of one that knows the format.
    """

    read: Parse
    parse: Parse
    seeds: Callable[[], Iterator[bytes]]
    mutate: Mutate


TARGETS = {
    "tflite": Importer(tflite_read, tflite_parse, tflite_seeds, mutate_tflite),
    "onnx": Importer(onnx_read, onnx_parse, onnx_seeds, mutate_onnx),
    "spk": Importer(package_parse, package_parse, package_seeds, mutate_package),
    "spkd": Importer(delta_parse, delta_parse, delta_seeds, mutate_delta),
}


def main() -> None:
    """Fuzz in this process: of a campaign, `campaign.py` starts one after another."""
    name, *rest = sys.argv[1:] or ["tflite"]
    fuzz(name, rest)


def load_instrumented() -> None:
    """Import what reads files, so that atheris sees where an input goes in it.

    What only computes is not watched: its lines take longer, and atheris 3.0.0 never frees an array
    that a watched line compares.
    """
    import atheris

    watched = [
        "spikelet.frontends", "spikelet.package", "spikelet.files", "spikelet.graph.graph",
        "spikelet.graph.form", "spikelet.graph.tensor", "spikelet.graph.adapted",
        "spikelet.learn.delta", "spikelet.learn.state",
    ]  # fmt: skip
    with atheris.instrument_imports(include=watched):
        import spikelet.frontends.onnx
        import spikelet.frontends.tflite
        import spikelet.frontends.tflite.floats
        import spikelet.learn.delta
        import spikelet.package  # noqa: F401


def write_seeds(name: str, folder: Path) -> list[bytes]:
    """Put the seeds of a format and what broke it once into a folder; answers the seeds."""
    folder.mkdir(parents=True, exist_ok=True)
    seeds = list(TARGETS[name].seeds())
    for i, seed in enumerate(seeds):
        (folder / f"seed{i:02d}").write_bytes(seed)
    for path in (HERE / "regressions").glob(f"*.{name}"):
        (folder / path.name).write_bytes(path.read_bytes())
    return seeds


def fuzz(name: str, rest: list[str]) -> None:
    """Run libFuzzer on a format; `rest` holds corpus folders, of which the first grows, and
    libFuzzer's flags.
    """
    import atheris

    target = TARGETS[name]
    folders = [a for a in rest if not a.startswith("-")]
    load_instrumented()
    folders = folders or [tempfile.mkdtemp(prefix="spikelet-fuzz-")]
    seeds = write_seeds(name, Path(folders[0]))
    keep_what_inputs_share()
    # What is imported late is not this campaign's memory.
    for seed in seeds:
        is_allowed(target.parse, seed)
    gc.freeze()  # nor is it looked through again and again
    # glibc would keep what was freed of large arrays: the limit is on what is held.
    ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 1 << 20)
    page, hard = resource.getpagesize(), resource.getrlimit(resource.RLIMIT_DATA)[1]
    memory = os.open("/proc/self/statm", os.O_RDONLY)

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        known = target.mutate(data, seed) if seed % 2 else atheris.Mutate(data, most)
        return bytes(known[:most])

    flags = [a for a in rest if a.startswith("-")]
    flags = [f"-timeout={HELD_SECONDS}", "-rss_limit_mb=0", f"-max_len={MAX_BYTES}", *flags]

    def test_one_input(data: bytes) -> None:
        # From what is held now: what the tool keeps of earlier inputs is not this one's.
        used = int(os.pread(memory, 100, 0).split()[5]) * page
        # Of data, as threads reserve address space.
        resource.setrlimit(resource.RLIMIT_DATA, (used + (MEGABYTES << 20), hard))
        began = time.process_time()
        # The same for an input each time.
        is_allowed(target.read if zlib.crc32(data) % WHOLE_OF else target.parse, data)
        if (took := time.process_time() - began) > SECONDS:
            raise TimeoutError(f"{took:.1f} seconds of {len(data)} bytes")

    # The first word is what libFuzzer starts again where it merges.
    again = f"{sys.executable} {__file__} {name}"
    atheris.Setup([again, *flags, *folders], test_one_input, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

"""What fuzzing reads besides models of other tools: packages and deltas.

Both are zips with a hash over their contents, which no mutation of bytes passes: half of the
mutations change one value of the JSON or one array within, and write the hash again.
"""

from __future__ import annotations

import functools
import io
import json
import random
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

# What is fuzzed is imported by functions, so that atheris can instrument it before.
Array = np.ndarray[Any, Any]
SIZES = (0, 1, 2, 3, 255, 65536)
DTYPES = ("int8", "uint8", "int16", "int32", "int64", "float32", "float64", "bool", "<U3")
# Kind, rank and bits of adapters.
ADAPTERS = (("scale_bias", 0, 8), ("low_rank", 2, 1), ("sparse", 2, 1), ("head", 0, 8))


def package_parse(data: bytes) -> object:
    """A package."""
    from spikelet.package import Package

    return Package.load(_file("spk", data))


def package_seeds() -> Iterator[bytes]:
    """One of each kind of operator, no larger than need be: the time goes with their number."""
    from graphs import random_inputs
    from package_edits import instances
    from spikelet.package import Package

    for graph in {id(g): g for g in instances().values()}.values():
        if any(t.dtype.startswith("f") for t in graph.inputs):
            continue  # what converts them stands in graphs with other inputs, too
        inputs = random_inputs(graph, 1, np.random.default_rng(0))
        yield _written(Package(graph, inputs, {"name": graph.name}).save)


def mutate_package(data: bytes, seed: int) -> bytes:
    """Change one value of a package."""
    from package_edits import write_package

    rng = random.Random(seed)
    members = dict(_members(data))
    if not members:
        return data
    name = rng.choice(sorted(members))
    if name.endswith(".json"):
        members[name] = _changed_json(members[name], rng)
    else:
        members[name] = _changed_arrays(members[name], rng)
    try:
        buffer = io.BytesIO()
        write_package(buffer, members)
        return buffer.getvalue()
    except KeyError:
        return data


@functools.lru_cache(2048)
def _members(data: bytes) -> dict[str, bytes]:
    """Of a package, without its hash; the same files are changed again and again."""
    from spikelet.files import UNREADABLE

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    except UNREADABLE:
        return {}
    members.pop("sha256", None)
    return members


def delta_parse(data: bytes) -> object:
    """A delta for the base of this module."""
    from spikelet.learn.delta import Delta

    return Delta.load(_file("spkd", data), base())


def keep_what_inputs_share() -> None:
    """Look the operators up once, and make the base's places once for each adapter.

    Of a campaign only: both are functions of what stays the same in it, and take half of its time.
    """
    from spikelet import package
    from spikelet.graph import form
    from spikelet.learn import delta

    package.operator_registry = functools.cache(package.operator_registry)  # type: ignore[attr-defined]
    form.operators = functools.cache(form.operators)  # type: ignore[attr-defined]
    prepare, whole, sha256 = delta.prepared, base(), delta.base_sha256(base().graph)

    @functools.lru_cache(256)
    def prepared(adapter: Any) -> Any:
        return prepare(whole, adapter)

    delta.prepared = lambda package, adapter: prepared(adapter)
    delta.base_sha256 = lambda graph: sha256  # type: ignore[attr-defined]


@functools.cache
def base() -> Any:
    """The package that deltas are for: a convolution and a linear layer."""
    import tflite_cases

    from spikelet.frontends import tflite
    from spikelet.package import Package

    w, x, rng = tflite_cases.start(0, (1, 4, 5, 2))
    inner = tflite_cases.CASES["conv_2d"](w, x, rng)
    made = tflite_cases.CASES["fully_connected"](w, inner[0], rng)
    return Package(tflite.parse(w.finish([x], made), "base").graph, {}, {"name": "base"})


def delta_seeds() -> Iterator[bytes]:
    """One of each form."""
    from spikelet.graph.adapted import Adapter, with_places
    from spikelet.learn.delta import Delta

    graph = base().graph
    for kind, rank, bits in ADAPTERS:
        adapter = Adapter(kind, rank, bits)  # type: ignore[arg-type]
        made = with_places(graph, adapter)
        tensors = {
            k.tensor.name: np.zeros(k.tensor.shape, k.tensor.numpy_dtype)
            if k.initial is None
            else k.initial
            for k in made.learned
        }
        yield _written(Delta.of(graph, adapter, tensors).save)


def mutate_delta(data: bytes, seed: int) -> bytes:
    """Change one value of a delta."""
    from spikelet.learn.state import values_bytes

    rng = random.Random(seed)
    try:
        arrays = dict(_arrays(data))
        about = json.loads(arrays.pop("manifest").tobytes())
        if rng.random() < 0.5:
            about = json.loads(_changed_json(json.dumps(about).encode(), rng))
        else:
            _change_array(arrays, rng)
        about.pop("sha256", None)
        return values_bytes(about, arrays)
    except Exception:  # what another mutation left of the file
        return data


@functools.lru_cache(4096)
def _arrays(data: bytes) -> dict[str, Array]:
    """Of an .npz; the same files are changed again and again, and the arrays never in place."""
    with np.load(io.BytesIO(data)) as archive:
        return dict(archive)


def _changed_json(text: bytes, rng: random.Random) -> bytes:
    """With one value replaced, removed or put elsewhere."""
    from package_edits import VALUES, apply_edit, places

    try:
        whole = json.loads(text)
        every = list(places(whole))
        at = rng.choice(every)
    except (ValueError, AttributeError, TypeError, IndexError, RecursionError):
        return text
    kind = rng.random()
    if kind < 0.6:
        value = rng.choice(VALUES)
    else:  # of elsewhere
        value = whole
        for key in rng.choice(every):
            value = value[key]
    made: Any = apply_edit(whole, (at, value))
    if kind > 0.9:
        target = made
        for key in at[:-1]:
            target = target[key]
        del target[at[-1]]
    return json.dumps(made).encode()


def _changed_arrays(data: bytes, rng: random.Random) -> bytes:
    """A .npz with one array changed."""
    try:
        arrays = dict(_arrays(data))
        _change_array(arrays, rng)
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
    except Exception:  # what another mutation left of the file
        return data
    return buffer.getvalue()


def _change_array(arrays: dict[str, Array], rng: random.Random) -> None:
    """One array: gone, of another name, type or shape, or another element."""
    name = rng.choice(sorted(arrays))
    array, kind = arrays[name], rng.random()
    if kind < 0.1:
        del arrays[name]
    elif kind < 0.2:
        arrays[rng.choice((*sorted(arrays), "x", ""))] = arrays.pop(name)
    elif kind < 0.4:
        arrays[name] = array.astype(rng.choice(DTYPES))
    elif kind < 0.6:
        shape = [rng.choice((*SIZES[:4], size)) for size in array.shape] + [1] * rng.randrange(3)
        arrays[name] = np.resize(array, shape)
    elif array.size and array.dtype.kind in "iu":
        info, flat = np.iinfo(array.dtype), array.reshape(-1).copy()
        flat[rng.randrange(array.size)] = rng.choice((info.min, info.max, 0, 1))
        arrays[name] = flat.reshape(array.shape)


def _written(save: Callable[[Path], object]) -> bytes:
    """What is written into a file."""
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        path = Path(folder) / "file"
        save(path)
        return path.read_bytes()


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """Of this process; goes with it."""
    return tempfile.TemporaryDirectory(dir=_memory())


def _file(suffix: str, data: bytes) -> Path:
    """A file of these bytes; the same each time, as files are dear."""
    path = Path(_folder().name) / f"model.{suffix}"
    path.write_bytes(data)
    return path


def _memory() -> str | None:
    """A folder in memory, where there is one."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None

"""Edits of the members of a package: the manifest, and the arrays with their headers.

Each is refused in the project's words, or what is loaded can be shown, read and generated.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import struct
import zipfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphs
from package_edits import HOSTILE, VALUES, apply_edit, places, write_package
from spikelet.cli.app import execute
from spikelet.errors import UsageError
from spikelet.manifest import Manifest
from spikelet.package import Package, PackageError
from spikelet.run.learning.data import learning_data
from spikelet.streams import data_stream, package_stream

N = 8
MANIFEST: dict[str, Any] = {
    "name": "digits", "description": "of 8x8 pixels", "created_by": "spikelet 0.2.0",
    "versions": {"spikelet": "0.2.0", "torch": "2.13.0"}, "seed": 3,
    "recipe": {"name": "digits", "data": {"name": "digits", "classes": 10}}, "data": "digits",
    "part": "test", "test_part": "every fifth", "classes": 10, "image_shape": [8, 8],
    "samples": N, "vectors": f"{N} samples", "float": "the module", "float_accuracy": 0.5,
    "float_error": {"mae": 0.5, "rmse": 1.0}, "integer_error": {"mae": 0.5, "rmse": 1.0},
    "integer_accuracy": 0.5, "accuracy_by_bits": {"8": 0.5, "1": 0.25}, "drift": 0.0,
    "macro_f1": {"float": 0.5, "integer": 0.5},
    "recall": {"float": [0.5, 1.0], "integer": [0.5, 1.0]},
    "layer_drift": [{"layer": "x", "tensor": "x", "snr_db": None, "cosine": 1.0}],
    "state": [{"layer": "lif1", "bits": 16}],
    "spike_agreement": [
        {"layer": "lif1", "spikes": 5, "differing": 1, "share": 0.2, "weights_share": 0.1}
    ],
    "label_agreement": 1.0,
    "layouts": {"x": {"name": "image", "shape": [8, 8], "axes": [1, 2], "dtype": "float32"}},
    "class_names": ["no", "yes"], "units": {"lif2": 0.5},
    "source": "digits.onnx", "source_sha256": "0" * 64, "source_names": {"x": "image"},
    "calibration": "8 samples",
    "quantisation": {"ranges": "max", "equalised": True, "bias_correction": False},
    "allocation": {"criterion": "error", "bits": {"fc1": 4}},
    "convention": {"dt": 1e-4, "reset": "zero", "choices": [{"switch": "dt", "differing": None}]},
    "draft": {"lead": 16, "unsure": 0.2, "draft": 0.8, "whole": 0.9, "joined": 0.9},
    "early_exit": {"leads": [3, 4], "growth": 0.5, "mean_steps": 1.5, "accuracy": 0.9},
    "events": {"bin_us": 10_500, "pool": 2},
    "simplified": {"macs": [2, 1], "weights": [2, 1], "layers": {}},
    "bands": {"layers": 2, "bands": 3},
    "learning": {
        "learner": "replay", "options": {"slots": 32}, "features": "fc1", "classes": 4, "seed": 3,
        "backbone_sha256": "0" * 64,
    },
    "adapter": {
        "base_sha256": "0" * 64, "kind": "low_rank", "rank": 1, "bits": 8, "head": False,
        "ranks": [1, 0],
    },
    "plugins": {},
}  # fmt: skip
DTYPES = ["|O", "<f8", "<c16", ">i4", "|V8", "<U4", "|S3", "<M8[s]", "<i8", "|b1", "<f2", "x", ""]
SHAPES: list[Any] = [
    (), (0,), (-1,), (1 << 62,), (1 << 40, 1 << 40), (1,) * 33, (2, 3), (True,), "4", (1.5,), (N,),
]  # fmt: skip


def test_the_manifest_has_every_entry() -> None:
    assert set(MANIFEST) == {f.name for f in fields(Manifest)}


def members(manifest: dict[str, Any]) -> dict[str, bytes]:
    graph = graphs.digits_like()
    vectors = graphs.random_inputs(graph, N, np.random.default_rng(0))
    return Package(graph, {**vectors, "y": np.arange(N)}, manifest).with_golden().members()


def use(path: Path, samples: Path, capfd: pytest.CaptureFixture[str]) -> bool:
    """Whether it loads; what loads is shown, generated as C, and its samples are read."""
    try:
        package = Package.load(path)
    except PackageError:
        return False
    for read in (
        package_stream, lambda p: data_stream(p, samples), lambda p: learning_data(p, None, None)
    ):  # fmt: skip
        with contextlib.suppress(UsageError):
            read(package)
    assert execute(["inspect", str(path)]) == 0
    shown = capfd.readouterr()
    assert "\x1b[2J" not in shown.out + shown.err
    return True


def header(dtype: str, shape: Any, rng: random.Random) -> bytes:
    """An .npy header, right or not."""
    said: dict[str, Any] = {"descr": dtype, "fortran_order": rng.random() < 0.3, "shape": shape}
    if rng.random() < 0.1:
        said[HOSTILE[rng.randrange(len(HOSTILE))]] = 1
    text = repr(said) if rng.random() < 0.9 else "(" * 300
    text = text[: rng.randrange(len(text))] if rng.random() < 0.1 else text
    raw = text.encode() + b" " * (-(10 + len(text) + 1) % 64) + b"\n"
    version = rng.choice([b"\1\0", b"\1\0", b"\1\0", b"\2\0", b"\3\0", b"\xff\0"])
    size = struct.pack("<H" if version == b"\1\0" else "<I", len(raw) % 65536)
    return b"\x93NUMPY" + version + size + raw


def other_array(data: bytes, rng: random.Random) -> bytes:
    """An array's file with another header, other values or fewer bytes."""
    array = np.lib.format.read_array(io.BytesIO(data))
    kind = rng.randrange(5)
    if kind == 0:
        return header(rng.choice(DTYPES), rng.choice(SHAPES), rng) + data[-8:]
    if kind == 1:
        return header(array.dtype.str, rng.choice([*SHAPES, array.shape]), rng) + array.tobytes()
    if kind == 2:
        at = rng.randrange(len(data))
        return data[:at] if rng.random() < 0.5 else data[:at] + b"\xff" + data[at + 1 :]
    if kind == 3:
        value = rng.choice([-(1 << 31), -1, 0, 1, 255, 1 << 31, np.nan, np.inf, 1e300])
        with np.errstate(all="ignore"):
            array = np.full(array.shape, value).astype(array.dtype if rng.random() < 0.8 else float)
    else:
        array = rng.choice([array[:1], array[None], array.astype(np.int64), array.T, array[:0]])
    made = io.BytesIO()
    np.save(made, array, allow_pickle=False)
    return made.getvalue()


def other_arrays(data: bytes, rng: random.Random) -> bytes:
    """A file of arrays with one of them, its name or a byte of the file changed."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    name, kind = rng.choice(sorted(held)), rng.randrange(8)
    if kind == 0:
        held[rng.choice([*HOSTILE, "../x.npy", ".npy", "x.npy/", "y.npy", "Y.npy"])] = held.pop(
            name
        )
    elif kind == 1:
        held[f"{rng.choice(HOSTILE)}.npy"] = held[name]
    elif kind == 2:
        del held[name]
    else:
        held[name] = other_array(held[name], rng)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_BZIP2])) as archive:
        for key, value in held.items():
            archive.writestr(key, value)
    packed = made.getvalue()
    if rng.random() < 0.1:
        at = rng.randrange(len(packed))
        packed = packed[:at] + bytes([rng.randrange(256)]) + packed[at + 1 :]
    return packed


def other_manifest(data: bytes, rng: random.Random) -> bytes:
    """A manifest with a value, or a name, that should not stand there."""
    manifest = json.loads(data)
    at = rng.choice(list(places(manifest)))
    value = rng.choice(VALUES)
    if rng.random() < 0.2:
        at = (*at[:-1], rng.choice(HOSTILE)) if isinstance(at[-1], str) else at
    return json.dumps(apply_edit(manifest, (at, value))).encode()


EDITS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "manifest.json": other_manifest, "vectors.npz": other_arrays, "tensors.npz": other_arrays,
}  # fmt: skip


def campaign(edits: int, folder: Path, seed: int, capfd: pytest.CaptureFixture[str]) -> int:
    """Edits of each member in turn; how many were refused."""
    rng, given, refused = random.Random(seed), members(MANIFEST), 0
    samples, path = folder / "samples.npz", folder / "edited.spk"
    np.savez(samples, image=np.zeros((N, 8, 8), np.float32))
    for i in range(edits):
        name = list(EDITS)[i % 2 if i % 8 else 2]
        changed = EDITS[name](given[name], rng)
        write_package(path, {**given, name: changed})
        try:
            refused += not use(path, samples, capfd)
        except Exception as e:
            raise AssertionError(f"edit {i} of {name}, {changed[:300]!r} ended in {e!r}") from e
    return refused


def test_members_that_were_edited(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert 60 < campaign(150, tmp_path, 1, capfd) < 150


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 6))
def test_ten_thousand_members(seed: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert campaign(2500, tmp_path, seed, capfd) > 1000

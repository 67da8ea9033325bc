"""A user's own arrays: what fits, what does not, and files made to break a reader."""

from __future__ import annotations

import io
import lzma
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

import graphs
from cli_support import INPUTS, small_package
from spikelet.errors import UsageError
from spikelet.graph import Array, Graph, Tensor
from spikelet.graph.ops.argmax import Argmax
from spikelet.graph.ops.dense import Dense
from spikelet.graph.ops.relu import Relu
from spikelet.graph.ops.reshape import Reshape
from spikelet.package import Package
from spikelet.run import data_stream
from spikelet.seeds import sample_seeds


def seeded_package() -> Package:
    graph = graphs.digits_like()
    inputs = graphs.random_inputs(graph, 2, np.random.default_rng(0))
    return Package(graph, inputs, {"seed": 3}).with_golden()


def in_256ths() -> Package:
    """A model whose input x spans 0 to 255/256."""
    x = Tensor("x", "u8", (3,), kind="input", scale=1 / 256)
    weight = np.eye(3, dtype=np.int8)
    nodes = [Dense(name="fc", inputs=("x",), weight=weight), Argmax(name="label", inputs=("fc",))]
    graph = Graph("codes", 1, [x], nodes, ["label", "fc"])
    return Package(graph, {"x": np.zeros((1, 3), np.uint8)}).with_golden()


def _header(**changes: object) -> bytes:
    out = io.BytesIO()
    fields = {"descr": "|u1", "fortran_order": False, "shape": (2, INPUTS), **changes}
    np.lib.format.write_array_header_1_0(out, fields)
    return out.getvalue()


def _zip(name: str, data: bytes, method: int = zipfile.ZIP_STORED) -> bytearray:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr(name, data)
    return bytearray(out.getvalue())


def _encrypt() -> bytearray:
    data = _zip("x.npy", _header() + bytes(2 * INPUTS))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return data


def _damaged_lzma() -> bytearray:
    random = np.random.default_rng(0).integers(0, 256, 4000).astype(np.uint8).tobytes()
    data = _zip("x.npy", _header(shape=(4000,)) + random, zipfile.ZIP_LZMA)
    data[60:400] = bytes(340)
    return data


def _npy() -> bytes:
    out = io.BytesIO()
    np.save(out, np.zeros((2, INPUTS), np.uint8))
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (_npy(), "one bare array"),
        (_zip("x.npy", _header(shape=(1 << 40, 1 << 20))), "bytes, more than 2147483648"),
        (_zip("x.npy", _header(shape=(1 << 20,)) + b"0"), "takes 1048576 bytes, the file holds 1"),
        (_zip("x.npy", _header(shape=(-1, -5)) + bytes(5)), "its shape is"),
        (_zip("x.npy", _header(descr="|O")), "Python objects"),
        (_zip("x.npy", b"\x93NUMPY\x01\x00\x76\x00" + b"(" * 118), "x: "),
        (_zip("x.npy", b"\x93NUMPY\x09\x00"), "x: "),
        (_zip("x.npy", b"junk"), "x: "),
        (_zip("x.npy", b""), "x: "),
        (_zip("readme.txt", b"hello"), "'readme.txt' is no array"),
        (_encrypt(), "encrypted"),
        (_damaged_lzma(), "x: "),
        (lzma.compress(b"x"), "not a readable"),
        (b"PK\x05\x06", "not a readable"),
    ],
)
def test_files_that_are_no_arrays(tmp_path: Path, data: bytes, text: str) -> None:
    path = tmp_path / "data.npz"
    path.write_bytes(data)
    with pytest.raises(UsageError) as caught:
        data_stream(small_package(), path)
    assert text in caught.value.what and "not a readable .npz file" in caught.value.what
    assert caught.value.exit_code == 2 and caught.value.next


def test_an_array_that_decompresses_to_more_than_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spikelet import files

    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, x=np.zeros(1 << 20, np.uint8))
    assert path.stat().st_size < 1 << 13
    with pytest.raises(files.Unreadable, match="more than 65536"):
        files.read_arrays(path, 1 << 16)


def image(shape: tuple[int, ...]) -> Package:
    x = Tensor("x", "i8", shape, kind="input", scale=0.5)
    values = np.zeros((1, *shape), np.int8)
    node = Reshape(name="y", inputs=("x",), shape=shape[::-1])
    return Package(Graph("image", 1, [x], [node], ["y"]), {"x": values}).with_golden()


@pytest.mark.parametrize(
    ("shape", "fits"),
    [
        ((4, 6, 3), True),
        ((1, 4, 6, 3), True),
        ((72,), True),
        ((3, 4, 6), False),
        ((6, 4, 3), False),
        ((24, 3), False),
    ],
)
def test_no_sample_is_laid_out_anew(tmp_path: Path, shape: tuple[int, ...], fits: bool) -> None:
    """Flat ones and axes of 1 have the same order; channels at the other end have not."""
    path, package = tmp_path / "x.npz", image((4, 6, 3))
    x = np.arange(2 * 72).reshape(2, *shape).astype(np.float32) / 4
    np.savez(path, x=x)
    if fits:
        codes = data_stream(package, path).inputs["x"]
        assert np.array_equal(codes, np.floor(x / 0.5 + 0.5).reshape(2, 4, 6, 3))
        return
    with pytest.raises(UsageError, match="channels at the other end"):
        data_stream(package, path)


def test_errors_name_the_option_that_gave_the_file(tmp_path: Path) -> None:
    for option in ("--data", "--calibrate"):
        with pytest.raises(UsageError, match=f"^{option} .*no such file"):
            data_stream(small_package(), tmp_path / "none.npz", option)


@pytest.mark.quick
def test_the_end_of_the_range_is_the_last_code(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, x=np.array([[0.0, 0.5, 1.0]]))
    assert data_stream(in_256ths(), path).inputs["x"].tolist() == [[0, 128, 255]]
    for wrong, text in (
        (np.array([[0.0, 0.5, 1.01]]), r"x \* 0\.98\d+ would fit"),
        (np.array([[0.0, 7.0, 255.0]]), r"x \* 0\.0039\d* would fit"),
        (np.array([[-0.5, 0.0, 0.5]]), "shift x"),
    ):
        np.savez(path, x=wrong)
        with pytest.raises(UsageError, match="x spans") as caught:
            data_stream(in_256ths(), path)
        assert re.search(text, caught.value.next), caught.value.next


def test_a_signed_code_saturates_where_few_values_are_out_of_range(tmp_path: Path) -> None:
    x = Tensor("x", "i8", (2,), kind="input", scale=0.5, zero_point=-28)
    nodes = [Relu(name="relu", inputs=("x",), table=np.arange(256).astype(np.int8))]
    graph = Graph("signed", 1, [x], nodes, ["relu"])
    package = Package(graph, {"x": np.zeros((1, 2), np.int8)}).with_golden()
    values = np.zeros((40, 2), np.float32)
    values[0], values[1], values[2] = (900, -51), (77.5, -50), (0.25, -0.25)
    np.savez(tmp_path / "few.npz", x=values)
    codes = data_stream(package, tmp_path / "few.npz").inputs["x"]
    assert codes[:3].tolist() == [[127, -128], [127, -128], [-27, -29]]
    np.savez(tmp_path / "many.npz", x=values[:10])
    with pytest.raises(UsageError, match="x spans"):
        data_stream(package, tmp_path / "many.npz")


def test_an_error_names_the_array_that_is_wrong(tmp_path: Path) -> None:
    path, package = tmp_path / "data.npz", seeded_package()
    x = np.zeros((3, 64), np.uint8)
    for seed, text in (
        (np.arange(3), r"seed is int64.*uint32"),
        (np.ones((3, 2), np.uint32), r"seed has shape \(3, 2\)"),
        (np.ones(3), "seed is float64"),
    ):
        np.savez(path, x=x, seed=seed)
        with pytest.raises(UsageError, match=re.compile(text, re.DOTALL)):
            data_stream(package, path)


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_seeds_are_given_or_drawn(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path, x = tmp_path / "data.npz", np.zeros((3, 64), np.uint8)
    given: Array = np.array([5, 6, 7], np.uint32)
    np.savez(path, x=x, seed=given.reshape(shape))
    assert data_stream(seeded_package(), path).inputs["seed"].tolist() == [[5], [6], [7]]
    np.savez(path, x=x)
    assert np.array_equal(data_stream(seeded_package(), path).inputs["seed"], sample_seeds(3, 3))

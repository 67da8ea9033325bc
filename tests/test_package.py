"""What a package refuses, when it is made and when it is read."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphs
from package_edits import write_package
from spikelet.package import Package, PackageError

N = 4


def vectors() -> dict[str, Any]:
    inputs = graphs.random_inputs(graphs.digits_like(), N, np.random.default_rng(0))
    return {**inputs, "y": np.arange(N)}


def make_package(manifest: dict[str, Any] | None = None) -> Package:
    return Package(graphs.digits_like(), vectors(), manifest or {"seed": 3}).with_golden()


def rewrite(path: Path, change: Callable[[dict[str, bytes]], None], seal: bool = False) -> None:
    """Pack the members anew after a change; `seal` makes the hashes right again."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    if seal:
        write_package(path, members)
        return
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"x": np.zeros((N, 63), np.uint8)}, r"x is uint8 of shape \(4, 63\), expected uint8 \(N"),
        ({"x": np.zeros((N, 64), np.int64)}, "x is int64"),
        ({"x": np.zeros((0, 64), np.uint8)}, "x holds no sample"),
        ({"y": np.arange(3)}, "y holds 3 samples, x 4"),
        ({"y": np.zeros(N)}, "y is float64 of shape"),
        ({"y": np.zeros((N, 10), np.int64)}, r"y is int64 of shape \(4, 10\)"),
        ({"golden.label": np.zeros((3, 1), np.int32)}, "golden.label holds 3 samples"),
        ({"golden.counts": np.zeros((N, 9), np.int32)}, r"golden.counts is int32 of shape \(4, 9"),
        ({"images": np.zeros((N, 64), np.uint8)}, "'images', which is no input"),
    ],
)
def test_vectors_that_do_not_fit_the_graph(change: dict[str, Any], text: str) -> None:
    with pytest.raises(PackageError, match=text) as caught:
        Package(graphs.digits_like(), {**vectors(), **change})
    assert caught.value.exit_code == 2


def test_a_missing_seed_says_where_seeds_come_from() -> None:
    without = {name: values for name, values in vectors().items() if name != "seed"}
    with pytest.raises(PackageError, match="sample_seeds"):
        Package(graphs.digits_like(), without).with_golden()
    with pytest.raises(PackageError, match="no input x"):
        Package(graphs.digits_like()).with_golden()


def test_vectors_that_were_changed_are_refused_when_saved(tmp_path: Path) -> None:
    package = make_package()
    package.vectors["y"] = np.arange(N - 1)
    with pytest.raises(PackageError, match="y holds 3 samples"):
        package.save(tmp_path / "a.spk")
    assert list(tmp_path.iterdir()) == []


def test_save_and_load_take_a_text(tmp_path: Path) -> None:
    path = str(tmp_path / "below" / "a.spk")
    package = make_package()
    package.save(path)
    assert Package.load(path).sha256 == package.sha256
    with zipfile.ZipFile(path) as archive:
        assert archive.read("sha256").decode().strip() == package.sha256


def test_a_save_that_fails_keeps_the_earlier_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.spk"
    make_package().save(path)
    before = path.read_bytes()

    def fails(fd: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", fails)
    with pytest.raises(OSError, match="no space"):
        make_package({"seed": 4}).save(path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_an_altered_manifest_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.spk"
    make_package({"seed": 3, "integer_accuracy": 0.5}).save(path)

    def better(members: dict[str, bytes]) -> None:
        members["manifest.json"] = members["manifest.json"].replace(b"0.5", b"0.9")

    rewrite(path, better)
    with pytest.raises(PackageError, match=r"manifest\.json does not match"):
        Package.load(path)
    make_package().save(path)
    rewrite(path, lambda members: members.pop("sha256") and None)
    with pytest.raises(PackageError, match="sha256 is missing"):
        Package.load(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", "three"),
        ("seed", True),
        ("seed", 1.5),
        ("float_accuracy", "high"),
        ("integer_accuracy", [1]),
        ("drift", float("nan")),
        ("versions", ["torch"]),
        ("versions", {"torch": 2}),
        ("classes", -1),
        ("image_shape", "8x8"),
    ],
)
def test_a_manifest_of_other_types(tmp_path: Path, key: str, value: object) -> None:
    with pytest.raises(PackageError, match=f"the manifest: {key}.* is "):
        make_package({key: value})
    path = tmp_path / "a.spk"
    make_package().save(path)

    def put(members: dict[str, bytes]) -> None:
        manifest = json.loads(members["manifest.json"])
        members["manifest.json"] = json.dumps({**manifest, key: value}).encode()

    rewrite(path, put, seal=True)
    with pytest.raises(PackageError, match=f"the manifest: {key}.* is "):
        Package.load(path)


def _bomb() -> bytes:
    """An .npz whose header asks for 2^42 bytes."""
    header = io.BytesIO()
    shape = {"descr": "<u1", "fortran_order": False, "shape": (1 << 42,)}
    np.lib.format.write_array_header_1_0(header, shape)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("x.npy", header.getvalue())
    return out.getvalue()


@pytest.mark.parametrize(
    ("member", "data", "text"),
    [
        ("graph.json", b"[" * 200_000, "graph.json"),
        ("graph.json", b"{}", "graph format None"),
        ("manifest.json", b'{"a":' * 200_000, "manifest.json is not JSON"),
        ("vectors.npz", _bomb(), "4398046511104 bytes, more than"),
        ("tensors.npz", _bomb(), "4398046511104 bytes, more than"),
        ("vectors.npz", b"\x93NUMPY", "bare array"),
    ],
)
def test_members_that_are_made_to_break_a_reader(
    tmp_path: Path, member: str, data: bytes, text: str
) -> None:
    path = tmp_path / "a.spk"
    make_package().save(path)
    rewrite(path, lambda members: members.update({member: data}), seal=True)
    with pytest.raises(PackageError, match=text):
        Package.load(path)


@pytest.mark.parametrize("path", sorted((Path(__file__).parent / "fixtures/v0_1_0").glob("*.spk")))
def test_a_package_of_0_1_0_keeps_its_hash(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        held = archive.read("sha256").decode().strip()
    assert Package.load(path).sha256 == held


def test_what_another_writer_of_zips_wrote_keeps_its_hash(tmp_path: Path) -> None:
    """Python's own zips changed from 3.11.3 to 3.11.4, and compression is a library's."""
    path = tmp_path / "a.spk"
    make_package().save(path)

    def store(members: dict[str, bytes]) -> None:
        for name in ("tensors.npz", "vectors.npz"):
            arrays, buffer = dict(np.load(io.BytesIO(members[name]))), io.BytesIO()
            np.savez(buffer, **arrays)  # not compressed
            members[name] = buffer.getvalue()

    rewrite(path, store, seal=True)
    with zipfile.ZipFile(path) as archive:
        held = archive.read("sha256").decode().strip()
    package = Package.load(path)
    assert package.sha256 == held != make_package().sha256
    package.save(tmp_path / "b.spk")
    assert Package.load(tmp_path / "b.spk").sha256 == held
    name = next(iter(package.vectors))
    package.vectors[name] = package.vectors[name][::-1].copy()
    assert package.sha256 != held


def test_a_package_whose_graph_holds_c_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "hostile.spk"
    make_package().save(path)

    def hostile(members: dict[str, bytes]) -> None:
        graph = json.loads(members["graph.json"])
        graph["nodes"][-1]["when"] = ["n", '0) { } extern int puts(const char *); (void)puts("ran"']
        members["graph.json"] = json.dumps(graph).encode()

    rewrite(path, hostile, seal=True)
    with pytest.raises(PackageError, match=r"when\[1\] is .0\) \{ \} extern"):
        Package.load(path)


@pytest.mark.parametrize("name", ["graph.json", "manifest.json", "sha256"])
def test_a_member_beyond_its_limit_is_refused_before_it_is_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / "blank.spk"
    make_package().save(path)
    rewrite(path, lambda members: members.update({name: members[name] + b" " * (9 << 20)}))
    with pytest.raises(PackageError, match=rf"{name} takes \d+ bytes, more than"):
        Package.load(path)


def test_a_member_that_no_package_has_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "more.spk"
    make_package().save(path)
    rewrite(path, lambda members: members.update({"model.c": b"int main(void);"}))
    with pytest.raises(PackageError, match=r"it holds 'model\.c', which no package has"):
        Package.load(path)


def test_members_that_are_too_large_in_sum_are_refused_before_they_are_read(tmp_path: Path) -> None:
    """Each below its limit, by what the zip says of them; they are not there at all."""
    path = tmp_path / "sum.spk"
    make_package().save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
        archive.getinfo("vectors.npz").file_size = 500 << 20
        archive.getinfo("tensors.npz").file_size = 200 << 20
    with pytest.raises(PackageError, match=r"its members take \d+ bytes, more than 629145600"):
        Package.load(path)


def test_members_at_the_limit_of_their_sum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.spk"
    make_package().save(path)
    with zipfile.ZipFile(path) as archive:
        total = sum(info.file_size for info in archive.infolist())
    monkeypatch.setattr("spikelet.package._LIMIT_BYTES", total)
    Package.load(path)
    monkeypatch.setattr("spikelet.package._LIMIT_BYTES", total - 1)
    with pytest.raises(PackageError, match=f"members take {total} bytes, more than {total - 1}"):
        Package.load(path)


def test_a_member_full_of_entries_costs_what_reading_it_costs(tmp_path: Path) -> None:
    """8 MiB of wrong entries; an error for each took 22 s and 3.9 GB."""
    path = tmp_path / "a.spk"
    make_package().save(path)
    head = b'{"format":1,"name":"a","steps":1,"outputs":[],"inputs":[],"nodes":['
    graph = head + b"0," * ((8 << 20) // 2 - len(head)) + b"0]}"
    rewrite(path, lambda members: members.update({"graph.json": graph}), seal=True)
    began = time.process_time()
    with pytest.raises(PackageError, match=r"nodes has 41942.. entries, expected 65535 at most"):
        Package.load(path)
    assert time.process_time() - began < 5

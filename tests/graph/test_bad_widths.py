"""Widths and weights that are not right: refused by name on the host, and by the device as well."""

from __future__ import annotations

import io
import json
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from link_agent import start
from package_edits import write_package
from spikelet.api import Package
from spikelet.board import find_board
from spikelet.errors import UsageError
from spikelet.graph import Array, GraphError
from spikelet.graph.target import ANY
from spikelet.graph.widths import EFFORT
from spikelet.link import Device, DeviceRefused
from spikelet.package import MEMBERS, PackageError
from spikelet.run import make
from spikelet.run.exported import export_c
from spikelet.streams import data_stream
from support import need
from width_graphs import inputs_of, nested

CALLER = """
#include "nested.h"
#include <stdio.h>

int main(void) {
    nested_init();
    for (int bits = 0; bits < 256; bits++) {
        *nested_input_effort_bits() = (uint8_t)bits;
        if (nested_invoke() == NESTED_OK && nested_start() == NESTED_OK) {
            printf("%d ", bits);
        }
    }
    return nested_invoke() == NESTED_ERROR_ARGUMENT ? 0 : 1;
}
"""


def package(tmp_path: Path) -> Path:
    graph = nested((8, 4, 1))
    Package(graph, inputs_of(graph, 3), {}).with_golden().save(tmp_path / "nested.spk")
    return tmp_path / "nested.spk"


def edited(path: Path, change: Callable[[dict[str, Any], dict[str, Array]], None]) -> Path:
    """The package with another graph or other arrays, its hash right again."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in MEMBERS}
    graph = json.loads(members["graph.json"])
    with np.load(io.BytesIO(members["tensors.npz"])) as stored:
        arrays = dict(stored)
    graph["nodes"] = {node["name"]: node for node in graph["nodes"]}
    change(graph, arrays)
    graph["nodes"] = list(graph["nodes"].values())
    packed = io.BytesIO()
    np.savez(packed, **arrays)
    members |= {"graph.json": json.dumps(graph).encode(), "tensors.npz": packed.getvalue()}
    write_package(path, members)
    return path


def attribute(name: str, key: str, value: object) -> Callable[..., None]:
    def change(graph: dict[str, Any], arrays: dict[str, Array]) -> None:
        graph["nodes"][name]["attributes"][key] = value

    return change


def choices(*values: int) -> Callable[..., None]:
    def change(graph: dict[str, Any], arrays: dict[str, Array]) -> None:
        graph["inputs"][1]["choices"] = list(values)

    return change


def runs_at(graph: dict[str, Any], arrays: dict[str, Array]) -> None:
    graph["nodes"]["conv_4"]["when"][1] = 2


def truncated(rows: int, bytes_: int) -> Callable[..., None]:
    """The store that all widths have."""

    def change(graph: dict[str, Any], arrays: dict[str, Array]) -> None:
        for bits in (8, 4, 1):
            whole = arrays[f"conv_{bits}.weight"]
            arrays[f"conv_{bits}.weight"] = whole[: len(whole) - rows, ..., : 3 - bytes_]

    return change


EDITS: dict[str, tuple[Callable[..., None], str]] = {
    "bits": (attribute("conv_8", "bits", 3), "conv_8.*bits"),
    "bits_of_odd_codes": (attribute("conv_8", "bits", 4), "conv_8.*expected -8 to 7 of 4 bits"),
    "upper": (attribute("conv_4", "upper", 3), "conv_4.*upper"),
    "grid": (attribute("conv_1", "odd", False), "conv_1.*expected odd codes of 8 bits"),
    "more_choices": (choices(1, 2, 4, 8), r"effort.bits may be 2, at which no layer runs"),
    "any_choice": (choices(), r"effort.bits may be 0, at which no layer runs"),
    "fewer_choices": (choices(1, 8), r"conv_4.*runs at 4, which effort.bits does not hold"),
    "condition": (runs_at, r"conv_4.*runs at 2, which effort.bits does not hold"),
    "order": (attribute("scores", "values", [1, 4, 8]), r"scores.*reads scores_8, .* is 8 only"),
    "rows_cut": (truncated(1, 0), r"conv_.*bias has shape \(8,\), expected \(7,\)"),
    "bytes_cut": (truncated(0, 1), r"conv_.*weight \(8, 3, 3, 2\) does not fit"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_package_is_refused_by_the_name_of_its_layer(edit: str, tmp_path: Path) -> None:
    change, text = EDITS[edit]
    with pytest.raises((PackageError, GraphError), match=f"(?s){text}"):
        Package.load(edited(package(tmp_path), change))


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = package(tmp_path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in MEMBERS}
    members["tensors.npz"] = members["tensors.npz"][:-100]
    write_package(path, members)
    with pytest.raises(PackageError, match=r"nested.spk: tensors.npz: "):
        Package.load(path)


def test_data_of_a_width_that_is_not_there_are_refused_before_anything_is_sent(
    tmp_path: Path,
) -> None:
    held = Package.load(package(tmp_path))
    arrays = {"x": held.vectors["x"], EFFORT: np.array([[8], [2], [1]], np.uint8)}
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(UsageError, match=r"effort.bits holds 2, the package has 1, 4, 8\n"):
        data_stream(held, tmp_path / "d.npz")
    with pytest.raises(UsageError, match=r"effort.bits holds 2, the package has 1, 4, 8"):
        held.predict(arrays)


def test_a_device_refuses_to_run_before_a_width_was_written(tmp_path: Path) -> None:
    held = Package.load(package(tmp_path))
    built = make(held, find_board("native"), tmp_path / "build")
    with start(built.firmware.elf) as machine:
        device = Device(machine.transport)
        with pytest.raises(DeviceRefused, match="RANGE"):
            device.run()
        with pytest.raises(DeviceRefused, match="RANGE"):
            device.run(inputs={EFFORT: bytes([2])})
        device.run(inputs={EFFORT: bytes([4])})
        device.run()  # the width stays


def test_a_c_library_refuses_other_widths(tmp_path: Path) -> None:
    need("gcc")
    export_c(Package.load(package(tmp_path)), tmp_path / "lib", ANY, name="nested")
    (tmp_path / "main.c").write_text(CALLER)
    sources = [tmp_path / "main.c", tmp_path / "lib" / "src" / "nested.c"]
    include, program = f"-I{tmp_path / 'lib' / 'include'}", tmp_path / "main"
    subprocess.run(["gcc", "-O1", include, *sources, "-o", program], check=True)
    ran = subprocess.run([program], check=True, capture_output=True, text=True)
    assert ran.stdout.split() == ["1", "4", "8"]

"""Files as TensorFlow's converter writes them; tests/fixtures/tflite/make_files.py made them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tflite_oracle import differing, draw

from spikelet.cli.app import execute
from spikelet.errors import UsageError
from spikelet.frontends import tflite
from spikelet.frontends.tflite import floats as tflite_float
from support import need
from targets import check_graph

FILES = Path(__file__).parents[1] / "fixtures" / "tflite"
# What is refused, in which words, and what is told to do.
REFUSED = {
    "int16x8": ("coded in INT16", "TFLITE_BUILTINS_INT8"),
    "sparse_int8": ("is stored sparse", "convert it without"),
    "dynamic_length_float": ("shape (?, ?, 4): a length that is not known", "fixed shapes"),
    "variables_float": ("CALL_ONCE", "a state that is a layer's"),
}


def test_every_file_has_its_test() -> None:
    assert {path.stem for path in FILES.glob("*.tflite")} == {"lstm_int8", *REFUSED}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_carried_is_refused_for_what_it_is(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    what, way_out = REFUSED[name]
    file = FILES / f"{name}.tflite"
    load = tflite_float.load if name.endswith("float") else tflite.load
    with pytest.raises(UsageError) as caught:
        load(file)
    assert what in caught.value.what and way_out in caught.value.next
    assert "damaged" not in str(caught.value)
    assert name.endswith("float") or "a float model" not in str(caught.value)
    assert execute(["import", str(file), "-o", str(tmp_path / "x.spk")]) == 2
    assert what in capsys.readouterr().err


def test_an_lstm_of_tensorflow_equals_litert(tmp_path: Path) -> None:
    need("ai_edge_litert")
    data = (FILES / "lstm_int8.tflite").read_bytes()
    imported = tflite.parse(data, "lstm")
    inputs = draw(imported.graph, 6, np.random.default_rng(1))
    assert differing(data, imported, inputs) == {}
    check_graph("rv32-zig-unicorn", imported.graph, 2, tmp_path)

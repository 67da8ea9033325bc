"""Output that cannot be written, Ctrl-C at any moment, narrow terminals."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from rich.console import Console
from rich.text import Text

from cli_support import Spikelet, small_package
from spikelet.api import Package
from spikelet.cli.output import Interrupted
from spikelet.cli.render import layer_table
from spikelet.cli.terminal import Fitted, Terminal, facts, fail, table
from spikelet.codegen import totals

SPIKELET = [sys.executable, "-m", "spikelet"]
full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")


@full
@pytest.mark.parametrize("arguments", [["boards"], ["boards", "--json"], ["--version"], ["--help"]])
def test_a_full_disk_is_told_in_words(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as nowhere:
        ended = subprocess.run(
            [*SPIKELET, *arguments], stdout=nowhere, stderr=subprocess.PIPE, text=True
        )
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.startswith("error: standard output cannot be written: No space left")
    assert "Traceback" not in ended.stderr and "Exception ignored" not in ended.stderr


@full
def test_a_full_standard_error_keeps_the_exit_code() -> None:
    with Path("/dev/full").open("w") as nowhere:
        ended = subprocess.run([*SPIKELET, "inspect", "gone.spk"], stderr=nowhere)
    assert ended.returncode == 2


@pytest.mark.parametrize("arguments", [["boards"], ["boards", "--json"], ["--help"]])
def test_a_reader_that_has_gone_is_no_error(arguments: list[str]) -> None:
    process = subprocess.Popen(
        [*SPIKELET, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 141
    process.stderr.close()


def test_names_that_the_terminal_cannot_show(tmp_path: Path) -> None:
    path = tmp_path / "n\u00f6\u2192.spk"
    small_package().save(path)
    ended = subprocess.run(
        [*SPIKELET, "build", str(path), "-b", "native", "-o", str(tmp_path / "\u2192")],
        env={**os.environ, "PYTHONIOENCODING": "ascii:strict"},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert "?/firmware.elf" in ended.stdout.replace("\n", "").replace(" ", "")


@pytest.mark.parametrize("as_json", [False, True])
def test_ctrl_c_while_it_starts(as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """The signal arrives when the first heavy module is being imported."""
    script = (
        "import importlib.abc, os, signal, sys\n"
        "class Finder(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'numpy':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "            raise ImportError('swallowed')\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from spikelet.cli import main\n"
        f"main({['boards', *['--json'] * as_json]})\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    fail(Interrupted(), as_json)
    told = capsys.readouterr()
    assert (ended.returncode, ended.stderr, ended.stdout) == (130, "interrupted\n", told.out)


FILE_LIMIT = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
from spikelet.cli import main
main(sys.argv[2:])
"""


@pytest.mark.parametrize("limit", [16, 400, 3000, 10_000])
def test_a_disk_that_fills_up_is_no_defect(tmp_path: Path, limit: int) -> None:
    """A limit on the size of a file stands for a full disk: any write may be the one that fails."""
    small_package().save(tmp_path / "small.spk")
    ended = subprocess.run(
        [sys.executable, "-c", FILE_LIMIT, str(limit), "run", "small.spk", "--board", "native",
         "--json"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == 2, ended.stdout + ended.stderr
    error = json.loads(ended.stdout)["error"]
    assert "full" in error["cause"], error


def test_the_entry_point_loads_nothing_heavy() -> None:
    script = "import sys, spikelet.cli, spikelet.__main__; print(*sorted(sys.modules))"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    loaded = {name.split(".")[0] for name in found.stdout.split()}
    assert loaded.isdisjoint({"numpy", "typer", "rich", "pydantic", "serial"})


# Says when the command line is in charge: before that, Ctrl-C ends Python's own start.
IN_CHARGE = """
import sys
def announce(event, what):
    if event == "import" and what[0] == "spikelet.cli.app":
        print("in charge", flush=True)
sys.addaudithook(announce)
from spikelet.cli import main
main(["boards"])
"""


@pytest.mark.parametrize("delay_s", [0, 0.1, 0.2, 0.4])
def test_ctrl_c_at_any_moment_leaves_no_trace(delay_s: float) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", IN_CHARGE], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "in charge\n"
    time.sleep(delay_s)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    # Ended by the signal itself: before or after Python had a handler for it.
    assert process.returncode in (0, 130, -signal.SIGINT)
    assert "Traceback" not in err


def _print(what: Any, width: int) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        console.print(what)
    return captured.get()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_layer_names_stay_whole_on_a_narrow_terminal(width: int) -> None:
    rows = Package.of(small_package()).summary().layers
    for row in rows:
        row["name"] = f"{row['name']}_of_the_network"
    lines = _print(layer_table(rows), width).splitlines()
    assert all(len(line) <= width for line in lines)
    names = [line.split()[0] for line in lines if line.strip()]
    # Every layer is one line: nothing is folded.
    assert [n for n in names if n.endswith("_network")] == [row["name"] for row in rows]
    assert len(lines) <= len(rows) + 5
    header = next(line for line in lines if line.startswith("layer "))
    assert "flash B" in header
    assert ("phase" in header) is (width == 120)
    assert any(line.startswith("left out, ") for line in lines) is (width < 120)


def test_columns_without_a_figure_are_left_out_and_no_header_is_cut() -> None:
    keys = ("weight_bits", "macs", "synaptic_ops", "updates", "flash_bytes")
    row = {
        "name": "fc",
        "op": "fc",
        "kernel": "",
        "phase": "once",
        "output": "i8 4",
        **dict.fromkeys(keys, 0),
    }
    lines = _print(layer_table([{**row, "macs": 7, "flash_bytes": 8, "ram_bytes": 4}]), 120)
    header = next(line for line in lines.splitlines() if line.startswith("layer "))
    assert " ".join(header.split()) == "layer operator phase output MACs flash B RAM B"
    narrow = _print(layer_table([{**row, "macs": 7, "flash_bytes": 8, "ram_bytes": 4}]), 40)
    assert "left out" in narrow and "phase" in narrow and "updates" not in narrow


def test_work_is_summed_by_what_a_host_asks_for() -> None:
    keys = ("weight_bits", "macs", "synaptic_ops", "updates", "flash_bytes", "ram_bytes")
    rows = [
        {"name": f"l{n}", "op": "o", "kernel": "", "phase": phase, "output": "i8 4"}
        | dict.fromkeys(keys, 0)
        | {"macs": macs}
        for n, (phase, macs) in enumerate(
            [("once", 1), ("step", 20), ("end", 300), ("learn", 4000), ("learn", 5000),
             ("commit", 60000)]
        )
    ]  # fmt: skip
    assert {run: sums["macs"] for run, sums in totals(rows).items()} == {
        "inference": 321, "learning_step": 9000, "commit": 60000,
    }  # fmt: skip
    drawn = [" ".join(line.split()) for line in _print(layer_table(rows), 120).splitlines()]
    assert "an inference 321" in drawn[-3] and "a commit 60 000" in drawn[-1].replace(",", " ")
    assert list(totals(rows[:3])) == ["inference"]


def test_columns_go_in_the_order_given() -> None:
    made = table("", "name", "one", "two", ">three")
    made.add_row("a" * 10, "b" * 10, "c" * 10, "d" * 10)
    fitted = Fitted(made, ("two", "one"))
    assert "c" * 10 in _print(fitted, 60)
    narrow = _print(fitted, 40)
    assert "c" * 10 not in narrow and "b" * 10 in narrow and "left out" in narrow
    narrower = _print(fitted, 25)
    assert "b" * 10 not in narrower and "a" * 10 in narrower and "d" * 10 in narrower


STEERING = "\x1b[2J\x1b]0;x\x07\u202e\u2028"


def test_text_from_outside_does_not_steer_the_terminal(tmp_path: Path) -> None:
    buffer = io.StringIO()
    console = Terminal.open(as_json=False).out
    console.file = buffer
    shown = table(STEERING, "name")
    shown.add_row(STEERING)
    for part in (shown, Text(f"\u3000{STEERING}"), facts(STEERING, {STEERING: STEERING})):
        console.print(part)
    assert "\u3000" in buffer.getvalue()
    assert not any(c in buffer.getvalue() for c in STEERING if not c.isprintable())


@pytest.mark.parametrize("name", ["relu", STEERING])
def test_a_model_whose_names_are_no_text(name: str, spikelet: Spikelet, tmp_path: Path) -> None:
    """ONNX allows any names, and file systems nearly any: neither is the user's fault."""
    ends = [helper.make_tensor_value_info(STEERING + n, TensorProto.FLOAT, [1, 4]) for n in "ab"]
    node = helper.make_node("Relu", [STEERING + "a"], [STEERING + "b"], name=STEERING)
    graph = helper.make_graph([node], STEERING, [ends[0]], [ends[1]])
    model, data = tmp_path / f"{name}.onnx", tmp_path / f"{name}.npz"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), model)
    np.savez(data, x=np.random.default_rng(1).random((4, 4), np.float32))
    result = spikelet("import", model, "--calibrate", data, "-o", "relu.spk")
    assert result.code == 0, result.err
    assert not any(c in result.out + result.err for c in STEERING if not c.isprintable())

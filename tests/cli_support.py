"""A small package made of operators, what a command leaves behind, and a device on a socket."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spikelet.board import build, find_board
from spikelet.codegen import generate
from spikelet.graph import Graph, Tensor
from spikelet.graph.ops.argmax import Argmax
from spikelet.graph.ops.dense import Dense
from spikelet.graph.ops.lif import Lif
from spikelet.graph.ops.spike_count import SpikeCount
from spikelet.package import Package
from spikelet.paths import boards_dir, sim_dir

SAMPLES, INPUTS, HIDDEN, CLASSES, STEPS = 24, 12, 10, 4, 6
# What `run --json` holds at least, and its `link`.
RUN_KEYS = {
    "board", "package_sha256", "samples", "correct", "accuracy", "mismatches",
    "instructions_per_inference", "cycles_per_inference", "flash_bytes", "ram_bytes",
    "stack_bytes", "link",
}  # fmt: skip
LINK_KEYS = {"frames", "bad_frames", "retries", "goodput_bytes_per_s"}


def small_graph() -> Graph:
    rng = np.random.default_rng(7)

    def weight(m: int, n: int) -> np.ndarray[Any, Any]:
        return rng.integers(-90, 100, (m, n)).astype(np.int8)

    return Graph(
        "small",
        STEPS,
        [Tensor("x", "u8", (INPUTS,), kind="input", scale=1 / 255)],
        [
            Dense(name="fc1", inputs=("x",), weight=weight(HIDDEN, INPUTS)),
            Lif(name="lif1", inputs=("fc1",), threshold=np.array([9000], np.int32), leak=30000),
            Dense(name="fc2", inputs=("lif1.spikes",), weight=weight(CLASSES, HIDDEN)),
            Lif(name="lif2", inputs=("fc2",), threshold=np.array([60], np.int32), leak=30000),
            SpikeCount(name="counts", inputs=("lif2.spikes",)),
            Argmax(name="label", inputs=("counts",)),
        ],
        ["label", "counts"],
    )


def small_package() -> Package:
    graph = small_graph()
    x = np.random.default_rng(3).integers(0, 256, (SAMPLES, INPUTS)).astype(np.uint8)
    labels = graph.run({"x": x}).outputs["label"][:, 0].astype(np.int64)
    labels[:3] = (labels[:3] + 1) % CLASSES  # three that the network gets wrong
    manifest = {
        "seed": 5,
        "classes": CLASSES,
        "image_shape": [3, 4],
        "float_accuracy": 0.875,
        "integer_accuracy": 1 - 3 / SAMPLES,
        "drift": 0.0,
        "versions": {"torch": "0.0-test"},
    }
    return Package(graph, {"x": x, "y": labels}, manifest).with_golden()


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """Standard output, which must hold one JSON object and nothing else."""
        parsed = json.loads(self.out)
        if not isinstance(parsed, dict):
            raise TypeError("not an object")
        return parsed


Spikelet = Callable[..., Result]


@contextmanager
def serve(elf: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A native image behind a TCP port: its pyserial URL and, once a host is there, its process."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        process: list[subprocess.Popen[bytes]] = []

        def serve() -> None:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                wire = connection.fileno()
                process.append(subprocess.Popen([elf], stdin=wire, stdout=wire))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"socket://127.0.0.1:{server.getsockname()[1]}", process
        finally:
            for found in process:
                found.kill()
                found.wait()


def wrong_image(graph: Graph, sha256: str, folder: Path, before: str = "", after: str = "") -> Path:
    """A trace image of a graph that claims to be this package's, its C changed."""
    board = find_board("native")
    source = generate(graph, sha256, folder, trace=True, target=board.target).source
    if before:
        text = source.read_text()
        assert text.count(before) == 1
        source.write_text(text.replace(before, after))
    return build(folder, board, folder, trace=True).elf


def wrapped_board(folder: Path, name: str, *words: str) -> Path:
    """The native board under another name, whose machines stand behind a program of sim/."""
    shutil.copytree(boards_dir() / "native", folder)
    file = folder / "board.toml"
    argv = json.dumps([sys.executable, str(sim_dir() / words[0]), *words[1:], "--", "{elf}"])
    text = file.read_text()
    assert text.count('argv = ["{elf}"]') == 2
    file.write_text(
        text.replace('argv = ["{elf}"]', f"argv = {argv}").replace('"native"', f'"{name}"', 1)
    )
    return folder

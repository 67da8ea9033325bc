"""Every command and program of docs/, to the letter; learning.md has a file of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_networks
import pytest
import tflite_cases
import tflite_drawn
from tflite_floats import to_float

import pages
from rtl import need_simulator
from spikelet.package import Package
from spikelet.paths import boards_dir, models_dir
from support import need

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"


def mine(folder: Path) -> None:
    """A spiking package with few samples, and the samples."""
    made = Package.load(FIXTURES / "v0_1_0" / "digits_snn.spk")
    few = {name: values[:20] for name, values in made.vectors.items()}
    package = Package(replace(made.graph, name="mine"), few, made.manifest)
    package.save(folder / "mine.spk")
    np.savez(folder / "my.npz", x=package.inputs["x"], y=package.labels)


def two(folder: Path) -> None:
    """A package before and after a change of nothing."""
    mine(folder)
    np.save(folder / "x.npy", Package.load(folder / "mine.spk").inputs["x"])
    for name in ("old.spk", "new.spk"):
        shutil.copy(folder / "mine.spk", folder / name)


def digits(folder: Path) -> None:
    shutil.copy(FIXTURES / "v0_1_0" / "digits_snn.spk", folder)


def kws(folder: Path) -> None:
    shutil.copy(models_dir() / "kws_dscnn" / "kws_dscnn.spk", folder)


def firmware(folder: Path) -> None:
    digits(folder)
    shutil.copy(models_dir() / "mnist_mlp" / "mnist_mlp.spk", folder)
    shutil.copytree(boards_dir() / "ch32v003", folder / "boards" / "ch32v003")


def model_files(folder: Path) -> None:
    """Files of other frameworks, and samples."""
    case = tflite_cases.CASES["conv_2d"]
    w, x, rng = tflite_cases.start(1)
    data = w.finish([x], case(w, x, rng))
    (folder / "net.tflite").write_bytes(data)
    (folder / "channels_last.tflite").write_bytes(to_float(data))
    shape = (40, *tflite_drawn.shape_of(w, x)[1:])
    np.savez(folder / "x_last.npz", x=rng.normal(size=shape).astype(np.float32))
    (folder / "mine.onnx").write_bytes(onnx_networks.export_model("Residual"))
    qdq = onnx_networks.quantise_model("Residual", "QDQ", "QInt8", True)
    (folder / "qdq.onnx").write_bytes(qdq)
    np.savez(folder / "x.npz", x=onnx_networks.samples(60), y=np.zeros(60, int))


# By page, what it takes for granted, and the exit codes of which it tells.
NEEDED: dict[str, Callable[[Path], None]] = {
    "boards.md": mine,
    "cycles.md": mine,
    "file-format.md": mine,
    "test-bench.md": two,
    "firmware.md": firmware,
    "spiking-learning.md": digits,
    "parts.md": kws,
    "model-files.md": model_files,
}
EXITS = {
    # Its tool is on few computers, and the part on none.
    "spikelet flash mlp.elf --board ch32v003": 2,
    # Of its three devices two are on no desk.
    "spikelet run mine.spk --roster bench.toml": 3,
    "spikelet run mine.spk --roster bench.toml --board microbit": 3,
    "spikelet run mine.spk --roster bench.toml --json": 3,
    "spikelet run mine.spk --roster bench.toml --flash": 3,
    "spikelet bench mine.spk --board microbit --port /dev/ttyACM0 --flash": 2,
    "pytest --spikelet-package mine.spk --spikelet-roster bench.toml --spikelet-board microbit "
    "--junitxml=junit.xml": 1,
}
# Pages that call what not every computer has.
TOOLS = {
    "firmware.md": (
        "cmake", "gcc", "arm-none-eabi-gcc", "qemu-system-arm", "riscv64-unknown-elf-gcc",
    )
}  # fmt: skip
LONG = {
    "index.md", "pytorch.md", "spiking.md", "spiking-training.md", "test-bench.md",
    "model-files.md", "boards.md", "cycles.md", "parts.md", "spiking-learning.md", "spiking-cnn.md",
    "spiking-delays.md", "events.md", "adapters.md", "fewer-bits.md",
}  # fmt: skip
TESTED = [
    pytest.param(name, marks=[pytest.mark.long] if name in LONG else [])
    for name in pages.PAGES
    if name not in ("README.md", "learning.md") and pages.blocks(name)
]


@pytest.mark.parametrize("page", TESTED)
def test_every_block_of_a_page_does_what_it_says(page: str, tmp_path: Path) -> None:
    for tool in ("torch", "snntorch", "zig", "unicorn", *TOOLS.get(page, ())):
        need(tool)
    if page == "cycles.md":
        need_simulator("ibex-rtl")
    NEEDED.get(page, lambda folder: None)(tmp_path)
    pages.execute(pages.blocks(page), tmp_path, EXITS)
    if page == "pytorch.md":
        assert_bit_exact("mine_int8.spk", 200, tmp_path)


def test_the_spiking_example_is_bit_exact(tmp_path: Path) -> None:
    need("snntorch")
    (example,) = [block for block in pages.blocks("spiking.md") if '"mine.spk"' in block.text]
    pages.execute([example], tmp_path)
    assert_bit_exact("mine.spk", 50, tmp_path)


def assert_bit_exact(package: str, samples: int, folder: Path) -> None:
    command = f"spikelet run {package} --board native --layers --json"
    run = pages.Block("sh", command, "")
    (said,) = pages.execute([run], folder)
    assert '"mismatches": 0' in said and f'"samples": {samples}' in said

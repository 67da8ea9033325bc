"""A device that computes something else is caught, and what differs is named."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile

import graphs
from spikelet.board import Board, build, find_board, start
from spikelet.board.build import Firmware
from spikelet.codegen import generate
from spikelet.graph import Graph
from spikelet.graph.ops.lif import Lif
from spikelet.link import Device, DeviceDiffers
from spikelet.package import Package
from spikelet.run import (
    BuiltImage,
    Outcome,
    Recording,
    SessionFolder,
    SessionTarget,
    compare,
    make,
    package_stream,
    run,
)
from support import need

TARGETS = [("native", "native"), ("virt-rv32", "unicorn")]


def make_package() -> Package:
    graph = graphs.digits_like()
    rng = np.random.default_rng(5)
    inputs = graphs.random_inputs(graph, 8, rng)
    return Package(graph, {**inputs, "y": rng.integers(0, 10, 8)}, {}).with_golden()


def outcome(package: Package, board: Board, built: BuiltImage, machine: str, out: Path) -> Outcome:
    _, found = run(
        package,
        SessionTarget(board, built, machine),
        package_stream(package),
        SessionFolder(out),
        layers=built.firmware.trace,
    )
    return found


def flip_weight(firmware: Firmware, symbol: str, byte: int, bit: int) -> None:
    """Flip one bit of a constant in the image."""
    with firmware.elf.open("rb") as f:
        elf = ELFFile(f)
        table = elf.get_section_by_name(".symtab")
        (found,) = [s for s in table.iter_symbols() if s.name == symbol]
        section = elf.get_section(found["st_shndx"])
        offset = section["sh_offset"] + found["st_value"] - section["sh_addr"] + byte
    image = bytearray(firmware.elf.read_bytes())
    image[offset] ^= 1 << bit
    firmware.elf.write_bytes(image)


@pytest.mark.parametrize(("board_name", "machine"), TARGETS)
def test_a_flipped_weight_bit_is_named_by_layer_step_and_neuron(
    board_name: str, machine: str, tmp_path: Path
) -> None:
    need("zig")
    package, board = make_package(), find_board(board_name)
    built = make(package, board, tmp_path / "build", toolchain="zig", trace=True)
    # Input 20, word 1 of its column: byte 2 belongs to output 4 * 1 + 1.
    words = 24 // 4
    at = (20 * words + 1) * 4 + 2
    flip_weight(built.firmware, "spk_const_fc1_weight", at, 4)
    with pytest.raises(DeviceDiffers, match=f"spk_const_fc1_weight, at byte {at} of") as caught:
        outcome(package, board, built, machine, tmp_path / "session")
    assert caught.value.exit_code == 3
    # To see what the bit does, the device is taken as it is.
    with (
        start(built.firmware, machine) as running,
        Device(running.transport, connect_deadline_s=30.0) as device,
    ):
        (tmp_path / "session").mkdir(exist_ok=True)
        recording = Recording(SessionFolder(tmp_path / "session"), {}, resume=False)
        found = compare(package, device, package_stream(package), recording, layers=True)
    assert found.mismatches > 0
    first = found.differences[0]
    assert (first.layer, first.tensor, first.index) == ("fc1", "fc1", 5)
    assert abs(first.golden - first.device) == 16
    # The step is the first one in which input 20 spiked in that sample.
    trace = package.graph.run(package.inputs, trace=True).trace["encode.spikes"]
    assert first.step == int(np.argmax(trace[:, first.sample, 20]))
    assert str(first).startswith(f"sample {first.sample}, layer fc1, step {first.step}, fc1[5]:")


@pytest.mark.parametrize(("board_name", "machine"), TARGETS)
@pytest.mark.parametrize("trace", [True, False])
def test_a_wrong_reset_rule_is_named(
    board_name: str, machine: str, trace: bool, tmp_path: Path
) -> None:
    need("zig")
    package, board = make_package(), find_board(board_name)
    right = package.graph
    nodes = [
        dataclasses.replace(n, reset="subtract") if isinstance(n, Lif) and n.name == "lif1" else n
        for n in right.nodes
    ]
    wrong = Graph(right.name, right.steps, right.inputs, nodes, right.outputs)
    generated = generate(wrong, package.sha256, tmp_path / "build", trace=trace)
    firmware = build(tmp_path / "build", board, tmp_path / "build", toolchain="zig", trace=trace)
    found = outcome(package, board, BuiltImage(generated, firmware), machine, tmp_path / "session")
    assert found.mismatches > 0
    first = found.differences[0]
    # Without the layers' digests only the states and outputs after the last step are compared.
    assert first.step == 5 if not trace else first.tensor == "lif1.membrane"
    spikes = right.run(package.inputs, trace=True).trace["lif1.spikes"][:, first.sample]
    if trace:
        assert spikes[first.step, first.index] == 1  # the reset of a spike is where they part
        assert first.step == int(np.flatnonzero(spikes.any(axis=1))[0])

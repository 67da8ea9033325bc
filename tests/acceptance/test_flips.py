"""A bit that flips in a table of the model is named before a sample is run.

An image is flipped where it lies, in its file: the host's list of tables and the linker's symbols
are two sources. A flip is put back before the next.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile

import graphs
from every_learner import graph_of
from spikelet.board import find_board, start
from spikelet.frontends import tflite
from spikelet.link import Device, DeviceDiffers
from spikelet.package import Package
from spikelet.paths import models_dir
from spikelet.run import Built, Target, make
from support import need, reference_model

PREFIX = "spk_const_"


def trained(name: str) -> Package:
    from spikelet.train import train

    need("torch")
    need("snntorch")
    return train(models_dir() / name)


PACKAGES: dict[str, Callable[[], Package]] = {
    "digits_snn": lambda: trained("digits_snn"),
    "digits_bernoulli": lambda: trained("digits_bernoulli"),
    "kws_ref_model": lambda: Package(tflite.load(reference_model("kws_ref_model")).graph),
    "ladder": lambda: Package(graph_of("ladder")),
}


def tables(built: Built) -> dict[str, tuple[int, int]]:
    """By symbol, where each table of the model lies in the image's file, and its bytes."""
    with built.firmware.elf.open("rb") as file:
        elf = ELFFile(file)
        found = {}
        for symbol in elf.get_section_by_name(".symtab").iter_symbols():
            if symbol.name.startswith(PREFIX):
                home = elf.get_section(symbol["st_shndx"])
                at = home["sh_offset"] + symbol["st_value"] - home["sh_addr"]
                found[symbol.name] = at, symbol["st_size"]
    assert {name: size for name, (_, size) in found.items()} == {
        constant.symbol: len(constant.data) for constant in built.generated.constants
    }
    return found


def missed(package: Package, board: str, toolchain: str, flips: int, folder: Path) -> list[str]:
    """Flips over all tables in turn, that nobody names; a whole image passes before and after."""
    rng = np.random.default_rng(17)
    built = make(package, find_board(board), folder, toolchain=toolchain)
    must = Target(built.firmware.board, built).expected(package)

    def whole() -> None:
        with start(built.firmware) as machine:
            Device(machine.transport, connect_deadline_s=30.0, expected=must)

    whole()
    image, places, found = bytearray(built.firmware.elf.read_bytes()), tables(built), []
    names = rng.permutation(sorted(places))
    for number in range(flips):
        name = str(names[number % len(names)])
        at, size = places[name]
        byte, bit = int(rng.integers(size)), int(rng.integers(8))
        image[at + byte] ^= 1 << bit
        built.firmware.elf.write_bytes(image)
        try:
            whole()
            found.append(f"{name} byte {byte} bit {bit}: nobody notices")
        except DeviceDiffers as error:
            if f"its constants: {name}, at byte {byte} of {size}" not in str(error):
                found.append(f"{name} byte {byte} bit {bit}: {error.what}")
        image[at + byte] ^= 1 << bit
    built.firmware.elf.write_bytes(image)
    whole()
    return found


@pytest.mark.parametrize(
    ("board", "toolchain", "flips"), [("native", "gcc", 14), ("virt-rv32", "zig", 6)]
)
def test_flips_in_a_spiking_network(board: str, toolchain: str, flips: int, tmp_path: Path) -> None:
    need(toolchain)
    assert missed(Package(graphs.digits_like()), board, toolchain, flips, tmp_path) == []


@pytest.mark.long
@pytest.mark.parametrize("name", PACKAGES)
@pytest.mark.parametrize(
    ("board", "toolchain", "flips"), [("native", "gcc", 200), ("virt-rv32", "zig", 50)]
)
def test_a_thousand_flips_in_four_packages(
    name: str, board: str, toolchain: str, flips: int, tmp_path: Path
) -> None:
    need(toolchain)
    assert missed(PACKAGES[name](), board, toolchain, flips, tmp_path) == []

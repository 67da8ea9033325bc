"""A bit that flips in a table or in an attribute of the model is named before a sample is run.

An image is flipped where it lies, in its file: the host's list of constants and the linker's
symbols are two sources. A flip is put back before the next. A pointer that flips leads elsewhere:
to other bytes, or to a fault.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile

import graphs
from every_learner import graph_of
from spikelet.board import find_board, start
from spikelet.errors import LinkDead
from spikelet.frontends import tflite
from spikelet.link import Device, DeviceDiffers
from spikelet.package import Package
from spikelet.paths import models_dir
from spikelet.run import BuiltImage, SessionTarget, make
from support import need, reference_model


def train_package(name: str) -> Package:
    from spikelet.train import train

    need("torch")
    need("snntorch")
    return train(models_dir() / name)


PACKAGES: dict[str, Callable[[], Package]] = {
    "digits_snn": lambda: train_package("digits_snn"),
    "digits_bernoulli": lambda: train_package("digits_bernoulli"),
    "kws_ref_model": lambda: Package(tflite.load(reference_model("kws_ref_model")).graph),
    "ladder": lambda: Package(graph_of("ladder")),
}


@dataclass(frozen=True)
class Place:
    """Bytes of an image's file that may flip.

    Attributes:
        at: the first one.
        size: how many.
        name: what the error must call them; None where any error will do.
    """

    at: int
    size: int
    name: str | None


def places(built: BuiltImage) -> list[Place]:
    """Every table and every attribute, and where no loader writes them, the pointers between."""
    with built.firmware.elf.open("rb") as file:
        elf = ELFFile(file)
        symbols = {}
        for symbol in elf.get_section_by_name(".symtab").iter_symbols():
            if symbol.name.startswith("spk_const_") or "_config" in symbol.name:
                home = elf.get_section(symbol["st_shndx"])
                at = home["sh_offset"] + symbol["st_value"] - home["sh_addr"]
                symbols[symbol.name] = at, symbol["st_size"]
        relocated = elf["e_type"] == "ET_DYN"
    found = []
    for constant in built.generated.constants:
        symbol_name = constant.name.partition(".")[0]
        at, size = symbols[symbol_name]
        if "." not in constant.name:
            assert size == len(constant.data)
            found.append(Place(at, size, constant.name))
        else:
            assert constant.at + len(constant.data) <= size
            found.append(Place(at + constant.at, len(constant.data), constant.name))
        if constant.pointer is not None and not relocated:
            holder, _ = symbols[constant.pointer.partition(".")[0]]
            found.append(Place(holder + constant.at, 4, None))
    return list(dict.fromkeys(found))


def unnoticed_flips(
    package: Package, board: str, toolchain: str, flips: int, folder: Path
) -> list[str]:
    """Flips over all places in turn, that nobody names; a whole image passes before and after."""
    rng = np.random.default_rng(17)
    built = make(package, find_board(board), folder, toolchain=toolchain)
    must = SessionTarget(built.firmware.board, built).expected_image(package)

    def whole() -> None:
        with start(built.firmware) as machine:
            Device(machine.transport, connect_deadline_s=30.0, expected=must)

    whole()
    image, every, found = bytearray(built.firmware.elf.read_bytes()), places(built), []
    assert any(place.name and "_config." in place.name for place in every)
    order = rng.permutation(len(every))
    for number in range(flips):
        place = every[order[number % len(every)]]
        byte, bit = int(rng.integers(place.size)), int(rng.integers(8))
        image[place.at + byte] ^= 1 << bit
        built.firmware.elf.write_bytes(image)
        flip = f"{place.name or 'a pointer'} byte {byte} bit {bit}"
        try:
            whole()
            found.append(f"{flip}: nobody notices")
        except DeviceDiffers as error:
            said = f"its constants: {place.name}, at byte {byte} of {place.size}"
            if place.name is not None and said not in str(error):
                found.append(f"{flip}: {error.what}")
        except LinkDead as error:
            if place.name is not None:
                found.append(f"{flip}: {error.what}")
        image[place.at + byte] ^= 1 << bit
    built.firmware.elf.write_bytes(image)
    whole()
    return found


@pytest.mark.parametrize(
    ("board", "toolchain", "flips"), [("native", "gcc", 14), ("virt-rv32", "zig", 6)]
)
def test_flips_in_a_spiking_network(board: str, toolchain: str, flips: int, tmp_path: Path) -> None:
    need(toolchain)
    assert unnoticed_flips(Package(graphs.digits_like()), board, toolchain, flips, tmp_path) == []


@pytest.mark.long
@pytest.mark.parametrize("name", PACKAGES)
@pytest.mark.parametrize(
    ("board", "toolchain", "flips"), [("native", "gcc", 200), ("virt-rv32", "zig", 50)]
)
def test_a_thousand_flips_in_four_packages(
    name: str, board: str, toolchain: str, flips: int, tmp_path: Path
) -> None:
    need(toolchain)
    assert unnoticed_flips(PACKAGES[name](), board, toolchain, flips, tmp_path) == []

"""Images for MCUboot: what imgtool signs is read here byte by byte, and boots from its slot."""

from __future__ import annotations

import dataclasses
import hashlib
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from intelhex import IntelHex

import graphs
from spikelet.board import Board, find_board
from spikelet.board.mcuboot import in_slot, sign_image
from spikelet.board.spec import McubootSpec, Region
from spikelet.errors import UsageError
from spikelet.package import Package
from spikelet.run import SessionFolder, SessionTarget, make, package_stream, run
from spikelet.signing import make_keys, public_bytes
from support import need

pytest.importorskip("imgtool")
pytest.importorskip("cryptography")

# https://docs.mcuboot.com/design.html#image-format
IMAGE_MAGIC, INFO_MAGIC, PROTECTED_MAGIC = 0x96F3B83D, 0x6907, 0x6908
KEY_HASH, SHA256, SHA512, ED25519, COUNTER = 0x01, 0x10, 0x12, 0x24, 0x50
SLOT = McubootSpec(slot=Region(base=0x20000, bytes=0x60000))  # of a board in QEMU


@dataclass(frozen=True)
class Image:
    """A signed image, taken apart."""

    header_bytes: int
    code: bytes
    version: tuple[int, ...]
    tlvs: dict[int, bytes]
    signed: bytes


def tlvs_at(data: bytes, at: int, magic: int) -> tuple[dict[int, bytes], int]:
    found, total = struct.unpack_from("<HH", data, at)
    assert found == magic
    end, tlvs = at + total, {}
    at += 4
    while at < end:
        kind, size = struct.unpack_from("<HH", data, at)
        tlvs[kind] = data[at + 4 : at + 4 + size]
        at += 4 + size
    assert at == end
    return tlvs, end


def taken_apart(data: bytes) -> Image:
    magic, load, header, protected, size, flags = struct.unpack_from("<IIHHII", data)
    assert (magic, load, flags) == (IMAGE_MAGIC, 0, 0)
    first, between = tlvs_at(data, header + size, PROTECTED_MAGIC)
    assert between == header + size + protected
    second, end = tlvs_at(data, between, INFO_MAGIC)
    assert end == len(data)
    version = struct.unpack_from("<BBHI", data, 20)
    return Image(header, data[header : header + size], version, {**first, **second}, data[:between])


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "boot.key"
    make_keys(path)
    return path


def package() -> Package:
    graph = graphs.digits_like()
    inputs = graphs.random_inputs(graph, 2, np.random.default_rng(0))
    return Package(graph, inputs, {}).with_golden()


@pytest.mark.parametrize("name", ["nrf52840-dk", "nucleo-l4r5zi", "nucleo-h743zi"])
def test_an_image_is_what_mcuboot_looks_for(name: str, key: Path, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    board = find_board(name)
    spec, memory = board.mcuboot, board.memory
    assert spec is not None and memory is not None
    built = make(package(), in_slot(board), tmp_path, toolchain="zig")
    signed = sign_image(built.firmware, key, "1.2.3")
    data = signed.read_bytes()
    image = taken_apart(data)
    assert image.version == (1, 2, 3, 0) and image.header_bytes == spec.header_bytes
    assert len(data) <= spec.slot.bytes - spec.trailer_bytes + 256

    public = public_bytes(key.with_name(key.name + ".pub"))
    kind, digest = next((k, image.tlvs[k]) for k in (SHA512, SHA256) if k in image.tlvs)
    assert digest == hashlib.new("sha512" if kind == SHA512 else "sha256", image.signed).digest()
    Ed25519PublicKey.from_public_bytes(public).verify(image.tlvs[ED25519], digest)
    assert struct.unpack("<I", image.tlvs[COUNTER])[0] > 0

    # What the boot loader jumps to, and what the core then takes for its vectors.
    stack, start = struct.unpack_from("<II", image.code)
    first = spec.slot.base + spec.header_bytes
    assert memory.ram.base < stack <= memory.ram.base + memory.ram.bytes
    assert start & 1 and first < start < first + len(image.code)
    assert first % (1 << (4 * 166 - 1).bit_length() if name == "nucleo-h743zi" else 512) == 0
    whole = IntelHex(str(signed.with_suffix(".hex")))
    assert whole.minaddr() == spec.slot.base and whole.tobinstr() == data


def test_an_altered_image_is_refused(key: Path, tmp_path: Path) -> None:
    built = make(package(), in_slot(find_board("nrf52840-dk")), tmp_path, toolchain="zig")
    signed = sign_image(built.firmware, key)
    other = tmp_path / "other.key"
    make_keys(other)
    data = signed.read_bytes()
    assert verdict(signed, key) == 0 and verdict(signed, other) != 0
    for at in (0x200, len(data) // 2, len(data) - 1):
        signed.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert verdict(signed, key) != 0


def verdict(image: Path, key: Path) -> int:
    command = [sys.executable, "-m", "imgtool.main", "verify", "--key", str(key), str(image)]
    return subprocess.run(command, capture_output=True).returncode


def test_what_cannot_be_signed_is_told(key: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="board mps2-an386 names no slot of MCUboot"):
        in_slot(find_board("mps2-an386"))
    built = make(package(), in_slot(find_board("nrf52840-dk")), tmp_path, toolchain="zig")
    with pytest.raises(UsageError, match="imgtool sign:"):
        sign_image(built.firmware, key.with_name(key.name + ".pub"))
    with pytest.raises(UsageError, match="imgtool sign:"):
        sign_image(built.firmware, key, "one")


def holding(board: Board, signed: Path) -> Board:
    """The board whose QEMU has the signed image in its slot, and what MCUboot jumps to at 0."""
    start = signed.with_name("start.bin")  # stack and entry: the core itself reads them there
    start.write_bytes(taken_apart(signed.read_bytes()).code[:8])
    machine = board.machines["qemu"]
    words = [word for word in machine.argv if word not in ("-kernel", "{elf}")]
    for file, address in ((signed, SLOT.slot.base), (start, 0)):
        words += ["-device", f"loader,file={file},addr={address:#x},force-raw=on"]
    machine = machine.model_copy(update={"argv": tuple(words)})
    return board.model_copy(update={"machines": {"qemu": machine}})


def test_it_boots_from_its_slot(key: Path, tmp_path: Path) -> None:
    """The agent sets its vectors and guards its flash where the slot lies: faults would show."""
    need("qemu-system-arm")
    board = find_board("mps2-an386").model_copy(update={"mcuboot": SLOT})
    built = make(package(), in_slot(board), tmp_path / "build", toolchain="zig")
    signed = sign_image(built.firmware, key)
    started = holding(board, signed)
    firmware = dataclasses.replace(built.firmware, board=started)
    target = SessionTarget(started, dataclasses.replace(built, firmware=firmware), "qemu")
    stream, session = package_stream(package()), SessionFolder(tmp_path / "session")
    summary, _ = run(package(), target, stream, session)
    assert (summary["mismatches"], summary["samples"]) == (0, 2)

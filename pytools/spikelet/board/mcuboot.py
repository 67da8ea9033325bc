"""Images for boards whose boot loader is MCUboot: linked for its slot, signed by imgtool.

MCUboot's header lies in front of the image, its TLVs (hash, key, signature) behind. All of it is
imgtool's, of the extra `mcuboot`; it is read back and verified here.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

from intelhex import IntelHex

from spikelet.board.build import Firmware
from spikelet.board.image_files import flash_content, write_image
from spikelet.board.spec import BOARD_FILE, Board, McubootSpec, Memory, Region
from spikelet.board.toolchain import ToolMissing
from spikelet.errors import UsageError

FIRST_VERSION = "1.0.0"
SIGNED = "firmware.signed"  # and .bin, .hex


def in_slot(board: Board) -> Board:
    """The board as an image sees it that MCUboot starts: its flash is what the slot leaves.

    Raises:
        UsageError: its board.toml names no slot.
    """
    spec, memory = _spec(board)
    flash = Region(base=spec.slot.base + spec.header_bytes, bytes=spec.image_bytes)
    return board.model_copy(update={"memory": memory.model_copy(update={"flash": flash})})


def sign_image(firmware: Firmware, key: Path, version: str = FIRST_VERSION) -> Path:
    """Write firmware.signed.bin, and .hex at the slot's address, beside the image.

    Args:
        firmware: of `in_slot(board)`.
        key: private, PEM: one of `spikelet keygen` or `imgtool keygen`.
        version: MAJOR.MINOR.PATCH; MCUboot's counter against going back is made from it.

    Returns:
        The path of the .bin.

    Raises:
        ToolMissing: imgtool is not installed.
        UsageError: imgtool refuses the key, the version or the image, or what it wrote.
    """
    if importlib.util.find_spec("imgtool") is None:
        raise ToolMissing(
            "imgtool, which signs images for MCUboot, is not installed",
            "it is optional: other boot loaders need none",
            "pip install 'spikelet[mcuboot]'",
        )
    board, folder = firmware.board, firmware.elf.parent
    spec, _ = _spec(board)
    first = spec.slot.base + spec.header_bytes
    plain, signed = folder / "firmware.bin", folder / f"{SIGNED}.bin"
    write_image(flash_content(firmware.elf, board), "bin", plain, first)
    _imgtool(
        "sign", "--key", str(key), "--version", version, "--security-counter", "auto",
        "--header-size", str(spec.header_bytes), "--pad-header", "--align", str(spec.align),
        "--max-align", str(max(8, spec.align)), "--slot-size", str(spec.slot.bytes),
        str(plain), str(signed),
    )  # fmt: skip
    _imgtool("verify", "--key", str(key), str(signed))
    content = IntelHex()
    content.frombytes(signed.read_bytes(), offset=spec.slot.base)
    write_image(content, "hex", folder / f"{SIGNED}.hex", spec.slot.base)
    return signed


def _spec(board: Board) -> tuple[McubootSpec, Memory]:
    if board.mcuboot is None or board.memory is None:
        raise UsageError(
            f"board {board.name} names no slot of MCUboot",
            f"{board.folder / BOARD_FILE} has no [mcuboot]",
            "give it one: slot = { base, bytes }, header_bytes and align; see boards/README.md",
        )
    return board.mcuboot, board.memory


def _imgtool(*words: str) -> None:
    command = [sys.executable, "-m", "imgtool.main", *words]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise UsageError(
            f"imgtool {words[0]}: {said[-1] if said else f'exit code {done.returncode}'}",
            "the key is no private key in PEM, the version is not MAJOR.MINOR.PATCH, or the image "
            "does not fit the slot",
            "`spikelet keygen KEY` makes a key; `imgtool sign --help` tells more",
        )

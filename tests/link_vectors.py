"""Writes link/vectors.txt, which the C and the Python side of the link both read.

    python tests/link_vectors.py

A line is `good PLAIN WIRE` (header and payload, and the frame they become) or `bad - WIRE` (what
must not be taken for a frame), in hex. Made with zlib and the cobs package, not with the code under
test.
"""

from __future__ import annotations

import random
import zlib
from pathlib import Path

from cobs import cobs

VECTORS = Path(__file__).parent / "link" / "vectors.txt"


def wire_of(plain: bytes) -> bytes:
    sealed: bytes = cobs.encode(plain + zlib.crc32(plain).to_bytes(4, "little"))
    return b"\0" + sealed + b"\0"


def text() -> str:
    rng = random.Random(20250101)
    plains = [
        bytes(4),
        b"\xff" * 4,
        b"\x01\x00\x00\x00" + bytes(244),
        b"\x85\x07\x08\x08" + b"\xff" * 244,
    ]
    for size in (1, 2, 3, 7, 64, 236, 237, 238, 243, 244, 245, 246, 247, 500, 508, 763, 1023, 1024):
        plains.append(rng.randbytes(4) + bytes(size))
        plains.append(rng.randbytes(4) + b"\x01" * size)
        plains.append(rng.randbytes(4 + size))
        # one zero somewhere: every place where a COBS block can end
        body = bytearray(rng.choice(range(1, 256)) for _ in range(4 + size))
        body[rng.randrange(len(body))] = 0
        plains.append(bytes(body))
    lines = [f"good {plain.hex()} {wire_of(plain).hex()}" for plain in plains]
    short = [cobs.encode(bytes(n)) for n in range(8)]  # no room for header and CRC
    bad = [b"\0" + piece + b"\0" for piece in short]
    good = wire_of(b"\x01\x02\x03\x04spikes\x00and membranes")
    bad += [
        bytes((*good[:i], good[i] ^ 1 << i % 8, *good[i + 1 :])) for i in range(1, len(good) - 1)
    ]
    bad += [good[:i] + b"\0" for i in range(2, len(good) - 1)]
    bad += [b"\0" + rng.randbytes(40).replace(b"\0", b"\1") + b"\0" for _ in range(20)]
    bad += [b"\0" + b"\x02\x01" * 700 + b"\0", b"\0" + b"\xff" * 3000 + b"\0"]
    bad = [wire for wire in bad if wire.count(0) == 2]
    lines += [f"bad - {wire.hex()}" for wire in bad]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    VECTORS.write_text(text(), encoding="utf-8")

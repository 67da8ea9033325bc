"""Frames: `00 | COBS(type, seq, ack, credit, payload, CRC-32) | 00`.

CRC-32/ISO-HDLC is zlib's; COBS is Cheshire and Baker, "Consistent Overhead Byte Stuffing" (1999).
"""

from __future__ import annotations

import zlib
from collections import deque
from typing import NamedTuple

from cobs import cobs

HEADER = 4
CRC = 4
PAYLOAD_MAX = 1024  # bytes; what any device may be built for
PIECE_MAX = HEADER + PAYLOAD_MAX + CRC + (HEADER + PAYLOAD_MAX + CRC) // 254 + 1


PIECES = 16  # that were no frames, kept for whoever wonders why


class Frame(NamedTuple):
    """One good frame; `type` with its reply and more bits."""

    type: int
    seq: int
    ack: int
    credit: int
    payload: bytes


def encode(frame: Frame) -> bytes:
    """The bytes on the wire, with both delimiters."""
    plain = bytes(frame[:4]) + frame.payload
    sealed: bytes = cobs.encode(plain + zlib.crc32(plain).to_bytes(4, "little"))
    return b"\0" + sealed + b"\0"


def decode(piece: bytes) -> Frame | None:
    """The frame in what stood between two delimiters; None when it is not a good one."""
    if len(piece) > PIECE_MAX:
        return None
    try:
        plain: bytes = cobs.decode(piece)
    except cobs.DecodeError:
        return None
    if len(plain) < HEADER + CRC:
        return None
    if zlib.crc32(plain[:-4]) != int.from_bytes(plain[-4:], "little"):
        return None
    return Frame(plain[0], plain[1], plain[2], plain[3], plain[4:-4])


class Deframer:
    """Cuts a byte stream into frames, however it is chunked.

    Attributes:
        good: frames that passed the CRC.
        bad: pieces between delimiters that did not.
        pieces: the last of these.
    """

    def __init__(self) -> None:
        self.good = 0
        self.bad = 0
        self.pieces: deque[bytes] = deque(maxlen=PIECES)
        self._tail = b""

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes."""
        *pieces, tail = (self._tail + data).split(b"\0")
        self._tail = tail[: PIECE_MAX + 1]  # an overlong piece stays one too long: bad when it ends
        frames = []
        for piece in pieces:
            if piece:
                frame = decode(piece)
                if frame is None:
                    self.bad += 1
                    self.pieces.append(piece)
                else:
                    frames.append(frame)
        self.good += len(frames)
        return frames

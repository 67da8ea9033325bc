"""The Python twin of what tests/c/model_echo.c learns."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

import numpy as np

LIMIT = 1000
PADDING = 50


@dataclass
class EchoLearner:
    """Learned tensors of model_echo.c, and how they change."""

    weight: list[int] = field(default_factory=lambda: [1, -2, 3, -4, 5, -6, 7, -8])
    ring: int = 0
    real: list[np.float32] = field(default_factory=lambda: [np.float32(i) for i in range(3)])
    half: list[int] = field(default_factory=lambda: [0x3C00 + i for i in range(5)])
    commits: int = 0
    limited: int = 0

    def learn(self, label: int, wanted: int = 0) -> None:
        moved = self.weight[self.ring] + label + 1 + wanted
        self.limited += abs(moved) > LIMIT
        self.weight[self.ring] = max(-LIMIT, min(LIMIT, moved))
        self.ring = (self.ring + 1) % 8
        large = self.real[0] if self.real[0] > 1e30 else np.float32(1)
        with np.errstate(over="ignore"):
            self.real[0] += np.float32(0.5) * np.float32(wanted) * large

    def commit(self) -> None:
        self.weight = [int(w / 2) for w in self.weight]
        self.commits += 1

    def tensors(self) -> dict[str, bytes]:
        """In table order and wire layout."""
        return {
            "weight": struct.pack("<8h", *self.weight),
            "ring": bytes([self.ring]),
            "real": struct.pack("<3f", *self.real),
            "half": struct.pack("<5H", *self.half),
            "commits": struct.pack("<I", self.commits),
            "health": struct.pack(f"<{PADDING}i", self.limited, *[0] * (PADDING - 1)),
        }

    def crc(self) -> int:
        return zlib.crc32(b"".join(self.tensors().values()))

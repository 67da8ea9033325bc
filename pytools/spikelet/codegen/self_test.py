"""Golden samples in an image: what a device runs when it boots, and what must come out."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

ROW = 16  # bytes of a line of C


@dataclass(frozen=True)
class SelfTest:
    """Samples, and the digest of their outputs.

    Attributes:
        samples: of each sample each input in the table's order, in its wire layout; of an input of
            each step the frames of all steps.
        count: of samples.
        digest: CRC-32 over the outputs of all samples in the table's order, with the learned
            tensors as they are before anything is learned.
    """

    samples: bytes
    count: int
    digest: int

    @property
    def id(self) -> int:
        """Which samples they are: 1..65535."""
        return zlib.crc32(self.samples) & 0xFFFF or 1

    def c_lines(self) -> list[str]:
        """What spk_model.h has of it; the bytes are written as numbers."""
        rows = [self.samples[at : at + ROW] for at in range(0, len(self.samples), ROW)]
        return [
            f"static const uint8_t self_test_samples[{len(self.samples)}] = {{",
            *(f"    {', '.join(map(str, row))}," for row in rows),
            "};",
            "static const struct spk_self_test self_test = {",
            f"    self_test_samples, 0x{self.digest:08X}u, {self.id}, {self.count}}};",
        ]

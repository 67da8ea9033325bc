"""What an image that learns holds beside its model: a test of itself, and a key."""

from __future__ import annotations

from dataclasses import dataclass

from spikelet.codegen.self_test import SelfTest

SIGNED = "SPK_SIGNED"  # macro of an image with a key


@dataclass(frozen=True)
class Safeguards:
    """Of an image.

    Attributes:
        self_test: samples that the device runs when it boots; None without.
        key: public, 32 bytes, that states from outside must be signed by; empty where they need
            not.
    """

    self_test: SelfTest | None = None
    key: bytes = b""

    @property
    def macros(self) -> tuple[str, ...]:
        """That the image is compiled with."""
        return (
            *(["SPK_SELF_TEST"] if self.self_test is not None else []),
            *([SIGNED] if self.key else []),
        )

    @property
    def sample_bytes(self) -> int:
        """Bytes of the samples."""
        return 0 if self.self_test is None else len(self.self_test.samples)

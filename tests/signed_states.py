"""States of a small model that a key's holder has signed, and what is wrong with others."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adapter_graphs import drawn_values
from int8_classifier import classifier
from spikelet.graph.adapted import Adapter, with_places
from spikelet.learn.delta import Delta, prepared
from spikelet.package import Package
from spikelet.signing import SEAL_BYTES, make_keys, seal

OK, STATE, SIGNATURE, OLD = 0, -3, -4, -5  # what C answers
SIGNS = Adapter("low_rank", 3, 1)


@dataclass(frozen=True)
class Signed:
    """A base with a delta, the package of its places, and a key."""

    base: Package
    placed: Package
    delta: Delta
    key: Path
    public: Path

    def state(self, counter: int) -> bytes:
        return self.delta.signed_state(self.base, self.key, counter)


def signed_states(folder: Path) -> Signed:
    """A base with a delta, and new keys in a folder."""
    base = Package(classifier(), {}, {})
    drawn = drawn_values(with_places(base.graph, SIGNS), np.random.default_rng(1), None)
    delta = Delta.of(base.graph, SIGNS, drawn)
    key = folder / "release.key"
    return Signed(base, prepared(base, SIGNS), delta, key, make_keys(key))


def cases(signed: Signed, folder: Path) -> list[tuple[bytes, int, int]]:
    """What a device is given, the counter that it holds, and what it is to answer."""
    good = signed.state(7)
    size, stranger = len(good), folder / "stranger.key"
    make_keys(stranger)
    values = good[8:-SEAL_BYTES]
    other = dataclasses.replace(
        signed, base=Package(signed.base.graph, {}, {"data": "other"}), key=signed.key
    )
    beyond = b"\x80" + values[1:]  # the base's tag, which only one value may be
    resealed = good[:8] + beyond + seal(beyond, signed.placed.sha256, signed.key, 7)
    made = [
        (good, 0, OK), (good, 7, OK), (good, 8, OLD), (good, 2**32 - 1, OLD),
        (signed.state(2**32 - 1), 2**32 - 1, OK),
        (good[:-1], 0, SIGNATURE), (good[:-SEAL_BYTES], 0, SIGNATURE), (good + b"\0", 0, SIGNATURE),
        (good[: size // 2], 0, SIGNATURE), (b"", 0, SIGNATURE),
        (signed.delta.signed_state(signed.base, stranger, 7), 0, SIGNATURE),
        (good[:8] + other.state(7)[8:], 0, SIGNATURE),  # signed for another package
        (signed.state(9)[:-64] + good[-64:], 0, SIGNATURE),  # an old signature, a new counter
        (resealed, 0, STATE), (b"\1" + good[1:], 0, STATE),  # signed, and not of this model
        (good[:-64] + bytes(64), 0, SIGNATURE), (good[:-64] + b"\xff" * 64, 0, SIGNATURE),
    ]  # fmt: skip
    for at in itertools.chain(range(8, size, 41), range(size - SEAL_BYTES, size, 9)):
        for bit in (1, 128):
            forged = good[:at] + bytes([good[at] ^ bit]) + good[at + 1 :]
            made.append((forged, 0, SIGNATURE))
    return made

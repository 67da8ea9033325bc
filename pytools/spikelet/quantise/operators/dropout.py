"""Dropout at inference: the same tensor."""

from __future__ import annotations

from spikelet.quantise.operators.identity import Identity


class Dropout(Identity):
    """`x`."""

    OP = "Dropout"

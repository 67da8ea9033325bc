"""What a package's manifest says of a network that was quantised."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from spikelet.graph import Array
from spikelet.quantise import Original, Quantised, drift


def layouts(quantised: Quantised, dtypes: Mapping[str, str] | None = None) -> dict[str, Any]:
    """How each input of the graph is made of an array of the source, for `spikelet run --data`.

    Args:
        quantised: the network.
        dtypes: of the source's inputs, by name; float32 where nothing is said.

    Returns:
        By graph input: `name` and `shape` of a sample in the source, `dtype` there, and `axes`: of
        (N, *shape), in the order of the graph's tensor.
    """
    network = quantised.network
    return {
        quantised.names[name]: {
            "name": name,
            "shape": list(shape[1:]),
            "axes": list(quantised.layouts[name]),
            "dtype": (dtypes or {}).get(name, "float32"),
        }
        for name, shape in network.inputs.items()
    }


def drift_rows(
    quantised: Quantised, feeds: Mapping[str, Array], original: Original | None = None
) -> list[dict[str, Any]]:
    """`quantise.drift` as a manifest holds it; a ratio of null is infinite."""
    return [
        {
            "layer": d.layer,
            "tensor": d.tensor,
            "snr_db": round(d.snr, 2) if math.isfinite(d.snr) else None,
            "cosine": round(d.cosine, 6),
        }
        for d in drift(quantised, feeds, original)
    ]

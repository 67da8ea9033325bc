"""What a package's manifest says of a network that was quantised."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from spikelet.graph import Array
from spikelet.metrics import regression_error
from spikelet.quantise import Original, Quantised, accuracy, drift, first_outputs
from spikelet.quantise.meaning import shapes

DRIFT_SAMPLES = 64


def layouts(quantised: Quantised, dtypes: Mapping[str, str] | None = None) -> dict[str, Any]:
    """How inputs of the graph are made of arrays of the source, and what its outputs are there.

    Args:
        quantised: the network.
        dtypes: of the source's inputs, by name; float32 where nothing is said.

    Returns:
        By the graph's tensor: `name` and `shape` of a sample in the source, `dtype` there, and
        `axes`: of (N, *shape), in the order of the graph's tensor.
    """
    network = quantised.network
    sizes, held = shapes(network), quantised.names
    outputs = {n: sizes[n] for n in network.outputs if n in held and len(sizes[n]) > 0}
    return {
        quantised.names[name]: {
            "name": name,
            "shape": list(shape[1:]),
            "axes": list(quantised.layouts[name]),
            "dtype": (dtypes or {}).get(name, "float32"),
        }
        for name, shape in {**network.inputs, **outputs}.items()
    }


def first_layout(quantised: Quantised) -> dict[str, Any] | None:
    """How the first output looks in the source; None where the graph has it in no other way."""
    name = quantised.names[quantised.network.outputs[0]]
    found: dict[str, Any] | None = layouts(quantised).get(name)
    return found


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


def figures(
    quantised: Quantised, feeds: Mapping[str, Array], labels: Array | None, original: Original
) -> dict[str, Any]:
    """The drift of each layer; with labels (N,) accuracies, with targets (N, elements) errors."""
    few = {name: values[:DRIFT_SAMPLES] for name, values in feeds.items()}
    told: dict[str, Any] = {
        "samples": len(next(iter(feeds.values()))),
        "layer_drift": drift_rows(quantised, few, original),
        "float": original.by,
    }
    if labels is not None and labels.dtype.kind == "f":
        layout = quantised.layouts[quantised.network.outputs[0]]
        outputs = first_outputs(quantised, feeds, original)
        for key, values in zip(("float_error", "integer_error"), outputs, strict=True):
            laid = values.transpose(0, *layout).reshape(labels.shape).astype(np.float64)
            told[key] = regression_error(np.abs(laid - labels), (laid - labels) ** 2)
    elif labels is not None:
        measured = accuracy(quantised, feeds, labels, original)
        told["float_accuracy"], told["integer_accuracy"] = measured.real, measured.integer
        told["drift"] = measured.integer - measured.real
    return told

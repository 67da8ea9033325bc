"""A draft first: `fashion_bits` at 1 bit, and at 8 where that is not sure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from _gate import Gate

from spikelet.graph.widths import at_width, packed
from spikelet.package import Package
from spikelet.paths import models_dir
from spikelet.quantise.allocate import output
from spikelet.train.data import DataSet
from spikelet.train.draft import DRAFT, WHOLE, calibrate, judge
from spikelet.train.evaluate import codes
from spikelet.train.recipe import DataSection

TITLE = "A draft first: fashion_bits at 1 bit, at 8 where it is not sure"
WHERE = "the integer graph (golden), 10,000 test images"
TUNED_ON = "the lead: a tenth of the training part, that the network was not trained on"
GATES = (
    Gate("share of the gain from 1 to 8 bits", ">=", 0.9, lambda f: f["gain"]),
    Gate("share of images at 8 bits", "<=", 0.2, lambda f: f["unsure"]),
)
GAIN = 0.9  # asked for on the held-out images


def measure(seeds: Sequence[int]) -> dict[str, Any]:
    """Of the shipped package; it has one seed."""
    package = Package.load(models_dir() / "fashion_bits" / "fashion_bits.spk")
    section = package.manifest["recipe"]["data"]
    data = DataSection.model_validate(section).load()
    held = data.held_out(section["held_out"])
    chosen = calibrate(*_scores(package, held), held.y_test, GAIN)
    found = judge(*_scores(package, data), data.y_test, chosen.lead)
    return {
        "figure": (
            f"{found.joined:.4f} with {100 * found.unsure:.2f} % at 8 bits, {found.draft:.4f} at 1 "
            f"bit, {found.whole:.4f} at 8: {found.gain:.3f} of the gain; lead {chosen.lead}"
        ),
        "gain": found.gain,
        "unsure": found.unsure,
    }


def _scores(package: Package, data: DataSet) -> list[Any]:
    """Of the draft and of 8 bits, (N, classes), for a test part."""
    given = {package.graph.inputs[0].name: codes(package.graph, data, data.x_test)}
    draft, whole = packed(at_width(package.graph, DRAFT)), at_width(package.graph, WHOLE)
    return [output(graph, given) for graph in (draft, whole)]

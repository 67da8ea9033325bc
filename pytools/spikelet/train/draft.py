"""Which answers of a network at few bits are asked again at more: a threshold on labelled samples.

A draft is sure where its best score leads the second one by enough. How much that is, is chosen on
samples that were not trained on: the least that keeps a share of what the wider network gains.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from spikelet.graph import Array
from spikelet.graph.widths import EFFORT, at_width, draft_first, packed
from spikelet.package import Package
from spikelet.quantise.allocate import output

GAIN = 0.9  # of what the wider network gains over the draft, that is to be kept
DRAFT, WHOLE = 1, 8  # bits


@dataclass(frozen=True)
class Draft:
    """How a draft did on some samples.

    Attributes:
        lead: of its best score over its second, in units of its code, below which it is not sure.
        unsure: share of samples that the wider network answered.
        draft: accuracy of the draft alone.
        whole: accuracy of the wider network alone.
        joined: accuracy of both.
    """

    lead: int
    unsure: float
    draft: float
    whole: float
    joined: float

    @property
    def gain(self) -> float:
        """The share of the wider network's gain that is kept."""
        return (self.joined - self.draft) / max(self.whole - self.draft, 1e-9)


def judge(draft: Array, whole: Array, labels: Array, lead: int) -> Draft:
    """How answers do whose lead is at least `lead`, and the wider network's where it is not.

    Args:
        draft: scores (N, classes) of the narrow network.
        whole: those of the wider one.
        labels: (N,).
        lead: in units of the scores.
    """
    top = np.sort(draft, axis=1)[:, -2:]
    unsure = top[:, 1] - top[:, 0] < lead
    first, second = (scores.argmax(axis=1) == labels for scores in (draft, whole))
    joined = np.where(unsure, second, first)
    means = (float(v.mean()) for v in (unsure, first, second, joined))
    return Draft(lead, *means)


def calibrate(draft: Array, whole: Array, labels: Array, gain: float = GAIN) -> Draft:
    """The smallest lead that keeps a share of the gain; 0 where the wider network gains nothing."""
    top = np.sort(draft, axis=1)[:, -2:]
    for lead in (0, *(1 + np.unique(top[:, 1] - top[:, 0]).astype(np.int64))):
        found = judge(draft, whole, labels, int(lead))
        if found.whole <= found.draft or found.gain >= gain:
            return found
    raise AssertionError("with the largest lead the wider network answers all")


def drafted(package: Package, inputs: Mapping[str, Array], labels: Array, gain: float) -> Package:
    """A package of several widths as one that answers at 1 bit, and at 8 where it is not sure.

    Its 1-bit weights lie packed beside those of 8: a plane of the shared store is slow to read.

    Args:
        package: with an input `effort.bits`.
        inputs: samples that were not trained on, by name.
        labels: theirs, (N,).
        gain: share of the gain at 8 bits that is to be kept.

    Raises:
        GraphError: the package does not have both widths.
    """
    graph = package.graph
    draft, whole = packed(at_width(graph, DRAFT)), at_width(graph, WHOLE)
    given = {tensor.name: inputs[tensor.name] for tensor in whole.inputs}
    found = calibrate(output(draft, given), output(whole, given), labels, gain)
    made = draft_first(draft, whole, found.lead, graph.name)
    vectors = {name: v for name, v in package.inputs.items() if name != EFFORT}
    if package.labels is not None:
        vectors["y"] = package.labels
    kept = {k: v for k, v in package.manifest.items() if k not in ("vectors", "accuracy_by_bits")}
    noted: dict[str, Any] = {**kept, "draft": dataclasses.asdict(found)}
    return Package(made, vectors, noted).with_golden()

"""Open-set rejection: digits 0 to 7 are learned, 8 and 9 are what nobody has labelled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from _gate import Gate
from sklearn.metrics import roc_auc_score

from spikelet.graph import Array
from spikelet.learn import Setting, Twin, identity
from spikelet.learn.learners.rejection import OpenSet
from spikelet.run.learner import device_learner, outputs_crc
from spikelet.train.data import load

TITLE = "Open-set rejection, digits 0 to 7 known, 8 and 9 unknown"
WHERE = "native, every sample"
TUNED_ON = "the measure: 64 features of MNIST"
GATES = (Gate("AUROC with streaming LDA", ">=", 0.89, lambda f: np.mean(f["lda_ratio"]["auroc"])),)
KNOWN = 8
# The measure was chosen on MNIST: 0.84 for the ratio, 0.60 for the distance, on 64 features.
KINDS: dict[str, tuple[Literal["streaming_lda", "nearest_mean"], Literal["ratio", "distance"]]] = {
    "lda_ratio": ("streaming_lda", "ratio"),
    "lda_distance": ("streaming_lda", "distance"),
    "euclid_ratio": ("nearest_mean", "ratio"),
    "euclid_distance": ("nearest_mean", "distance"),
}


def measure(seeds: Sequence[int]) -> dict[str, Any]:
    """On raw pixels, one pass over the training part in an order of each seed."""
    data = load("digits")
    x, x_test = (v.reshape(len(v), -1) for v in (data.x_train, data.x_test))
    rows = np.flatnonzero(data.y_train < KNOWN)
    unknown = data.y_test >= KNOWN
    results: dict[str, dict[str, list[float]]] = {
        kind: {"auroc": [], "accepted": [], "found": [], "accuracy": []} for kind in KINDS
    }
    for seed in seeds:
        order = np.random.default_rng(seed).permutation(rows)
        for kind, (base, by) in KINDS.items():
            outputs = _learn(base, by, x[order], data.y_train[order], x_test)
            novelty, rejected = (
                outputs[f"rejection.{name}"].reshape(-1) for name in ("novelty", "unknown")
            )
            best = outputs[f"{base}_scores"].argmax(axis=1)
            row = results[kind]
            row["auroc"].append(float(roc_auc_score(unknown, novelty)))
            row["accepted"].append(float((rejected[~unknown] == 0).mean()))
            row["found"].append(float(rejected[unknown].mean()))
            row["accuracy"].append(float((best == data.y_test)[~unknown].mean()))
    mean = {k: {name: float(np.mean(v)) for name, v in row.items()} for k, row in results.items()}
    lda = mean["lda_ratio"]
    return {
        "figure": (
            f"AUROC {lda['auroc']:.3f} ({lda['found']:.2f} of the unknown found, "
            f"{lda['accepted']:.2f} of the known accepted); by distance alone "
            f"{mean['lda_distance']['auroc']:.3f}; Euclid {mean['euclid_ratio']['auroc']:.3f}, by "
            f"distance alone {mean['euclid_distance']['auroc']:.3f}"
        ),
        **results,
    }


def _learn(
    base: Literal["streaming_lda", "nearest_mean"],
    by: Literal["ratio", "distance"],
    x: Array,
    y: Array,
    x_test: Array,
) -> dict[str, Array]:
    """The outputs of the test samples, after one pass; the device must agree."""
    backbone = identity((x.shape[1],), "u8")
    graph = OpenSet(base=base, measure=by).attach(backbone, Setting("features", KNOWN))
    twin = Twin(graph)
    twin.observe({"x": x}, y)
    twin.commit()
    outputs = twin.predict({"x": x_test}).outputs
    with device_learner(graph) as device:
        device.observe({"x": x}, y)
        device.commit()
        device.agree(twin)
        said = device.predict({"x": x_test})
        if (outputs_crc(graph, said) != outputs_crc(graph, outputs)).any():
            raise AssertionError("outputs of the device differ from its twin's")
    return outputs

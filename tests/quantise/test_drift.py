"""Codes of the host, drift, and the graph on a device."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from float_networks import Builder, images, mobile
from spikelet.errors import UsageError
from spikelet.quantise import Network, accuracy, decode, drift, encode, quantise, run
from targets import check_graph


def zoo() -> Network:
    """Every way from float to an operator in one network."""
    b = Builder((1, 3, 9, 8))
    x = b.node("HardSwish", b.norm(b.conv("input", 3, 8, (3, 3), pads=[1] * 4), 8))
    y = b.conv(x, 8, 8, (3, 3), pads=[1] * 4, group=8)
    y = b.node("Clip", y, min=0.0, max=6.0)
    y = b.conv(y, 8, 8, (1, 1), group=2)
    gate = b.node("Sigmoid", b.conv(b.node("GlobalAveragePool", y), 8, 8, (1, 1)))
    y = b.node("Relu", b.node("Add", b.node("Mul", y, gate), x))
    y = b.node("AveragePool", y, kernel_shape=[3, 2], pads=[1, 1, 1, 1], count_include_pad=1)
    y = b.node(
        "Concat", y, b.node("Sub", y, b.constant("c", b.rng.normal(0, 1, (8, 1, 1)))), axis=1
    )
    y = b.node("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
    y = b.node("Pad", y, pads=[0, 0, 0, 1, 0, 0, 0, 0], value=0.25)
    y = b.node("Slice", y, starts=[1], ends=[5], axes=[2])
    y = b.node("Resize", y, rows=[0, 0, 1, 2, 3], columns=[0, 1, 1, 4])
    y = b.node("Transpose", y, perm=[0, 1, 3, 2])
    y = b.conv(b.node("Reshape", y, shape=[1, 20, 16]), 20, 20, (3,), pads=[1, 1])
    y = b.node("Gelu", b.gemm(b.node("Reshape", y, shape=[1, 320]), 320, 12))
    y = b.gemm(y, 12, 7)
    return b.finish(b.node("Softmax", y, axis=1), b.node("ArgMax", y, axis=1, keepdims=0))


def test_the_graph_on_a_device_is_golden(tmp_path: Path) -> None:
    network = zoo()
    found = quantise(network, images(network, 24))
    kinds = {node.KIND for node in found.graph.nodes}
    assert {"table", "pad", "slice", "transpose", "mean", "concatenate", "argmax"} <= kinds
    assert min(d.snr for d in drift(found, images(network, 16, 9))) > 15
    check_graph("native-gcc-sanitized", found.graph, 4, tmp_path)


def test_encoding_and_decoding_are_inverse() -> None:
    network = mobile(blocks=1)
    feeds = images(network, 5)
    found = quantise(network, feeds)
    codes = encode(found, feeds["input"])
    assert codes.shape == (5, 16, 16, 3)
    tensor = found.graph.tensors["x"]
    back = decode(found, codes, "input")
    assert back.shape == feeds["input"].shape
    step = tensor.scale
    clipped = np.clip(
        feeds["input"], (-128 - tensor.zero_point) * step, (127 - tensor.zero_point) * step
    )
    assert np.abs(back - clipped).max() <= 0.51 * step
    with pytest.raises(UsageError, match="expected"):
        encode(found, feeds["input"][:, :2])
    with pytest.raises(UsageError, match="nobody"):
        decode(found, codes, "nobody")


def test_drift_is_that_of_each_layer() -> None:
    network = mobile(blocks=1)
    feeds = images(network, 20)
    found = quantise(network, feeds)
    apart = drift(found, feeds)
    assert [d.layer for d in apart][:2] == ["input", "relu2"]
    assert len(apart) == len(found.graph.nodes)  # the input; not the reshape
    x = feeds["input"].astype(np.float64)
    error = decode(found, encode(found, feeds["input"]), "input") - x
    assert apart[0].snr == pytest.approx(10 * np.log10((x**2).sum() / (error**2).sum()))
    assert all(0.99 < d.cosine <= 1 for d in apart)


def test_accuracy_is_the_share_of_labels() -> None:
    network = mobile(blocks=1)
    feeds = images(network, 50)
    found = quantise(network, feeds)
    labels = run(network, feeds)[network.outputs[0]].argmax(axis=1)
    labels[:10] = (labels[:10] + 1) % 10
    shares = accuracy(found, feeds, labels)
    assert shares.real == 0.8
    assert 0.7 <= shares.integer <= 0.82

"""Layers on signs against PyTorch's convolution of -1 and 1, at every border."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import conv2d, max_pool2d, pad

import graphs
from binary_graphs import binary_layers, pools_of_bits
from spikelet.graph.ops.binary_conv2d import BinaryConv2d
from spikelet.graph.ops.binary_max_pool2d import BinaryMaxPool2d
from spikelet.graph.ops.threshold import Threshold


def test_golden_is_pytorch_s_sum_of_products() -> None:
    graph = binary_layers()
    x = graphs.random_inputs(graph, 5, np.random.default_rng(0))
    trace = graph.run(x, trace=True).trace
    seen = set()
    for node in graph.nodes:
        made = trace[node.name][0]
        given = x[node.inputs[0]]
        if isinstance(node, Threshold):
            assert np.array_equal(made, given >= node.threshold)
            continue
        assert isinstance(node, BinaryConv2d)
        image = 2.0 * given.reshape(len(given), *node._image.shape).transpose(0, 3, 1, 2) - 1
        top, left, bottom, right = node.padding
        padded = pad(torch.from_numpy(image), (left, right, top, bottom), value=node.outside)
        weight = torch.from_numpy(2.0 * node.weight.transpose(0, 3, 1, 2) + 1)
        sums = conv2d(padded, weight, stride=node.stride, dilation=node.dilation)
        whole = sums.numpy().transpose(0, 2, 3, 1).astype(np.int64) + node.bias
        if node.threshold is None:
            expected = node.rescale(whole.astype(np.int32) - node.bias)
        else:
            expected = whole >= node.threshold
        assert np.array_equal(made.reshape(expected.shape), expected), node.name
        seen.add((node.outside, node.threshold is None))
    assert len(seen) == 6


def test_the_largest_sign_is_pytorch_s() -> None:
    graph = pools_of_bits()
    x = graphs.random_inputs(graph, 9, np.random.default_rng(0))
    made = graph.run(x).outputs
    pools = [node for node in graph.nodes if isinstance(node, BinaryMaxPool2d)]
    for node in pools:
        image = torch.from_numpy(2.0 * x[node.inputs[0]].transpose(0, 3, 1, 2) - 1)
        top, left, bottom, right = node.padding
        padded = pad(image, (left, right, top, bottom), value=-np.inf)
        largest = max_pool2d(padded, node.window, node.stride).numpy().transpose(0, 2, 3, 1)
        signs = np.where(node.inverted == 1, -largest, largest)
        assert np.array_equal(2.0 * made[node.name] - 1, signs), node.name
    assert len(pools) == 4 and any(node.inverted.any() for node in pools)
    assert np.array_equal(made["flat"], made["pool1"].reshape(9, -1))

"""Layers on signs against PyTorch's convolution of -1 and 1, at every border."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import conv2d, pad

import graphs
from binary_graphs import binary_layers
from spikelet.graph.ops.binary_conv2d import BinaryConv2d
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

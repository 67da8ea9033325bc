"""What an adapter adds, against PyTorch's matrices and convolutions on integers."""

from __future__ import annotations

from fractions import Fraction
from math import floor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d, pad

from adapter_graphs import added_deltas, drawn_values
from spikelet.graph import Array
from spikelet.graph.ops.add_delta import MIDDLE, WHOLE, AddDelta
from spikelet.package import Package
from targets import check_package


def rounded(sums: Array, gain: Array, shift: Array) -> Array:
    """By the definition of gemmlowp's two roundings, in fractions: halves up, then away from 0."""

    def one(total: int, factor: int, right: int) -> int:
        high = floor(Fraction(total * (factor << 16), 1 << 31) + Fraction(1, 2))
        rest = Fraction(abs(high), 1 << min(right, 31)) + Fraction(1, 2)
        return floor(rest) if high >= 0 else -floor(rest)

    whole = np.broadcast_arrays(sums, gain, shift)
    flat = [one(int(a), int(b), int(c)) for a, b, c in zip(*map(np.ravel, whole), strict=True)]
    return np.array(flat, np.int64).reshape(whole[0].shape)


def matrix(values: Array, bits: int, columns: int) -> Array:
    if bits == 8:
        return values.astype(np.float64)
    picked = [[row[i // 8] >> (i % 8) & 1 for i in range(columns)] for row in values]
    return 2.0 * np.array(picked) - 1


def drawn_rows(node: AddDelta, values: dict[str, Array], rows: int, taps: int) -> Array:
    """By Marsaglia's three shifts, as they are printed."""
    narrow, state = matrix(values["down"], node.bits, node.kept), int(values["seed"][0])
    whole = np.zeros((rows, taps))
    for row in range(rows):
        for k in range(node.kept):
            state ^= state << 13 & 0xFFFFFFFF
            state ^= state >> 17
            state ^= state << 5 & 0xFFFFFFFF
            whole[row, (state >> 16) * taps >> 16] += narrow[row, k]
    return whole


def expected(node: AddDelta, y: Array, x: Array, values: dict[str, Array]) -> Array:
    outputs, rows = y.shape[-1], node.rank or y.shape[-1]
    kernel = node.kernel or (1, 1)
    shaped = x.reshape(1, 1, -1) if node.kernel is None else x
    centred = shaped.astype(np.float64) - node.ins[1].zero_point
    taps = kernel[0] * kernel[1] * shaped.shape[-1]
    if node.own:
        down = np.zeros((rows, *kernel, rows))  # of a depthwise one, as of any
        narrow = matrix(values["down"], node.bits, kernel[0] * kernel[1])
        down[range(rows), :, :, range(rows)] = narrow.reshape(rows, *kernel)
    elif node.kept:
        down = drawn_rows(node, values, rows, taps).reshape(rows, *kernel, -1)
    else:
        down = matrix(values["down"], node.bits, taps).reshape(rows, *kernel, -1)
    top, left, bottom, right = node.padding
    seen = pad(torch.from_numpy(centred.transpose(2, 0, 1)), (left, right, top, bottom))
    weight = torch.from_numpy(np.ascontiguousarray(down.transpose(0, 3, 1, 2)))
    sums = conv2d(seen[None], weight, stride=node.stride, dilation=node.dilation)[0]
    pixels = sums.numpy().transpose(1, 2, 0).astype(np.int64).reshape(-1, rows)
    gain, shift = values["gain"].astype(int), values["shift"].astype(int)
    delta = rounded(pixels, gain[:rows], shift[:rows])
    delta = np.clip(delta, *((-MIDDLE, MIDDLE) if node.rank else (-WHOLE, WHOLE)))
    if node.rank:
        up = torch.from_numpy(matrix(values["up"], node.bits, outputs))
        product = (torch.from_numpy(delta.astype(np.float64)) @ up).numpy().astype(np.int64)
        delta = rounded(product, gain[rows:], shift[rows:])
    base = y.reshape(-1, outputs).astype(int)
    if "half" in values and values["half"][0]:
        base = 2 * base + node.ins[0].zero_point
    whole = base + delta + values["bias"].astype(int)
    return np.clip(whole, *node.activation).reshape(y.shape)


def test_golden_is_pytorch_s_products_and_exact_fractions() -> None:
    graph = added_deltas()
    inputs = drawn_values(graph, np.random.default_rng(0), 3)
    trace = graph.run(inputs, trace=True).trace
    moved = 0
    for node in graph.nodes:
        assert isinstance(node, AddDelta)
        for sample in range(3):
            y, x, *_ = (inputs[name][sample] for name in node.inputs)
            named = zip(node.values(), node.inputs[2:], strict=True)
            values = {what: inputs[name][sample] for what, name in named}
            made = trace[node.name][0][sample]
            assert np.array_equal(made, expected(node, y, x, values)), (node.name, sample)
            moved += int((made != y).sum())
    assert moved > 1000


def test_zeros_leave_the_layer_as_it_is() -> None:
    graph = added_deltas()
    inputs = drawn_values(graph, np.random.default_rng(1), 2)
    for name in inputs:
        if name.endswith(("gain", "bias", "half")):
            inputs[name][...] = 0
    trace = graph.run(inputs, trace=True).trace
    for node in graph.nodes:
        low, high = node.activation
        assert np.array_equal(trace[node.name][0], np.clip(inputs[node.inputs[0]], low, high))


@pytest.mark.parametrize("target", ["native-gcc-sanitized", "rv32-gcc-qemu", "m4-gcc-qemu"])
def test_devices_add_the_same(target: str, tmp_path: Path) -> None:
    graph = added_deltas()
    inputs = drawn_values(graph, np.random.default_rng(2), 4)
    check_package(target, Package(graph, inputs, {}).with_golden(), tmp_path)

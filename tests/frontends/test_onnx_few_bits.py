"""ONNX files with weights of 4 and 2 bits against onnxruntime: no code differs."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from few_bits_files import packed_linear
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx_networks import differences, quantise_model, samples, session
from torch import nn

from spikelet.errors import UsageError
from spikelet.frontends import onnx as frontend
from spikelet.frontends.onnx.export import export
from spikelet.frontends.onnx.file import parse
from spikelet.frontends.torch import from_torch
from spikelet.graph import Array, Graph
from spikelet.graph.quantised import Quantised
from spikelet.quantise import Options, decode, encode, quantise
from spikelet.quantise import Quantised as Made
from spikelet.refusal import ImportRefused


def layers(made: Made) -> list[Quantised]:
    return [node for node in made.graph.nodes if isinstance(node, Quantised)]


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("activation", ["QInt8", "QUInt8"])
@pytest.mark.parametrize("weight", ["QInt4", "QUInt4"])
def test_what_quantize_static_writes_is_onnxruntimes_to_the_code(
    weight: str, activation: str, per_channel: bool
) -> None:
    data = quantise_model("Plain", "QDQ", activation, per_channel, weight)
    made = quantise(frontend.parse(data, "plain").network, None)
    found = differences(data, made, samples(100, 7))
    assert len(found) >= 5
    assert {name: int(np.count_nonzero(off)) for name, off in found.items()} == dict.fromkeys(
        found, 0
    )
    held = layers(made)
    assert [node.KIND for node in held] == [
        "conv2d", "depthwise_conv2d", "conv2d", "fully_connected"
    ]  # fmt: skip
    assert all(node.even for node in held)
    file = onnx.ModelProto.FromString(data)
    kind = {"QInt4": TensorProto.INT4, "QUInt4": TensorProto.UINT4}[weight]
    stored = [t for t in file.graph.initializer if t.data_type == kind and len(t.dims) > 1]
    zeros = {t.name: t for t in file.graph.initializer}
    for node, tensor in zip(held, stored, strict=True):
        codes = numpy_helper.to_array(tensor).astype(np.int64)
        zero = zeros[tensor.name.replace("_quantized", "_zero_point")]
        values = numpy_helper.to_array(zero).astype(np.int64)
        codes = codes - values.reshape(-1, *(1,) * (codes.ndim - 1))
        fits = codes.min() >= -8 and codes.max() < 8
        assert node.bits == (4 if fits and node.KIND != "depthwise_conv2d" else 8)
        assert np.array_equal(np.sort(node.weight, None), np.sort(codes, None))


@pytest.mark.parametrize("name", ["Residual", "Gated", "Branches"])
def test_every_layer_with_weights_is_exact_on_its_own_inputs(name: str) -> None:
    """Sums of two, means and products beside them round as int8 operators do."""
    data = quantise_model(name, "QDQ", "QInt8", True, "QInt4")
    made = quantise(frontend.parse(data, name).network, None)
    assert {node.bits for node in layers(made) if node.KIND != "depthwise_conv2d"} == {4}
    found = differences(data, made, samples(50, 7))
    first = [v for k, v in found.items() if "Conv" in k or "first" in k]
    assert not np.any(first[0])
    every = np.concatenate([v.reshape(-1) for v in found.values()])
    assert np.abs(every).max() <= 2


HALVES = np.array([[i / 4, j / 4] for i in range(-9, 10) for j in (-3, 0, 2, 7)], np.float32)


@pytest.mark.parametrize("typed", [False, True])
@pytest.mark.parametrize(
    ("kind", "raw", "codes"),
    [
        (TensorProto.INT4, [0x8F, 0x07, 0x1E], [[-1, -8, 7], [0, -2, 1]]),
        (TensorProto.UINT4, [0x25, 0x07, 0x13], [[5, 2, 7], [0, 3, 1]]),
        (TensorProto.INT2, [0b01_11_10_00, 0b01_10], [[0, -2, -1], [1, -2, 1]]),
        (TensorProto.UINT2, [0b01_11_10_00, 0b01_10], [[0, 2, 3], [1, 2, 1]]),
    ],
)
def test_the_lowest_bits_come_first_and_halves_go_to_even(
    kind: int, raw: list[int], codes: list[list[int]], typed: bool
) -> None:
    data = packed_linear(kind, raw, (2, 3), typed)
    made = quantise(frontend.parse(data, "linear").network, None)
    (node,) = layers(made)
    assert node.weight.T.tolist() == codes
    ours = outputs(made, HALVES)
    exact = HALVES @ (np.array(codes) * 0.5)
    assert np.count_nonzero(exact % 1 == 0.5) > 20
    assert np.array_equal(ours, np.rint(exact))
    if kind in (TensorProto.INT4, TensorProto.UINT4):
        run = session(data).run
    else:  # onnxruntime knows no 2 bits there
        run = ReferenceEvaluator(onnx.ModelProto.FromString(data)).run
    theirs = [run(None, {"x": x[None]})[0] for x in HALVES]
    assert np.array_equal(ours, np.concatenate(theirs))


def outputs(made: Made, x: Array) -> Array:
    name = next(iter(made.network.inputs))
    held = made.graph.inputs[0].name
    codes = made.graph.run({held: encode(made, x, name)}).outputs[made.graph.outputs[0]]
    return decode(made, codes)


def test_packed_data_of_another_length_is_refused() -> None:
    with pytest.raises(ImportRefused, match=r"'w' is 4 bits each of shape .2, 3.: 3 bytes"):
        parse(packed_linear(TensorProto.INT4, [0, 0], (2, 3)), "m")
    with pytest.raises(ImportRefused, match="int32_data 2 values"):
        parse(packed_linear(TensorProto.INT4, [0, 0], (2, 3), typed=True), "m")


def test_scales_by_block_are_refused_by_name() -> None:
    model = onnx.ModelProto.FromString(packed_linear(TensorProto.INT4, [0, 0, 0], (2, 3)))
    model.graph.node[2].name = "weights"
    model.graph.node[2].attribute.append(helper.make_attribute("block_size", 2))
    with pytest.raises(ImportRefused, match=r"weights.*scales by block"):
        frontend.parse(model.SerializeToString(), "m")


def few_bits_graph(bits: int, odd: bool) -> Graph:
    torch.manual_seed(2)
    layers = nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 6, 3, stride=2), nn.Flatten()
    net = nn.Sequential(*layers, nn.Linear(54, 7))
    x = samples(32, 1)
    network = from_torch(net, torch.from_numpy(x[:1]), "net")
    return quantise(network, {next(iter(network.inputs)): x}, Options(bits=bits, odd=odd)).graph


@pytest.mark.parametrize(("bits", "odd"), [(4, False), (2, False), (2, True), (1, True), (4, True)])
def test_our_own_few_bits_go_to_onnx_and_back(bits: int, odd: bool) -> None:
    """Reread, they are onnxruntime's to the code; golden rounds twice, and may be off."""
    graph, x = few_bits_graph(bits, odd), samples(40, 9)
    data = export(graph)
    file = onnx.ModelProto.FromString(data)
    four = [
        t for t in file.graph.initializer if t.data_type == TensorProto.INT4 and len(t.dims) > 1
    ]
    assert len(four) == (0 if (bits, odd) == (4, True) else 3)
    assert file.opset_import[0].version == (21 if four else 17)
    back = quantise(frontend.parse(data, "back").network, None)
    weighted = [n for n in graph.nodes if isinstance(n, Quantised)]
    for ours, again in zip(weighted, layers(back), strict=True):
        assert np.array_equal(np.sort(ours.levels, None), np.sort(again.levels, None))
        assert again.bits == (4 if four else 8)
    theirs = session(data).run(None, {graph.inputs[0].name: x})[0]
    tensor = graph.tensors[graph.outputs[0]]
    step = np.float32(tensor.scale)
    if four:
        assert np.array_equal(outputs(back, x), theirs)
    source = graph.inputs[0]
    codes = np.rint(x / np.float32(source.scale)) + source.zero_point
    inputs = np.clip(codes, -128, 127).astype(np.int8).transpose(0, 2, 3, 1)
    own = graph.run({source.name: inputs}).outputs[tensor.name]
    off = np.rint(theirs / step) + tensor.zero_point - own
    assert np.abs(off).max() <= 2


def test_what_is_rounded_as_another_file_means_it_is_not_exported() -> None:
    made = quantise(
        frontend.parse(packed_linear(22, [0x8F, 0x07, 0x1E], (2, 3)), "m").network, None
    )
    with pytest.raises(UsageError, match="rounded as another file means it"):
        export(made.graph)

"""Which elements a resize takes: those that onnxruntime and PyTorch take."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from spikelet.errors import UsageError
from spikelet.frontends.onnx import parse
from spikelet.frontends.torch import from_torch
from spikelet.graph import Array
from spikelet.quantise import Network, run

COORDINATES = ("asymmetric", "half_pixel", "pytorch_half_pixel", "align_corners")
ROUNDINGS = ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")


def resizing(
    op: str, opset: int, size: int, scale: float | None, to: int | None, **attributes: str
) -> bytes:
    """A file that resizes rows of `size`, by a scale or to a size, then adds 0."""
    constants: dict[str, Array] = {"zero": np.float32([0])}
    if scale is not None:
        constants["scales"] = np.array([1, 1, 1, scale], np.float32)
    reads = ["x", "scales"] if opset < 11 else ["x", "roi", "scales"]
    if opset >= 11:
        constants["roi"] = np.zeros(0, np.float32)
    if to is not None:
        constants |= {"sizes": np.array([1, 1, 2, to]), "scales": np.zeros(0, np.float32)}
        reads.append("sizes")
    nodes = [
        helper.make_node(op, reads, ["r"], mode="nearest", **attributes),
        helper.make_node("Add", ["r", "zero"], ["y"]),
    ]
    float32 = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", float32, [1, 1, 2, size])],
        [helper.make_tensor_value_info("y", float32, None)],
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    data: bytes = model.SerializeToString()
    return data


def by_onnxruntime(data: bytes, x: Array) -> Array:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    found: Array = session.run(None, {"x": x})[0]
    return found


def by_network(network: Network, x: Array) -> Array:
    return run(network, {"x": x})[network.outputs[0]]


scales = st.one_of(
    st.integers(2, 40).map(lambda n: n / 10),
    st.builds(lambda a, b: a / b, st.integers(1, 30), st.integers(1, 30)),
    st.floats(0.2, 4),
)


@given(
    kind=st.sampled_from([("Upsample", 9), ("Resize", 10), ("Resize", 11), ("Resize", 19)]),
    coordinates=st.sampled_from(COORDINATES),
    rounding=st.sampled_from(ROUNDINGS),
    size=st.integers(1, 40),
    scale=scales,
    to=st.none() | st.integers(1, 60),
)
@settings(max_examples=150, deadline=None)
def test_onnx_takes_what_onnxruntime_takes(
    kind: tuple[str, int], coordinates: str, rounding: str, size: int, scale: float, to: int | None
) -> None:
    attributes = {}
    if kind[1] >= 11:
        attributes = {"coordinate_transformation_mode": coordinates, "nearest_mode": rounding}
    else:
        to = None
    if kind[0] == "Upsample":
        scale = max(scale, 1.0)
    if to is None and int(np.float32(scale) * np.float32(size)) < 1:
        return
    data = resizing(*kind, size, scale if to is None else None, to, **attributes)
    x = np.arange(2 * size, dtype=np.float32).reshape(1, 1, 2, size)
    np.testing.assert_array_equal(by_network(parse(data).network, x), by_onnxruntime(data, x))


@pytest.mark.parametrize(
    ("scale", "columns"),
    [(0.6, [0, 1, 3, 5, 6, 8]), (1.3, [0, 0, 1, 2, 3, 3, 4, 5, 6, 6, 7, 8, 9])],
)
def test_what_pytorch_exports_takes_what_pytorch_takes(scale: float, columns: list[int]) -> None:
    class Resized(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(nn.functional.interpolate(x, scale_factor=(1.0, scale)))

    x, file = torch.arange(10.0).reshape(1, 1, 1, 10), io.BytesIO()
    assert Resized()(x).flatten().tolist() == columns
    torch.onnx.export(Resized(), (x,), file, input_names=["x"], dynamo=False)
    for network in (parse(file.getvalue()).network, from_torch(Resized(), x)):
        assert by_network(network, x.numpy()).flatten().tolist() == columns


@given(
    sizes=st.tuples(st.integers(1, 30), st.integers(1, 30)), rank=st.sampled_from([3, 4]),
    by=st.one_of(
        st.tuples(scales, scales).map(lambda s: {"scale_factor": s}),
        st.tuples(st.integers(1, 50), st.integers(1, 50)).map(lambda s: {"size": s}),
    ),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_torch_takes_what_the_module_takes(
    sizes: tuple[int, int], rank: int, by: dict[str, Any]
) -> None:
    by = {k: v[: rank - 2] for k, v in by.items()}

    class Resized(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(nn.functional.interpolate(x, **by))

    shape = sizes[: rank - 2]
    x = torch.arange(float(np.prod(shape))).reshape(1, 1, *shape)
    if "scale_factor" in by and any(
        int(n * s) < 1 for n, s in zip(shape, by["scale_factor"], strict=True)
    ):
        return
    found = by_network(from_torch(Resized(), x), x.numpy())
    np.testing.assert_array_equal(found, Resized()(x).numpy())


def test_shapes_that_the_file_declares_are_compared() -> None:
    model = onnx.ModelProto.FromString(resizing("Resize", 13, 10, 0.6, None))
    model.graph.output[0].CopyFrom(
        helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 1, 2, 7])
    )
    with pytest.raises(
        UsageError, match=r"has shape \(1, 1, 2, 6\), the file declares \(\?, 1, 2, 7"
    ):
        parse(model.SerializeToString())
    model.graph.output[0].type.tensor_type.shape.dim[3].dim_value = 6
    assert parse(model.SerializeToString()).network.outputs == ["y"]

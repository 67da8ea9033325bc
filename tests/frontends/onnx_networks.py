"""Small torch networks as ONNX files, float and as onnxruntime quantises them."""

from __future__ import annotations

import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from spikelet.frontends.onnx import build
from spikelet.frontends.onnx.file import parse
from spikelet.graph import Array
from spikelet.quantise import Quantised, decode, encode


class Residual(nn.Module):
    """Convolution, batch norm, depthwise, a sum, max pool, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.depth = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.BatchNorm2d(8), nn.ReLU6()
        )
        self.point, self.pool, self.last = nn.Conv2d(8, 8, 1), nn.MaxPool2d(2), nn.Linear(128, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        x = torch.relu(x + self.point(self.depth(x)))
        return self.last(self.pool(x).flatten(1))


class Branches(nn.Module):
    """Two activations joined, average pool, mean, softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.b = nn.Conv2d(3, 4, 5, stride=2, padding=2)
        self.c, self.last = nn.Conv2d(8, 6, 1), nn.Linear(6, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = torch.sigmoid(self.a(x)), nn.functional.leaky_relu(self.b(x), 0.1)
        y = nn.functional.avg_pool2d(self.c(torch.cat([left, right], 1)), 2)
        return torch.softmax(self.last(y.mean((2, 3))), 1)


class Gated(nn.Module):
    """Channels weighed by a gate, and a hard swish."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.gate = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1)
        self.last = nn.Linear(8 * 36, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = nn.functional.hardswish(self.first(x))
        y = y * torch.sigmoid(self.gate(nn.functional.adaptive_avg_pool2d(y, 1)))
        return self.last(torch.flatten(y, 1))


class Plain(nn.Module):
    """What float convolutions, a depthwise one, a pool of maxima and a linear layer are."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.depth = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8), nn.ReLU6())
        self.point, self.last = nn.Conv2d(8, 12, 1), nn.Linear(108, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.point(self.depth(self.first(x))))
        return self.last(nn.functional.max_pool2d(y, 2).flatten(1))


NETWORKS: dict[str, type[nn.Module]] = {c.__name__: c for c in (Residual, Branches, Gated)}
FEW_BITS: dict[str, type[nn.Module]] = {"Plain": Plain, **NETWORKS}
SHAPE = (3, 8, 8)


def module(name: str) -> nn.Module:
    torch.manual_seed(0)
    made = FEW_BITS[name]().eval()
    for part in made.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
    return made


def samples(count: int, seed: int = 0, shape: tuple[int, ...] = SHAPE) -> Array:
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32)


@cache
def export_model(name: str, dynamo: bool = False) -> bytes:
    """The float model; its batch axis is dynamic."""
    return save_model(module(name), SHAPE, dynamo)


def save_model(network: nn.Module, shape: tuple[int, ...], dynamo: bool = False) -> bytes:
    buffer = io.BytesIO()
    example = (torch.zeros(1 if not dynamo else 2, *shape),)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            logging.disable(logging.WARNING)
            batch = {"x": {0: torch.export.Dim("batch")}}
            program = torch.onnx.export(
                network, example, input_names=["x"], dynamo=True, dynamic_shapes=[batch["x"]],
                verbose=False,
            )  # fmt: skip
            logging.disable(logging.NOTSET)
            data: bytes = program.model_proto.SerializeToString()
            return data
        torch.onnx.export(
            network, example, buffer, input_names=["x"], output_names=["y"], dynamo=False,
            dynamic_axes={"x": {0: "batch"}},
        )  # fmt: skip
    return buffer.getvalue()


class _Reader:
    def __init__(self, x: Array) -> None:
        self.left: Iterator[dict[str, Array]] = iter([{"x": row[None]} for row in x])

    def get_next(self) -> dict[str, Array] | None:
        return next(self.left, None)


@cache
def quantise_model(
    name: str, form: str, activation: str, per_channel: bool, weight: str = "QInt8"
) -> bytes:
    """As onnxruntime's quantize_static writes it.

    Args:
        name: of the network.
        form: QDQ or QOperator.
        activation: QInt8 or QUInt8.
        per_channel: weights have a scale a channel.
        weight: QInt8, QInt4 or QUInt4.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        source.write_bytes(export_model(name))
        quantize_static(
            source,
            target,
            _Reader(samples(24)),
            quant_format=QuantFormat[form],
            activation_type=QuantType[activation],
            weight_type=QuantType[weight],
            per_channel=per_channel,
        )
        logging.disable(logging.NOTSET)
        return target.read_bytes()


def session(data: bytes, extra: list[str] | None = None, optimised: bool = False) -> Any:
    """An onnxruntime session; `extra` tensors become outputs, too."""
    import onnxruntime as ort

    model = onnx.ModelProto.FromString(data)
    outputs = {o.name for o in model.graph.output}
    for name in extra or []:
        if name not in outputs:
            model.graph.output.append(onnx.ValueInfoProto(name=name))
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimised else level.ORT_DISABLE_ALL
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def differences(data: bytes, made: Quantised, x: Array) -> dict[str, Array]:
    """By int8 tensor of the file that the graph holds, too: graph less onnxruntime, in codes."""
    building = build(parse(data, "model"), "model", "model")
    network, graph = building.network, made.graph
    wanted = {
        name: value
        for name, value in building.values.items()
        if value.quantised and value.array is None and value.tensor in made.names
        and value.tensor not in network.inputs
    }  # fmt: skip
    found = session(data, list(wanted)).run(list(wanted), {"x": x})
    codes = {made.names[n]: encode(made, x, n) for n in network.inputs}
    trace = graph.run(codes, trace=True).trace
    result = {}
    for (name, value), theirs in zip(wanted.items(), found, strict=True):
        held = made.names[value.tensor]
        tensor = graph.tensors[held]
        real = decode(made, trace[held][0], value.tensor)
        ours = np.rint(real / np.float32(tensor.scale)).astype(np.int64) + tensor.zero_point
        result[name] = ours - (theirs.astype(np.int64) + value.offset)
    return result

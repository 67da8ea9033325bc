"""Small networks of few bits as Brevitas 0.13.4 exports them."""

from __future__ import annotations

import io
import logging
import tempfile
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

SHAPE = (3, 8, 8)


def _fixed_point(layer: Any, quant: Any) -> nn.Module:
    """4 bits, all scales powers of two: many sums are exact halves."""
    act = {"act_quant": quant.Int8ActPerTensorFixedPoint, "return_quant_tensor": True}
    relu = {"act_quant": quant.Uint8ActPerTensorFixedPoint, "return_quant_tensor": True}
    weight = {"weight_quant": quant.Int8WeightPerTensorFixedPoint, "weight_bit_width": 4}
    return nn.Sequential(
        layer.QuantIdentity(bit_width=6, **act),
        layer.QuantConv2d(3, 8, 3, padding=1, bias=False, **weight),
        layer.QuantReLU(bit_width=4, **relu),
        layer.QuantConv2d(8, 8, 3, groups=8, bias=False, **weight),
        layer.QuantIdentity(bit_width=8, **act),
        nn.MaxPool2d(2),
        nn.Flatten(),
        layer.QuantLinear(72, 10, bias=False, **weight),
        layer.QuantIdentity(bit_width=8, act_quant=act["act_quant"]),
    )


def _norms(layer: Any, quant: Any) -> nn.Module:
    """Float scales, a scale a channel, batch norms of either sign, biases; 3, 2 and 5 bits."""
    weight = {"weight_quant": quant.Int8WeightPerChannelFloat}
    return nn.Sequential(
        layer.QuantIdentity(bit_width=8, return_quant_tensor=True),
        layer.QuantConv2d(3, 8, 3, padding=1, bias=True, weight_bit_width=3, **weight),
        nn.BatchNorm2d(8),
        layer.QuantReLU(bit_width=3, return_quant_tensor=True),
        layer.QuantConv2d(
            8, 8, 3, bias=True, weight_bit_width=2, bias_quant=quant.Int16Bias, **weight
        ),
        layer.QuantReLU(bit_width=5, return_quant_tensor=True),
        nn.Flatten(),
        layer.QuantLinear(288, 12, bias=True, weight_bit_width=8, **weight),
        nn.BatchNorm1d(12),
        layer.QuantIdentity(bit_width=8),
    )


def _signs(layer: Any, quant: Any) -> nn.Module:
    """1-bit weights, signs, ternary weights, a truncated mean pool, logits without a quantiser."""
    return nn.Sequential(
        layer.QuantIdentity(bit_width=8, return_quant_tensor=True),
        layer.QuantConv2d(
            3, 8, 3, padding=1, bias=False, weight_quant=quant.SignedBinaryWeightPerTensorConst
        ),
        nn.BatchNorm2d(8),
        layer.QuantIdentity(
            act_quant=quant.SignedBinaryActPerTensorConst, return_quant_tensor=True
        ),
        layer.QuantConv2d(
            8, 8, 3, padding=1, bias=False, weight_quant=quant.SignedTernaryWeightPerTensorConst
        ),
        nn.BatchNorm2d(8),
        layer.QuantReLU(bit_width=4, return_quant_tensor=True),
        layer.TruncAvgPool2d(2, return_quant_tensor=True),
        nn.Flatten(),
        layer.QuantLinear(128, 10, bias=False, weight_bit_width=2),
    )


def _binary(layer: Any, quant: Any) -> nn.Module:
    """Signs times signs, 32 channels and 32, borders that count as 0, and a layer of 1 bit."""
    weight = {"weight_quant": quant.SignedBinaryWeightPerTensorConst, "bias": False}
    sign = {"act_quant": quant.SignedBinaryActPerTensorConst, "return_quant_tensor": True}
    return nn.Sequential(
        layer.QuantIdentity(bit_width=8, return_quant_tensor=True),
        layer.QuantConv2d(3, 32, 3, stride=2, **weight),
        nn.BatchNorm2d(32),
        layer.QuantIdentity(**sign),
        layer.QuantConv2d(32, 32, 3, padding=1, **weight),
        nn.BatchNorm2d(32),
        layer.QuantIdentity(**sign),
        layer.QuantConv2d(32, 8, 1, **weight),
        nn.BatchNorm2d(8),
        layer.QuantReLU(bit_width=4, return_quant_tensor=True),
        nn.Flatten(),
        layer.QuantLinear(72, 10, bias=True, weight_bit_width=4),
        layer.QuantIdentity(bit_width=8),
    )


def _clipped(layer: Any, quant: Any) -> nn.Module:
    """What QuantizeLinear, Clip, DequantizeLinear hold: 4-bit weights, outputs of 4 and 6 bits."""
    return nn.Sequential(
        layer.QuantIdentity(bit_width=8, return_quant_tensor=True),
        layer.QuantConv2d(3, 8, 3, padding=1, bias=True, weight_bit_width=4),
        nn.BatchNorm2d(8),
        layer.QuantReLU(bit_width=4, return_quant_tensor=True),
        layer.QuantConv2d(8, 8, 3, bias=False, weight_bit_width=4),
        layer.QuantIdentity(bit_width=6, return_quant_tensor=True),
        nn.Flatten(),
        layer.QuantLinear(288, 10, bias=True, weight_bit_width=8),
        layer.QuantIdentity(bit_width=8),
    )


MODELS = {
    "fixed_point": _fixed_point,
    "binary": _binary,
    "norms": _norms,
    "signs": _signs,
    "clipped": _clipped,
}


@cache
def exported(name: str) -> bytes:
    """A model's file: QONNX, or for "clipped" QuantizeLinear, Clip and DequantizeLinear."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import brevitas.nn as layer
        from brevitas import quant
        from brevitas.export import export_onnx_qcdq, export_qonnx

        torch.manual_seed(1)
        network = MODELS[name](layer, quant).train()
        for part in network.modules():
            if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
                part.running_mean.normal_()
                part.running_var.uniform_(0.5, 2)
                part.weight.data.uniform_(-1, 1.5)
                part.bias.data.normal_()
        for _ in range(3):  # ranges of activations
            network(torch.randn(16, *SHAPE))
        logging.disable(logging.WARNING)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.onnx"
            export = export_onnx_qcdq if name == "clipped" else export_qonnx
            new = name == "norms"  # the newer of PyTorch's exporters
            more = {"verbose": False} if new else {}
            export(network.eval(), torch.randn(1, *SHAPE), export_path=path, dynamo=new, **more)
            logging.disable(logging.NOTSET)
            return path.read_bytes()


def run_qonnx(data: bytes, x: Any, inputs: dict[str, Any] | None = None) -> dict[str, Any]:
    """Every tensor of a QONNX file for one sample, as qonnx 1.0.0 executes it."""
    import onnx
    from qonnx.core import onnx_exec
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.transformation.infer_shapes import InferShapes

    make = onnx_exec.qonnx_make_model

    def older(graph: Any, **more: Any) -> Any:
        """onnxruntime does not read the newest format that onnx writes."""
        made = make(graph, **more)
        made.ir_version = 10
        return made

    model = ModelWrapper(onnx.load(io.BytesIO(data))).transform(InferShapes())
    onnx_exec.qonnx_make_model = older
    try:
        feeds = {model.graph.input[0].name: x}
        values: dict[str, Any] = onnx_exec.execute_onnx(model, feeds, True)
    finally:
        onnx_exec.qonnx_make_model = make
    return values

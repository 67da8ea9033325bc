"""Float .tflite models with the weights of 4 bits that LiteRT's own quantiser gives them."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from tflite_floats import to_float
from tflite_models import Writer
from tflite_networks import NETWORKS

from spikelet.graph import Array


def _with_signature(data: bytes) -> bytes:
    """The quantiser finds inputs and outputs by a signature, which the models lack."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(bytearray(data))
    (graph,) = model.subgraphs

    def entries(tensors: Any) -> list[Any]:
        made = []
        for i in tensors:
            entry = schema.TensorMapT()
            entry.name, entry.tensorIndex = graph.tensors[i].name, int(i)
            made.append(entry)
        return made

    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = b"run", 0
    signature.inputs, signature.outputs = entries(graph.inputs), entries(graph.outputs)
    model.signatureDefs = [signature]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


@cache
def quantised(name: str) -> bytes:
    """A network of `NETWORKS`: weights of 4 bits, a scale a channel; activations of int8."""
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer, recipe_manager
    from ai_edge_quantizer.qtyping import TFLOperationName as Operation

    data, recipe = _with_signature(to_float(NETWORKS[name]())), recipe_manager.RecipeManager()
    four = Operation.CONV_2D, Operation.FULLY_CONNECTED  # it has none of depthwise ones
    for operation, bits in ((Operation.ALL_SUPPORTED, 8), *((o, 4) for o in four)):
        recipe.add_static_config(".*", operation, activation_num_bits=8, weight_num_bits=bits)
    made = quantizer.Quantizer(data, recipe.get_quantization_recipe())
    (detail,) = Interpreter(model_content=data).get_input_details()
    rng = np.random.default_rng(0)
    drawn = [rng.normal(0, 2, detail["shape"]).astype(np.float32) for _ in range(8)]
    ranges = made.calibrate({"run": [{detail["name"]: x} for x in drawn]}, num_threads=1)
    result = made.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    return bytes(result.quantized_model)


def packed(codes: Array) -> Array:
    """Codes of 4 bits, two a byte, the first in the low half."""
    fields = np.pad(codes.reshape(-1).astype(np.int16) & 15, (0, codes.size % 2)).reshape(-1, 2)
    return (fields[:, 0] | fields[:, 1] << 4).astype(np.uint8)


def four_bits(w: Writer) -> Writer:
    """The same layers, their weights cut to 4 bits."""
    for kind, inputs, _, _ in w.ops:
        if kind in ("CONV_2D", "FULLY_CONNECTED"):
            weights = w.tensors[inputs[1]]
            codes = weights["data"] >> 4
            weights |= {"data": packed(codes), "dtype": "INT4", "scales": weights["scales"] * 16}
            if inputs[2] >= 0:
                bias = w.tensors[inputs[2]]
                bias |= {"data": bias["data"] // 16, "scales": bias["scales"] * 16}
    return w

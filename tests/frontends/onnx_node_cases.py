"""ONNX's own backend node tests of the operators that are claimed, as models for the importer.

The tests give weights, axes and shapes as graph inputs; a deployable network has them as constants,
so they are bound to the values of the test.
"""

from __future__ import annotations

import fnmatch
import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from spikelet.frontends.onnx import build
from spikelet.frontends.onnx.file import parse
from spikelet.frontends.onnx.layers import CONVERTERS
from spikelet.graph import Array
from spikelet.quantise import Code, run

ALL_COMPUTED = {"Add", "Sub", "Mul", "Div", "Sum", "Concat"}
CLAIMED = {kind for domain, kind in CONVERTERS if domain == ""}

# Which tests a network of int8 has no place for, and why; each pattern must match one.
OUTSIDE = {
    "elements of a type that a network of int8 does not have": [
        "test_cast_*FLOAT8*", "test_cast_*INT[24]*", "test_cast_*FLOAT4*", "test_cast_*BFLOAT16*",
        "*linear_e[45]m*", "*linear_*int16", "*linear_*int[24]", "*linear_float4e2m1",
        "test_celu_bfloat16", "test_pow_types_int*", "test_reduce_m??_bool_inputs",
        "test_identity_sequence", "test_identity_opt",
        "test_edge_pad", "test_reflect_pad", "test_wrap_pad",
    ],
    "arithmetic on integers without a scale": [
        "test_[amds][adiu]?_*int*", "test_m[ai][xn]_*int*", "test_clip_default_int8_*",
        "test_maxpool_2d_uint8", "test_cumsum_*int32*",
    ],
    "scales along an axis of an activation, or by block": [
        "test_*quantizelinear_axis", "test_*quantizelinear_blocked*",
    ],
    "weights that need nine bits": [
        "test_qlinearconv", "test_qlinearmatmul_2D_*",
    ],
    "a product with a factor that is no constant matrix": [
        "test_matmul_[134]d*", "test_matmul_bcast", "test_qlinearmatmul_3D_*",
        "test_gemm_transposeA", "test_gemm_all_attributes",
    ],
    "a bias for each sample of a batch": ["test_gemm_default_matrix_bias"],
    "three spatial axes": ["test_*pool_3d_*", "test_convtranspose_3d"],
    "transposed convolutions in groups, or dilated": [
        "test_convtranspose_group_2*", "test_convtranspose_dilations",
    ],
    "what only training needs": [
        "test_batchnorm_*_training_mode", "test_training_dropout*", "test_dropout_default_mask*",
    ],
    "indices of the maximum, the last of equal ones": [
        "test_argmax_*_select_last_index", "test_maxpool_with_argmax_*",
    ],
    "tensors without elements": [
        "test_reduce_*_empty_set*", "test_reshape_allowzero_reordered", "test_split_zero_size_*",
        "test_slice_start_out_of_bounds",
    ],
    "interpolation": [
        "test_resize_*linear*", "test_resize_*cubic*", "test_resize_tf_crop_and_resize*",
    ],
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One test: a model whose first input is computed, and what it must give."""

    name: str
    kind: str
    model: onnx.ModelProto
    feeds: dict[str, Array]
    outputs: dict[str, Array]
    rtol: float
    atol: float


@cache
def cases() -> list[Case]:
    """Every test that is one node of a claimed operator."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        found = collect_testcases(None)
    kept = []
    for test in found:
        nodes = test.model.graph.node
        if len(nodes) == 1 and nodes[0].op_type in CLAIMED and "expanded" not in test.name:
            kept.append(_case(test))
    return kept


def outside(name: str) -> list[str]:
    """The patterns that put a test out of range."""
    every = (pattern for patterns in OUTSIDE.values() for pattern in patterns)
    return [pattern for pattern in every if fnmatch.fnmatchcase(name, pattern)]


def compute(case: Case) -> dict[str, Array]:
    """What the imported network computes for a test; codes for tensors that are quantised."""
    model = parse(case.model.SerializeToString(), case.name)
    building = build(model, "model", case.name)
    network = building.network
    feeds = {}
    for name in network.inputs:
        feeds[name] = case.feeds[name].astype(np.float32)
        if case.feeds[name].dtype.kind in "iu":
            code, offset = network.codes[name], building.values[name].offset
            feeds[name] = (feeds[name] + offset - code.zero_point) * code.scale
    tensors = run(network, feeds)
    found = {}
    for name in case.outputs:
        value = building.values[name]
        found[name] = tensors[value.tensor] if value.array is None else value.array
        if value.array is None and value.quantised:
            found[name] = _codes(found[name], network.codes[value.tensor], value.offset)
    return found


def _codes(real: Array, code: Code, offset: int) -> Array:
    """As QuantizeLinear: to the nearest, halves to even."""
    rounded = np.rint(real / np.float32(code.scale)) + code.zero_point
    dtype = np.uint8 if offset else np.int8
    return (np.clip(rounded, -128, 127) - offset).astype(dtype)


def _case(test: Any) -> Case:
    model = onnx.ModelProto()
    model.CopyFrom(test.model)
    node = model.graph.node[0]
    inputs, outputs = test.data_sets[0]
    values = dict(zip((i.name for i in model.graph.input), inputs, strict=True))
    dynamic = set(node.input) if node.op_type in ALL_COMPUTED else {node.input[0]}
    for i in list(model.graph.input):
        if i.name not in dynamic:
            model.graph.input.remove(i)
            model.graph.initializer.append(numpy_helper.from_array(_array(values[i.name]), i.name))
    names = [o.name for o in model.graph.output]
    return Case(
        test.name,
        node.op_type,
        model,
        {name: _array(v) for name, v in values.items() if name in dynamic},
        {name: _array(v) for name, v in zip(names, outputs, strict=True)},
        test.rtol,
        test.atol,
    )


def _array(value: Any) -> Array:
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    return np.asarray(value, dtype=object if isinstance(value, list | type(None)) else None)

"""Golden against LiteRT's reference kernels, tensor by tensor."""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from spikelet.frontends.tflite import Imported
from spikelet.graph import Array, Graph


def draw(graph: Graph, samples: int, rng: np.random.Generator) -> dict[str, Array]:
    """Random inputs, the first two at the ends of the code."""
    found = {}
    for tensor in graph.inputs:
        low, high = tensor.limits
        values = rng.integers(low, high, (samples, *tensor.shape), endpoint=True)
        values[0], values[-1] = low, high
        found[tensor.name] = values.astype(tensor.numpy_dtype)
    return found


def reference(data: bytes) -> Any:
    """An interpreter with the reference kernels that keeps every tensor.

    LiteRT has no reference kernel of some operators, such as ELU: its usual kernels, then.
    """
    from ai_edge_litert.interpreter import OpResolverType

    try:
        return _interpreter(data, OpResolverType.BUILTIN_REF)
    except ValueError as e:
        if "Didn't find op" not in str(e):
            raise
        return _interpreter(data, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)


def _interpreter(data: bytes, kernels: Any) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(
        model_content=data,
        experimental_op_resolver_type=kernels,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    return interpreter


def run_frames(data: bytes, imported: Imported, frames: Array) -> list[dict[str, Array]]:
    """For each frame, without a reset between them, every tensor of the graph, flat."""
    interpreter = reference(data)
    (detail,) = interpreter.get_input_details()
    found = []
    kept = imported.simplified.kept
    for frame in frames:
        interpreter.set_tensor(detail["index"], frame.reshape(detail["shape"]))
        interpreter.invoke()
        found.append(
            {
                name: surviving(interpreter.get_tensor(index), kept.get(name)).reshape(-1)
                for index, name in imported.tensors.items()
            }
        )
    return found


def surviving(values: Array, kept: Array | None) -> Array:
    """What the graph has of a tensor: the channels that are left, of the last axis."""
    return values if kept is None else values[..., kept]


def differing(data: bytes, imported: Imported, inputs: dict[str, Array]) -> dict[str, int]:
    """By tensor of the graph, elements that differ from LiteRT; only those that do."""
    interpreter = reference(data)
    graph = imported.graph
    trace = graph.run(inputs, trace=True).trace
    wrong: dict[str, int] = {}
    details = interpreter.get_input_details()
    for sample in range(len(next(iter(inputs.values())))):
        for detail, tensor in zip(details, graph.inputs, strict=True):
            value = inputs[tensor.name][sample].reshape(detail["shape"])
            interpreter.set_tensor(detail["index"], value)
        interpreter.reset_all_variables()
        interpreter.invoke()
        for index, name in imported.tensors.items():
            if name in trace:
                kept = imported.simplified.kept.get(name)
                wanted = surviving(interpreter.get_tensor(index), kept).reshape(-1)
                found = trace[name][0][sample].reshape(-1)
                count = int(np.sum(wanted != found))
                if count:
                    wrong[name] = wrong.get(name, 0) + count
    return wrong

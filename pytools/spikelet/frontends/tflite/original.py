"""A float TensorFlow Lite file executed by LiteRT, where it is installed."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spikelet.frontends.tflite.float_layers import Building, axis_order, with_batch
from spikelet.graph import Array
from spikelet.quantise import Original

_MODULES = (
    ("ai_edge_litert.interpreter", "ai-edge-litert"),
    ("tflite_runtime.interpreter", "tflite-runtime"),
)


def _interpreter() -> tuple[Any, str] | None:
    for module, package in _MODULES:
        try:
            module_ = importlib.import_module(module)
            return module_, f"LiteRT ({package} {importlib.metadata.version(package)})"
        except ImportError:
            continue
    return None


def original(data: bytes, building: Building) -> Original | None:
    """The file's executor; None where LiteRT is not installed, or does not load the file."""
    module_and_name = _interpreter()
    if module_and_name is None:
        return None
    module, by = module_and_name
    try:
        interpreter = module.Interpreter(
            model_content=data,
            num_threads=1,
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=module.OpResolverType.BUILTIN_REF,
        )
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError, AttributeError, TypeError):
        return None
    tensors: dict[str, tuple[int, bool]] = {}  # and whether its axes are the network's
    for index, name in building.values.items():
        if index not in building.model.inputs:
            tensors.setdefault(name, (index, False))
    for output, index in zip(building.network.outputs, building.model.outputs, strict=False):
        tensors[output] = (index, True)
    inputs = [i for i in building.model.inputs if i in building.values]

    def one(feeds: Mapping[str, Array], names: Sequence[str], i: int) -> dict[str, Array]:
        for (name, _), index in zip(building.network.inputs.items(), inputs, strict=True):
            shape = building.model.tensors[index].shape
            interpreter.set_tensor(index, np.asarray(feeds[name][i], np.float32).reshape(shape))
        interpreter.invoke()
        rows = {}
        for name in names:
            index, plain = tensors[name]
            shape = with_batch(building.model.tensors[index].shape)
            values = np.array(interpreter.get_tensor(index), np.float32).reshape(shape)
            rows[name] = values if plain else values.transpose(axis_order(len(shape)))
        return rows

    def run(feeds: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
        known = [name for name in names if name in tensors]
        rows = [one(feeds, known, i) for i in range(min(map(len, feeds.values())))]
        return {name: np.concatenate([row[name] for row in rows]) for name in known}

    try:
        run({n: np.zeros(s, np.float32) for n, s in building.network.inputs.items()}, list(tensors))
    except (ValueError, RuntimeError):
        return None
    return Original(by, run)

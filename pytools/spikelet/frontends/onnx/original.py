"""An ONNX file executed by onnxruntime, or else by ONNX's own reference evaluator.

What quantisation costs is measured against it, and whether samples are kept apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spikelet.frontends.onnx.file import onnx_module
from spikelet.frontends.onnx.layers import Building, Value
from spikelet.graph import Array
from spikelet.quantise import Original
from spikelet.quantise.apart import ADVICE, MIXED, SAMPLES, apart, is_batched


class Runner:
    """A file on its executor.

    Attributes:
        by: who executes it.
        tensors: by tensor of the network, its name in the file and what it is there.
    """

    def __init__(self, source: bytes | Path, building: Building) -> None:
        onnx = onnx_module()
        if isinstance(source, Path):
            self.model = onnx.load(str(source))
        else:
            self.model = onnx.ModelProto.FromString(source)
        self.building = building
        self.tensors: dict[str, tuple[str, Value]] = {}
        made = {name for node in building.model.nodes for name in node.outputs}
        known = [
            (name, value)
            for name, value in building.values.items()
            if name in made and value.array is None and value.plus is None
        ]
        for name, value in known:
            self.tensors.setdefault(value.tensor, (name, value))
        for name, value in known:
            if name in building.model.outputs:
                self.tensors[value.tensor] = (name, value)
        self.dynamic = {
            value.name: not value.type.tensor_type.shape.dim[0].dim_value > 0
            for value in self.model.graph.input
            if value.name in {i.name for i in building.model.inputs}
        }
        computed = [name for node in building.model.nodes for name in node.outputs if name]
        told = {value.name for value in self.model.graph.output}
        wanted = [name for name in computed if name not in told]
        self.model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
        self.by, self._run = _executor(self.model)

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """All computed tensors by their names in the file; inputs likewise."""
        values: dict[str, Array] = self._run(dict(feeds))
        return values

    def file_inputs(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Real inputs by the network's names as the file has them."""
        wanted = {}
        for i in self.building.model.inputs:
            value = self.building.values[i.name]
            if value.tensor not in feeds:
                wanted[i.name] = np.zeros((1, *i.shape[1:]), i.dtype)  # nothing reads it
                continue
            x = np.asarray(feeds[value.tensor], np.float32)
            if i.dtype.kind != "f":
                code = self.building.network.codes[value.tensor]
                x = np.rint(x / code.scale) + code.zero_point - value.offset
            wanted[i.name] = x.astype(i.dtype)
        return wanted

    def real(self, values: Array, value: Value, name: str) -> Array:
        """One sample of a tensor as the network has it, float32 (1, *rest)."""
        if value.quantised:
            code = self.building.network.codes[name]
            values = (values.astype(np.float32) + value.offset - code.zero_point) * code.scale
        return values.astype(np.float32).reshape(1, *value.shape[1:])

    def values(self, feeds: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
        """Tensors of the network, sample by sample, as the file is deployed."""
        given, known = self.file_inputs(feeds), [name for name in names if name in self.tensors]
        rows: dict[str, list[Array]] = {name: [] for name in known}
        for i in range(max(map(len, feeds.values()))):
            outputs = self({k: v[i : i + 1] if len(v) > i else v for k, v in given.items()})
            for name in known:
                key, value = self.tensors[name]
                rows[name].append(self.real(outputs[key], value, name))
        return {name: np.concatenate(row) for name, row in rows.items()}

    def check_apart(self) -> None:
        """Refuse the first node that does not keep samples apart, where the batch axis is free."""
        if not self.dynamic or not all(self.dynamic.values()):
            return
        rng, model = np.random.default_rng(0), self.building.model
        if any(i.dtype.kind != "f" for i in model.inputs):
            return
        several = {
            i.name: rng.normal(0, 1, (SAMPLES, *i.shape[1:])).astype(i.dtype) for i in model.inputs
        }
        alone = [self({k: v[i : i + 1] for k, v in several.items()}) for i in range(SAMPLES)]
        try:
            whole = self(several)
        except Exception:  # it takes one sample after all: a shape in it is fixed
            return
        for node in model.nodes:
            for name in node.outputs:
                if name in whole and whole[name].dtype.kind == "f":
                    kept = is_batched if name in model.outputs else apart
                    if not kept(whole[name], [values[name] for values in alone]):
                        raise node.refuse(MIXED, ADVICE)


def _executor(model: Any) -> tuple[str, Any]:
    """Who executes a model, and the function from inputs to all outputs by name."""
    names = [value.name for value in model.graph.output]
    try:
        import onnxruntime
    except ImportError:
        from onnx.reference import ReferenceEvaluator

        evaluator = ReferenceEvaluator(model)

        def by_reference(feeds: dict[str, Array]) -> dict[str, Array]:
            with np.errstate(all="ignore"):
                values = evaluator.run(names, feeds)
            return {k: np.asarray(v) for k, v in zip(names, values, strict=True)}

        return f"onnx {onnx_module().__version__}, reference evaluator", by_reference
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # As it is written: what an optimiser does is not the file's.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )

    def by_runtime(feeds: dict[str, Array]) -> dict[str, Array]:
        return dict(zip(names, session.run(names, feeds), strict=True))

    return f"onnxruntime {onnxruntime.__version__}", by_runtime


def original(source: bytes | Path, building: Building) -> Original | None:
    """The file's executor; None where there is none that can load it.

    Raises:
        ImportRefused: a node does not keep samples apart.
    """
    try:
        runner = Runner(source, building)
        zeros = {n: np.zeros(s, np.float32) for n, s in building.network.inputs.items()}
        runner.values(zeros, list(runner.tensors))
    except Exception:  # an operator or a type that only other runtimes know
        return None
    runner.check_apart()
    return Original(runner.by, runner.values)

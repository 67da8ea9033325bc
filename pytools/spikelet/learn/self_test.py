"""The self-test of devices that learn: three samples of the package, and what golden makes of them.

A device runs them when it boots and when it commits; `digest` with the twin's learned tensors is
what it must get.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np

from spikelet.codegen import SelfTest
from spikelet.graph import Array, Graph, Tensor
from spikelet.package import Package

SAMPLES = 3
DRAWN_REAL = 1.0  # drawn values of floating-point inputs lie within -1 and 1


def self_test(package: Package) -> SelfTest:
    """The samples of a package's image, with golden's digest."""
    graph, inputs = package.graph, samples(package)
    count = graph.check_inputs(inputs)
    data = b"".join(
        graph.wire(tensor, inputs[tensor.name][i]) for i in range(count) for tensor in graph.inputs
    )
    return SelfTest(data, count, digest(graph, graph.initial(), inputs))


def samples(package: Package) -> dict[str, Array]:
    """Inputs by name, (N, *shape): the package's first vectors, at most three.

    A package without vectors gets samples that are drawn, always the same.
    """
    graph = package.graph
    names = [tensor.name for tensor in graph.inputs]
    if all(name in package.vectors for name in names):
        return {name: package.vectors[name][:SAMPLES] for name in names}
    rng = np.random.default_rng(0)
    return {tensor.name: _draw(graph, tensor, rng) for tensor in graph.inputs}


def digest(graph: Graph, learned: Mapping[str, Array], inputs: Mapping[str, Array]) -> int:
    """CRC-32 over the outputs of samples (N, *shape) with what is learned, as a device makes it."""
    outputs = graph.run(inputs, learned=learned).outputs
    in_order = [t for t in graph.tensors.values() if t.name in graph.outputs]
    crc = 0
    for i in range(len(outputs[in_order[0].name])):
        for tensor in in_order:
            crc = zlib.crc32(tensor.to_bytes(outputs[tensor.name][i]), crc)
    return crc


def _draw(graph: Graph, tensor: Tensor, rng: np.random.Generator) -> Array:
    one = graph.sample_tensor(tensor)
    shape, dtype = (SAMPLES, *one.shape), tensor.numpy_dtype
    if tensor.choices:
        return rng.choice(np.array(tensor.choices), shape).astype(dtype)
    low, high = graph.admitted_range(tensor)
    if dtype.kind == "f":
        low, high = max(low, -DRAWN_REAL), min(high, DRAWN_REAL)
        return rng.uniform(low, high, shape).astype(dtype)
    return rng.integers(int(low), int(high), shape, dtype=np.int64, endpoint=True).astype(dtype)

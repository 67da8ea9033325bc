"""Int8 graphs to ONNX files in QDQ form, so that other runtimes can compute and be compared.

Every tensor is written as codes by a QuantizeLinear and read by a DequantizeLinear; weights are
int8 with a scale a channel, those of few bits INT4, biases int32. Images (H, W, C) of the graph are
(N, C, H, W) in the file, N is dynamic; inputs and outputs are float.

`writer` knows names, constants and codes; the other files write one operator each.
"""

from __future__ import annotations

from pathlib import Path

from spikelet.files import save as write_file
from spikelet.frontends.onnx.export import functions, layers, resizing
from spikelet.frontends.onnx.export.writer import EXPORTS, OPSET, Writer
from spikelet.frontends.onnx.file import onnx_module
from spikelet.graph import Graph

__all__ = ["OPSET", "export", "exportable_operators", "save"]

_ROOMS = (functions, layers, resizing)  # they fill EXPORTS


def export(graph: Graph) -> bytes:
    """The graph as an ONNX file.

    Raises:
        UsageError: an operator that ONNX has no meaning for, by name.
    """
    return Writer(onnx_module(), graph).file()


def save(graph: Graph, path: Path) -> int:
    """Write the graph as an ONNX file; how many bytes it has."""
    data = export(graph)
    write_file(path, data)
    return len(data)


def exportable_operators() -> list[str]:
    """The kinds of operators that can be exported."""
    return sorted(EXPORTS)

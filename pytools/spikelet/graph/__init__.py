"""The integer graph: operators, their golden meaning, and the passes over them.

This package imports nothing else of the project: it is the norm that the rest is held to.
"""

from spikelet.graph.graph import Graph
from spikelet.graph.operator import Cost, Emitter, Operator, Phase, Role, operators
from spikelet.graph.running import Execution
from spikelet.graph.tensor import DTYPES, KINDS, Array, GraphError, Learned, Tensor
from spikelet.graph.tune import tune

__all__ = [
    "DTYPES",
    "KINDS",
    "Array",
    "Cost",
    "Emitter",
    "Execution",
    "Graph",
    "GraphError",
    "Learned",
    "Operator",
    "Phase",
    "Role",
    "Tensor",
    "operators",
    "tune",
]

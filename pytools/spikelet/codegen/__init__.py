"""From the graph to C: the memory plan, the layer table, model.c."""

from spikelet.codegen.constants import Constant
from spikelet.codegen.counting import COUNTS
from spikelet.codegen.emit import Generated, generate
from spikelet.codegen.emitter import CEmitter
from spikelet.codegen.fit import ArenaTooSmall, fit_arena
from spikelet.codegen.layers import TITLES, Layer, by_width, layers, totals
from spikelet.codegen.plan import Plan, Slot, plan
from spikelet.codegen.safeguards import Safeguards
from spikelet.codegen.self_test import SelfTest
from spikelet.codegen.table import DIGESTS, trace_tensors, visible_tensors

__all__ = [
    "COUNTS",
    "DIGESTS",
    "TITLES",
    "ArenaTooSmall",
    "CEmitter",
    "Constant",
    "Generated",
    "Layer",
    "Plan",
    "Safeguards",
    "SelfTest",
    "Slot",
    "by_width",
    "fit_arena",
    "generate",
    "layers",
    "plan",
    "totals",
    "trace_tensors",
    "visible_tensors",
]

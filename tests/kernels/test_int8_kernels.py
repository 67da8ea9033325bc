"""The int8 kernels with weights against golden, on every target and in every variant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import int8_graphs
from spikelet.graph import Graph
from targets import ARM_TARGETS, TARGETS, equals_golden

GRAPHS: dict[str, Callable[[], Graph]] = {
    "convolutions": int8_graphs.convolutions,
    "depthwise": int8_graphs.depthwise,
    "connected": int8_graphs.connected,
}


@pytest.mark.parametrize("target", [*TARGETS, *ARM_TARGETS])
@pytest.mark.parametrize("name", GRAPHS)
def test_every_layer_equals_golden(target: str, name: str, tmp_path: Path) -> None:
    equals_golden(target, GRAPHS[name](), 4, tmp_path)

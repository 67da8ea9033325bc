"""What a device must say that holds a package: made from the package and the board's file alone."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from spikelet.board import Board
from spikelet.codegen import Generated, generate, trace_tensors, visible_tensors
from spikelet.graph import Graph, Tensor
from spikelet.link import DeviceTensor, Dtype, Expected, Kind
from spikelet.package import Package

TICKS = ("none", "instruction", "cycle", "us")
# As the link's headers have them, and what follows from the ring.
PAYLOAD, RING = 244, 512  # bytes
LARGE_RING = 2048  # from here on it keeps more replies


def ring_of(macros: Mapping[str, str | int]) -> int:
    """Bytes of the ring of a firmware that is built with these macros."""
    return int(macros.get("SPK_LINK_RING") or RING)


def expected_image(
    package: Package,
    board: Board,
    generated: Generated | None = None,
    *,
    trace: bool | None = None,
    defines: Iterable[str] = (),
    keyed: bool | None = None,
) -> Expected:
    """The facts, tensor table and constants of the package's image for a board.

    Args:
        package: what the device holds.
        board: what it was built for.
        generated: what code generation gave for the two; None to generate it here.
        trace: whether it is a trace build; None where both will do.
        defines: macros that the image was built with, as NAME=VALUE.
        keyed: whether it was built with a key; None where both will do.
    """
    graph = package.graph
    if generated is None:
        with tempfile.TemporaryDirectory(prefix="spikelet-") as folder:
            generated = generate(graph, package.sha256, Path(folder), target=board.target)
    macros: dict[str, str | int] = {**board.defines}
    macros.update(text.partition("=")[::2] for text in defines)
    ring = ring_of(macros)
    large = ring >= LARGE_RING
    return Expected(
        package_sha256=bytes.fromhex(package.sha256),
        model=graph.name,
        board=board.name,
        isa=board.isa,
        tick_unit=TICKS.index(board.tick),
        payload=int(macros.get("SPK_LINK_PAYLOAD") or PAYLOAD),
        ring=ring,
        window=int(macros.get("SPK_LINK_WINDOW") or (16 if large else 8)),
        kept=int(macros.get("SPK_LINK_KEPT") or (4 if large else 1)),
        steps=graph.steps,
        arena_bytes=generated.plan.size,
        learns=graph.learns,
        classes=graph.classes if graph.learns else 0,
        trace=trace,
        release=_table(graph, trace=False),
        traced=_table(graph, trace=True),
        constants=tuple((c.name, c.data) for c in generated.constants),
        ram_bytes=board.memory.ram.bytes if board.memory else None,
        stream=graph.stream.name if graph.stream else None,
        exits=bool(graph.exit),
        keyed=keyed,
    )


def macros_of(board: Board, toolchain: str | None = None) -> list[str]:
    """The macros that a board's file gives to a toolchain, by default to its first."""
    spec = board.toolchains[toolchain or next(iter(board.toolchains))]
    return [flag[2:] for flag in spec.flags if flag.startswith("-D")]


def _table(graph: Graph, *, trace: bool) -> tuple[DeviceTensor, ...]:
    rows = [(tensor, Kind[tensor.kind.upper()], op) for tensor, op in visible_tensors(graph, trace)]
    if trace:
        rows += [(tensor, Kind[kind.upper()], None) for tensor, kind in trace_tensors(graph)]
    return tuple(_row(number, *row) for number, row in enumerate(rows))


def _row(number: int, tensor: Tensor, kind: Kind, op: int | None) -> DeviceTensor:
    return DeviceTensor(
        name=tensor.name,
        id=number,
        kind=kind,
        dtype=Dtype[tensor.dtype.upper()],
        shape=tensor.shape,
        bytes=tensor.nbytes,
        scale=float(np.float32(tensor.scale)),
        zero_point=tensor.zero_point,
        op=op,
    )

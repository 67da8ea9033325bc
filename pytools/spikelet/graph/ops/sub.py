"""Element-wise difference of int8 tensors. C twin: firmware/kernels/elementwise.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from spikelet.graph.ops.add import Add


@dataclass(kw_only=True)
class Sub(Add):
    """`a - b`, scaled as `Add` does."""

    KIND: ClassVar[str] = "sub"
    C_OP: ClassVar[str] = "SPK_SUB"
    SIGN: ClassVar[int] = -1

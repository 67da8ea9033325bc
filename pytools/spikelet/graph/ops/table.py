"""Any function of one int8 code. C twin: firmware/kernels/lookup.h."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikelet.graph.declared import Words
from spikelet.graph.int8 import CODES, Lookup
from spikelet.graph.tensor import Array, Tensor


@dataclass(kw_only=True)
class Table(Lookup):
    """`table[code]`: a function of one value that no other operator stands for.

    Attributes:
        function: what it computes, for people.
    """

    KIND: ClassVar[str] = "table"

    function: Words = ""


def function_table(
    source: Tensor,
    scale: float,
    zero_point: int,
    function: Callable[[Array], Array],
    single: bool = False,
) -> Array:
    """The table from the code of `source`.

    Args:
        source: the tensor that is read.
        scale: of the output.
        zero_point: of the output.
        function: float32 to float32, element by element. Its result is rounded to the nearest code,
            halves to even; where it is no number, the code is that of 0.
        single: divide by the scale in single precision, as QuantizeLinear does.
    """
    x = np.float32(source.scale) * (CODES - source.zero_point).astype(np.float32)
    dtype = np.dtype(np.float32 if single else np.float64)
    y = function(x).astype(dtype) / np.asarray(np.float32(scale), dtype)
    codes = np.nan_to_num(np.rint(y), nan=0.0, posinf=1e6, neginf=-1e6) + zero_point
    table: Array = np.clip(codes, -128, 127).astype(np.int8)
    return table

"""A function of one int8 code without an operator of its own. C twin: firmware/kernels/lookup.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from spikelet.graph.int8 import Lookup


@dataclass(kw_only=True)
class Table(Lookup):
    """`table[code]`.

    Attributes:
        function: what the table holds, such as "exp"; for whoever reads the graph.
    """

    KIND: ClassVar[str] = "table"

    function: str

"""Functions that numpy and PyTorch have already: nothing but their names is left to say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from spikelet.graph import Array
from spikelet.quantise.function import Function


class Elementary(Function):
    """The function of numpy, which PyTorch has under ONNX's name in lower case."""

    NUMPY: ClassVar[Callable[..., Any]]

    def value(self, x: Array) -> Array:
        y: Array = type(self).NUMPY(x)
        return y


_NUMPY: dict[str, Callable[..., Any]] = {
    "Abs": np.abs,
    "Acos": np.arccos,
    "Acosh": np.arccosh,
    "Asin": np.arcsin,
    "Asinh": np.arcsinh,
    "Atan": np.arctan,
    "Atanh": np.arctanh,
    "Ceil": np.ceil,
    "Cos": np.cos,
    "Cosh": np.cosh,
    "Exp": np.exp,
    "Floor": np.floor,
    "Log": np.log,
    "Round": np.rint,
    "Sign": np.sign,
    "Sin": np.sin,
    "Sinh": np.sinh,
    "Sqrt": np.sqrt,
    "Tan": np.tan,
}

# Held here: a class that nothing holds would go away.
ELEMENTARY = [
    type(name, (Elementary,), {"OP": name, "TORCH": name.lower(), "NUMPY": staticmethod(function)})
    for name, function in _NUMPY.items()
]

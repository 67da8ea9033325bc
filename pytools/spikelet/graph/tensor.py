"""Named tensors: what they hold, and the bytes they are on a device.

The codes of `DTYPES` and `KINDS` stand in firmware/include/spk_model.h too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

DTYPES = {"bit": 0, "u8": 1, "i8": 2, "i16": 3, "i32": 4, "u32": 5}
KINDS = {"input": 0, "output": 1, "state": 2, "activation": 3, "trace": 4}

_NUMPY: dict[str, str] = {
    "bit": "<u1",  # one element a byte on the host, packed on the wire
    "u8": "<u1",
    "i8": "<i1",
    "i16": "<i2",
    "i32": "<i4",
    "u32": "<u4",
}


class GraphError(Exception):
    """A graph that is not well formed, or that cannot be proved safe; names the layer."""


@dataclass(frozen=True)
class Tensor:
    """One named tensor.

    Attributes:
        name: unique in the graph.
        dtype: a key of `DTYPES`.
        shape: elements, row-major, at most four dimensions.
        kind: a key of `KINDS`.
        scale: real = (code - zero_point) * scale.
        zero_point: the code of real 0.
        persistent: keeps its memory from step to step.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    kind: str = "activation"
    scale: float = 1.0
    zero_point: int = 0
    persistent: bool = False

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise GraphError(f"tensor {self.name}: unknown dtype {self.dtype!r}")
        if self.kind not in KINDS:
            raise GraphError(f"tensor {self.name}: unknown kind {self.kind!r}")
        if not math.isfinite(self.scale) or self.scale <= 0:
            raise GraphError(f"tensor {self.name}: scale {self.scale} is not a positive number")
        if not 1 <= len(self.shape) <= 4 or any(not 1 <= d <= 65535 for d in self.shape):
            raise GraphError(
                f"tensor {self.name}: shape {self.shape} is not 1 to 4 dimensions of 1 to 65535"
            )

    @property
    def size(self) -> int:
        """Elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes on the wire and in memory."""
        if self.dtype == "bit":
            return 4 * -(-self.size // 32)
        return self.size * np.dtype(_NUMPY[self.dtype]).itemsize

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """What holds the elements on the host; a spike is a 0 or 1 in a byte."""
        return np.dtype(_NUMPY[self.dtype])

    @property
    def limits(self) -> tuple[int, int]:
        """Lowest and highest code."""
        if self.dtype == "bit":
            return 0, 1
        info = np.iinfo(self.numpy_dtype)
        return int(info.min), int(info.max)

    def to_bytes(self, values: Array) -> bytes:
        """The wire bytes of one sample's values, shape `self.shape`."""
        if values.shape != self.shape:
            raise GraphError(f"tensor {self.name}: shape {values.shape}, expected {self.shape}")
        flat = np.ascontiguousarray(values).reshape(-1)
        if self.dtype == "bit":
            packed = np.packbits(flat.astype(np.uint8), bitorder="little").tobytes()
            return packed.ljust(self.nbytes, b"\0")
        return flat.astype(self.numpy_dtype).tobytes()

    def from_bytes(self, data: bytes) -> Array:
        """The values, shape `self.shape`, of wire bytes."""
        if len(data) != self.nbytes:
            raise GraphError(f"tensor {self.name}: {len(data)} bytes, expected {self.nbytes}")
        if self.dtype == "bit":
            bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
            return bits[: self.size].reshape(self.shape)
        return np.frombuffer(data, self.numpy_dtype).reshape(self.shape)

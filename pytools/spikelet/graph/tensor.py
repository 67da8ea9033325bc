"""Named tensors: what they hold, and the bytes they are on a device.

The codes of `DTYPES` and `KINDS` stand in firmware/include/spk_model.h too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from spikelet.graph.declared import GraphError as GraphError
from spikelet.graph.declared import (
    Held,
    Int32,
    Size,
    TensorName,
    TensorScale,
    check_fields,
    one_of,
    quote_name,
    within,
)
from spikelet.text import brief_repr

Array = Annotated[npt.NDArray[Any], Held()]

DTYPES = {"bit": 0, "u8": 1, "i8": 2, "i16": 3, "i32": 4, "u32": 5, "f32": 6, "f16": 7}
KINDS = {
    "input": 0,
    "output": 1,
    "state": 2,
    "activation": 3,
    "trace": 4,
    "learned": 5,  # survives samples; learning operators change it
    "target": 6,  # written by the host before learning operators run
}

_NUMPY: dict[str, str] = {
    "bit": "<u1",  # one element a byte on the host, packed on the wire
    "u8": "<u1",
    "i8": "<i1",
    "i16": "<i2",
    "i32": "<i4",
    "u32": "<u4",
    "f32": "<f4",
    "f16": "<f2",
}
FLOATS = ("f32", "f16")
LARGEST_BYTES = 1 << 28  # of one tensor; no microcontroller has as much


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
        choices: of an input u8, the only values, each below 32, that it may hold; none: any.
        per_step: an input that has other values in each step: on the host a sample is
            (T, *shape), a device holds those of one step.
    """

    name: TensorName
    dtype: Annotated[str, one_of(*DTYPES)]
    shape: Annotated[tuple[Size, ...], Field(min_length=1, max_length=4)]
    kind: Annotated[str, one_of(*KINDS)] = "activation"
    scale: TensorScale = 1.0
    zero_point: Int32 = 0
    persistent: bool = False
    choices: tuple[Annotated[int, within(0, 31)], ...] = ()
    per_step: bool = False

    def __post_init__(self) -> None:
        check_fields(type(self), f"tensor {quote_name(self.name)}", vars(self))
        low, high = (0, 0) if self.dtype in FLOATS else self.limits
        if not low <= self.zero_point <= high:
            raise GraphError(
                f"tensor {self.name}: zero_point is {self.zero_point}, expected a code of "
                f"{self.dtype}, {low} to {high}"
            )
        if self.choices and (self.kind, self.dtype) != ("input", "u8"):
            raise GraphError(f"tensor {self.name}: choices of a {self.kind} {self.dtype}, not u8")
        if self.per_step and (self.kind != "input" or self.dtype not in ("bit", "u8")):
            raise GraphError(
                f"tensor {self.name}: a {self.kind} {self.dtype} of each step, expected an input "
                "of bits or u8"
            )
        if self.nbytes > LARGEST_BYTES:
            raise GraphError(
                f"tensor {self.name}: {self.nbytes} bytes, expected {LARGEST_BYTES} at most"
            )

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} {self.shape}"

    @property
    def size(self) -> int:
        """Elements."""
        return math.prod(self.shape)

    @property
    def is_count(self) -> bool:
        """Whether its elements are labels, counts or spikes: numbers, not codes of them."""
        plain = self.scale == 1 and self.zero_point == 0
        return plain and self.dtype not in ("i8", "u8", *FLOATS)

    def real(self, values: Array) -> Array:
        """What codes of any shape stand for, float64."""
        reals: Array = (values.astype(np.float64) - self.zero_point) * self.scale
        return reals

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
        """Lowest and highest code; raises GraphError where elements are no codes but floats."""
        if self.dtype == "bit":
            return 0, 1
        if self.dtype in FLOATS:
            raise GraphError(f"tensor {self.name}: {self.dtype} has no lowest and highest code")
        info = np.iinfo(self.numpy_dtype)
        return int(info.min), int(info.max)

    def interval(self, low: float | None = None, high: float | None = None) -> tuple[Array, Array]:
        """Bounds of each element, by default those of the type: int64, or of floats infinities."""
        lowest, highest = (-np.inf, np.inf) if self.dtype in FLOATS else self.limits
        if self.choices:
            lowest, highest = min(self.choices), max(self.choices)
        kind = np.float64 if self.dtype in FLOATS else np.int64
        return (
            np.broadcast_to(kind(lowest if low is None else low), self.shape),
            np.broadcast_to(kind(highest if high is None else high), self.shape),
        )

    def order(self, value: float) -> int:
        """A value as an int32 that compares as values do; C twin: spk_order() of spk_model.h.

        An infinity counts as the largest finite value.
        """
        if self.dtype in FLOATS:
            most = np.finfo(self.numpy_dtype).max
            size = self.numpy_dtype.type(min(abs(value), float(most)))
            magnitude = int(size.view("<u4" if self.dtype == "f32" else "<u2"))
            return -magnitude if value < 0 else magnitude
        return int(value) - (1 << 31 if self.dtype == "u32" else 0)

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


@dataclass(frozen=True, eq=False)
class Learned:
    """A tensor that learning operators change; it survives samples and power, once committed.

    Attributes:
        tensor: of kind "learned".
        initial: what it holds before anything was learned, `tensor.shape`; None for zeros.
        low: lowest value that it ever holds, None for that of its type. What a kernel takes for an
            index, a shift or a divisor, or adds up in integers, needs ends; of a float, which no
            kernel does that with, every finite number may be right.
        high: highest value that it ever holds, None for that of its type.
    """

    tensor: Tensor
    initial: Array | None = None
    low: float | None = None
    high: float | None = None

    __repr__ = brief_repr

    def __post_init__(self) -> None:
        if self.tensor.kind != "learned" or not self.tensor.persistent:
            raise GraphError(f"tensor {self.tensor.name}: kind {self.tensor.kind}, not learned")
        if self.tensor.dtype not in FLOATS:
            least, most = self.tensor.limits
            ends = least if self.low is None else self.low, most if self.high is None else self.high
            if not least <= ends[0] <= ends[1] <= most:
                raise GraphError(
                    f"tensor {self.tensor.name}: low is {self.low}, high {self.high}, expected a "
                    f"range of {self.tensor.dtype}, {least} to {most}"
                )
        if self.initial is None:
            return
        actual = f"{self.initial.dtype} of shape {self.initial.shape}"
        if self.initial.dtype != self.tensor.numpy_dtype or self.initial.shape != self.tensor.shape:
            raise GraphError(
                f"tensor {self.tensor.name}: its initial value is {actual}, expected "
                f"{self.tensor.numpy_dtype} of shape {self.tensor.shape}"
            )
        low, high = self.interval
        if not ((self.initial >= low) & (self.initial <= high)).all():
            raise GraphError(
                f"tensor {self.tensor.name}: its initial value is outside [{self.low}, {self.high}]"
            )

    @classmethod
    def of(
        cls,
        name: str,
        dtype: str,
        shape: tuple[int, ...],
        initial: Array | None = None,
        *,
        low: float | None = None,
        high: float | None = None,
        scale: float = 1.0,
    ) -> Self:
        """One with a tensor of that name; real = code * scale."""
        tensor = Tensor(name, dtype, shape, kind="learned", scale=scale, persistent=True)
        return cls(tensor, initial, low, high)

    @property
    def interval(self) -> tuple[Array, Array]:
        """Lowest and highest value of each element."""
        return self.tensor.interval(self.low, self.high)

    def start(self) -> Array:
        """A fresh copy of the initial value."""
        if self.initial is None:
            return np.zeros(self.tensor.shape, self.tensor.numpy_dtype)
        return self.initial.copy()

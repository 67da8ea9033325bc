"""What pools on values of a precision share. C twin: firmware/learn/pool2d.h."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from spikelet.graph.c import Fields
from spikelet.graph.declared import Natural, Size, TensorScale
from spikelet.graph.operator import Cost, Emitter, Interval, Phase
from spikelet.graph.tensor import Array, Tensor
from spikelet.learn.bases.trainable import INT32_MAX
from spikelet.learn.bases.window import Windowed
from spikelet.learn.numbers import scalar
from spikelet.learn.numbers.scalar import Scale


@dataclass(kw_only=True)
class Pool2d(Windowed):
    """Base of pools over windows of an (H, W, C) tensor of values; padding does not count."""

    _shape: tuple[int, int, int] = field(init=False, repr=False, default=(1, 1, 1))
    _scale: Scale = field(init=False, repr=False, default_factory=Scale)

    def pooled(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """Shape of the output; refuses windows that may lie in the padding alone."""
        height, width = self.out_image(shape)
        top, left, bottom, right = self.padding
        if max(top, bottom) >= self.kernel[0] or max(left, right) >= self.kernel[1]:
            raise self.error(f"padding {self.padding} is not less than the kernel {self.kernel}")
        self._shape = self.image(shape)
        return height, width, self._shape[2]

    def cost(self, ins: list[Tensor]) -> Cost:
        return Cost(macs=sum(tap.pixels for tap in self.taps(self._shape)) * self._shape[2])

    def fields(self) -> Fields:
        """Of `struct spk_learn_pool2d`."""
        return {
            **self.window_fields(self._shape, "window."),
            "scale": self._scale.c(self.precision),
        }


@dataclass(kw_only=True)
class Average(Pool2d):
    """Base of the average pool's two passes: parts of a window's pixels.

    A window's pixels count 1 / n each, n of them inside. On integers, where all windows lie inside,
    n is in the scale; else parts have as many bits as sums leave room for.
    """

    _factors: Array = field(init=False, repr=False, default_factory=lambda: np.ones((1, 1)))
    _bits: int = field(init=False, repr=False, default=0)

    def counts(self) -> tuple[Array, Array]:
        """Rows inside of each row of windows, and columns."""
        out = self.out_image(self._shape)
        rows, columns = np.zeros(out[0], np.int64), np.zeros(out[1], np.int64)
        for tap in self.taps(self._shape):
            if tap.column == 0:
                rows[tap.outputs[0]] += 1
            if tap.row == 0:
                columns[tap.outputs[1]] += 1
        return rows, columns

    def split(self, products: int, largest: int) -> None:
        """Choose the parts.

        Args:
            products: in a sum of parts, at the most; 0 for the sum of a window, times its part.
            largest: value.
        """
        rows, columns = np.indices(self.kernel) + 1
        n = rows * columns
        if self.real:
            self._factors = np.float32(1) / n.astype(np.float32)
        elif not any(self.padding):
            self._factors = np.ones(self.kernel, np.int32)
            self.prove((products or int(n.max())) * largest, "a sum")
        else:
            for bits in range(24, 0, -1):
                factors = np.rint(2.0**bits / n).astype(np.int64)
                most = int((n * factors).max()) if products == 0 else products * (1 << bits)
                if most * largest <= INT32_MAX:
                    break
            self.prove(most * largest, "a sum of parts")
            self._factors, self._bits = factors.astype(np.int32), bits

    def part(self, ratio: float) -> float:
        """The ratio of scales, without what the parts hold already."""
        if self.real or any(self.padding):
            return ratio * 2.0**-self._bits
        return ratio / math.prod(self.kernel)

    def by_output(self) -> Array:
        """The part of each window's pixels, (out H, out W, 1), as what is calculated with."""
        rows, columns = self.counts()
        chosen = self._factors[rows[:, None] - 1, columns[None, :] - 1][..., None]
        return scalar.widen(self.precision, chosen)

    def factor_fields(self, em: Emitter) -> Fields:
        """Of `struct spk_learn_pool2d`."""
        fields = self.fields()
        if any(self.padding):
            note = f"{self._factors.shape}, parts by rows and columns inside"
            fields["factors"] = em.const(f"{self.name}_factors", self._factors, note)
        elif self.real:
            fields["factor"] = float(self._factors[-1, -1])
        else:
            fields["factor"] = 1
        return fields


@dataclass(kw_only=True)
class PoolForward(Pool2d):
    """Base of forward passes: reads (H, W, C) values, writes (out H, out W, C).

    Attributes:
        again: computed once more for learning, in place of being kept since the prediction.
    """

    again: bool = False

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.LEARN if self.again else max(ins)

    def expect_values(self, ins: Sequence[Tensor]) -> Tensor:
        """Refuse all but one image of values."""
        self.expect_precision()
        value = scalar.value_dtype(self.precision)
        if len(ins) != 1 or ins[0].dtype != value:
            raise self.error(f"reads {', '.join(t.dtype for t in ins)}, expected one {value}")
        return ins[0]


@dataclass(kw_only=True)
class PoolInputGradient(Pool2d):
    """Base of input gradients: from the error (out H, out W, C) to (H, W, C).

    Attributes:
        shape: of x.
        mask: the gradient is 0 where x is not positive: x came out of a ReLU.
        gradient_scale: of the gradient, on integers.
        gradient_limit: it saturates at +-limit, on integers.
    """

    shape: tuple[Size, Size, Size]
    mask: bool = False
    gradient_scale: TensorScale = 1.0
    gradient_limit: Natural = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        height, width, channels = self.shape
        self.shape = (int(height), int(width), int(channels))

    def expect_error(self, ins: Sequence[Tensor], reads_x: bool) -> Tensor:
        """Refuse other inputs than the error, and x where it is read."""
        self.expect_precision()
        out = self.pooled(self.shape)
        value = scalar.value_dtype(self.precision)
        if len(ins) != 1 + reads_x:
            raise self.error(f"reads {len(ins)} tensors, expected error{', x' * reads_x}")
        self.expect_shape(ins[0], (value,), out)
        if reads_x:
            self.expect_shape(ins[1], (value,), self.shape)
        return ins[0]

    def written_gradient(self, bounds: dict[str, Interval]) -> list[Tensor]:
        """The tensor that it writes."""
        written = self.value(self.name, self.shape, self.gradient_scale, self.gradient_limit)
        bounds[self.name] = self.value_bounds(written, self.gradient_limit)
        return [written]

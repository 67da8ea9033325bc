"""What pools on values of a precision share. C twin: firmware/learn/pool2d.h."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from spikelet.graph.c import Fields
from spikelet.graph.declared import Natural, Size, TensorScale
from spikelet.graph.operator import Cost, Emitter, Interval, Phase
from spikelet.graph.tensor import Array, Tensor
from spikelet.learn.bases.trainable import INT32_MAX, Scaled
from spikelet.learn.bases.window import Windowed
from spikelet.learn.numbers import scalar


@dataclass(kw_only=True)
class Pool2d(Windowed):
    """Base of pools over windows of an (H, W, C) tensor of values; padding does not count."""

    facts: Scaled = field(init=False, repr=False, compare=False)

    @property
    def _shape(self) -> tuple[int, int, int]:
        """Of the larger image: x, or its gradient."""
        raise NotImplementedError

    def pooled_shape(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """Shape of the output; refuses windows that may lie in the padding alone."""
        height, width = self.out_image(shape)
        top, left, bottom, right = self.padding
        if max(top, bottom) >= self.kernel[0] or max(left, right) >= self.kernel[1]:
            raise self.error(f"padding {self.padding} is not less than the kernel {self.kernel}")
        return height, width, self.image(shape)[2]

    def cost(self) -> Cost:
        return Cost(macs=sum(tap.pixels for tap in self.taps(self._shape)) * self._shape[2])

    def fields(self) -> Fields:
        """Of `struct spk_learn_pool2d`."""
        return {
            **self.window_fields(self._shape, "window."),
            "scale": self.facts.scale.c(self.precision),
        }


@dataclass(frozen=True)
class Parts(Scaled):
    """How an average is taken.

    Attributes:
        factors: of a pixel, by the rows and columns of its window that lie inside.
    """

    factors: Array


@dataclass(kw_only=True)
class Average(Pool2d):
    """Base of the average pool's two passes: parts of a window's pixels.

    A window's pixels count 1 / n each, n of them inside. On integers, where all windows lie inside,
    n is in the scale; else parts have as many bits as sums leave room for.
    """

    facts: Parts = field(init=False, repr=False, compare=False)

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

    def parts(self, products: int, largest: int, ratio: float, limit: int) -> Parts:
        """Choose the parts.

        Args:
            products: in a sum of parts, at the most; 0 for the sum of a window, times its part.
            largest: value.
            ratio: of the scales of input and output.
            limit: of the output.
        """
        rows, columns = np.indices(self.kernel) + 1
        n = rows * columns
        if self.real:
            return Parts(self.scale_of(ratio, limit), np.float32(1) / n.astype(np.float32))
        if not any(self.padding):
            self.prove((products or int(n.max())) * largest, "a sum")
            scale = self.scale_of(ratio / math.prod(self.kernel), limit)
            return Parts(scale, np.ones(self.kernel, np.int32))
        for bits in range(24, 0, -1):
            factors = np.rint(2.0**bits / n).astype(np.int64)
            most = int((n * factors).max()) if products == 0 else products * (1 << bits)
            if most * largest <= INT32_MAX:
                break
        self.prove(most * largest, "a sum of parts")
        return Parts(self.scale_of(ratio * 2.0**-bits, limit), factors.astype(np.int32))

    def by_output(self) -> Array:
        """The part of each window's pixels, (out H, out W, 1), as what is calculated with."""
        rows, columns = self.counts()
        chosen = self.facts.factors[rows[:, None] - 1, columns[None, :] - 1][..., None]
        return scalar.widen(self.precision, chosen)

    def factor_fields(self, em: Emitter) -> Fields:
        """Of `struct spk_learn_pool2d`."""
        fields = self.fields()
        if any(self.padding):
            note = f"{self.facts.factors.shape}, parts by rows and columns inside"
            fields["factors"] = em.const(f"{self.name}_factors", self.facts.factors, note)
        elif self.real:
            fields["factor"] = float(self.facts.factors[-1, -1])
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

    @property
    def _shape(self) -> tuple[int, int, int]:
        return self.image(self.ins[0].shape)

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.LEARN if self.again else max(ins)

    def expect_values(self) -> Tensor:
        """Refuse all but one image of values."""
        self.expect_precision()
        value = scalar.value_dtype(self.precision)
        if len(self.ins) != 1 or self.ins[0].dtype != value:
            raise self.error(f"reads {', '.join(t.dtype for t in self.ins)}, expected one {value}")
        return self.ins[0]


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

    @property
    def _shape(self) -> tuple[int, int, int]:
        return self.shape

    def expect_error(self, reads_x: bool) -> Tensor:
        """Refuse other inputs than the error, and x where it is read."""
        self.expect_precision()
        out = self.pooled_shape(self.shape)
        value = scalar.value_dtype(self.precision)
        if len(self.ins) != 1 + reads_x:
            raise self.error(f"reads {len(self.ins)} tensors, expected error{', x' * reads_x}")
        self.expect_shape(self.ins[0], (value,), out)
        if reads_x:
            self.expect_shape(self.ins[1], (value,), self.shape)
        return self.ins[0]

    def written_gradient(self, bounds: dict[str, Interval]) -> list[Tensor]:
        """The tensor that it writes."""
        written = self.value(self.name, self.shape, self.gradient_scale, self.gradient_limit)
        bounds[self.name] = self.value_bounds(written, self.gradient_limit)
        return [written]

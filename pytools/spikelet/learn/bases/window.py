"""Windows over an image, for convolutions and pools that learn: which taps meet which pixels.

C twin: firmware/learn/window.h. Taps outside of the image are left out: a sum has no products with
padding in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from spikelet.graph.c import Fields
from spikelet.graph.declared import Margins, Pair
from spikelet.learn.bases.trainable import Trainable

Axes = tuple[slice, slice]


@dataclass(frozen=True)
class Tap:
    """One cell of the kernel.

    Attributes:
        row: in the kernel.
        column: in the kernel.
        outputs: the rows and columns of the output that it has a pixel for.
        inputs: those pixels' rows and columns, as many.
    """

    row: int
    column: int
    outputs: Axes
    inputs: Axes

    @property
    def pixels(self) -> int:
        """How many they are."""
        rows, columns = self.outputs
        return int((rows.stop - rows.start) * (columns.stop - columns.start))


@dataclass(kw_only=True)
class Windowed(Trainable):
    """Base of the operators that look at windows of an (H, W, C) image.

    Attributes:
        kernel: height and width.
        stride: down, right.
        padding: top, left, bottom, right, in pixels.
    """

    kernel: Pair
    stride: Pair = (1, 1)
    padding: Margins = (0, 0, 0, 0)

    def __post_init__(self) -> None:
        height, width = self.kernel
        self.kernel = (int(height), int(width))
        down, right = self.stride
        self.stride = (int(down), int(right))
        top, left, bottom, last = self.padding
        self.padding = (int(top), int(left), int(bottom), int(last))

    def image(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """Refuse a shape that is not an image of a kernel or more, and wrong numbers."""
        if len(shape) != 3:
            raise self.error(f"x has shape {shape}, expected (height, width, channels)")
        if min(*self.kernel, *self.stride) < 1 or min(self.padding) < 0:
            raise self.error(
                f"kernel {self.kernel} with stride {self.stride} or padding {self.padding} is no "
                "window"
            )
        top, left, bottom, right = self.padding
        if self.kernel[0] > shape[0] + top + bottom or self.kernel[1] > shape[1] + left + right:
            raise self.error(f"kernel {self.kernel} is larger than the padded x of shape {shape}")
        return shape[0], shape[1], shape[2]

    def out_image(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Height and width of the output."""
        height, width, _ = self.image(shape)
        top, left, bottom, right = self.padding
        return (
            (height + top + bottom - self.kernel[0]) // self.stride[0] + 1,
            (width + left + right - self.kernel[1]) // self.stride[1] + 1,
        )

    def taps(self, shape: tuple[int, ...]) -> Iterator[Tap]:
        """The cells of the kernel in their order, row by row."""
        out = self.out_image(shape)
        for row in range(self.kernel[0]):
            down = self._reach(0, row, shape[0], out[0])
            for column in range(self.kernel[1]):
                right = self._reach(1, column, shape[1], out[1])
                yield Tap(row, column, (down[0], right[0]), (down[1], right[1]))

    def _reach(self, axis: int, tap: int, size: int, out: int) -> tuple[slice, slice]:
        stride, pad = self.stride[axis], self.padding[axis]
        first = max(0, -(-(pad - tap) // stride))
        end = max(first, min(out, (size - 1 + pad - tap) // stride + 1))
        start = first * stride + tap - pad
        return slice(first, end), slice(start, start + (end - first) * stride, stride)

    def window_fields(self, shape: tuple[int, int, int], prefix: str = "") -> Fields:
        """Fields of `struct spk_window`, as long as wide as they can be: tiles lie along a row."""
        height, width, channels = shape
        out = self.out_image(shape)
        sizes, kernel, stride, pad = (height, width), self.kernel, self.stride, self.padding[:2]
        if kernel == (1, 1) and stride == (1, 1) and not any(self.padding):
            sizes, out = (1, height * width), (1, height * width)
        elif width == 1 and kernel[1] == 1 and not self.padding[1] and not self.padding[3]:
            sizes, out, kernel = (1, height), (1, out[0]), (1, kernel[0])
            stride, pad = (1, stride[0]), (0, pad[0])
        return {
            f"{prefix}height": sizes[0],
            f"{prefix}width": sizes[1],
            f"{prefix}channels": channels,
            f"{prefix}out_height": out[0],
            f"{prefix}out_width": out[1],
            f"{prefix}kernel_height": kernel[0],
            f"{prefix}kernel_width": kernel[1],
            f"{prefix}stride_down": stride[0],
            f"{prefix}stride_right": stride[1],
            f"{prefix}pad_top": pad[0],
            f"{prefix}pad_left": pad[1],
        }

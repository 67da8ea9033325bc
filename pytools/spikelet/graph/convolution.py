"""What convolutions share: stride, dilation and padding, in two dimensions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from spikelet.graph.c import Fields
from spikelet.graph.declared import Margins, Pair
from spikelet.graph.operator import Band, Operator
from spikelet.graph.quantised import Quantised
from spikelet.graph.tensor import Array, Tensor

CHUNK_BYTES = 1 << 26  # of windows at a time


@dataclass(kw_only=True)
class Windows(Operator):
    """An operator whose outputs each see a window of an image (H, W, C).

    Attributes:
        stride: down, right.
        dilation: down, right: distance of the taps.
        padding: top, left, bottom, right, in pixels.
    """

    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    padding: Margins = (0, 0, 0, 0)

    def __post_init__(self) -> None:
        super().__post_init__()
        down, right = self.stride
        self.stride = (int(down), int(right))
        down, right = self.dilation
        self.dilation = (int(down), int(right))
        top, left, bottom, last = self.padding
        self.padding = (int(top), int(left), int(bottom), int(last))

    @property
    def _has_padding(self) -> bool:
        return any(self.padding)

    @property
    def _image(self) -> Tensor:
        """The input as (H, W, C)."""
        return self.ins[0]

    def image_shape(self, x: Tensor, kernel: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the output."""
        size = window_count(x.shape, kernel, self.stride, self.dilation, self.padding)
        if min(size) < 1:
            raise self.error(
                f"kernel {kernel} with dilation {self.dilation} reaches beyond input "
                f"{x.shape} with padding {self.padding}"
            )
        return size

    def windows(self, x: Array, kernel: tuple[int, int]) -> Array:
        """(N, H, W, C) to a view (N, out H, out W, C, KH, KW) of what each output sees."""
        top, left, bottom, right = self.padding
        return self.unpadded_windows(
            np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0))), kernel
        )

    def unpadded_windows(self, x: Array, kernel: tuple[int, int]) -> Array:
        """The same of an image that has its padding."""
        return windows_of(x, kernel, self.stride, self.dilation)

    def window_fields(self, kernel: tuple[int, int]) -> Fields:
        """Fields of a kernel's configuration that tell sizes and places."""
        return window_fields(self._image.shape, kernel, self.stride, self.dilation, self.padding)

    def geometry_fields(self, kernel: tuple[int, int]) -> Fields:
        """Fields of a kernel's `struct spk_geometry geometry`."""
        return geometry_fields(self.window_fields(kernel), self.outs[0].shape[-1])


def window_fields(
    shape: tuple[int, ...], kernel: Pair, stride: Pair, dilation: Pair, padding: Margins
) -> Fields:
    """Fields of a kernel's configuration that tell sizes and places, of an image (H, W, C)."""
    height, width, channels = shape
    out_height, out_width = window_count(shape, kernel, stride, dilation, padding)
    return {
        "height": height,
        "width": width,
        "channels": channels,
        "out_height": out_height,
        "out_width": out_width,
        "kernel_height": kernel[0],
        "kernel_width": kernel[1],
        "stride_down": stride[0],
        "stride_right": stride[1],
        "dilation_down": dilation[0],
        "dilation_right": dilation[1],
        "pad_top": padding[0],
        "pad_left": padding[1],
    }


def geometry_fields(windows: Fields, outputs: int) -> Fields:
    """Fields of a kernel's `struct spk_geometry geometry`, of `window_fields`."""
    return {f"geometry.{name}": value for name, value in {**windows, "outputs": outputs}.items()}


@dataclass(kw_only=True)
class Convolution(Windows, Quantised):
    """An int8 convolution over (H, W, C); outside the image lies the input's zero point."""

    def band(self, first: int, end: int) -> Band | None:
        if self.folded:  # folded once, not for each band
            return None
        top, left, _, right = self.padding
        kernel = self.weight.shape[self.weight.ndim - 3 : self.weight.ndim - 1]
        reach = (kernel[0] - 1) * self.dilation[0] + 1
        return window_band(
            self.ins[0].shape[0], reach, self.stride[0], (top, left, right), first, end
        )

    def exercised_weights(self, moved: Mapping[str, Array]) -> tuple[int, int]:
        kernel = self.weight.shape[self.weight.ndim - 3 : self.weight.ndim - 1]
        image = moved[self.inputs[0]].reshape(self._image.shape)
        taps = self.windows(image[None], kernel).any(axis=(0, 1, 2))  # (C, KH, KW)
        return self.weight.size // taps.size * int(taps.sum()), self.weight.size


def window_count(
    shape: tuple[int, ...], kernel: Pair, stride: Pair, dilation: Pair, padding: Margins
) -> tuple[int, int]:
    """Windows down and right of an image (H, W, C); less than 1 where one reaches beyond it."""
    down, right = (
        (shape[axis] + padding[axis] + padding[axis + 2] - (kernel[axis] - 1) * dilation[axis] - 1)
        // stride[axis]
        + 1
        for axis in (0, 1)
    )
    return down, right


def windows_of(
    x: Array, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
) -> Array:
    """(N, H, W, C) with its padding to a view (N, out H, out W, C, KH, KW) of all windows."""
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    view = sliding_window_view(x, (reach[0], reach[1]), axis=(1, 2))
    patches: Array = view[:, :: stride[0], :: stride[1], :, :: dilation[0], :: dilation[1]]
    return patches


def window_band(
    height: int, reach: int, stride: int, padding: tuple[int, int, int], first: int, end: int
) -> Band | None:
    """Of windows of `reach` rows; what reaches beyond a band is padding only where it was before.

    Args:
        height: of the input.
        reach: rows of a window.
        stride: down.
        padding: top, left, right.
        first: row of the output.
        end: row behind the last one.
    """
    top, left, right = padding
    start, stop = first * stride - top, (end - 1) * stride - top + reach
    low, high = max(start, 0), min(stop, height)
    if low >= high:
        return None
    return Band(((low, high),), {"padding": (low - start, left, stop - high, right)})

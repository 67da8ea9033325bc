"""Transposed convolutions of images and signals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spikelet.graph import Array
from spikelet.graph.ops.transpose_conv import TransposeConv
from spikelet.quantise.layers import Layer, Value, channels_last
from spikelet.quantise.operator import Attributes
from spikelet.quantise.spatial import pad, spatial
from spikelet.quantise.weighted import Weighted

if TYPE_CHECKING:
    from torch import Tensor


class ConvTranspose(Weighted):
    """x (N, I, *spatial), weight (O, I, *kernel), bias (O,): (N, O, *spatial)."""

    OP = "ConvTranspose"

    def meaning(self, inputs: list[Any], attributes: Attributes) -> Array:
        x, weight = inputs[0], inputs[1]
        rank = weight.ndim - 2
        strides = spatial(attributes, "strides", rank, 1)
        pads = spatial(attributes, "pads", 2 * rank, 0)
        more = spatial(attributes, "output_padding", rank, 0)
        if rank not in (1, 2) or x.shape[1] != weight.shape[1]:
            raise ValueError(f"weights of shape {weight.shape}")
        steps = [(n - 1) * s + 1 for n, s in zip(x.shape[2:], strides, strict=True)]
        sizes = [n + k - 1 + m for n, k, m in zip(steps, weight.shape[2:], more, strict=True)]
        y = np.zeros((len(x), len(weight), *sizes), np.float32)
        for tap in np.ndindex(*weight.shape[2:]):
            places = tuple(
                slice(at, at + n, s) for at, n, s in zip(tap, steps, strides, strict=True)
            )
            product = np.tensordot(weight[(slice(None), slice(None), *tap)], x, (1, 1))
            y[(slice(None), slice(None), *places)] += np.moveaxis(product, 0, 1)
        y = pad(y, [-p for p in pads], 0.0)
        if len(inputs) > 2 and inputs[2] is not None:
            y += inputs[2].astype(y.dtype).reshape(-1, *(1,) * rank)
        return y

    def in_torch(self, inputs: list[Any], attributes: Attributes) -> Tensor:
        from torch.nn import functional

        x, weight, bias = inputs[0], inputs[1], inputs[2] if len(inputs) > 2 else None
        rank = x.dim() - 2
        call = functional.conv_transpose2d if rank == 2 else functional.conv_transpose1d
        strides = spatial(attributes, "strides", rank, 1)
        pads = spatial(attributes, "pads", 2 * rank, 0)
        more = spatial(attributes, "output_padding", rank, 0)
        y = call(x, weight.transpose(0, 1), bias, strides, 0, more)
        for i in range(rank):
            y = y.narrow(2 + i, pads[i], y.shape[2 + i] - pads[i] - pads[rank + i])
        return y

    def lower(self, layer: Layer) -> Value:
        source, _ = layer.image()
        weights = layer.weights()
        weight = weights[0]
        if weight.ndim == 3:
            weight = weight[:, :, None]
        size = (1, *layer.shape[2:]) if len(layer.shape) == 3 else layer.shape[2:]
        made = TransposeConv(
            name=layer.name,
            inputs=(source.name,),
            weight=layer.as_int8(weight.transpose(0, 2, 3, 1)),
            size=(size[0], size[1]),
            stride=layer.pair("strides", 1),
            padding=layer.margins()[:2],
            **layer.scaling(source, weights),
        )
        return layer.finish(layer.add(made), channels_last(len(layer.shape)))

"""Windows over the spatial axes of images (N, C, H, W) and signals (N, C, L): margins and pools."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelet.graph import Array
from spikelet.quantise.fold import Folding
from spikelet.quantise.layers import Layer
from spikelet.quantise.network import Node
from spikelet.quantise.operator import Attributes

if TYPE_CHECKING:
    from torch import Tensor

MOST_PADDED = 1 << 23  # elements of a sample with its margins


def spatial(attributes: Attributes, name: str, rank: int, default: int) -> list[int]:
    """An attribute with a number for each of `rank` axes."""
    sizes = attributes.get(name)
    return [default] * rank if sizes is None else [int(v) for v in sizes]


def pad(x: Array, pads: Sequence[int], value: float) -> Array:
    """With margins (begin of each spatial axis, then end of each); negative ones cut."""
    rank = len(pads) // 2
    begin, end = pads[:rank], pads[rank:]
    grown = [(max(b, 0), max(e, 0)) for b, e in zip(begin, end, strict=True)]
    lead = x.ndim - rank
    if any(b or e for b, e in grown):
        sizes = zip(x.shape[lead:], grown, strict=True)
        elements = math.prod(x.shape[1:lead]) * math.prod(n + b + e for n, (b, e) in sizes)
        if elements > MOST_PADDED:
            raise ValueError(f"{elements} elements with its margins, at most {MOST_PADDED}")
        x = np.pad(x, [(0, 0)] * lead + grown, constant_values=value)
    cut = tuple(
        slice(max(-b, 0), x.shape[lead + i] - max(-e, 0))
        for i, (b, e) in enumerate(zip(begin, end, strict=True))
    )
    return x[(slice(None),) * lead + cut]


def padded_in_torch(x: Tensor, pads: Sequence[int], value: float) -> Tensor:
    """With margins of the last `len(pads) / 2` axes, as `pad` has them."""
    from torch.nn.functional import pad

    rank = len(pads) // 2
    ends = zip(reversed(pads[:rank]), reversed(pads[rank:]), strict=True)  # the last axis first
    return pad(x, [p for pair in ends for p in pair], value=value)


def margins_in_torch(
    x: Tensor, attributes: Attributes, value: float = 0.0
) -> tuple[Tensor, list[int]]:
    """The input, padded here where begin and end differ, and the padding that is left to do."""
    rank = x.dim() - 2
    pads = spatial(attributes, "pads", 2 * rank, 0)
    if pads[:rank] == pads[rank:]:
        return x, pads[:rank]
    return padded_in_torch(x, pads, value), [0] * rank


def zeros_before(folding: Folding, node: Node) -> tuple[Node, list[int]] | None:
    """The Pad before a node whose zeros may become margins of its own, and these with its own."""
    pad = folding.network.writer(node.inputs[0])
    if pad is None or pad.op != "Pad" or not folding.may_remove(pad.name):
        return None
    margins = [int(p) for p in pad.attributes["pads"]]
    rank = len(margins) // 2
    begin, end = margins[:rank], margins[rank:]
    zero = pad.attributes.get("value", 0.0) == 0
    plain = pad.attributes.get("mode", "constant") == "constant" and zero and min(margins) >= 0
    if not plain or any(begin[:2]) or any(end[:2]):
        return None
    own = [int(p) for p in node.attributes.get("pads") or [0] * (2 * rank - 4)]
    return pad, [a + b for a, b in zip(own, [*begin[2:], *end[2:]], strict=True)]


def pool_reach(
    size: int, kernel: int, stride: int, dilation: int, margins: tuple[int, int], ceil: bool
) -> tuple[int, int]:
    """Outputs of a pool along one axis, and the margin that its last window needs at the end."""
    begin, end = margins
    room = size + begin + end - (kernel - 1) * dilation - 1
    if room < 0:
        raise ValueError(f"a window of {kernel} does not fit {size} with margins {begin}, {end}")
    outputs = (-(-room // stride) if ceil else room // stride) + 1
    if ceil and (outputs - 1) * stride >= size + begin:
        outputs -= 1  # a window that starts in the margin at the end does not count
    needed = (outputs - 1) * stride + (kernel - 1) * dilation + 1 - size - begin
    return outputs, max(needed, 0)


def cells(x: Array, attributes: Attributes, outside: float) -> list[Array]:
    """For each cell of a pool's window its value at every output, (N, C, *outputs)."""
    kernel = [int(k) for k in attributes["kernel_shape"]]
    rank = len(kernel)
    strides = spatial(attributes, "strides", rank, 1)
    dilations = spatial(attributes, "dilations", rank, 1)
    pads = spatial(attributes, "pads", 2 * rank, 0)
    ceil = bool(attributes.get("ceil_mode", 0))
    sides = [
        pool_reach(
            x.shape[2 + i], kernel[i], strides[i], dilations[i], (pads[i], pads[rank + i]), ceil
        )
        for i in range(rank)
    ]
    x = pad(x, [*pads[:rank], *(end for _, end in sides)], outside)
    edges = []
    for cell in np.ndindex(*kernel):
        steps = tuple(
            slice(at * d, at * d + (count - 1) * s + 1, s)
            for at, d, s, (count, _) in zip(cell, dilations, strides, sides, strict=True)
        )
        edges.append(x[(slice(None), slice(None), *steps)])
    return edges


def pool_window(layer: Layer, size: tuple[int, int]) -> dict[str, Any]:
    """Window, stride and padding of an integer pool; the padding is what its last window needs."""
    kernel, stride = layer.pair("kernel_shape", 1), layer.pair("strides", 1)
    dilation, margins = layer.pair("dilations", 1), layer.margins()
    ceil = bool(layer.node.attributes.get("ceil_mode", 0))
    ends = [
        pool_reach(size[i], kernel[i], stride[i], dilation[i], (margins[i], margins[i + 2]), ceil)[
            1
        ]
        for i in (0, 1)
    ]
    return {"window": kernel, "stride": stride, "padding": (*margins[:2], *ends)}

"""The sign as an activation: it makes the layers behind it binary, XNOR and popcount.

PyTorch traces `Sign` as one call, `spikelet::sign_bit`, which becomes `Trunc` of mode SIGN.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


@torch.library.custom_op("spikelet::sign_bit", mutates_args=())
def sign_bit(x: Tensor) -> Tensor:
    """-1 where x is negative, else 1."""
    return x.ge(0).to(x.dtype).mul_(2).sub_(1)


@sign_bit.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


def _keep(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, gradient: Tensor) -> Tensor:
    (x,) = ctx.saved_tensors
    near: Tensor = x.abs().mul_(-2).add_(2).clamp_(min=0)
    return near.mul_(gradient)


sign_bit.register_autograd(_backward, setup_context=_keep)


class Sign(nn.Module):
    """-1 or 1; the gradient is that of a rounded step, 2 - 2|x| within -1..1.

    It stands behind a batch normalisation. A layer of 1-bit weights reads its signs as bits where
    its channels are a multiple of 32, or its input is one pixel.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape."""
        signs: Tensor = sign_bit(x)
        return signs

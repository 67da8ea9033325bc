"""Training images drawn anew: turned, stretched, sheared, shifted, bent as by an uneven hand.

A smooth random displacement of the pixels is Simard et al., "Best practices for convolutional
neural networks applied to visual document analysis", ICDAR 2003.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

from spikelet.train.recipe import DeformSection

BENDS = 5  # points on a side at which displacements are drawn


def deform(x: Tensor, most: DeformSection) -> Tensor:
    """Images (N, C, H, W), each deformed in its own way; what comes from outside is 0."""
    n = len(x)

    def drawn(limit: float, *shape: int) -> Tensor:
        return (2 * torch.rand(n, *shape) - 1) * limit

    angle, shear = drawn(math.radians(most.rotate)), drawn(most.shear)
    zoom, shift = 1 + drawn(most.zoom, 2), drawn(2 * most.shift, 2)  # the grid is -1 to 1
    sine, cosine = angle.sin(), angle.cos()
    across = torch.stack([cosine * zoom[:, 0], shear - sine * zoom[:, 0], shift[:, 0]], dim=1)
    down = torch.stack([sine * zoom[:, 1], cosine * zoom[:, 1], shift[:, 1]], dim=1)
    grid = affine_grid(torch.stack([across, down], dim=1), list(x.shape), align_corners=False)
    if most.elastic:
        bends = torch.randn(n, 2, BENDS, BENDS) * (2 * most.elastic)
        bent = interpolate(bends, size=list(x.shape[2:]), mode="bicubic", align_corners=False)
        grid = grid + bent.permute(0, 2, 3, 1)
    return grid_sample(x, grid, align_corners=False)

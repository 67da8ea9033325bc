"""Copies of training images, deformed before the first epoch at the size that the data set has.

An image is deformed first and made smaller then, as the test part is: what is made smaller first is
blurred by it. A teacher answers each copy once.
"""

from __future__ import annotations

import numpy as np
import torch

from spikelet.graph import Array
from spikelet.train.data import DataSet
from spikelet.train.deform import deform
from spikelet.train.recipe import DataSection, DeformSection, RecipeError

CHUNK = 1000  # images that are deformed at once


def drawn(whole: DataSet, section: DataSection, how: DeformSection) -> Array:
    """Training images (copies, N, H, W, C), u8 codes; the same for every seed of a training.

    Args:
        whole: images of u8 codes in the size that they have in the data set.
        section: what is cut and made smaller of it.
        how: the most of each deformation, how many copies, and the seed of their draws.

    Raises:
        RecipeError: the samples are no images of u8 codes.
    """
    if whole.x_train.dtype != np.uint8 or len(whole.shape) != 3:
        raise RecipeError(
            f"data set {whole.name}: samples {whole.x_train.dtype} of shape {whole.shape}",
            "[deform] copies is for images of u8 codes",
            "leave copies out: each batch is then deformed as it is trained",
        )
    count = how.copies or 1
    copies: list[Array] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(how.seed or 0)
        for _ in range(count):
            parts = range(0, len(whole.x_train), CHUNK)
            bent = [_deformed(whole, whole.x_train[at : at + CHUNK], how) for at in parts]
            copies.append(section.sized_images(np.concatenate(bent)))
    return np.stack(copies)


def _deformed(whole: DataSet, x: Array, how: DeformSection) -> Array:
    """Codes (N, H, W, C) of images, each deformed; what comes from outside is the real value 0."""
    real = torch.from_numpy(np.ascontiguousarray(np.moveaxis(whole.real(x), -1, 1)))
    offset, scale = (torch.from_numpy(v)[:, None, None] for v in (whole.offset, whole.scale))
    codes = deform(real, how).sub_(offset).div_(scale).add_(0.5).floor_().clamp_(0, 255)
    return np.ascontiguousarray(np.moveaxis(codes.to(torch.uint8).numpy(), 1, -1))

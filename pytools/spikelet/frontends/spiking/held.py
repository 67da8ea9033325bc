"""A tensor of a spiking network as the graph holds it: channels last, codes of a unit."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from spikelet.frontends.spiking.network import Layer
from spikelet.graph import Array
from spikelet.refusal import ImportRefused


@dataclass(frozen=True)
class Held:
    """A tensor of the network as the graph holds it.

    Attributes:
        name: of the graph's tensor.
        shape: of it, channels last.
        unit: real value of one code: one number, or (C,) of sums.
        zero: the code of 0.
        image: (C, H, W) of what was flattened, None where its order is the network's.
        most: the largest real value, in size; of spikes and of inputs.
    """

    name: str
    shape: tuple[int, ...]
    unit: Array = field(default_factory=lambda: np.ones(1))
    zero: int = 0
    image: tuple[int, ...] | None = None
    most: float = 1.0

    def order(self) -> Array | None:
        """Where each element in memory comes from in the network's order; None: it is the same."""
        if self.image is None:
            return None
        return (
            np.arange(int(np.prod(self.image))).reshape(self.image).transpose(1, 2, 0).reshape(-1)
        )


def channels_last(shape: tuple[int, ...]) -> tuple[int, ...]:
    """(C, H, W) as (H, W, C); others as they are."""
    return (*shape[1:], shape[0]) if len(shape) == 3 else shape


def in_memory(source: Held, values: Array | None) -> Array:
    """One value, or one a neuron in the network's order, in the order of the graph's tensor."""
    flat = np.asarray(0.0 if values is None else values, np.float64).reshape(-1)
    if flat.size == 1:
        return flat
    order = source.order()
    if order is None and len(source.shape) == 3:
        image = (source.shape[2], *source.shape[:2])
        order = Held("", (), image=image).order()
    if flat.size == source.shape[-1] and flat.size != int(np.prod(source.shape)):
        return flat  # by channel
    return flat if order is None else flat[order]


def refuse_beside_image(layer: Layer, image: str, others: list[str]) -> None:
    """Refuse to add other sums, if there are any, to those of an image that was flattened."""
    if others:
        raise ImportRefused(
            f"layer {layer.called}: it adds {' and '.join(others)} to {image}, an image that was "
            "flattened: a device holds it channels last, the others in the order of the network",
            next="flatten spikes and put a Linear behind: a recurrence then goes round the dense "
            "neurons; or keep the image, with a one-to-one recurrence of its shape, and flatten "
            "behind the neurons",
        )

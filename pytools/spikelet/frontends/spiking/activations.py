"""Functions between the layers of a network that reads real values: their int8 codes."""

from __future__ import annotations

import numpy as np

from spikelet.frontends.spiking.held import Held, channels_last
from spikelet.frontends.spiking.network import Activation, Previous
from spikelet.graph import Array, Operator, Tensor
from spikelet.graph.int8 import code_factor
from spikelet.graph.ops.codes import Codes
from spikelet.graph.ops.previous import Previous as PreviousOperator
from spikelet.graph.ops.tanh import Tanh, tanh_table

MOST_CODE = 127
TANH_LIMIT = 4.0  # beyond it tanh is 1 within a third of a code


def _lowest_code(layer: Activation) -> int:
    """Of what it writes."""
    return 0 if layer.function == "relu" else -MOST_CODE


def activated(
    layer: Activation, name: str, shape: tuple[int, ...], image: tuple[int, ...] | None = None
) -> Held:
    """What it writes, or wrote in the step before, as the graph's tensor of that name."""
    most = 1.0 if layer.function == "tanh" else layer.limit
    return Held(name, shape, np.array([most / MOST_CODE]), image=image, most=most)


def carried(layer: Previous, writer: Activation) -> tuple[Operator, Held]:
    """What a function wrote in the step before."""
    held = activated(writer, layer.name, channels_last(layer.shape))
    node = PreviousOperator(
        name=layer.name,
        of=layer.of,
        shape=held.shape,
        dtype="i8",
        low=_lowest_code(writer),
        high=MOST_CODE,
    )
    return node, held


def activation_operators(layer: Activation, source: Held) -> list[Operator]:
    """What computes it of sums or membranes; the last one has its name."""
    last = layer.function != "tanh"
    limit = layer.limit if last else TANH_LIMIT
    scale = limit / MOST_CODE
    factors = [code_factor(float(unit) / scale) for unit in source.unit]
    multiplier, shift = (np.array(part, np.int32) for part in zip(*factors, strict=True))
    name = layer.name if last else f"{layer.name}_codes"
    codes = Codes(
        name=name,
        inputs=(source.name,),
        multiplier=multiplier,
        shift=shift,
        limits=(_lowest_code(layer), MOST_CODE),
        output_scale=scale,
    )
    if last:
        return [codes]
    given = Tensor(name, "i8", source.shape, scale=scale)
    table: Array = tanh_table(given, 1 / MOST_CODE, 0)
    tanh = Tanh(name=layer.name, inputs=(name,), table=table, output_scale=1 / MOST_CODE)
    return [codes, tanh]

"""The quantised network in float, and biases corrected on it.

Rounding weights and clipping activations moves the mean of a channel; what it is moved by on the
calibration data is taken off the bias. Source: Nagel et al., Data-Free Quantization Through Weight
Equalization and Bias Correction, 2019, section 4.2 (empirical form).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from spikelet.graph import Array
from spikelet.quantise.calibrate import fake_quantise, integers, reals, weight_code
from spikelet.quantise.fuse import sites
from spikelet.quantise.meaning import execute
from spikelet.quantise.network import Code, Network, Node, constant
from spikelet.quantise.operator import operator_of

LEAST_RATIO = 2.0**-20  # of a sum's step to the output's: what the fast kernels' shifts reach
LARGEST_BIAS = 2.0**28


def linear_nodes(network: Network) -> list[Node]:
    """Nodes with weights that are constants."""
    return [
        node
        for node in network.nodes
        if operator_of(node).weighted and node.inputs[1] in network.constants
    ]


def bias_of(network: Network, node: Node) -> Array:
    """(O,) of a Conv or Gemm; zeros where it has none."""
    if len(node.inputs) > 2 and node.inputs[2]:
        return network.constants[node.inputs[2]]
    return np.zeros(len(network.constants[node.inputs[1]]), np.float32)


def weight_codes(
    network: Network,
    outputs: Mapping[str, str],
    per_channel: bool = True,
    bits: Mapping[str, int] | None = None,
    odd: bool = False,
) -> dict[str, Code]:
    """Codes of all weights that have none, or one whose scale cannot carry a channel's bias.

    Args:
        network: with the codes of all activations.
        outputs: by the name of a Conv or Gemm node, its group's.
        per_channel: one scale an output channel, not one a tensor.
        bits: by node, of its weights; 8 where it is not there.
        odd: weights of less than 8 bits are on the grid without a zero; of 1 bit they always are.
    """
    codes: dict[str, Code] = {}
    for node in linear_nodes(network):
        name = node.inputs[1]
        given = network.codes.get(name)
        if given is not None and given.even:
            continue  # its bias is in the steps of its sums
        code = given or codes.get(name)
        if code is None:
            own = (bits or {}).get(node.name, 8)
            without_zero = own == 1 or (odd and own < 8)
            code = weight_code(network.constants[name], per_channel, own, without_zero)
        into, out = (float(network.codes[n].scale) for n in (node.inputs[0], outputs[node.name]))
        # At a finer scale the bias would be beyond 32 bits. What it is then coarser by is nothing
        # beside that bias.
        least = np.abs(bias_of(network, node)).astype(np.float64) / (into * LARGEST_BIAS)
        if given is None:  # or the factor would be beyond the fast kernels' shifts
            least = np.maximum(least, LEAST_RATIO * out / into)
        least = least.astype(np.float32)
        if given is None or np.any(code.scale < least):
            scale = np.maximum(code.scale, least if code.scale.ndim else least.max())
            codes[name] = dataclasses.replace(code, scale=scale)
    return codes


def simulate(
    network: Network, feeds: Mapping[str, Array], reference: Mapping[str, Array] | None = None
) -> tuple[dict[str, Array], Network]:
    """Execute a network in float with every tensor as its code holds it.

    Args:
        network: folded, with all codes.
        feeds: inputs by name.
        reference: every tensor of the float network on the same data, if biases are to be corrected
            for the mean difference of each channel.

    Returns:
        Every tensor, and the network, its biases corrected.
    """
    coded, corrected = network.copy(), network.copy()
    where = sites(network)
    linear = {node.name for node in linear_nodes(network)}
    weighted = {node.name: i for i, node in enumerate(network.nodes) if node.name in linear}
    for name in {network.nodes[i].inputs[1] for i in weighted.values()}:
        code = network.codes[name]
        coded.constants[name] = reals(integers(network.constants[name], code), code)

    def after(node: Node | str, values: Array) -> Array:
        name = node if isinstance(node, str) else node.name
        if reference is not None and isinstance(node, Node) and name in weighted:
            channel = operator_of(node).channel_axis(values.ndim)
            axes = tuple(axis for axis in range(values.ndim) if axis != channel)
            error = (values - reference[name]).mean(axis=axes, dtype=np.float64)
            bias = (bias_of(network, node) - error).astype(np.float32)
            made = constant(corrected, f"{name}.corrected_bias", bias)
            inputs = (*node.inputs[:2], made)
            corrected.nodes[weighted[name]] = node.replace(inputs=inputs)
            shape = [1] * values.ndim
            shape[channel] = -1
            values = values - error.astype(np.float32).reshape(shape)
        return fake_quantise(values, network.codes[name]) if name in where else values

    values = execute(coded, feeds, after)
    read = {name for node in corrected.nodes for name in node.inputs}
    corrected.constants = {k: v for k, v in corrected.constants.items() if k in read}
    return values, corrected

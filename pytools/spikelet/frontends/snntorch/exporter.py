"""snnTorch networks to the integer graph.

A network is a chain of `nn.Linear` and `snn.Leaky` or `snn.Synaptic`; what each snnTorch layer
computes, step by step, was read in snntorch 1.0.0. A convention that the graph holds is carried
from the layer, any other is refused by the layer's name: nothing is approximated but the numbers
themselves.

The numbers: weights and biases are rounded to int8 and to the weight's step. The neurons' state is
exact (int32, a leak of 31 bits) unless it was measured that a narrow one (int16, a leak of 15 bits)
adds at most a fifth to what the weights' rounding costs; where weights quantise without error, it
is exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Required, TypedDict, Unpack, overload

import numpy as np
from torch import Tensor, nn

from spikelet.frontends.snntorch.chain import chain_network, check_spikes
from spikelet.frontends.snntorch.layers import ExportError, Readout, stages
from spikelet.frontends.spiking.encoders import DirectCurrent, Encoder, encode
from spikelet.frontends.spiking.framework import versions
from spikelet.frontends.spiking.package import STATES, Plan, State, make_package
from spikelet.graph import Array, Graph
from spikelet.graph.names import why_no_name
from spikelet.package import Package
from spikelet.seeds import sample_seeds

Codes = Tensor | np.ndarray[Any, Any]
_MOST_STEPS = 32767
_CHECKED = 16  # samples whose spikes are compared with the chain's own


class Tested(TypedDict, total=False):
    """What makes a package of a graph: samples to test it with.

    Attributes:
        test: (N, n) uint8 codes of real inputs; they become the package's test vectors.
        labels: (N,) of `test`: the manifest then holds the accuracies and their difference.
        seed: of the encoder's random spikes on `test`, 0 by default.
        out: where to save the package, if given.
    """

    test: Required[Codes]
    labels: Codes | None
    seed: int
    out: Path | str | None


@overload
def export(
    network: nn.Module | Mapping[str, nn.Module],
    *,
    steps: int,
    encoder: Encoder | None = ...,
    readout: Readout = ...,
    name: str = ...,
    fraction_bits: int | None = ...,
    state: State = ...,
) -> Graph: ...


@overload
def export(
    network: nn.Module | Mapping[str, nn.Module],
    *,
    steps: int,
    encoder: Encoder | None = ...,
    readout: Readout = ...,
    name: str = ...,
    fraction_bits: int | None = ...,
    state: State = ...,
    **tested: Unpack[Tested],
) -> Package: ...


def export(
    network: nn.Module | Mapping[str, nn.Module],
    *,
    steps: int,
    encoder: Encoder | None = None,
    readout: Readout = "spike_count",
    name: str = "snn",
    fraction_bits: int | None = None,
    state: State = "auto",
    **tested: Any,
) -> Graph | Package:
    """The integer graph of a trained snnTorch network; with `test`, a package with its figures.

    Weights become int8 codes, symmetric per output channel (one step for all channels of a readout
    that does not spike); a channel's scale goes into its threshold, and its bias into units of the
    sum. The graph's input is `x` (n,) u8, with the encoder Poisson also `seed` (1,) u32; its
    outputs are `label` (1,) i32 and the readout's scores.

    Args:
        network: an nn.Sequential, or layers by name in order of execution.
        steps: time steps T of one inference; membranes start at 0.
        encoder: how `x` becomes spikes or current; DirectCurrent() by default.
        readout: `spike_count` counts the last neurons' spikes; `membrane` takes their membrane
            after the last step (reset_mechanism "none"); `sum` adds up a last nn.Linear over time.
        name: of the graph, a C identifier.
        fraction_bits: of every membrane, 0 to 15; by default as many as its type provably holds.
        state: of the neurons. `exact`: int32 and a leak of 31 bits. `narrow`: int16 and 15 bits,
            int32 where int16 does not do. `auto`: exact; with `test`, narrow in each layer where
            that adds at most a fifth to the spikes that differ from the module's anyway, because
            weights were rounded.
        tested: `test`, `labels`, `seed` and `out`: see `Tested`.

    Returns:
        The graph; with `test` a package, whose manifest holds `spike_agreement` with the module
        itself by layer, and `state`, what was chosen and what it costs.

    Raises:
        ExportError: names the layer, what is wrong with it and what is supported.
    """
    encoder = DirectCurrent() if encoder is None else encoder
    check_arguments(steps, encoder, name, fraction_bits, state)
    given = _tested_arguments(tested)
    plan = chain_plan(network, int(steps), encoder, readout, name, fraction_bits)
    if "test" not in given:
        return plan.build(narrow=state == "narrow").graph
    ((_, (inputs,)),) = plan.network.inputs.items()
    x = _codes(given["test"], inputs)
    labels, seed = given.get("labels"), given.get("seed", 0)
    if labels is not None:
        labels = _labels(labels, plan, len(x))
    few = x[:_CHECKED]
    seen = encode(few, encoder, plan.steps, sample_seeds(seed, len(few)))
    check_spikes(network, plan.network, seen.numpy(), plan.steps)
    package = make_package(plan, state, x, labels, seed, versions())
    if "out" in given:
        package.save(given["out"])
    return package


def chain_plan(
    network: nn.Module | Mapping[str, nn.Module],
    steps: int,
    encoder: Encoder,
    readout: Readout,
    name: str,
    fraction_bits: int | None = None,
) -> Plan:
    """A chain as it is to become a graph; arguments as those of `export`, which raises the same."""
    made = chain_network(stages(network, readout), name, readout)
    bits = None if fraction_bits is None else int(fraction_bits)
    return Plan(made, steps, encoder, readout, bits)


def _codes(test: Codes, n: int) -> Array:
    """Test samples (N, n), checked."""
    x = np.asarray(test.detach().cpu().numpy() if isinstance(test, Tensor) else test)
    count = len(x) if x.ndim else 0
    if not count or x.size != count * n or x.dtype != np.uint8:
        raise ExportError(
            f"test is {x.dtype} of shape {x.shape}, expected uint8 codes (N, {n})",
            "real values, or samples of another network" if x.dtype != np.uint8 else "",
            "code = round(x / scale) + zero_point with the encoder's, round(256 x) for spikes",
        )
    return np.ascontiguousarray(x.reshape(count, n))


def _labels(labels: Codes, plan: Plan, count: int) -> Array:
    """Labels (N,) of the test samples, checked."""
    flat = np.asarray(labels.cpu().numpy() if isinstance(labels, Tensor) else labels).reshape(-1)
    classes = plan.exact.graph.highest_prediction + 1
    if not np.issubdtype(flat.dtype, np.integer) or len(flat) != count:
        raise ExportError(
            f"labels are {len(flat)} {flat.dtype} for {count} samples of test",
            "labels of other samples, one-hot labels, or targets: a spiking network names a class",
            "give one integer a sample",
        )
    if flat.min() < 0 or flat.max() >= classes:
        raise ExportError(
            f"labels reach from {flat.min()} to {flat.max()}, the network has {classes} classes",
            "labels that count from 1, or of another task",
            f"number the classes from 0 to {classes - 1}",
        )
    return flat.astype(np.int64)


def _tested_arguments(tested: Mapping[str, Any]) -> dict[str, Any]:
    """What is not None of `Tested`; a name that is not in it is refused as Python does it."""
    for name in tested:
        if name not in Tested.__annotations__:
            raise TypeError(f"export() got an unexpected keyword argument {name!r}")
    given = {name: value for name, value in tested.items() if value is not None}
    for name in ("labels", "out"):
        if name in given and "test" not in given:
            raise ExportError(
                f"{name} is given without test",
                "there are no samples to make a package of",
                "give test=, (N, n) uint8 codes",
            )
    return given


def check_arguments(steps: Any, encoder: Any, name: Any, fraction_bits: Any, state: Any) -> None:
    """Types and ranges that a caller without a type checker may miss; raises ExportError."""
    if not isinstance(encoder, Encoder):
        given = encoder.__name__ if isinstance(encoder, type) else repr(encoder)
        raise ExportError(
            f"encoder is {given}, expected DirectCurrent(...), Poisson(...) or Latency(...)",
            "the class in place of an object of it" if isinstance(encoder, type) else "",
            f"encoder={given}()" if isinstance(encoder, type) else "encoder=Poisson(), for example",
        )
    if not _is_int(steps) or not 1 <= steps <= _MOST_STEPS:
        raise ExportError(f"steps is {steps!r}, expected an integer of 1 to {_MOST_STEPS}")
    if refused := why_no_name(name):
        raise ExportError(*refused)
    if state not in STATES:
        raise ExportError(f"state is {state!r}", next=f"choose one of {', '.join(STATES)}")
    if fraction_bits is not None and not (_is_int(fraction_bits) and 0 <= fraction_bits <= 15):
        raise ExportError(
            f"fraction_bits is {fraction_bits!r}, expected an integer of 0 to 15",
            next="leave it out to have it chosen",
        )


def _is_int(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)

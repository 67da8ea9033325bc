"""A spiking network on real samples: options in one place, codes chosen by calibration data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from torch import nn

from spikelet.errors import UsageError
from spikelet.frontends.snntorch.exporter import check_arguments, export
from spikelet.frontends.snntorch.layers import READOUTS, ExportError, Readout, stages
from spikelet.frontends.spiking.encoders import (
    PER_STEP,
    DirectCurrent,
    Encoder,
    EventBits,
    EventCounts,
    Frames,
    Latency,
    Poisson,
)
from spikelet.frontends.spiking.framework import versions
from spikelet.frontends.spiking.package import Plan, State, make_package
from spikelet.frontends.spiking.program import READ_SAMPLES, Program, read
from spikelet.frontends.torch.exporter import Example, Samples, gather_samples
from spikelet.graph import Array
from spikelet.package import Package
from spikelet.samples import checked_labels, plain_array
from spikelet.streams import array_stream

Network = Program | Mapping[str, nn.Module]
ENCODERS = ("direct", "rate", "poisson", "latency", "frames", "events", "event_counts")
OF_STEPS = ("frames", "events", "event_counts")  # samples are (N, steps, *shape)
VECTORS = 200  # samples of the calibration data that become test vectors


@dataclass(frozen=True, kw_only=True)
class Spiking:
    """How a network of spiking neurons is executed: `export(..., options=Spiking(steps=25))`.

    Attributes:
        steps: time steps of one inference.
        encoder: how a sample becomes what the first layer gets in each step. `direct`: its values,
            constant; their range is that of the calibration data. `rate` or `poisson`: a spike with
            the value, 0 to 1, as its probability, as `spikegen.rate` draws them. `latency`: one
            spike, the earlier the larger the value. `frames`: samples are (N, steps, *shape), one
            frame a step, which a device holds whole. `events` and `event_counts`: the same, and a
            device gets them as address events, step by step, and holds one frame: bits, 1 where an
            address had an event; or counts, 0 to 255. Or an encoder of
            `spikelet.frontends.snntorch`.
        readout: `spike_count`, `membrane` or `sum`; see `spikelet.frontends.snntorch.export`. By
            default what a program answers with; of a chain of layers the spike count.
        state: of the neurons, `auto`, `exact` or `narrow`; see there.
        fraction_bits: of every membrane, 0 to 15; None for as many as it provably holds.
        seed: of `poisson` on the test samples.
    """

    steps: int
    encoder: (
        Encoder
        | Literal["direct", "rate", "poisson", "latency", "frames", "events", "event_counts"]
    ) = "direct"
    readout: Readout | None = None
    state: State = "auto"
    fraction_bits: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what no network could be executed with; raises UsageError."""
        named = self.encoder if isinstance(self.encoder, str) else "direct"
        for what, given, known in (
            ("encoder", named, ENCODERS),
            ("readout", self.readout or READOUTS[0], READOUTS),
        ):
            if given not in known:
                raise UsageError(f"{what} is {given!r}", next=f"choose one of {', '.join(known)}")
        encoder = Poisson() if isinstance(self.encoder, str) else self.encoder
        check_arguments(self.steps, encoder, "network", self.fraction_bits, self.state)

    def encoding(self, calibration: Array) -> Encoder:
        """The encoder, its codes chosen to hold the calibration data (N, n)."""
        if not isinstance(self.encoder, str):
            return self.encoder
        if self.encoder in ("events", "event_counts"):
            return EventBits() if self.encoder == "events" else EventCounts()
        if self.encoder not in ("direct", "frames"):
            return Latency() if self.encoder == "latency" else Poisson()
        low, high = min(0.0, float(calibration.min())), max(0.0, float(calibration.max()))
        scale = (high - low) / 255 or 1 / 255
        kind = Frames if self.encoder == "frames" else DirectCurrent
        return kind(scale, round(-low / scale))


def export_samples(
    network: Network,
    calibration: Samples,
    test: Samples | None,
    labels: Example | None,
    name: str,
    spiking: Spiking,
) -> Package:
    """A package of a network, tested with real samples; for the network see `export`.

    Args:
        network: layers of snnTorch by name, or any program with spiking neurons; see `program`.
        calibration: (N, *shape) real values, or batches of them: their range is the input's.
        test: (M, *shape) as well: the package's vectors; None for the first of `calibration`.
        labels: (M,) of them, or of all of `calibration`.
        name: of the graph.
        spiking: how it is executed.

    Raises:
        UsageError: a layer that cannot be carried over, or samples that do not fit.
    """
    if not isinstance(spiking, Spiking):
        raise UsageError(
            f"options are a {type(spiking).__name__}, expected Spiking or quantise.Options"
        )
    real = gather_samples(calibration, "calibration")
    tested = real[:VECTORS] if test is None else gather_samples(test, "test")
    classes = None if labels is None else plain_array(labels)
    if test is None and classes is not None and len(classes) == len(real):
        classes = classes[:VECTORS]
    if not _is_chain(network, spiking):
        assert not isinstance(network, Mapping)
        return _export_program(network, real, tested, classes, name, spiking)
    assert isinstance(network, nn.Module | Mapping)
    options: dict[str, Any] = {
        "steps": spiking.steps,
        "encoder": spiking.encoding(real),
        "readout": spiking.readout or READOUTS[0],
        "name": name,
        "fraction_bits": spiking.fraction_bits,
        "state": spiking.state,
    }
    graph, arrays = export(network, **options), {"x": tested}
    for samples in (real, tested):
        _check_time(samples, graph.tensors["x"].size, spiking.steps)
    codes = array_stream(Package(graph), arrays, "samples", "", graph.highest_prediction)
    made: Package = export(
        network, **options, test=codes.inputs["x"], labels=classes, seed=spiking.seed
    )
    return made


def _is_chain(network: Network, spiking: Spiking) -> bool:
    """Whether a network is a chain of snnTorch's layers, whose order need not be found out."""
    if isinstance(network, Mapping):
        return True
    if not isinstance(network, nn.Sequential) or _has_steps(spiking):
        return False
    try:
        stages(network, spiking.readout or READOUTS[0])
    except ExportError:
        return False
    return True


def _has_steps(spiking: Spiking) -> bool:
    """Whether samples have an axis of steps."""
    return spiking.encoder in OF_STEPS or isinstance(spiking.encoder, PER_STEP)


def _export_program(
    program: Program,
    real: Array,
    tested: Array,
    classes: Array | None,
    name: str,
    spiking: Spiking,
) -> Package:
    """A package of a program with spiking neurons, read from what it does."""
    framed = _has_steps(spiking)
    if framed and (real.ndim < 3 or real.shape[1] != spiking.steps):
        raise UsageError(
            f"samples have shape {real.shape}, expected (N, {spiking.steps}, *shape)",
            "time in front of the samples, or another number of steps",
            "give one frame a step, behind the axis of samples",
        )
    few = real[:READ_SAMPLES].astype(np.float32)
    found = read(
        program,
        np.moveaxis(few, 1, 0) if framed else few,
        spiking.steps,
        name,
        per_step=framed,
    )
    readout = spiking.readout or found.readout
    plan = Plan(found.network, spiking.steps, spiking.encoding(real), readout)
    plan = dataclasses.replace(plan, fraction_bits=spiking.fraction_bits)
    if classes is not None:
        highest = plan.exact.graph.highest_prediction
        classes = checked_labels(classes, "labels", len(tested), highest)
    made = make_package(plan, spiking.state, plan.codes(tested), classes, spiking.seed, versions())
    made.manifest["layouts"] = {"x": plan.layout()}
    return made


def _check_time(samples: Array, inputs: int, steps: int) -> None:
    """Refuse spike trains (T, N, *shape): the device draws its own from samples."""
    if samples.ndim > 2 and len(samples) == steps and samples[0, 0].size == inputs:
        raise UsageError(
            f"samples have shape {samples.shape}: {steps} steps of spikes, it seems",
            "they went through spikegen, while the device encodes samples itself, in each step",
            "give the samples as they were before, (N, *shape), and encoder='rate' or 'latency'",
        )

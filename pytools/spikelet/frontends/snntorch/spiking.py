"""A spiking network on real samples: options in one place, codes chosen by calibration data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from spikelet.errors import UsageError
from spikelet.frontends.snntorch.encoders import DirectCurrent, Encoder, Latency, Poisson
from spikelet.frontends.snntorch.exporter import export
from spikelet.frontends.snntorch.layers import Readout
from spikelet.frontends.snntorch.package import State
from spikelet.frontends.torch.exporter import Example, Samples, gather_samples
from spikelet.graph import Array
from spikelet.package import Package
from spikelet.samples import plain_array
from spikelet.streams import array_stream

VECTORS = 200  # samples of the calibration data that become test vectors


@dataclass(frozen=True, kw_only=True)
class Spiking:
    """How a network of spiking neurons is executed: `export(..., options=Spiking(steps=25))`.

    Attributes:
        steps: time steps of one inference; membranes start at 0.
        encoder: how a sample becomes what the first layer gets in each step. `direct`: its values,
            constant; their range is that of the calibration data. `poisson`: a spike with the
            value, 0 to 1, as its probability. `latency`: one spike, the earlier the larger the
            value. Or an encoder of `spikelet.frontends.snntorch`.
        readout: `spike_count`, `membrane` or `sum`; see `spikelet.frontends.snntorch.export`.
        state: of the neurons, `auto`, `exact` or `narrow`; see there.
        fraction_bits: of every membrane, 0 to 15; None for as many as it provably holds.
        seed: of `poisson` on the test samples.
    """

    steps: int
    encoder: Encoder | Literal["direct", "poisson", "latency"] = "direct"
    readout: Readout = "spike_count"
    state: State = "auto"
    fraction_bits: int | None = None
    seed: int = 0

    def encoding(self, calibration: Array) -> Encoder:
        """The encoder, its codes chosen to hold the calibration data (N, n)."""
        if not isinstance(self.encoder, str):
            return self.encoder
        if self.encoder in ("poisson", "latency"):
            return Poisson() if self.encoder == "poisson" else Latency()
        if self.encoder != "direct":
            raise UsageError(
                f"encoder is {self.encoder!r}", next="choose one of direct, poisson, latency"
            )
        low, high = min(0.0, float(calibration.min())), max(0.0, float(calibration.max()))
        scale = (high - low) / 255 or 1 / 255
        return DirectCurrent(scale, round(-low / scale))


def export_samples(
    network: nn.Module,
    calibration: Samples,
    test: Samples | None,
    labels: Example | None,
    name: str,
    spiking: Spiking,
) -> Package:
    """A package of a network, tested with real samples; for the network see `export`.

    Args:
        network: of snnTorch.
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
    options: dict[str, Any] = {
        "steps": spiking.steps,
        "encoder": spiking.encoding(real),
        "readout": spiking.readout,
        "name": name,
        "fraction_bits": spiking.fraction_bits,
        "state": spiking.state,
    }
    tested = real[:VECTORS] if test is None else gather_samples(test, "test")
    classes = None if labels is None else plain_array(labels)
    if test is None and classes is not None and len(classes) == len(real):
        classes = classes[:VECTORS]
    graph, arrays = export(network, **options), {"x": tested}
    codes = array_stream(Package(graph), arrays, "samples", "", graph.highest_prediction)
    made: Package = export(
        network, **options, test=codes.inputs["x"], labels=classes, seed=spiking.seed
    )
    return made

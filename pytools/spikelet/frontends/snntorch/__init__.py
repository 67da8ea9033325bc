"""snnTorch: a spiking network as the integer graph, with what each neuron's convention is.

`module` and `layers` read the layers, `graph` and `package` put it together.
"""

from spikelet.frontends.snntorch.exporter import Tested, export
from spikelet.frontends.snntorch.layers import READOUTS, ExportError, Readout
from spikelet.frontends.snntorch.package import State
from spikelet.frontends.spiking.encoders import DirectCurrent, Encoder, Latency, Poisson

__all__ = [
    "READOUTS",
    "DirectCurrent",
    "Encoder",
    "ExportError",
    "Latency",
    "Poisson",
    "Readout",
    "State",
    "Tested",
    "export",
]

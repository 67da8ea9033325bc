"""snnTorch: a spiking network as the integer graph, with what each neuron's convention is.

`layers` reads a chain of them and `chain` makes a network of it; `rules` tells of the classes in
any other program. What becomes of a network is `frontends.spiking`'s affair.
"""

from spikelet.frontends.snntorch.exporter import Tested, export
from spikelet.frontends.snntorch.layers import READOUTS, ExportError, Readout
from spikelet.frontends.spiking.encoders import DirectCurrent, Encoder, Latency, Poisson
from spikelet.frontends.spiking.package import State

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
